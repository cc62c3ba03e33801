"""API, troubleshooting, error codes and clients: each page says what the tables of the code say."""

import json
import re
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from corvus_proxy.account import orders
from corvus_proxy.account.routes import ENDPOINTS
from corvus_proxy.catalogue import book
from corvus_proxy.gateway.front.hints import UNSERVED
from corvus_proxy.money.outcome import RULES
from corvus_proxy.site import public
from corvus_proxy.site.front import Front
from corvus_proxy.site.public.docs import clients, codes, samples, setups
from corvus_proxy.site.public.docs import help as troubles
from corvus_proxy.site.public.docs.errors import kinds
from corvus_proxy.site.public.docs.setups import index
from corvus_proxy.site.public.docs.setups.steps import Step
from corvus_proxy.site.public.page import KEY, Facts, Page
from corvus_proxy.site.public.shelf import Shelf
from corvus_proxy.site.shop.buys import sold
from corvus_proxy.wire import refusal
from corvus_proxy.wire.dialect import COUNTING, PATHS, Dialect
from tests.clients import table as tested
from tests.unit.site.public.visitor import BRAND, SETTINGS, sections, site, table

ROOT = Path(__file__).parents[4]
BOOK = book.load(SETTINGS.pricing)
KINDS = {kind.code: kind for kind in kinds()}


@cache
def shelf() -> Shelf:
    """The pages, without a site around them."""
    return Shelf(cast(Front, SimpleNamespace(settings=SETTINGS)), public.pages(BOOK.models))


def facts() -> Facts:
    """What the pages are made from."""
    return shelf().facts()


@cache
def twin(path: str) -> str:
    """A page for programs."""
    page, known = shelf().pages[path], shelf().facts()
    return shelf().twin(page, known, shelf().text(page, known))


# -- errors -------------------------------------------------------------------------------------


def test_every_code_has_its_note_and_no_other_has() -> None:
    """Codes of the error tree and of the site: the notes are exactly theirs."""
    assert set(codes.NOTES) == set(KINDS)
    site_codes = set(orders.CODES) - set(KINDS)
    assert set(codes.SITE_NOTES) == {*site_codes, "not_logged_in"}


@pytest.mark.anyio
async def test_every_error_body_leads_to_its_page() -> None:
    """`docs_url` of each error, in both dialects and in a stream, and of each refusal of the site:
    the page is there and begins with the code."""
    urls: dict[str, str] = {}
    for code, kind in KINDS.items():
        error = kind("Text.")
        for dialect in (Dialect.CHAT, Dialect.MESSAGES):
            body = json.loads(refusal.body(dialect, error, "req_1", BRAND.site_url))
            urls[body["error"]["docs_url"]] = code
        told = refusal.in_band(Dialect.RESPONSES, error, "req_1", BRAND.site_url).decode()
        assert json.loads(told.partition("data: ")[2])["response"]["error"]["docs_url"] in urls
    for code in (*orders.CODES, *codes.SITE_NOTES):
        urls[orders.error_object(code, "Text.", BRAND.site_url)["error"]["docs_url"]] = code
    async with site() as client:
        for url, code in urls.items():
            answer = await client.get(url)
            assert answer.status_code == 200, url
            assert f"<h1>{code}</h1>" in answer.text
    assert len(urls) == len(KINDS) + len(codes.SITE_NOTES)


@pytest.mark.parametrize("code", list(KINDS))
def test_an_error_page_shows_what_is_really_sent(code: str) -> None:
    """Status, whether to retry, what is charged, and the bodies that `wire.refusal` makes."""
    kind, note = KINDS[code], codes.NOTES[code]
    page = twin(f"/docs/errors/{code}")
    sample = samples.sample(code, facts())
    assert f"again with the same request? | {'yes' if kind.retry else 'no'}" in page
    for outcome in note.outcomes:
        charged = RULES[outcome].charged
        assert f" | {'nothing' if charged == '0' else charged} |" in page
    for text in (*sample.bodies.values(), sample.headers.partition("\n")[0]):
        assert text in page or not sample.bodies
    for dialect, text in sample.bodies.items():
        error = json.loads(text)["error"]
        assert error["code"] == code
        assert error["message"].strip()
        assert str(refusal.status(Dialect(dialect), kind("x"))) in page
    assert bool(sample.bodies) == (code not in samples.STREAM_ALONE)
    for event in sample.events.values():
        told = json.loads(event.partition("data: ")[2])
        error = told["response"]["error"] if "response" in told else told["error"]
        assert error.get("reason", error["code"]) == code
        assert Decimal(error["charged"]) > 0
    for step in note.does:
        assert step in page


