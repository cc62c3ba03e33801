"""Trust, law and questions: the operator's facts, what is stored, what is not stated."""

import io
import json
import re
import urllib.request
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import msgspec
import pytest
from markdown_it import MarkdownIt

from corvus_proxy.books.db import Books
from corvus_proxy.catalogue import book
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.pricing import charge
from corvus_proxy.ops import migrate
from corvus_proxy.ops.launcher.facts import DEMO_LEGAL, DEMO_TRUST
from corvus_proxy.service import proof
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import (
    LegalSettings,
    PricingSettings,
    RetentionSettings,
    Settings,
    TrustSettings,
)
from corvus_proxy.settings.retention import KINDS
from corvus_proxy.site import public
from corvus_proxy.site.app import create
from corvus_proxy.site.front import Front
from corvus_proxy.site.public.page import Facts
from corvus_proxy.site.public.trust import centre, stored, verify
from corvus_proxy.till.client import Till
from tests.unit.site.public.visitor import BRAND, SETTINGS, sections, site, table

pytestmark = pytest.mark.anyio
PAGES = [page for page in public.pages(book.load(SETTINGS.pricing).models)
         if page.kind in ("trust", "legal")]  # fmt: skip
STATED = msgspec.structs.replace(
    SETTINGS, trust=TrustSettings(**DEMO_TRUST), legal=LegalSettings(**DEMO_LEGAL)
)
MISSING = "not stated by the operator"


def facts(settings: Settings = SETTINGS) -> Facts:
    front = Front(Stores(None, None, b"p" * 32), settings, {})  # type: ignore[arg-type]
    return public.shelf(front).facts()


async def read(path: str, settings: Settings = SETTINGS) -> str:
    async with site(settings) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, path
    return answer.text


def texts(found: object) -> Iterator[str]:
    """Every text in the operator's facts."""
    if isinstance(found, str):
        yield found.removeprefix("mailto:")
    elif isinstance(found, dict):
        for value in found.values():
            yield from texts(value)
    elif isinstance(found, list):
        for value in found:
            yield from texts(value)


async def test_every_fact_that_is_stated_is_shown_and_every_missing_one_as_missing() -> None:
    """Each option of `[trust]` and `[legal]` stands on a page; without them each page says so."""
    pages = "".join([await read(f"{page.path}.md", STATED) for page in PAGES])
    for text in texts([DEMO_TRUST, DEMO_LEGAL]):
        assert text in pages
    told = sections(await read("/trust.md"))
    assert told["Who runs it"].count(MISSING) == 5
    assert told["Where answers come from"].count(MISSING) == 3
    missing = told["What is not stated"]
    for fact in ("Legal entity", "Address", "Reports of weaknesses", "Capacity of OpenAI's models"):
        assert fact in missing
    assert "every fact that these pages know is stated" in await read("/trust.md", STATED)
    for path in ("/legal/terms.md", "/legal/privacy.md"):
        assert f"This text is *{MISSING}*." in await read(path)
    fields = {*TrustSettings.__struct_fields__} - {"publish_totals"}
    assert fields == set(DEMO_TRUST)


async def test_an_operators_fact_breaks_no_page(tmp_path: Path) -> None:
    """Pipes, lines, HTML and headings in what an operator states stay his words."""
    file = tmp_path / "terms.md"
    file.write_text("# Ours\n\n<script>x</script>\n\n* a rule\n")
    settings = msgspec.structs.replace(
        STATED,
        trust=TrustSettings(entity="A | B\nand <b>C</b>"),
        legal=LegalSettings(terms_file=str(file)),
        brand=msgspec.structs.replace(BRAND, refunds="One.\n\nTwo | <i>three</i>."),
    )
    html = await read("/trust", settings)
    assert "<td>A | B and &lt;b&gt;C&lt;/b&gt;</td>" in html
    refunds = await read("/legal/refunds", settings)
    assert "<blockquote>\n<p>One.</p>\n<p>Two | &lt;i&gt;three&lt;/i&gt;.</p>" in refunds
    terms = await read("/legal/terms", settings)
    assert "<h3>Ours</h3>" in terms
    assert "<script>x" not in terms
    assert "<li>a rule</li>" in terms
    missing = msgspec.structs.replace(STATED, legal=LegalSettings(terms_file=str(tmp_path / "no")))
    with pytest.raises(ConfigurationError, match=r"legal\.terms_file"):
        site(missing)


