"""Where a reader begins: what is bought, the first call, what to do with the key."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from corvus_proxy.catalogue.book import Model
from corvus_proxy.errors import OutOfBalance
from corvus_proxy.gateway.refusing import RETRY_AFTER_EMPTY_S
from corvus_proxy.money.amount import format_picos, format_usd, parse_usd, per_million
from corvus_proxy.money.pricing import charge, lines
from corvus_proxy.site.charts import CLASSES
from corvus_proxy.site.front import PLACES
from corvus_proxy.site.public.home import FAMILIES, names
from corvus_proxy.site.public.page import GROUPS, KEY, Facts, Page
from corvus_proxy.site.public.places import topics
from corvus_proxy.site.public.served import native, paths
from corvus_proxy.site.shop.buys import TURN, shown
from corvus_proxy.site.shop.snippets import PROMPT, slugs, snippets

START = "/docs/getting-started"
VENDORS = {"anthropic": "Anthropic", "openai": "OpenAI", "glm": "Z.AI"}
"""Who makes the models of a family, and whose accounts its pool is made of."""
PLACES_TOLD = {
    "Overview": "Available, held and spent; the latest requests; cost by model and by day.",
    "Requests": "Every request: tokens, time, outcome, what it cost and why.",
    "Ledger": "Every change of the balance in order, with the balance after it.",
    "Keys": "Sub-keys with caps, ends and models; new secrets; freezing.",
    "Alarms": "A mail or a signed call when the balance falls or spending rises.",
    "Security": "Log-ins, read-only tokens, the mail address, the recovery code.",
}
"""What each page of the dashboard is for."""


class Route(NamedTuple):
    """A family in the routing table."""

    title: str
    vendor: str
    models: int
    """How many of it are sold."""
    example: str
    """The slug of one."""
    native: tuple[str, ...]
    """Paths on which bytes pass as they are."""
    translated: tuple[str, ...]


class Line(NamedTuple):
    """A line of a bill in the worked example."""

    name: str
    tokens: int
    per_million: str
    usd: str


def routing(facts: Facts) -> list[Route]:
    """What leads where, for each family that is sold."""
    found = []
    for family, vendor in VENDORS.items():
        own = [model for model in facts.sold if model.family == family]
        if own:
            first = native(own[0], facts.settings)
            others = [path for path in paths(own[0], facts.settings) if path not in first]
            found.append(
                Route(FAMILIES[family], vendor, len(own), own[0].slug, tuple(first), tuple(others))
            )
    return found


def bill(model: Model) -> list[Line]:
    """A turn of a coding agent, line by line, before the one rounding."""
    return [
        Line(
            CLASSES.get(line.name, line.name),
            line.count,
            per_million(line.picos),
            format_picos(line.amount_picos),
        )
        for line in lines(TURN, model.price)
    ]


def powershell(url: str, headers: tuple[str, ...], slug: str) -> str:
    """A streamed call for PowerShell; the body goes through the pipe, for older ones lose the
    quotation marks of arguments."""
    body = {
        "model": slug,
        "max_tokens": 200,
        "stream": True,
        "messages": [{"role": "user", "content": PROMPT}],
    }
    told = [f"-H '{header}'" for header in (*headers, "Content-Type: application/json")]
    call = [f"curl.exe -N '{url}'", *told, "-d '@-'"]
    return f"'{json.dumps(body, separators=(',', ':'))}' | " + " `\n  ".join(call)


def _home(facts: Facts) -> Mapping[str, Any]:
    listed = [page for page in facts.pages.values() if page.listed]
    shelves = [(group, [one for one in listed if one.group == group.key]) for group in GROUPS]
    return {
        "names": names(facts),
        "routes": routing(facts),
        "clients": [page for page in listed if page.group == "clients"],
        "begin": [facts.pages[path] for path in BEGIN if path in facts.pages],
        "shelves": [(group, pages) for group, pages in shelves if pages],
    }


def _before(facts: Facts) -> Mapping[str, Any]:
    settings = facts.settings
    shop, example = settings.shop, (*shown(settings), None)[0]
    return {
        "names": names(facts),
        "routes": routing(facts),
        "topics": topics(facts.pages),
        "least": format_usd(parse_usd(shop.amount_min_usd)),
        "most": format_usd(parse_usd(shop.amount_max_usd)),
        "fee": shop.fee_percent != "0" or shop.fee_fixed_usd != "0",
        "shop": shop,
        "mails": bool(settings.mail.host),
        "example": example,
        "bill": bill(example) if example else [],
        "total": format_usd(charge(TURN, example.price)) if example else "",
        "empty": OutOfBalance,
        "retry_after_s": RETRY_AFTER_EMPTY_S,
    }


def _quickstart(facts: Facts) -> Mapping[str, Any]:
    found = slugs(facts.settings)
    calls = {one.name: one.text for one in snippets(facts.api, found, KEY)}
    if found.chat:
        call, slug = calls["curl-chat"], found.chat
        url = f"{facts.api_v1}/chat/completions"
        headers: tuple[str, ...] = (f"Authorization: Bearer {KEY}",)
    else:
        call, slug = calls.get("curl-messages", ""), found.messages
        url = f"{facts.api_v1}/messages"
        headers = (f"x-api-key: {KEY}", "anthropic-version: 2023-06-01")
    listed = [page for page in facts.pages.values() if page.listed]
    return {
        "call": call,
        "powershell": powershell(url, headers, slug) if slug else "",
        "slug": slug,
        "clients": [page for page in listed if page.group == "clients"],
        "empty": OutOfBalance,
    }


def _after(facts: Facts) -> Mapping[str, Any]:
    settings = facts.settings
    return {
        "mails": bool(settings.mail.host),
        "shop": settings.shop,
        "places": [(place.title, PLACES_TOLD[place.title]) for place in PLACES],
    }


BEGIN = (
    f"{START}/before-you-buy",
    f"{START}/quickstart",
    f"{START}/after-you-buy",
    "/docs/api/overview",
    "/docs/api/models",
    "/docs/troubleshooting",
)
PAGES = (
    Page(
        "/docs",
        "Documentation",
        "Base URLs, models, clients, and where to begin.",
        "docs/home.md",
        group="start",
        eyebrow="Documentation",
        view=_home,
        use_when=("You look for the page on a subject.",),
    ),
    Page(
        f"{START}/before-you-buy",
        "Before you buy",
        "How it works: one key with a balance, routing by family, what happens when you pay and"
        " when nothing is left.",
        "docs/start/before.md",
        group="start",
        eyebrow="Start",
        view=_before,
        use_when=(
            "You want to know what you get for your money before you pay.",
            "You want to know what happens when a payment clears or the balance is spent.",
        ),
        related=(f"{START}/quickstart", "/trust/verify", "/docs/api/billing"),
    ),
    Page(
        f"{START}/quickstart",
        "Quickstart",
        "From purchase to a working request and a visible balance, in two pastes.",
        "docs/start/quickstart.md",
        group="start",
        eyebrow="Start",
        view=_quickstart,
        use_when=("You have a key, or are about to buy one, and want the first answer from it.",),
        related=(f"{START}/after-you-buy", "/docs/api/overview", "/docs/troubleshooting"),
    ),
    Page(
        f"{START}/after-you-buy",
        "After you buy",
        "Where the key is, how to log in, what the dashboard shows, how a top-up works, and what"
        " to do if something is missing.",
        "docs/start/after.md",
        group="start",
        eyebrow="Start",
        view=_after,
        use_when=(
            "You have paid and look for the key, the balance or the mail.",
            "You want to top up a key that programs already use.",
        ),
        related=(f"{START}/quickstart", "/docs/api/billing", "/docs/troubleshooting"),
    ),
)
