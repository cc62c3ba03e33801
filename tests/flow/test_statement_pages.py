"""Requests, one request and the ledger as a browser without JavaScript meets them."""

import csv
import io
import re
from collections.abc import AsyncIterator
from html import unescape

import httpx
import pytest

from corvus_proxy import secret
from corvus_proxy.books.db import Books
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.amount import format_usd, parse_usd
from corvus_proxy.money.event import Meta, encode_meta
from corvus_proxy.service import account, keys, statements
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.site.account import ledger as ledger_page
from corvus_proxy.site.account import requests as requests_page
from corvus_proxy.site.app import create
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import Ask, Charge

pytestmark = pytest.mark.anyio
PEPPER = b"p" * 32
PICOS = {"input": 1_750, "cache_read": 175, "output": 10_333}


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, PEPPER)


@pytest.fixture
async def made(stores: Stores) -> keys.Created:
    return await keys.create(stores, credit_nanos=2_000_000, reason="a <b> & a 'c'")


@pytest.fixture
async def client(stores: Stores, made: keys.Created) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create(stores, Settings()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as opened:
        await opened.post("/login", data={"key": made.secret})
        yield opened


async def spend(stores: Stores, made: keys.Created, rid: str, slug: str, tokens: int) -> int:
    """One settled request of so many tokens; its charge."""
    ask = Ask(rid, made.wallet, secret.digest(made.secret, PEPPER), 90, 90, 0, "pv", slug, 1)
    await stores.till.reserve(ask, owner="o", lag_limit=10**6)
    usage = {"input": tokens, "cache_read": 9, "output": 7}
    picos = sum(PICOS[name] * count for name, count in usage.items())
    nanos = (picos + 500) // 1000
    meta = Meta(
        price_version="pv-7", picos=PICOS, usage=usage, source="upstream", attempts=2,
        ended_ms=1_790_000_000_000 + tokens, total_ms=1436, first_byte_ms=212, hold_nanos=9000,
        upstream_request_id="up_<1>", upstream_model="up-model", credential="operators-own",
        flags=["cache_unused"],
    )  # fmt: skip
    await stores.till.settle(
        Charge(rid, made.wallet, made.key_id, slug, nanos, "completed", encode_meta(meta))
    )
    return nanos


async def write_books(stores: Stores) -> None:
    writer = Writer(stores.till, stores.books, keep=100)
    while await writer.tick(block_ms=1):
        pass


def plain(html: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)))


def total(page: str, name: str) -> int:
    """The footer's amount."""
    found = re.search(rf'data-total="{name}">(.*?)</td>', page)
    assert found
    return parse_usd(re.sub(r"<[^>]+>", "", found[1]))


def column(page: str, label: str) -> list[int]:
    """The amounts of one column of the table's body."""
    body = page[page.index("<tbody>", page.index('<table class="rows')) :]
    body = body[: body.index("</tbody>")]
    found = re.findall(rf'<td class="number usd" data-label="{label}">(.*?)</td>', body)
    return [parse_usd(re.sub(r"<[^>]+>", "", one)) for one in found]