def test_the_index_of_errors_lists_every_code() -> None:
    """Each with a link to its page."""
    page = twin("/docs/errors")
    for code in (*codes.NOTES, *codes.SITE_NOTES):
        assert f"| [`{code}`](/docs/errors/{code}) |" in page


@pytest.mark.anyio
async def test_a_refusal_of_the_site_is_told_with_its_page() -> None:
    """Orders of programs and twins of account pages carry `docs_url` as the API's errors do."""
    async with site() as client:
        refused = await client.post("/v1/orders", content=b"[")
        hidden = await client.get("/dashboard.json")
    for answer, code in ((refused, "invalid_request"), (hidden, "not_logged_in")):
        error = answer.json()["error"]
        assert error["code"] == code
        assert error["docs_url"] == f"{BRAND.site_url}/docs/errors/{code}"


# -- the API ------------------------------------------------------------------------------------


def test_the_overview_names_every_path_that_there_is() -> None:
    """Paths of inference, of counting and of the account; those that are not served, and why."""
    page = twin("/docs/api/overview")
    for path in (*PATHS, *COUNTING):
        assert f"`POST {path}`" in page
    for row in ENDPOINTS:
        assert (f"| `{row.method} {row.path}` | {row.what} |" in page) == row.strict
        assert f"`{row.path}`" in page or row.strict
    for path, why in UNSERVED.items():
        assert f"`{path}`" in page
        assert why in page
    assert "| OpenAI's dialect | `https://api.rook.example/v1` | yes |" in page
    assert "| Anthropic's dialect | `https://api.rook.example` | no |" in page


def test_every_model_stands_once_with_its_aliases() -> None:
    """One row for each slug that is sold; an alias stands in its model's row."""
    page = twin("/docs/api/models")
    rows = [cells for text in sections(page).values() for cells in table(text)]
    found = {cells[0].strip("`"): cells for cells in rows if cells[0].startswith("`")}
    models = [*sold(SETTINGS), *(one for one in BOOK.models if one.embeddings)]
    assert sorted(found) == sorted(one.slug for one in models)
    assert len([cells for cells in rows if cells[0].startswith("`")]) == len(models)
    assert f"{len(models)} models are sold here" in page
    for one in sold(SETTINGS):
        cells = found[one.slug]
        assert cells[1:3] == [f"{one.context_tokens:,}", f"{one.output_tokens_max:,}"]
        assert cells[4] == ", ".join(f"`{name}`" for name in one.aliases)


def test_worked_examples_add_up() -> None:
    """Tokens times price per million is the amount; the amounts, rounded once, are the charge."""
    page = sections(twin("/docs/api/billing"))["Worked examples"]
    bills = page.split("| Line |")[1:]
    assert len(bills) == 4
    for bill in bills:
        *lines, charged = [
            [cell.strip(" *") for cell in row.strip("|").split("|")]
            for row in bill.splitlines()[2:]
            if row.startswith("|")
        ]
        for _, tokens, each, amount in lines:
            assert Decimal(tokens.replace(",", "")) * Decimal(each) / 10**6 == Decimal(amount)
        exact = sum(Decimal(line[3]) for line in lines)
        assert charged[0] == "Charged"
        assert abs(exact - Decimal(charged[3])) <= Decimal("0.0000000005")