def test_every_table_of_the_books_is_told() -> None:
    """What is stored is what the migrations make, no table more or less."""
    made: set[str] = set()
    for path in sorted(migrate.folder().glob("*.sql")):
        up = path.read_text().partition("-- migrate:down")[0]
        made |= set(re.findall(r"^create table (\w+)", up, re.MULTILINE))
        made -= set(re.findall(r"^drop table (\w+)", up, re.MULTILINE))
    told = [table for row in stored.stored(SETTINGS) for table in row.tables]
    assert sorted(told) == sorted(made)


@pytest.mark.parametrize("path", ["/trust", "/trust.md", "/legal/privacy.md"])
async def test_pages_print_the_days_that_the_worker_deletes_by(path: str) -> None:
    """Each kind with the days that are set; what is never deleted is told as that."""
    days = {kind.option: 731 + at for at, kind in enumerate(KINDS)} | {"notice_days": 0}
    settings = msgspec.structs.replace(SETTINGS, retention=RetentionSettings(**days))
    text = unescape(await read(path, settings))
    for kind in KINDS:
        told = f"{days[kind.option]} days after {kind.since}"
        assert (told in text) is (kind.name != "notice"), kind.name
        if path.startswith("/trust"):
            assert kind.reason in text
    assert stored.KEPT in text


async def test_privacy_says_what_is_stored_with_the_times_that_are_set() -> None:
    told = sections(await read("/legal/privacy.md"))["What is stored"]
    names = re.findall(r"^### (.+)$", told, re.MULTILINE)
    assert names == [row.what for row in stored.stored(SETTINGS)]
    assert told.count("**How long**: ") == told.count("**Why**: ") == len(names)
    text = await read("/legal/privacy.md")
    assert f"{SETTINGS.shop.reveal_days} days after the payment" in text
    assert f"the last {SETTINGS.ledger.keep:,} events" in text
    assert "`__Host-session`" in text
    assert "Stripe" not in text


def test_a_share_of_the_official_price_is_told_where_it_is_a_rule() -> None:
    """Claude's is the book's own; another family's only where configuration gives one."""
    assert [one.percent for one in centre.shares(facts())] == ["35", "", ""]
    settings = msgspec.structs.replace(
        SETTINGS, pricing=PricingSettings(factor={"openai": "0.6", "anthropic": "0.4"})
    )
    assert [one.percent for one in centre.shares(facts(settings))] == ["40", "60", ""]


def test_the_paid_check_costs_less_than_a_cent() -> None:
    model = verify.cheapest(facts())
    assert model is not None
    assert charge(verify.CALL, model.price) < verify.CENT_NANOS
    assert not model.silent_reasoning
    assert verify.cheapest(facts()._replace(sold=())) is None


async def test_the_refund_rule_is_the_checkouts_own() -> None:
    assert f"> {BRAND.refunds}" in await read("/legal/refunds.md")
    assert BRAND.refunds in unescape(await read("/checkout"))


async def test_proof_without_the_books_says_so_and_its_document_is_not_there() -> None:
    assert "The database does not answer" in await read("/trust/proof.md")
    async with site() as client:
        answer = await client.get("/data/proof.json")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "books_unavailable"


