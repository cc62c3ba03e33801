"""The site as a browser without JavaScript meets it: the real application over real stores, and
the whole of `corvus up`."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy import clock, secret
from corvus_proxy.books.db import Books
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.amount import format_usd, parse_usd
from corvus_proxy.money.event import Meta, encode_meta
from corvus_proxy.ops.embedded import free_port
from corvus_proxy.service import account, keys, sessions, statements
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import BrandSettings, DemoSettings, Settings
from corvus_proxy.site.app import create
from corvus_proxy.till.client import Till
from corvus_proxy.till.refused import Refused
from corvus_proxy.till.reply import Ask, Charge, Poor
from tests.stack import RunningStack

PEPPER = b"p" * 32
NOWHERE = "127.0.0.1:1"
BRAND = Settings(
    brand=BrandSettings(name="Rook & Co", support="help@rook.example", api_url="https://api.rook"),
    demo=DemoSettings(enabled=True),
)


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, PEPPER)


@pytest.fixture
async def made(stores: Stores) -> keys.Created:
    return await keys.create(stores, credit_nanos=2_000_000_000, label="mine <b>")


@pytest.fixture
async def client(stores: Stores) -> AsyncIterator[httpx.AsyncClient]:
    async with site(stores) as opened:
        yield opened


def site(stores: Stores, settings: Settings = BRAND) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create(stores, settings), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://site")


async def log_in(client: httpx.AsyncClient, key: str, **headers: str) -> httpx.Response:
    return await client.post("/login", data={"key": key}, headers=headers)


async def spend(stores: Stores, made: keys.Created, rid: str, nanos: int, slug: str) -> None:
    """One settled request."""
    digest = secret.digest(made.secret, PEPPER)
    ask = Ask(rid, made.wallet, digest, nanos, nanos, 0, "pv", slug, 1)
    await stores.till.reserve(ask, owner="o", lag_limit=10**6)
    meta = Meta(
        price_version="pv", picos={"input": 3000, "cache_read": 300, "output": 9000},
        usage={"input": 1234, "cache_read": 5000, "output": 56},
        source="upstream", ended_ms=clock.wall_ms(), total_ms=1436, first_byte_ms=212,
    )  # fmt: skip
    await stores.till.settle(
        Charge(rid, made.wallet, made.key_id, slug, nanos, "completed", encode_meta(meta))
    )


async def write_books(stores: Stores) -> None:
    writer = Writer(stores.till, stores.books, keep=100)
    while await writer.tick(block_ms=1):
        pass


def figures(page: str) -> dict[str, str]:
    """The tiles' amounts as a reader sees them."""
    found = re.findall(r'data-figure="(\w+)">(.*?)</span>', page)
    return {name: re.sub(r"<[^>]+>", "", markup) for name, markup in found}


def amounts(page: str, section: str) -> list[int]:
    """The amounts of a section's cost column, in their order."""
    page = page.partition(f'aria-labelledby="{section}"')[2].partition("</section>")[0]
    found = re.findall(r'<td class="number usd"[^>]*>(.*?)</td>', page)
    return [parse_usd(re.sub(r"<[^>]+>", "", markup)) for markup in found]