def test_billing_tells_every_ending_and_every_share() -> None:
    """A row for each outcome with what is charged; cache shares as the book has them."""
    page = twin("/docs/api/billing")
    for code, rule in RULES.items():
        assert f"(`{code}`) | {rule.charged} | {rule.told} |" in page
    rates = [one.price.base for one in sold(SETTINGS) if one.family == "anthropic"]
    shares = {Decimal(one.cache_read) * 100 / one.input for one in rates}
    (row,) = re.findall(r"\| Claude \(Anthropic\) \| cache read \| (.+) \|", page)
    assert {Decimal(figure) for figure in re.findall(r"\d+(?:\.\d+)?", row)} == shares
    assert "| Claude (Anthropic) | cache write, 5 minutes | 125 % |" in page
    assert "| Claude (Anthropic) | cache write, 1 hour | 200 % |" in page
    assert "| GPT (OpenAI) | cache write | 125 % |" in page
    for usd in SETTINGS.shop.packages_usd:
        assert f"| {int(usd)}.00 USD | {int(usd)}.00 USD |" in page
    assert BRAND.refunds in page


# -- troubleshooting ----------------------------------------------------------------------------

SKELETON = ("What it covers", "Fast check", "Common causes", "Fix it", "Before real traffic again")


def test_troubleshooting_opens_with_the_four_mistakes() -> None:
    """In their order, with every client's base URL."""
    text = twin("/docs/troubleshooting")
    numbered = [title for title in sections(text) if title[0].isdigit()]
    assert [title.split(". ")[1].split(":")[0] for title in numbered] == [
        "Wrong base URL", "Bad slug", "Out of balance", "Delivery",
    ]  # fmt: skip
    opening = sections(text)["Use this page when"]
    assert re.findall(r"^\d\. \[(.+?)\]", opening, flags=re.MULTILINE) == [
        "The base URL is wrong", "The slug is wrong", "The balance is too low", "Delivery",
    ]  # fmt: skip
    for one in setups.table(facts()):
        assert f"| [{one.name}]({one.path}) | `{one.base_url}` |" in text
    for trouble in troubles.TROUBLES:
        assert f"/docs/troubleshooting/{trouble.key})" in text


@pytest.mark.parametrize("trouble", troubles.TROUBLES, ids=lambda trouble: trouble.key)
def test_a_page_of_trouble_has_the_skeleton(trouble: troubles.Trouble) -> None:
    """Category, direct answer, "public only", phrases, a check to paste in both shells, causes,
    steps, what to verify."""
    text = twin(f"/docs/troubleshooting/{trouble.key}")
    parts = sections(text)
    assert tuple(title for title in parts if title in SKELETON) == SKELETON
    answer = parts["Use this page when"]
    assert re.search(r"^\*\*.+\*\*", answer, flags=re.MULTILINE), "the answer comes first"
    assert "> **This page is public.**" in answer
    assert BRAND.support in answer
    for phrase in trouble.phrases:
        assert f"- {phrase}" in parts["What it covers"]
    for code in trouble.codes:
        assert f"(/docs/errors/{code})" in parts["What it covers"]
    assert "```sh run" in parts["Fast check"]
    assert "```powershell" in parts["Fast check"]
    assert parts["Common causes"].count("\n- ") >= 4
    assert parts["Fix it"].count("\n2. ") == 1
    assert len(parts["Before real traffic again"]) > 60
    page = shelf().pages[f"/docs/troubleshooting/{trouble.key}"]
    assert page.eyebrow == f"Troubleshooting · {trouble.category}"


# -- clients ------------------------------------------------------------------------------------

FIRST = ("Claude Code", "Codex CLI", "Cline", "Open WebUI", "OpenAI SDK", "Anthropic SDK")
CONDITIONAL = ("Cursor", "opencode")
WITHOUT_V1 = ("Claude Code", "Anthropic SDK")


def test_eight_clients_six_of_them_first_class() -> None:
    """Each with the base URL of its style; a conditional one says its condition."""
    found = setups.table(facts())
    assert tuple(one.name for one in found if one.first_class) == FIRST
    assert tuple(one.name for one in found if not one.first_class) == CONDITIONAL
    for one in found:
        assert one.with_v1 == (one.name not in WITHOUT_V1)
        assert one.base_url == (facts().api_v1 if one.with_v1 else facts().api)
        assert bool(one.condition) == (one.name in CONDITIONAL)
    assert [one.path for one in found] == [page.path for page in clients.PAGES]
    assert [one.name for one in found] == [page.title for page in clients.PAGES]


