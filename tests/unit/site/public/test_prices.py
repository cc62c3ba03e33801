"""The pages of prices and models: figures of the rows that bill, and documents that agree."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from corvus_proxy import clock
from corvus_proxy.catalogue import book, tracker
from corvus_proxy.gateway.front import listing
from corvus_proxy.money.pricing import charge
from corvus_proxy.settings import PricingSettings, Settings
from corvus_proxy.site.public import served
from corvus_proxy.site.public.prices import caching, documents
from tests.unit.catalogue.test_history import PAST, RISE, ROW
from tests.unit.site.public.visitor import BRAND, SETTINGS, Reader, sections, site, table

pytestmark = pytest.mark.anyio
BOOK = book.load(SETTINGS.pricing)


async def read(path: str, settings: Settings = SETTINGS) -> str:
    """A page's text."""
    async with site(settings) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, path
    return answer.text


async def document(name: str, settings: Settings = SETTINGS) -> Any:
    """A document for programs."""
    return msgspec.json.decode(await read(f"/data/{name}.json", settings))


def with_book(tmp_path: Path, text: str, **factor: str) -> Settings:
    """An installation with a price book of its own."""
    path = tmp_path / "models.toml"
    path.write_text(text)
    return Settings(brand=BRAND, pricing=PricingSettings(book=str(path), factor=factor))


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """A day on which the shipped rows have been checked, with something announced."""
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    monkeypatch.setattr(clock, "utc_now", lambda: now)
    return now


# -- comparisons --------------------------------------------------------------------------------


async def test_claude_is_compared_at_the_share_that_the_rows_have() -> None:
    """The percentage is computed; each model has its row, each figure is the row's."""
    text = sections(await read("/claude-api-pricing.md"))
    assert "**35 % of Anthropic's own price**" in text["Short answer"]
    rows = table(text["Prices"])[1:]
    models = [model for model in BOOK.models if model.family == "anthropic"]
    assert len(rows) == len(models)
    for model, cells in zip(models, rows, strict=True):
        assert f"/models/{model.slug})" in cells[0]
        prices = [
            tracker.usd(getattr(rates, name), name)
            for name in ("input", "output", "cache_read")
            for rates in (model.official.base, model.price.base)
        ]
        assert cells[1:] == [*prices, "35 %", str(model.official.checked)]


async def test_another_share_is_told_as_it_is(tmp_path: Path) -> None:
    """By a factor of the configuration; where rows differ, no figure stands for all."""
    claude = ROW.replace('"openai"', '"anthropic"').replace(
        'put = "8" }', 'put = "8", cache_read = "0.8" }'
    )
    settings = with_book(tmp_path, claude, anthropic="0.40")
    text = await read("/claude-api-pricing.md", settings)
    assert "**40 % of Anthropic's own price**" in text
    settings = with_book(tmp_path, claude + claude.replace('"x"', '"y"').replace('"2"', '"4"'))
    text = await read("/claude-api-pricing.md", settings)
    assert "differs by model" in text
    assert "**35 %" not in text


async def test_gpt_has_no_percentage_that_the_configuration_does_not_give(tmp_path: Path) -> None:
    """The shipped example is nobody's promise; a configured factor is one."""
    page = await read("/gpt-api-pricing.md")
    prose = sections(page)["Short answer"] + sections(page)["Prices"]
    assert "%" not in prose
    settings = with_book(tmp_path, ROW, openai="0.60")
    assert "**60 % of OpenAI's own price**" in await read("/gpt-api-pricing.md", settings)


async def test_a_family_that_is_not_sold_is_not_priced(tmp_path: Path) -> None:
    """It says so."""
    text = await read("/claude-api-pricing.md", with_book(tmp_path, ROW))
    assert "No Claude model is sold here at the moment." in text


async def test_the_spike_is_made_by_the_biller() -> None:
    """Three requests with the same words; their bills are `charge`'s, the last is the dearest."""
    text = sections(await read("/cache-token-pricing.md"))["A spike, worked"]
    slug = re.search(r"`([\w.-]+)`", text)
    assert slug is not None
    model = BOOK.find(slug[1])
    assert model is not None
    turns = caching.turns(model)
    for turn in turns:
        assert turn.bill.charge_nanos == charge(turn.bill.usage, model.price)
        assert f"| {turn.title} | {turn.bill.usd} | {turn.times} |" in text
    costs = [turn.bill.charge_nanos for turn in turns]
    assert costs == sorted(costs)
    assert costs[2] > 50 * costs[0]