async def test_proof_shows_days_and_checks_and_no_totals_where_none_are_published(
    valkey_till: Till, books: Books
) -> None:
    import httpx

    from corvus_proxy.ledger.writer import Writer
    from corvus_proxy.service import keys

    stores = Stores(valkey_till, books, b"p" * 32)
    transport = httpx.ASGITransport(create(stores, SETTINGS))
    async with httpx.AsyncClient(transport=transport, base_url=BRAND.site_url) as client:
        assert "Nothing has been checked yet" in (await client.get("/trust/proof.md")).text
        made = await keys.create(stores, credit_nanos=1_500_000_000)
        while await Writer(valkey_till, books, keep=10).tick(block_ms=1):
            pass
        await proof.count_days(stores)
        await proof.check_daily(stores)
        text = (await client.get("/trust/proof.md")).text
        document = (await client.get("/data/proof.json")).json()
    told = sections(text)
    assert "✓ everything agreed" in told["The last ledger check"]
    row = dict(zip(*table(told["Days"])[:2], strict=True))
    assert (row["State"], row["Requests"], row["Charged (USD)"]) == ("open", "0", "0.00")
    assert row["Ledger"] in ("agreed", "not checked")
    assert document["ledger_check"]["ok"] is True
    assert document["ledger_check"]["drift_nanos"] == 0
    assert sum(day["granted_nanos"] for day in document["days"]) == 1_500_000_000
    assert {day["granted"] for day in document["days"]} <= {"1.50", "0.00"}
    assert document["totals"]["days"] == len(document["days"]) == len(document["checks"])
    for name in (made.wallet, made.key_id):
        assert name not in str(document) + text
    closed = msgspec.structs.replace(SETTINGS, trust=TrustSettings(publish_totals=False))
    transport = httpx.ASGITransport(create(stores, closed))
    async with httpx.AsyncClient(transport=transport, base_url=BRAND.site_url) as client:
        assert "does not publish totals" in (await client.get("/trust/proof.md")).text
        document = (await client.get("/data/proof.json")).json()
    assert (document["days"], document["totals_published"]) == ([], False)
    assert document["checks"]


def test_sources_of_prices_are_counted() -> None:
    from corvus_proxy.site.public.trust.proof import sources

    models = book.load(SETTINGS.pricing).models
    found = sources(models)
    assert sum(one.models for one in found) == len(models)
    assert all(one.source and one.first <= one.last for one in found)


class Liar(io.BytesIO):
    """An answer of a service that does not keep to its own figures."""

    def __init__(self, document: object, cost: str = "") -> None:
        super().__init__(json.dumps(document).encode())
        self.headers = {"x-corvus-cost-usd": cost, "x-request-id": "req_1"}


async def programs() -> list[str]:
    """The Python blocks of the verification page, in their order."""
    tokens = MarkdownIt().parse(await read("/trust/verify.md"))
    return [one.content for one in tokens if one.type == "fence" and one.info == "python run"]


async def test_the_checks_find_a_service_that_lies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A price that is not the product of its factors; a charge that is not what the header said."""
    prices, call = await programs()
    row = {"official": "2", "factor": "0.35", "source": "a list"}
    rows = [{**row, "ours": "0.7"}, {**row, "ours": "0.8"}, {**row, "ours": "0.7", "source": ""}]
    table = {"items": rows, "vendor_pages": {"a": "https://vendor.example"}}
    monkeypatch.setattr("urllib.request.urlopen", lambda address: Liar(table))
    exec(prices, {})
    assert capsys.readouterr().out.startswith("3 rows, 1 wrong, 1 without a source\n")
    balances = iter([{"balance_nanos": 2000}, {"balance_nanos": 500}])

    def answer(request: urllib.request.Request) -> Liar:
        path = request.full_url.removeprefix(f"{BRAND.api_url}/v1")
        if path == "/key":
            return Liar(next(balances))
        return Liar({"charge": "0.0000015"}, "0.000001")

    monkeypatch.setattr("urllib.request.urlopen", answer)
    exec(call, {})
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in told[:3]] == ["0.000001000", "0.000001500", "0.000001500"]
    assert told[3] == "DIFFERENT"
