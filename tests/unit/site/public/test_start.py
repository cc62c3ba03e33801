"""The pages where a buyer begins: each line that they owe him, from the data that bills."""

import re
from datetime import timedelta

import msgspec
import pytest

from corvus_proxy import clock
from corvus_proxy.catalogue import book
from corvus_proxy.errors import OutOfBalance
from corvus_proxy.money.amount import format_usd, per_million
from corvus_proxy.money.pricing import charge
from corvus_proxy.settings import (
    Credential,
    MailSettings,
    PricingSettings,
    Settings,
    ShopSettings,
    Upstream,
)
from corvus_proxy.site import public
from corvus_proxy.site.front import PLACES
from corvus_proxy.site.public import home
from corvus_proxy.site.public.docs import start
from corvus_proxy.site.public.page import KEY, Facts
from corvus_proxy.site.public.places import TOPICS
from corvus_proxy.site.shop.buys import TURN, shown, sold
from tests.unit.site.public.visitor import BRAND, SETTINGS, sections, site, table

pytestmark = pytest.mark.anyio
BEFORE = "/docs/getting-started/before-you-buy"
QUICK = "/docs/getting-started/quickstart"
AFTER = "/docs/getting-started/after-you-buy"


async def read(path: str, settings: Settings = SETTINGS) -> dict[str, str]:
    """The sections of a page's twin."""
    async with site(settings) as client:
        answer = await client.get(f"{path}.md" if path != "/" else "/index.md")
    assert answer.status_code == 200
    return sections(answer.text)


def served(*families: str, messages: str = "", **changed: object) -> Settings:
    """An installation with upstreams of these families."""
    own = [Credential("c", cost_factor="0.01")]
    upstream = [
        Upstream(one, "https://u.example", messages_base_url=messages, credential=own)
        for one in families
    ]
    return msgspec.structs.replace(SETTINGS, upstream=upstream, **changed)


def facts(settings: Settings = SETTINGS) -> Facts:
    """What the pages are made from."""
    models = book.load(settings.pricing)
    pages = {page.path: page for page in public.pages(models.models)}
    return Facts(settings, models, tuple(sold(settings)), clock.utc_now().date(), pages)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        # Before you start: key, terminal, Git, each with what to install, a source and a check.
        ("Before you start", "You need | What to install | Official source | Quick check"),
        ("Before you start", "| A key with balance |"),
        ("Before you start", "[Checkout](/checkout) | `GET https://api.rook.example/v1/models`"),
        ("Before you start", "| A terminal with curl |"),
        ("Before you start", "https://curl.se/download.html) | `curl --version`"),
        ("Before you start", "| Git, optional"),
        ("Before you start", "https://git-scm.com/downloads) | `git --version`"),
        # Local checks, for both kinds of shell.
        ("Local checks", "```sh run\ncurl --version"),
        ("Local checks", "```powershell\ncurl.exe --version"),
        ("Local checks", "git --version"),
        ("Local checks", "https://api.rook.example/v1/models"),
        # What is bought.
        ("What you buy", "**A balance in US dollars**"),
        ("What you buy", "It does not expire."),
        ("What you buy", "**One key**, `sk-corvus_…`"),
        ("What you buy", "identity, the credential of your programs and the log-in"),
        ("What you buy", "**All families with that key**: Claude, GPT and GLM"),
        ("What you buy", BRAND.independence),
        # Routing.
        ("Routing by family", "The slug in your request decides the family"),
        ("Routing by family", "the Anthropic pool"),
        ("Routing by family", "the OpenAI pool"),
        ("Routing by family", "the Z.AI pool"),
        ("Routing by family", "never leaves its family and never gets another model"),
        # Billing.
        ("The slug you ask for is billed", "**the slug in your request**, whichever credential"),
        # Zero.
        ("When nothing is left", "**429** [`insufficient_balance`]"),
        ("When nothing is left", "/docs/errors/insufficient_balance"),
        ("When nothing is left", "nothing is charged"),
        ("When nothing is left", "never falls below zero"),
        ("When nothing is left", "The dashboard shows the true balance."),
        ("When nothing is left", "the same key works with the next request"),
        ("When nothing is left", "`x-should-retry: false` and `Retry-After: 61`"),
    ],
)
async def test_before_you_buy_says(section: str, said: str) -> None:
    """A line that a buyer must find, in its section."""
    assert said in (await read(BEFORE))[section]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1, "`paid_confirmed`"),
        (2, "A new key is made, or the key that you named is credited."),
        (3, "shows the key and both base URLs, at once"),
        (4, "The mail goes out beside it"),
        (5, "in the API and as the log-in to the dashboard"),
    ],
)
async def test_five_steps_when_a_payment_clears(number: int, said: str) -> None:
    """Five, in their order."""
    mailing = msgspec.structs.replace(SETTINGS, mail=MailSettings(host="mail.example"))
    text = (await read(BEFORE, mailing))["When your payment clears"]
    steps = re.findall(r"^(\d)\. (.+)$", text, flags=re.MULTILINE)
    assert [step for step, _ in steps] == ["1", "2", "3", "4", "5"]
    assert said in steps[number - 1][1]