# -- tracker ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("today")
async def test_the_trackers_page_has_every_ordinary_price_with_source_and_day() -> None:
    """The twin has all families, the page the one that is chosen."""
    items = (await document("pricing"))["items"]
    plain = [one for one in items if not one["mode"] and not one["above_input_tokens"]]
    text = sections(await read("/pricing/tracker.md"))["Prices"]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == len(plain)
    for row, item in zip(rows, plain, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[0] == f"`{item['slug']}`"
        assert cells[2:5] == [item["official"], item["ours"], item["factor"] or ""]
        assert cells[7].startswith(f"{item['source']}, {item['checked_at']}")
    for family in ("anthropic", "openai", "glm"):
        page = await read(f"/pricing/tracker?family={family}")
        own = {one["slug"] for one in items if one["family"] == family}
        table_of = page.partition('<table class="tracked">')[2].partition("</table>")[0]
        shown = set(re.findall(r'href="/models/([^"]+)"', table_of))
        assert shown == own


@pytest.mark.usefixtures("today")
async def test_announcements_and_changes_are_told_apart() -> None:
    """What is to come stands above, what has come in the log; each chart has its table."""
    text = sections(await read("/pricing/tracker.md"))
    assert "**2026-11-30**, [claude-opus-4-8]" in text["Announced"]
    assert "fast: no price of its own any more" in text["Announced"]
    assert "2026-11-30" not in text["Changes"]
    assert "input 5.00 → 4.00 (ours 2.50 → 2.00)" in text["Changes"]
    page = await read("/pricing/tracker")
    pictures = re.findall(r'<svg class="prices".*?aria-label="([^"]+)"', page)
    assert any(
        "Input of gpt-5.6-sol" in one and "5.00 and 2.50 until 2026-08-21" in one
        for one in pictures
    )
    assert page.count("as figures</summary>") == len(pictures)
    assert "| Input | the beginning | 2026-08-21 | 5.00 | 2.50 |" in text["Over time"]


async def test_a_price_that_was_not_checked_for_a_week_is_marked(
    today: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the tracker, in the comparison and on the model's page."""
    assert "Unchecked for" not in await read("/pricing/tracker.md")
    monkeypatch.setattr(clock, "utc_now", lambda: today + timedelta(days=30))
    assert "**Unchecked for more than 7 days:**" in await read("/pricing/tracker.md")
    assert "unchecked for 33 days" in await read("/claude-api-pricing.md")
    assert "**Unchecked for 33 days.**" in await read("/models/claude-haiku-4-5.md")


async def test_the_tracker_is_made_again_from_the_published_book(tmp_path: Path) -> None:
    """Byte for byte, also with factors, history and announcements."""
    for settings in (SETTINGS, with_book(tmp_path, ROW + PAST + RISE, openai="0.55")):
        async with site(settings) as client:
            file = (await client.get(documents.BOOK)).content
            served_bytes = (await client.get(documents.PRICING)).content
        assert documents.pricing(file) == served_bytes


async def test_a_changed_book_is_read_again(tmp_path: Path) -> None:
    """And one that cannot be read leaves what was known."""
    settings = with_book(tmp_path, ROW)
    path = Path(settings.pricing.book)
    async with site(settings) as client:

        async def ours() -> str:
            found = msgspec.json.decode((await client.get(documents.PRICING)).content)
            price: str = found["items"][0]["ours"]
            return price

        assert await ours() == "2.00"
        path.write_text(ROW.replace('input = "2"', 'input = "3.25"'))
        assert await ours() == "3.25"
        path.write_text("nonsense")
        assert await ours() == "3.25"


# -- models -------------------------------------------------------------------------------------


async def test_pages_document_and_api_have_the_same_models() -> None:
    """`/models`, a page for each, `models.json`, `model-pages.json` and `/v1/models`."""
    items = (await document("models"))["items"]
    slugs = [one["slug"] for one in items]
    listed = msgspec.json.decode(listing.models(BOOK, served.serves(SETTINGS), (), []))["data"]
    assert slugs == [one["id"] for one in listed]
    assert [one["served"]["paths"] for one in items] == [one["endpoints"] for one in listed]
    pages = (await document("model-pages"))["items"]
    assert [one["slug"] for one in pages] == slugs
    directory = sections(await read("/models.md"))
    named = [
        row[1].strip("`") for text in directory.values() for row in table(text)[1:] if len(row) > 5
    ]
    assert named == slugs
    async with site() as client:
        for one in pages:
            assert (await client.get(one["path"])).status_code == 200
            twin = (await client.get(one["markdown"])).text
            item = items[slugs.index(one["slug"])]
            assert all(f"| {price} |" in twin for price in item["served"]["prices"][0].values()
                       if isinstance(price, str) and "." in price)  # fmt: skip
            assert all(f"`{path}`" in twin for path in item["served"]["paths"])
            assert all(f"`{alias}`" in twin for alias in item["aliases"])


async def test_the_directory_is_searched() -> None:
    """By words of slug, name and alias; what is not there is answered with what may be meant."""
    page = await read("/models?q=haiku+4")
    assert re.findall(r'href="/models/([\w.-]+)"', page) == ["claude-haiku-4-5"]
    page = await read("/models?family=glm")
    assert "claude" not in page.partition("</form>")[2].partition("How to read")[0]
    page = await read("/models?q=gpt5.5")
    assert "Did you mean" in page
    assert '<a href="/models/gpt-5.5">' in page
    for injected in ("<script>", "[here](https://elsewhere.example)"):
        async with site() as client:
            page = (await client.get("/models", params={"q": injected})).text
        assert "No model here has that name." in page
        assert "<script>" not in page
        assert 'href="https://elsewhere.example"' not in page


async def test_what_is_kept_of_a_page_is_not_the_answer_to_its_form() -> None:
    """The page as it comes, what a form asks of it, and the page again."""
    async with site() as client:
        for path, query in (
            ("/models", "q=haiku+4"),
            ("/pricing/calculator", "output=77"),
            ("/pricing/tracker", "family=glm"),
        ):
            plain = (await client.get(path)).text
            asked = (await client.get(f"{path}?{query}")).text
            assert plain != asked
            assert (await client.get(path)).text == plain
            assert (await client.get(f"{path}?{query}")).text == asked


async def test_an_unknown_slug_is_answered_with_what_may_be_meant() -> None:
    """As the API says it; an alias leads to the model's page."""
    async with site() as client:
        answer = await client.get("/models/claude-sonet-4-6")
        assert answer.status_code == 404
        assert '<a href="/models/claude-sonnet-4-6">' in answer.text
        assert "claude-sonnet-4-6" in BOOK.like("claude-sonet-4-6")
        alias = next(model for model in BOOK.models if model.aliases)
        answer = await client.get(f"/models/{alias.aliases[0]}")
        assert answer.headers["location"] == f"/models/{alias.slug}"
        answer = await client.get("/models/<b>")
        assert answer.status_code == 404
        assert "<b>" not in answer.text


async def test_a_model_that_is_not_sold_says_so(tmp_path: Path) -> None:
    """Its page stands, without a price; no list has it."""
    config = """
[brand]
support = "a"
independence = "b"
refunds = "c"
[[upstream]]
family = "glm"
base_url = "https://api.z.example"
[[upstream.credential]]
name = "z"
secret_env = "Z"
"""
    from corvus_proxy.settings import load

    path = tmp_path / "corvus.toml"
    path.write_text(config)
    settings = load(path, {})
    page = await read("/models/gpt-5.5.md", settings)
    assert "Not sold here at the moment" in page
    items = (await document("models", settings))["items"]
    assert items == []  # the example factor is below what such an upstream costs


# -- documents ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [documents.PRICING, documents.MODELS, documents.PAGES])
async def test_a_document_says_where_it_is_from_and_counts_its_items(path: str) -> None:
    """The envelope, with totals that are those of the items."""
    found = msgspec.json.decode(await read(path))
    assert list(found)[:5] == [
        "schema_version", "generated_from", "generated_on", "site", "guidance",
    ]  # fmt: skip
    assert set(found["guidance"]) == {
        "purpose", "answer_policy", "canonical_route_policy", "private_issue_policy",
    }  # fmt: skip
    assert found["site"]["name"] == BRAND.name
    assert sum(found["totals"]["by_family"].values()) == len(found["items"])


async def test_every_row_has_source_day_and_version() -> None:
    """Decimal strings, never floats."""
    found = await document("pricing")
    for row in found["items"]:
        assert row["source"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["checked_at"])
        assert re.fullmatch(r"[0-9a-f]{12}", row["version"])
        assert re.fullmatch(r"\d+\.\d{2,6}", row["official"])
        assert re.fullmatch(r"\d+\.\d{2,6}", row["ours"])
    with_history = {one["slug"] for one in found["history"]}
    assert with_history == {one["slug"] for one in found["changes"]}


async def test_documents_may_be_read_from_anywhere_and_kept() -> None:
    """CORS for all, an ETag that answers 304, packed where that is taken."""
    async with site() as client:
        for path in (one.path for one in documents.DOCUMENTS):
            answer = await client.get(path, headers={"accept-encoding": "identity"})
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "content-encoding" not in answer.headers
            known = {"if-none-match": answer.headers["etag"]}
            again: httpx.Response = await client.get(path, headers=known)
            assert (again.status_code, again.content) == (304, b"")
            packed = await client.get(path, headers={"accept-encoding": "br, gzip;q=0.5"})
            assert packed.headers["content-encoding"] == "gzip"
            assert packed.content == answer.content
            assert packed.headers["etag"] == answer.headers["etag"]


async def test_pages_are_small_and_have_no_style() -> None:
    """Within the budget of a page, each of its forms included."""
    async with site() as client:
        for path in (
            "/claude-api-pricing", "/gpt-api-pricing", "/cache-token-pricing", "/pricing/tracker",
            "/pricing/tracker?family=openai", "/pricing/calculator", "/models", "/models/gpt-5.5",
        ):  # fmt: skip
            answer = await client.get(path)
            assert int(answer.headers["content-length"]) < 12_000
            assert "style=" not in answer.text
            assert Reader(answer.text).links


async def test_nothing_is_published_before_the_operator_has_said_what_a_buyer_must_know() -> None:
    """Pages and documents alike."""
    async with site(Settings()) as client:
        assert (await client.get("/pricing/tracker")).status_code == 503
        assert (await client.get("/pricing/calculator?mine=on")).status_code == 503
        assert (await client.get(documents.PRICING)).status_code == 503