async def test_the_footer_is_the_tile_and_the_sum_of_all_pages(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page has the same footer; what the pages show comes to it, and to what was spent."""
    monkeypatch.setattr(requests_page, "PAGE_ROWS", 3)
    for at in range(8):
        await spend(stores, made, f"req_{at}", "gpt-x" if at % 2 else "claude-y", 10 + at)
    await write_books(stores)
    tile = (await account.overview(stores, made.wallet)).spent_nanos
    seen, address, pages = 0, "/dashboard/requests", 0
    while address:
        page = (await client.get(address)).text
        assert total(page, "charge") == tile
        seen += sum(column(page, "Cost, USD"))
        pages += 1
        older = re.search(r'<a href="([^"]+)" rel="next">', page)
        address = unescape(older[1]) if older else ""
    assert (seen, pages) == (tile, 3)
    some = (await client.get("/dashboard/requests?model=gpt-x")).text
    assert "All that match: 4" in some
    assert total(some, "charge") == sum(
        row.charge_nanos
        for row in (await account_rows(stores, made)) if row.slug == "gpt-x"
    )  # fmt: skip
    assert 'value="gpt-x"' in some
    address = unescape(re.search(r'<a href="([^"]+)" rel="next">', some)[1])  # type: ignore[index]
    assert "model=gpt-x" in address
    twin = (await client.get("/dashboard/requests.json")).json()
    assert twin["total"]["charge_nanos"] == tile
    assert (twin["current"], len(twin["data"])) == (True, 3)


async def account_rows(stores: Stores, made: keys.Created) -> list[statements.Request]:
    scope = statements.Scope(made.wallet)
    return (await statements.requests(stores, scope, statements.Filter(), limit=99)).rows


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("?outcome=gateway_crash", 200, "No request matches"),
        ("?from=2026-01-01&to=2026-12-31", 200, "req_1"),
        ("?to=2020-01-01", 200, "No request matches"),
        ("?from=yesterday", 400, "A day is written like"),
        ("?model=%3Cscript%3E", 200, "&lt;script&gt;"),
        ("?key=key_other", 200, "No request matches"),
        ("?cursor=nonsense", 303, ""),
    ],
)
async def test_filters_stand_in_the_address(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient, query: str, status: int,
    words: str,
) -> None:  # fmt: skip
    """What they mean is shown, what they cannot mean is said; nothing typed becomes markup."""
    await spend(stores, made, "req_1", "gpt-x", 10)
    await write_books(stores)
    page = await client.get("/dashboard/requests" + query)
    assert page.status_code == status
    assert words in page.text
    assert "<script>" not in page.text


async def test_one_request_is_explained(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """A sentence, the formula with its numbers, outcome in words, times, attempts, hold; nothing
    of the operator's."""
    nanos = await spend(stores, made, "req_1", "gpt-x", 1000)
    await write_books(stores)
    answer = await client.get("/dashboard/requests/req_1")
    text = plain(answer.text)
    usd = format_usd(nanos)
    for words in (
        f"gpt-x answered with 7 tokens in 1.43 s, for {usd} USD.", "1,000", "0.00175", "pv-7",
        f"= {usd} USD", "It is charged by the vendor's own count", "up_<1>", "Attempts 2",
        "Set aside while it ran 0.000009 USD", "212 ms", "caching was asked for",
    ):  # fmt: skip
        assert words in text, words
    assert 'role="img" aria-label="First byte after 212 ms' in answer.text
    assert "operators-own" not in answer.text
    assert "<title>Request ·" in answer.text  # an id is the owner's, and a title goes far
    twin = (await client.get("/dashboard/requests/req_1.json")).json()
    assert (twin["charge_nanos"], twin["status"]) == (nanos, "ended")
    assert (await client.get("/dashboard/requests/req_2")).status_code == 404
    ask = Ask("req_3", made.wallet, secret.digest(made.secret, PEPPER), 90, 90, 0, "p", "s", 1)
    await stores.till.reserve(ask, owner="o", lag_limit=10**6)
    await write_books(stores)
    running = plain((await client.get("/dashboard/requests/req_3")).text)
    assert "still running. 0.00000009 USD are set aside" in running


async def test_the_ledger_adds_up(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening and all amounts give the closing balance; each balance is the one below and the
    amount; the files have it all."""
    monkeypatch.setattr(ledger_page, "PAGE_ROWS", 4)
    for at in range(9):
        await spend(stores, made, f"req_{at}", "gpt-x", 10 + at)
    await keys.debit(stores, made.key_id, 1_000, reason="=less")
    await write_books(stores)
    state = await stores.till.wallet(made.wallet)
    assert state is not None
    amounts: list[int] = []
    balances: list[int] = []
    address = "/dashboard/ledger"
    while address:
        page = (await client.get(address)).text
        amounts += column(page, "Amount, USD")
        balances += column(page, "Balance, USD")
        assert total(page, "change") == state.balance_nanos
        older = re.search(r'<a href="([^"]+)" rel="next">', page)
        address = unescape(older[1]) if older else ""
    assert balances[0] == state.balance_nanos == sum(amounts)
    for at in range(len(amounts) - 1):
        assert balances[at] - amounts[at] == balances[at + 1]
    assert "a &lt;b&gt; &amp; a &#39;c&#39;" in page
    first = (await client.get("/dashboard/ledger")).text
    assert 'class="level"' in first
    assert f"At last {format_usd(state.balance_nanos)} USD" in plain(first)
    for link in re.findall(r'<a href="([^"]+)" download>', first):
        answer = await client.get(unescape(link))
        assert answer.status_code == 200
        assert "attachment" in answer.headers["content-disposition"]
        assert answer.headers["cache-control"] == "no-store"
    table = list(csv.DictReader(io.StringIO((await client.get("/dashboard/ledger.csv")).text)))
    assert sum(int(row["amount_nanos"]) for row in table) == state.balance_nanos
    assert (await client.get("/dashboard/ledger.pdf")).status_code == 404
    assert (await client.get("/dashboard/ledger.csv?month=1999-01")).status_code == 404
    assert (await client.get("/dashboard/ledger?month=1999-01")).status_code == 303


async def test_empty_pages_say_what_will_be_there(
    stores: Stores, client: httpx.AsyncClient
) -> None:
    """And give the next step."""
    await write_books(stores)
    assert "How to make the first call" in (await client.get("/dashboard/requests")).text


async def test_a_sub_key_sees_itself_alone(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """No others' requests, no balance in the ledger, no credits."""
    await spend(stores, made, "req_1", "gpt-x", 10)
    await write_books(stores)
    async with stores.books.transaction() as connection:
        await connection.execute("update key set main = false")
        await connection.execute(
            "update key_secret set digest = digest where key_id = $1", made.key_id
        )
    await client.post("/login", data={"key": made.secret})
    page = (await client.get("/dashboard/ledger")).text
    assert column(page, "Amount, USD") == [-(await account_rows(stores, made))[0].charge_nanos]
    assert "Balance, USD" not in page
    assert 'class="level"' not in page


@pytest.mark.parametrize(
    "path", ["/dashboard/requests", "/dashboard/requests/req_1", "/dashboard/ledger",
             "/dashboard/ledger.csv"]
)  # fmt: skip
async def test_without_a_log_in_nothing_is_shown(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient, path: str
) -> None:
    """Visitors are led to the log-in."""
    client.cookies.clear()
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


@pytest.mark.parametrize("path", ["/dashboard/requests", "/dashboard/ledger",
                                  "/dashboard/ledger.csv"])  # fmt: skip
async def test_while_the_books_are_away_it_is_said_in_words(
    stores: Stores, made: keys.Created, path: str
) -> None:
    """503 with the time to come back; figures from Redis stay where there are any."""
    away = Stores(stores.till, Books("postgresql://nobody@127.0.0.1:1/none"), PEPPER)
    transport = httpx.ASGITransport(create(away, Settings()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as opened:
        await opened.post("/login", data={"key": made.secret})
        answer = await opened.get(path)
    assert answer.status_code == 503
    assert "The database does not answer" in answer.text
    assert answer.headers["retry-after"]