@pytest.mark.parametrize("page", clients.PAGES, ids=lambda page: page.title)
def test_a_client_is_installed_configured_and_verified(page: Page) -> None:
    """Every step has a form for each shell, or is one for a person; the key is a placeholder."""
    (one,) = [one for one in setups.table(facts()) if one.path == page.path]
    text = twin(one.path)
    parts = sections(text)
    assert {"Install", "Configure", "Verify"} <= set(parts)
    assert f"`{one.base_url}` ({'with' if one.with_v1 else 'without'} `/v1`)" in text
    assert KEY in parts["Configure"]
    steps = (one.install, one.check, *one.configure, *one.verify)
    for step in steps:
        assert bool(step.posix) == bool(step.powershell), step
        assert step.posix or step.content or step.kind == "by hand", step
        for words in (step.posix, step.content.rstrip(), "" if step.same else step.powershell):
            assert words in text
    assert any("/models" in step.posix for step in one.verify), "a check that needs no client"


@pytest.mark.parametrize(
    ("name", "client", "package"),
    [
        ("Claude Code", tested.CLAUDE_CODE, "@anthropic-ai/claude-code"),
        ("Codex CLI", tested.CODEX, "@openai/codex"),
        ("opencode", tested.OPENCODE, "opencode-ai"),
        ("OpenAI SDK", tested.JAVASCRIPT, "openai"),
        ("Anthropic SDK", tested.JAVASCRIPT, "@anthropic-ai/sdk"),
    ],
)
def test_tested_is_what_the_tests_install(name: str, client: tested.Client, package: str) -> None:
    """The versions that a page names are those of `tests/clients` and of the lock."""
    (one,) = [one for one in setups.table(facts()) if one.name == name]
    (version,) = [
        spelled.rpartition("@")[2]
        for spelled in client.packages
        if spelled.rpartition("@")[0] == package
    ]
    assert version in one.tested
    if name.endswith("SDK"):
        lock = (ROOT / "requirements.lock").read_text()
        (locked,) = re.findall(rf"^{one.key.removesuffix('-sdk')}==(\S+)", lock, re.MULTILINE)
        assert f"{locked} (Python)" in one.tested


@pytest.mark.anyio
async def test_the_setup_index_is_the_table() -> None:
    """Counts are counted, steps are the pages' own, and no key stands in it."""
    async with site() as client:
        answer = await client.get(index.PATH)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    found = answer.json()
    assert found["totals"] == {
        "environments": 8,
        "first_class_environments": 6,
        "conditional_environments": 2,
    }
    for item, one in zip(found["items"], setups.table(facts()), strict=True):
        assert item["name"] == one.name
        assert item["base_url"] == one.base_url
        assert item["base_url_ends_in_v1"] == one.base_url.endswith("/v1")
        assert [step["what"] for step in item["verification"]] == [step.what for step in one.verify]
    assert "sk-corvus_" not in answer.text


def powershell_blocks() -> list[str]:
    """Every PowerShell form of a set-up."""
    found: list[Step] = []
    for one in setups.table(facts()):
        found += [one.install, one.check, *one.configure, *one.verify]
    return [step.powershell for step in found if step.powershell]


def test_powershell_forms_are_no_posix_ones() -> None:
    """No export, no backslash at a line's end, no POSIX variables; brackets close."""
    for block in powershell_blocks():
        assert not re.search(r"^export |\\$|\$(?!HOME)[A-Z_]+\b|<<", block, flags=re.MULTILINE), (
            block
        )
        for opening, closing in ("()", "{}", "[]"):
            assert block.count(opening) == block.count(closing), block


def test_another_installation_names_its_own_models() -> None:
    """Where only GLM is sold, examples name GLM's models, also in the other vendors' clients."""
    only = tuple(one for one in sold(SETTINGS) if one.family == "glm")
    where = setups.at(facts()._replace(sold=only))
    assert {where.claude, where.gpt} <= {one.slug for one in only}
    assert setups.at(facts()._replace(sold=())).gpt == "MODEL"


@pytest.mark.anyio
async def test_no_page_of_the_documentation_is_heavy() -> None:
    """Packed, each leaves room for sheet and script within 60 KB."""
    async with site() as client:
        for page in public.pages(BOOK.models):
            if page.group:
                answer: httpx.Response = await client.get(page.path)
                assert int(answer.headers["content-length"]) < 12_000, page.path
