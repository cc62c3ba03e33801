"""`/trust/proof` and `/data/proof.json`: what was measured about the books, and what it proves."""

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import clock
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.books.published.days import DayTotal
from corvus_proxy.catalogue.book import Model
from corvus_proxy.money.amount import format_usd
from corvus_proxy.service import proof
from corvus_proxy.service.proof import Day, Proof
from corvus_proxy.site.front import Front
from corvus_proxy.site.public.document import Document, Given
from corvus_proxy.site.public.envelope import envelope
from corvus_proxy.site.public.page import Facts, Page
from corvus_proxy.site.public.shelf import Shelf

STALE_DAYS = 2
"""From then on the last check says nothing about today."""
PAGE_DAYS = 31
"""Days in the page's table; the document has all."""
PROVES = (
    "Redis, which decides what a key may spend, and the books, which remember why, agreed at the"
    " time of the check, wallet by wallet, to the billionth of a dollar.",
    "Each balance is the sum of its own entries, by two independent sums: the events, and their"
    " double-entry postings. Orders, payments and cash were compared with them.",
    "The totals are sums over the same entries that customers see in their ledgers, each counted"
    " once. A day that is over does not change.",
    "The database refuses to change or delete an entry or the result of a check; a check that found"
    " something stays on this page. Of an old entry only the lines that its amount was made from"
    " are deleted, as the privacy page says; its amount is not.",
)
NOT_PROVEN = (
    "That the money behind the balances exists. The books show what is owed to customers, not what"
    " lies in the operator's bank.",
    "That the totals are those of real customers: an operator can buy from himself.",
    "Which model's weights answered. See the last check of the verification page.",
    "That nobody with the database's own administrator account has altered the past. Your own"
    " exports are the proof against that: download your ledger, keep it, compare.",
    "Anything about a single wallet: no figure here is of one person.",
)


class Source(NamedTuple):
    """Where official prices were read."""

    source: str
    """As the price book names it."""
    models: int
    first: date
    """The longest-ago day on which one of them was checked."""
    last: date


def sources(models: tuple[Model, ...]) -> list[Source]:
    """Every source of an official price, the most used first."""
    found: dict[str, list[date]] = {}
    for model in models:
        found.setdefault(model.official.source, []).append(model.official.checked)
    rows = [Source(name, len(days), min(days), max(days)) for name, days in found.items()]
    return sorted(rows, key=lambda row: (-row.models, row.source))


async def gather(front: Front) -> Mapping[str, Any]:
    """What the books have; nothing of it while they are away."""
    try:
        found = await proof.read(front.stores.books, clock.utc_now().date())
    except BooksUnavailable:
        return {"proof": None, "away": True}
    return {"proof": found, "away": False}


def view(facts: Facts) -> Mapping[str, Any]:
    """What the page shows without the books."""
    return {
        "proof": None,
        "away": False,
        "sources": sources(facts.book.models),
        "models": len(facts.book.models),
        "proves": PROVES,
        "not_proven": NOT_PROVEN,
        "word": word,
        "iso": clock.iso_utc,
        "stale": lambda found: is_stale(found, facts.day),
        "shown": PAGE_DAYS,
    }


def word(day: Day) -> str:
    """What was checked on a day, in a word or two; colour alone would say nothing to some."""
    if not day.checks:
        return "not checked"
    if day.failed:
        return f"{day.failed} of {day.checks} found a difference"
    return "agreed" if day.checks == 1 else f"agreed, {day.checks} times"


def is_stale(found: Proof, day: date) -> bool:
    """Whether the last check is too old to say anything about today."""
    return found.last is None or (day - found.last.at.date()).days >= STALE_DAYS


async def make(given: Given) -> object:
    """The document. Raises BooksUnavailable."""
    facts = given.facts
    found = await proof.read(given.front.stores.books, facts.day)
    last = found.last
    days = found.days if facts.settings.trust.publish_totals else []
    return envelope(
        facts.settings.brand,
        facts.day,
        "What was measured about the books of this service, and what that proves.",
        ["the ledger's events", "results of ledger checks", "the price book"],
        totals={"days": len(found.days), "models": len(facts.book.models)},
        ledger_check=None if last is None else {
            "at": clock.iso_utc(last.at),
            **{name: getattr(last, name) for name in (
                "by", "ok", "wallets", "events", "drift_nanos", "undrained", "problems")},
        },
        checks=[
            {
                "day": one.total.day.isoformat(),
                "checks": one.checks,
                "failed": one.failed,
                "drift_nanos": one.drift_nanos,
            }
            for one in found.days
        ],
        counted_upto=None if found.upto is None else clock.iso_utc(found.upto),
        totals_published=facts.settings.trust.publish_totals,
        days=[{"closed": one.closed, **_told(one.total)} for one in days],
        price_sources=[
            {
                "source": one.source,
                "models": one.models,
                "checked_first": one.first.isoformat(),
                "checked_last": one.last.isoformat(),
            }
            for one in sources(facts.book.models)
        ],
        status={"page": f"{facts.site}/status", "document": f"{facts.site}/data/status.json"},
        proves=list(PROVES),
        does_not_prove=list(NOT_PROVEN),
    )  # fmt: skip


def _told(total: DayTotal) -> dict[str, object]:
    """A day's figures; beside each amount of nanos stands its USD string."""
    found: dict[str, object] = {}
    for name, value in total._asdict().items():
        if name.endswith("_nanos"):
            found[name.removesuffix("_nanos")] = format_usd(value)
        found[name] = value.isoformat() if name == "day" else value
    return found


DOCUMENT = Document(
    "/data/proof.json",
    "Proof of operations",
    "Totals of days over all wallets, the last ledger check, sources of prices.",
    make,
)
PAGE = Page(
    "/trust/proof",
    "Proof of operations",
    "What was measured about the books, day by day, and what that does and does not prove.",
    "trust/proof.md",
    kind="trust",
    eyebrow="Trust",
    view=view,
    use_when=("You want to know whether balances and books agree, and since when.",),
    related=("/trust", "/trust/verify", "/status", "/pricing/tracker"),
    data=DOCUMENT.path,
)


def routes(front: Front, shelf: Shelf) -> list[Route]:
    """Of the page and its twin."""

    async def answer(request: Request) -> Response:
        return shelf.answered(request, PAGE, await gather(front))

    return [Route(path, answer) for path in (PAGE.path, PAGE.twin)]
