"""The status page: how the parts of the service stand, as the worker has measured them."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from markupsafe import Markup

from corvus_proxy.service import status
from corvus_proxy.service.status import DAYS, Document, Folder, State
from corvus_proxy.service.status.document import IncidentShown, Part
from corvus_proxy.service.status.types import TRAFFIC_FAILED_PERCENT, TRAFFIC_MIN, TRAFFIC_S
from corvus_proxy.site.public.page import Facts, Page
from corvus_proxy.site.public.trust.bars import bars, minutes, share

WORDS = {
    State.OK: "● works",
    State.DEGRADED: "▲ impaired",
    State.DOWN: "■ down",
    State.UNKNOWN: "○ unknown",
}
CHECKING = "○ checking"
INCIDENTS_SHOWN = 30
TROUBLE_SHOWN = 40
"""Rows of the table of days with trouble; `status.json` has all."""


class Row(NamedTuple):
    """A component as the page shows it."""

    id: str
    title: str
    word: str
    tone: str
    detail: str
    since: str
    checked: str
    share: str
    measured: str
    traffic: str
    picture: Markup


class Trouble(NamedTuple):
    """A day on which a component was not in order."""

    day: str
    title: str
    down: str
    degraded: str


class Told(NamedTuple):
    """An incident as the page shows it."""

    id: str
    title: str
    word: str
    detail: str
    span: str
    notes: list[tuple[str, str]]


def view(facts: Facts) -> Mapping[str, Any]:
    """Of what the worker published last."""
    return shown(published(facts), facts.day)


def published(facts: Facts, folder: Folder | None = None) -> Document:
    """What the worker published last; where that is nothing, that nothing is known."""
    settings = facts.settings
    stripe = settings.stripe.secret_key_env or settings.stripe.secret_key_file
    shop = bool(settings.btcpay.url or stripe)
    return status.published(settings, facts.book.models, shop=shop, folder=folder)


def shown(document: Document, today: date) -> dict[str, Any]:
    """The page's figures."""
    measured = any(one.checked_at for one in document.components)
    stale = measured and all(one.since is None for one in document.components)
    return {
        "sign": WORDS[document.state][0],
        "headline": headline(document, stale=stale),
        "stale": stale,
        "at": moment(document.generated_at),
        "every_s": f"{document.checks.every_s:g}",
        "confirmations": document.checks.confirmations,
        "stale_after_s": document.checks.stale_after_s,
        "days": DAYS,
        "span": minutes(TRAFFIC_S),
        "many": f"{TRAFFIC_FAILED_PERCENT} % of at least {TRAFFIC_MIN}",
        "site_rows": [_row(one, today, stale) for one in document.components if not one.path],
        "api_rows": [_row(one, today, stale) for one in document.components if one.path],
        "running": [_told(one) for one in document.incidents if one.ended_at is None],
        "past": [_told(one) for one in document.incidents if one.ended_at][:INCIDENTS_SHOWN],
        "troubles": troubles(document),
        "first_day": min(
            (one.day for part in document.components for one in part.days), default=""
        ),
    }


def headline(document: Document, *, stale: bool) -> str:
    """The answer first."""
    if stale:
        return f"The checks have stopped. This was known at {moment(document.generated_at)}."
    for state, words in ((State.DOWN, "Not available"), (State.DEGRADED, "Impaired")):
        found = [one.title for one in document.components if one.state is state]
        if found:
            return f"{words}: {', '.join(found)}."
    unknown = any(one.state is State.UNKNOWN for one in document.components)
    return "Checking." if unknown or not document.components else "Everything works."


def troubles(document: Document) -> list[Trouble]:
    """The latest days that were not without trouble."""
    found = [
        Trouble(day.day, part.title, minutes(day.down_s), minutes(day.degraded_s))
        for part in document.components
        for day in part.days
        if day.state in (State.DEGRADED, State.DOWN)
    ]
    return sorted(found, key=lambda one: one.day, reverse=True)[:TROUBLE_SHOWN]


def _row(part: Part, today: date, stale: bool) -> Row:
    unknown = part.state is State.UNKNOWN
    traffic = part.traffic
    told = (
        "–"
        if traffic is None or not traffic.requests
        else (f"{traffic.failed} of {traffic.requests} failed")
    )
    return Row(
        part.id,
        part.title,
        CHECKING if unknown and not stale else WORDS[part.state],
        part.state.value,
        part.detail,
        moment(part.since) if part.since else "–",
        moment(part.checked_at) if part.checked_at else "–",
        share(part.uptime_ppm),
        part.probe.measured,
        told,
        bars(part, today),
    )


def _told(one: IncidentShown) -> Told:
    began = _instant(one.started_at)
    if one.ended_at is None:
        span = f"since {moment(one.started_at)}"
    else:
        lasted = int((_instant(one.ended_at) - began).total_seconds())
        span = f"{moment(one.started_at)} to {moment(one.ended_at)}, {minutes(lasted)}"
    return Told(
        one.id,
        one.title,
        WORDS[one.state],
        one.detail,
        span,
        [(moment(note.at), _plain(note.text)) for note in one.notes],
    )


def moment(iso: str) -> str:
    """An instant in UTC as people read it, to the minute and second."""
    return f"{_instant(iso):%Y-%m-%d %H:%M:%S} UTC"


def _instant(iso: str) -> datetime:
    return datetime.fromisoformat(iso).astimezone(UTC)


_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_{}[]<>()#+-!|"})


def _plain(text: str) -> str:
    """An operator's words as they stand, whatever they mean in Markdown."""
    return text.translate(_MARKDOWN)


PAGE = Page(
    "/status",
    "Status",
    f"What works at this moment, and what did not in the last {DAYS} days: measured, not written.",
    "trust/status.md",
    kind="status",
    view=view,
    use_when=(
        "A request, a payment or a log-in fails, and you want to know whether it is the service.",
        "You want to see how often something was down before you buy.",
    ),
    data="/data/status.json",
    contents=False,
)