async def test_without_a_mail_server_no_mail_is_promised() -> None:
    """Neither a mail nor its link, and five steps all the same."""
    text = (await read(BEFORE))["When your payment clears"]
    assert "goes out" not in text
    assert len(re.findall(r"^\d\. ", text, flags=re.MULTILINE)) == 5
    after = await read(AFTER)
    assert "link in the mail" not in "".join(after.values())
    assert "/login/mail" not in after["Log in"]
    mailing = msgspec.structs.replace(SETTINGS, mail=MailSettings(host="mail.example"))
    assert "/login/mail" in (await read(AFTER, mailing))["Log in"]


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        (
            served("glm"),
            {"GLM": ("`/v1/chat/completions`", "`/v1/messages`, `/v1/responses`")},
        ),
        (
            served("glm", messages="https://m.example"),
            {"GLM": ("`/v1/chat/completions`, `/v1/messages`", "`/v1/responses`")},
        ),
        (
            served("anthropic", "openai"),
            {
                "Claude": ("`/v1/messages`", "`/v1/chat/completions`, `/v1/responses`"),
                "GPT": ("`/v1/chat/completions`, `/v1/responses`", "`/v1/messages`"),
            },
        ),
    ],
)
async def test_routing_is_the_configurations(
    settings: Settings, rows: dict[str, tuple[str, str]]
) -> None:
    """Only families with an upstream, on the paths that the gateway serves them on, with as many
    models as are sold."""
    text = (await read(BEFORE, settings))["Routing by family"]
    found = {row[0]: row for row in table(text)[1:]}
    assert {name: (row[3], row[4]) for name, row in found.items()} == rows
    for route in start.routing(facts(settings)):
        assert f"{route.models} models" in found[route.title][1]
        assert route.example in [model.slug for model in sold(settings)]
    assert sum(route.models for route in start.routing(facts(settings))) == len(sold(settings))


async def test_the_worked_example_is_the_billers() -> None:
    """Its lines add up to its charge, which is what the function that bills says."""
    text = (await read(BEFORE))["The slug you ask for is billed"]
    model = shown(SETTINGS)[0]
    assert f"`{model.slug}`" in text
    assert table(text)[-1][-1] == f"**{format_usd(charge(TURN, model.price))}**"
    assert [line.per_million for line in start.bill(model)] == [
        per_million(picos)
        for picos in (model.price.base.input, model.price.base.cache_read, model.price.base.output)
    ]


async def test_topic_map_has_fourteen_cards_of_every_kind() -> None:
    """The pages' own titles and sentences, each with its kind."""
    text = (await read(BEFORE))["Topic map"]
    cards = re.findall(r"^- \*(\w+)\* \[(.+)\]\((\S+)\) (.+)$", text, flags=re.MULTILINE)
    assert [path for _, _, path, _ in cards] == list(TOPICS)
    assert len(cards) == 14
    assert {kind for kind, *_ in cards} == {
        "docs", "landing", "pricing", "models", "trust", "status",
    }  # fmt: skip
    pages = facts().pages
    for kind, title, path, description in cards:
        assert (pages[path].kind, pages[path].title) == (kind, title)
        assert pages[path].description == description


async def test_what_the_shop_asks_is_told_before() -> None:
    """Least and most at once, and a fee where there is one."""
    shop = ShopSettings(amount_min_usd="3", amount_max_usd="70", fee_percent="2")
    text = (await read(BEFORE, msgspec.structs.replace(SETTINGS, shop=shop)))["What you buy"]
    assert "3.00 to 70.00 USD at once, and a fee that is a line of its own" in text
    assert "a fee" not in (await read(BEFORE))["What you buy"]


async def test_quickstart_is_two_pastes() -> None:
    """One that streams and one that shows the balance; each for both kinds of shell."""
    async with site() as client:
        twin = (await client.get(f"{QUICK}.md")).text
    blocks = re.findall(r"^```(\w+)( run)?\n(.*?)^```", twin, flags=re.MULTILINE | re.DOTALL)
    assert [(name, bool(run)) for name, run, _ in blocks] == [
        ("sh", True), ("powershell", False), ("sh", True), ("powershell", False),
    ]  # fmt: skip
    assert all(KEY in text for *_, text in blocks)
    call, windows, balance, _ = (text for *_, text in blocks)
    assert call.startswith("curl -N ")
    assert '"stream":true' in call
    assert '"stream":true' in windows
    assert "| curl.exe -N" in windows
    assert f"{BRAND.api_url}/v1/key" in balance