@pytest.mark.anyio
async def test_tiles_rows_and_twin_are_the_services_own_figures(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """To the nano: tiles equal Redis, rows equal the books, models and what is still on its way
    add up to what was spent."""
    await spend(stores, made, "req_a", 123_456_789, "gpt-x")
    await spend(stores, made, "req_b", 1, "claude-x")
    await write_books(stores)
    await spend(stores, made, "req_c", 7_000, "glm-x")
    await log_in(client, made.secret)
    page = (await client.get("/dashboard")).text
    known = await account.overview(stores, made.wallet)
    for name, nanos in known._asdict().items():
        assert figures(page)[name.removesuffix("_nanos")] == format_usd(nanos)
    assert amounts(page, "models") == [123_456_789, 1, 7_000, known.spent_nanos]
    assert amounts(page, "requests") == [1, 123_456_789]
    assert amounts(page, "days") == [123_456_790]
    *parts, charged = amounts(page, "anatomy")
    assert parts == [2 * 3702, 2 * 1500, 0, 2 * 504, 123_456_790 - 2 * 5706]
    assert sum(parts) == charged == 123_456_790
    assert "Caching has saved <strong>0.000027 USD</strong>" in page  # 2 × 5,000 × 2,700 picos
    for words in ("gpt-x", "req_b", "6,234", "5,000 from cache", "1.43 s", "on its way into"):
        assert words in page
    await write_books(stores)
    page = (await client.get("/dashboard")).text
    assert "on its way" not in page
    twin = (await client.get("/dashboard.json")).json()
    assert twin["spent_nanos"] == known.spent_nanos == twin["listing"]["charged_nanos"]
    assert twin["unlisted_nanos"] == 0
    assert twin["available"] == format_usd(known.available_nanos)
    assert {row["request_id"] for row in twin["listing"]["requests"]} == {"req_a", "req_b", "req_c"}
    few = (await client.get("/dashboard.json?part=figures")).json()
    assert few == {name: twin[name] for name in few}
    assert "listing" not in few


@pytest.mark.anyio
async def test_an_empty_dashboard_shows_how_to_begin(
    made: keys.Created, client: httpx.AsyncClient
) -> None:
    """Base URLs with and without /v1, a command per dialect, the key masked; names are escaped."""
    await log_in(client, made.secret)
    page = (await client.get("/dashboard")).text
    text = unescape(page)
    assert "Make the first call" in text
    assert '<code class="url">https://api.rook/v1</code>' in page
    assert '<code class="url">https://api.rook</code>' in page
    assert "curl https://api.rook/v1/messages" in text
    assert secret.mask(made.secret) in text
    assert made.secret not in page
    assert "mine &lt;b&gt;" in page
    assert "Rook &amp; Co" in page
    assert "Demonstration." in page
    assert "help@rook.example" in page


@pytest.mark.anyio
async def test_the_right_key_opens_and_the_wrong_ones_are_told_why(
    made: keys.Created, client: httpx.AsyncClient
) -> None:
    """Words for each mistake, no session, never a key in an answer; line breaks do not matter."""
    other = secret.new_secret(secret.new_wallet_id())
    same_wallet = secret.new_secret(made.wallet)
    for key, words in (
        ("", "Enter your key."),
        ("sk-ant-something", "begin with sk-corvus_"),
        (made.secret[:-1], "1 character missing"),
        (other, "Nobody here knows"),
        (same_wallet, "Nobody here knows"),
    ):
        answer = await log_in(client, key)
        assert answer.status_code == 401
        assert words in unescape(answer.text)
        assert "set-cookie" not in answer.headers
        assert not key or key not in answer.text
    assert (await log_in(client, made.secret)).status_code == 429


@pytest.mark.anyio
async def test_a_session_lasts_until_the_log_out(
    made: keys.Created, client: httpx.AsyncClient
) -> None:
    """303 in, 303 out; the cookie holds no secret; pages of a session are not kept."""
    assert (await client.get("/dashboard")).headers["location"] == "/login"
    assert (await client.get("/dashboard.json")).status_code == 401
    pasted = f"\n {made.secret[:20]}\r\n{made.secret[20:]} "
    answer = await log_in(client, pasted, origin="http://site")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/dashboard"
    assert made.secret not in answer.headers["set-cookie"]
    assert "HttpOnly; Max-Age=43200; Path=/; SameSite=lax" in answer.headers["set-cookie"]
    assert (await client.get("/login")).headers["location"] == "/dashboard"
    assert (await client.get("/dashboard")).headers["cache-control"] == "no-store"
    foreign = await client.post("/logout", headers={"sec-fetch-site": "cross-site"})
    assert "set-cookie" not in foreign.headers
    await client.post("/logout")
    assert (await client.get("/dashboard")).status_code == 303


@pytest.mark.anyio
async def test_a_changed_or_copied_together_cookie_opens_nothing(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """Another wallet's name under one's own signature is refused."""
    await log_in(client, made.secret)
    cookie = client.cookies["session"]
    victim = await keys.create(stores, credit_nanos=1)
    await log_in(client, victim.secret)
    other = client.cookies["session"]
    payload, *_ = other.rsplit(".", 2)
    _, *signature = cookie.rsplit(".", 2)
    for forged in (".".join([payload, *signature]), cookie[:-4] + "AAAA", "x", ""):
        client.cookies.clear()
        client.cookies.set("session", forged)
        assert (await client.get("/dashboard")).status_code == 303
        assert (await client.get("/dashboard.json")).status_code == 401


@pytest.mark.anyio
async def test_a_log_in_ends_with_the_secret_that_opened_it(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """A rotation without grace ends it at the next page, with the books and without them, an
    earlier grace too; one with grace does not."""
    await log_in(client, made.secret)
    fresh = await keys.rotate(stores, made.key_id, grace_s=3600)
    assert (await client.get("/dashboard")).status_code == 200
    away = Stores(stores.till, Books(f"postgresql://{NOWHERE}/none"), PEPPER)
    async with site(stores) as second, site(away) as lost:
        await log_in(second, fresh)
        lost.cookies = second.cookies
        assert (await lost.get("/dashboard")).status_code == 503
        assert (await client.get("/dashboard")).status_code == 200
        await keys.rotate(stores, made.key_id, grace_s=0)
        assert (await second.get("/dashboard")).status_code == 303
        assert (await lost.get("/dashboard")).status_code == 303
        assert (await log_in(second, fresh)).status_code == 401
    assert (await client.get("/dashboard")).status_code == 303


@pytest.mark.anyio
async def test_a_log_in_can_be_ended_from_elsewhere(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """All at once, or by its row; a deployment ends none; without the books the secret decides."""
    await log_in(client, made.secret, **{"user-agent": "Mozilla/5.0 (iPhone) Safari/604.1"})
    async with site(stores) as second:
        await log_in(second, made.secret)
        rows = await sessions.sessions_of(stores, made.wallet)
        assert [(row.kind, row.device) for row in rows] == [
            ("key", "a program"), ("key", "Safari on iPhone"),
        ]  # fmt: skip
        await sessions.end_all(stores, made.wallet, but=rows[0].session_id)
        assert (await client.get("/dashboard")).status_code == 303
        assert (await client.get("/dashboard.json")).status_code == 401
        assert (await second.get("/dashboard")).status_code == 200
        async with site(stores) as deployed:
            deployed.cookies = second.cookies
            assert (await deployed.get("/dashboard")).status_code == 200
            await deployed.post("/logout")
        assert (await second.get("/dashboard")).status_code == 303
    assert await sessions.sessions_of(stores, made.wallet) == []


@pytest.mark.anyio
async def test_a_log_in_from_before_the_books_came_back_can_be_ended(
    stores: Stores, made: keys.Created
) -> None:
    """Opened on Redis alone, seen by the books at its next page, ended like any other."""
    away = Stores(stores.till, Books(f"postgresql://{NOWHERE}/none"), PEPPER)
    async with site(away) as lost, site(stores) as back:
        assert (await log_in(lost, made.secret)).status_code == 303
        assert (await lost.get("/dashboard")).status_code == 503
        back.cookies = lost.cookies
        assert (await back.get("/dashboard")).status_code == 200
        await sessions.end_all(stores, made.wallet)
        assert (await back.get("/dashboard")).status_code == 303


@pytest.mark.anyio
async def test_a_key_in_an_address_is_refused(
    made: keys.Created, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """On every page, in path and query, escaped or not; the answer does not repeat it."""
    for address in (
        f"/login?key={made.secret}",
        f"/{made.secret}",
        f"/dashboard?x=%20{made.secret}",
        "/login?key=sk-corvus%5Fabc",
        "/login?key=ro-corvus_abc",
    ):
        answer = await client.get(address)
        assert answer.status_code == 400
        assert made.secret not in answer.text
        assert answer.headers["content-security-policy"]
    assert made.secret not in caplog.text


@pytest.mark.anyio
async def test_another_sites_form_is_refused(made: keys.Created, client: httpx.AsyncClient) -> None:
    """Even with the right key: nobody is logged in to somebody else's account."""
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        answer = await log_in(client, made.secret, **headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


@pytest.mark.anyio
async def test_with_https_the_cookie_is_bound_to_this_host(
    stores: Stores, made: keys.Created
) -> None:
    """`Secure` and `__Host-` where the public address is https."""
    settings = Settings(brand=BrandSettings(site_url="https://rook.example"))
    async with site(stores, settings) as client:
        answer = await log_in(client, made.secret, origin="https://rook.example")
        assert answer.headers["set-cookie"].startswith("__Host-session=")
        assert "; Secure" in answer.headers["set-cookie"]


@pytest.mark.anyio
async def test_every_answer_is_strict_and_small(
    made: keys.Created, client: httpx.AsyncClient
) -> None:
    """Policy, types and caching on pages, redirects, errors and files; nothing from elsewhere."""
    await log_in(client, made.secret)
    size = 0
    for path in ("/dashboard", "/dashboard.json", "/", "/login", "/nowhere", "/logout",
                 "/dashboard/", "/static/none", "/static/../app.py", "/livez"):  # fmt: skip
        page = await client.get(path)
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        for part in ("form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert part in policy
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "same-origin"
        assert path == "/livez" or page.headers["cache-control"] == "no-store"
        size = max(size, len(page.content))
    assert (await client.get("/nowhere")).status_code == 404
    assert (await client.get("/logout")).status_code == 405
    page = await client.get("/dashboard")
    assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
    assert len(assets) == 3
    for asset in assets:
        found = await client.get(asset)
        assert "immutable" in found.headers["cache-control"]
        assert (
            "immutable" not in (await client.get(asset.partition("?")[0])).headers["cache-control"]
        )
        size += len(found.content)
    assert size < 60_000


@pytest.mark.anyio
async def test_a_frozen_and_an_empty_key_say_so(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """A frozen key may look; an empty one learns what the API answers now."""
    await keys.set_frozen(stores, made.key_id, frozen=True)
    await keys.debit(stores, made.key_id, 2_000_000_000, reason="test")
    await log_in(client, made.secret)
    page = (await client.get("/dashboard")).text
    assert "This key is frozen" in page
    assert "out of balance" in page
    assert "since it ran empty" not in page


@pytest.mark.anyio
async def test_at_zero_the_page_tells_what_was_refused_since(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """The number of requests, by the wallet's owner alone; a top-up ends it."""
    await keys.debit(stores, made.key_id, 2_000_000_000, reason="test")
    sub = await keys.create_sub(
        stores, made.wallet, label="agent", cap_nanos=None, actor=made.key_id
    )
    await log_in(client, made.secret)
    for told in ("1 request</strong> was refused", "1,235 requests</strong> were refused"):
        refused = Refused(stores.till)
        for _ in range(1 if told[1] == " " else 1_234):
            refused.note(made.wallet, Poor(0, 0))
        await refused.tell()
        assert f"<strong>{told} since it ran empty." in (await client.get("/dashboard")).text
    assert (await client.get("/dashboard.json")).json()["refused"] == 1_235
    await log_in(client, sub.secret)
    assert "since it ran empty" not in (await client.get("/dashboard")).text
    await keys.credit(stores, made.key_id, 1, reason="test")
    await spend(stores, made, "req_last", 1, "gpt-x")
    await log_in(client, made.secret)
    page = (await client.get("/dashboard")).text
    assert "out of balance" in page
    assert "since it ran empty" not in page


@pytest.mark.anyio
async def test_without_postgres_the_figures_stand(
    stores: Stores, made: keys.Created, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with the balance from Redis, and words for what is missing; log-in works."""
    away = Stores(stores.till, Books(f"postgresql://{NOWHERE}/none"), PEPPER)
    async with site(away) as client:
        assert (await log_in(client, made.secret)).status_code == 303
        page = await client.get("/dashboard")
        assert page.status_code == 503
        assert page.headers["retry-after"] == "5"
        assert figures(page.text)["balance"] == "2.00"
        assert "cannot be read at the moment" in page.text
        twin = await client.get("/dashboard.json")
        assert (twin.status_code, twin.json()["listing"]) == (503, None)

        async def frozen(*_: object, **__: object) -> Any:
            import asyncio

            await asyncio.sleep(60)

        monkeypatch.setattr(account, "BOOKS_S", 0.05)
        monkeypatch.setattr(statements, "is_current", frozen)
        monkeypatch.setattr(away.books, "connection", stores.books.connection)
        assert (await client.get("/dashboard")).status_code == 503


@pytest.mark.anyio
async def test_without_redis_pages_say_so_in_words(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """503 for log-in, dashboard and twin; the form still opens; no try is lost."""
    await log_in(client, made.secret)
    away = Stores(Till.open(f"redis://{NOWHERE}", timeout_ms=200), stores.books, PEPPER)
    async with site(away) as lost:
        assert (await lost.get("/login")).status_code == 200
        for _ in range(7):
            answer = await log_in(lost, made.secret)
            assert answer.status_code == 503
        assert "does not answer" in answer.text
        lost.cookies = client.cookies
        page = await lost.get("/dashboard")
        assert page.status_code == 503
        assert page.headers["retry-after"]
        assert "0.00" not in page.text
        twin = await lost.get("/dashboard.json?part=figures")
        assert twin.status_code == 503
        assert twin.json()["error"]["code"] == "ledger_unavailable"
        assert (await lost.get("/readyz")).status_code == 200
    await away.till.close()


@pytest.mark.anyio
async def test_a_closed_or_lost_wallet_is_no_unknown_key_and_no_zero(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """While a partition is checked nobody can say that a key is unknown, or that it is empty."""
    await log_in(client, made.secret)
    await stores.till._redis.flushall()
    assert (await client.get("/dashboard")).status_code == 503
    assert (await log_in(client, made.secret)).status_code == 503


@pytest.mark.anyio
async def test_a_defect_is_a_page_with_a_reference(
    made: keys.Created, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 in words; what broke stands in the log alone."""
    await log_in(client, made.secret)

    async def broken(*_: object) -> Any:
        raise RuntimeError("a detail of ours")

    monkeypatch.setattr(account, "overview", broken)
    page = await client.get("/dashboard")
    assert page.status_code == 500
    assert re.search(r"reference \w{10}\.", page.text)
    assert "a detail of ours" not in page.text
    assert page.headers["x-content-type-options"] == "nosniff"


def test_the_dashboard_of_a_running_stack(stack: RunningStack) -> None:
    """Two real requests through the gateway; log in with the key; the figures of the command line
    and the rows of both."""
    key = stack.new_key("2")
    for slug in ("gpt-4o-mini", "glm-5.3"):
        body = {"model": slug, "messages": [{"role": "user", "content": "hi"}]}
        assert stack.ask("/v1/chat/completions", body, key=key["secret"]).status_code == 200
    standing = stack.settled(key["key_id"])
    for _ in range(50):
        if not stack.command("ledger", "verify")["undrained"]:
            break
    with httpx.Client(base_url=stack.facts["site"], trust_env=False) as client:
        answer = client.post("/login", data={"key": key["secret"]})
        assert answer.headers["location"] == "/dashboard"
        page = client.get("/dashboard").text
        for name, shown in figures(page).items():
            assert parse_usd(shown) == standing[f"{name}_nanos"]
        assert "gpt-4o-mini" in page
        assert "glm-5.3" in page
        assert len(set(re.findall(r"req_[0-9a-f]{24}", page))) == 2
        *models, whole = amounts(page, "models")
        assert sum(models) == sum(amounts(page, "requests")) == whole == standing["spent_nanos"]
        assert stack.facts["api"] + "/v1" in page


def test_the_console_of_a_running_stack(stack: RunningStack) -> None:
    """Metrics of the gateway and the worker on the console's port; its pages want a log-in."""
    with httpx.Client(base_url=stack.facts["console"], trust_env=False) as client:
        assert client.get("/readyz").text == "ok\n"
        assert client.get("/").headers["location"] == "/login"
        metrics = client.get("/metrics").text
        assert "corvus_ledger_lag_events" in metrics
        assert "corvus_requests_total" in metrics


@contextlib.contextmanager
def role(name: str, config: Path, text: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """One role alone in a process of its own, on a free port."""
    port = free_port()
    config.write_text(f"{text}\n[{name}]\nport = {port}\n")
    environment = {**os.environ, "CORVUS_CONFIG": str(config), "CORVUS_PEPPER": "p" * 40}
    process = subprocess.Popen(
        [sys.executable, "-m", "corvus_proxy.ops.role", name],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@pytest.mark.parametrize("name", ["site", "console"])
def test_a_role_starts_before_its_stores_and_ends_when_told(name: str, tmp_path: Path) -> None:
    """It answers while Redis and Postgres are not there yet; SIGTERM ends it cleanly and soon."""
    text = f"""
[redis]
url = "redis://{NOWHERE}"
[database]
url = "postgresql://{NOWHERE}/none"
"""
    with role(name, tmp_path / "corvus.toml", text) as (url, process):
        with httpx.Client(base_url=url, trust_env=False) as client:
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = client.get("/livez")
                    break
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert answer.status_code == 200
            if name == "site":
                key = secret.new_secret(secret.new_wallet_id())
                assert client.post("/login", data={"key": key}).status_code == 503
            else:
                assert client.get("/readyz").status_code == 503
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.parametrize("name", ["site", "console"])
def test_simulated_money_beside_a_real_upstream_ends_the_role(
    stack: RunningStack, name: str, tmp_path: Path
) -> None:
    """The mark that the demonstration left in Redis is enough; the way out is named."""
    text = f"""
[redis]
url = "{stack.facts["redis"]}"
[[upstream]]
family = "openai"
base_url = "https://api.openai.example"
[[upstream.credential]]
name = "real"
"""
    with role(name, tmp_path / "corvus.toml", text) as (_, process):
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert "this state folder holds simulated money" in process.stderr.read()