@pytest.mark.parametrize(
    ("families", "path"),
    [(("anthropic",), "/v1/messages"), (("glm",), "/v1/chat/completions")],
)
async def test_quickstart_names_a_model_that_is_sold(families: tuple[str, ...], path: str) -> None:
    """In the dialect of what is there; a model of another family is named nowhere."""
    settings = served(*families)
    text = "".join((await read(QUICK, settings)).values())
    named = set(re.findall(r'"model":"([^"]+)"', text))
    assert named <= {model.slug for model in sold(settings)}
    assert len(named) == 1
    assert f"{BRAND.api_url}{path}" in text


async def test_after_you_buy_tells_each_page_of_the_dashboard() -> None:
    """And where the key is, how to log in, how a top-up works, what to do if something is
    missing."""
    found = await read(AFTER)
    for title in ("Where the key is", "Log in", "Top up", "If something is missing"):
        assert title in found
    for place in PLACES:
        assert f"**{place.title}.**" in found["What the dashboard shows"]
    assert "kept 7 days" in found["Where the key is"]
    assert "never makes a second key" in found["Top up"]
    assert BRAND.support in found["If something is missing"]


async def test_docs_home_has_base_urls_models_clients_and_every_page() -> None:
    """A clean start page; all pages of the documentation by their shelf."""
    found = await read("/docs")
    assert [row[1] for row in table(found["Base URLs"])[1:]] == [
        f"`{BRAND.api_url}/v1`", f"`{BRAND.api_url}`",
    ]  # fmt: skip
    for title in ("Where to begin", "Models"):
        assert title in found
    for page in facts().pages.values():
        if page.group and page.listed:
            assert f"]({page.path})" in found["All pages"], page.path


async def test_home_shows_prices_that_bill() -> None:
    """Each row of the strip is the book's, official beside ours, the day of the check with it."""
    found = await read("/")
    rows = table(found["What it costs"])[1:]
    models = {model.display_name: model for model in shown(SETTINGS)}
    assert len(rows) == len(models) == 6
    for title, *prices in rows:
        name = re.sub(r"\[(.+)\]\(.+\)", r"\1", title)
        model = models[name]
        assert f"/models/{model.slug}" in title
        ours, official = model.price.base, model.official.base
        assert prices == [
            per_million(official.input), f"**{per_million(ours.input)}**",
            per_million(official.output), f"**{per_million(ours.output)}**",
        ]  # fmt: skip
    checked = min(model.official.checked for model in models.values())
    assert str(checked) in found["What it costs"]


async def test_home_says_how_the_service_stands() -> None:
    """As the status page does: nothing is measured here, so it is checking."""
    async with site() as client:
        assert "○</span> Checking.</a>" in (await client.get("/")).text


async def test_home_says_when_official_prices_are_old() -> None:
    """More than a week after the last look it says so, with the day."""
    known, (page,) = facts(), home.PAGES
    checked = min(row.checked for row in home.strip(known))
    for days, stale in ((home.STALE_DAYS, False), (home.STALE_DAYS + 1, True)):
        found = page.view(known._replace(day=checked + timedelta(days=days)))
        assert (found["checked"], found["stale"]) == (checked, stale)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("How it works", "1. **Buy balance.**"),
        ("How it works", "2. **Take the key.**"),
        ("How it works", "3. **Point your client here.**"),
        ("What happens at zero", "Requests stop, and nothing is owed."),
        ("What it does not do", "It hosts no model."),
        ("Check it, then begin", "(/trust/verify)"),
        ("Check it, then begin", "(/trust/proof)"),
        ("Check it, then begin", "(/pricing/tracker)"),
    ],
)
async def test_home_says(section: str, said: str) -> None:
    """Three steps, what happens at zero, limits, and how to check all of it."""
    assert said in (await read("/"))[section]


async def test_pages_stand_where_nothing_is_sold() -> None:
    """Everything below cost: no price strip, no call to paste, no bill; and no error."""
    credential = [Credential("c", cost_factor="1.0")]
    settings = msgspec.structs.replace(
        SETTINGS,
        upstream=[Upstream("anthropic", "https://u.example", credential=credential)],
        pricing=PricingSettings(factor={"anthropic": "0.5"}),
    )
    assert "What it costs" not in await read("/", settings)
    assert "2. Paste: a streamed answer" not in await read(QUICK, settings)
    assert table((await read(BEFORE, settings))["The slug you ask for is billed"]) == []


async def test_without_the_operators_facts_all_is_closed() -> None:
    """503 with the name of what is missing."""
    brand = msgspec.structs.replace(BRAND, refunds="")
    async with site(msgspec.structs.replace(SETTINGS, brand=brand)) as client:
        for path in ("/", "/docs", f"{BEFORE}.md"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "brand.refunds" in answer.text


def test_refusal_on_the_page_is_the_refusal_itself() -> None:
    """Status and code of the page are the ones that are answered."""
    assert (OutOfBalance.status, OutOfBalance.code) == (429, "insufficient_balance")
