"""The status as programs read it (`status.json`), and pages are made from it.

Instants are ISO 8601 in UTC; shares are whole parts of a million, rounded down, so that what was
never down alone is 1,000,000.
"""

from datetime import datetime

import msgspec

from corvus_proxy.service.status.types import (
    DAYS,
    Component,
    Day,
    History,
    Standing,
    State,
    Traffic,
    instant,
    worst,
)
from corvus_proxy.settings import Settings

VERSION = "1.0"
MILLION = 1_000_000


class Site(msgspec.Struct, frozen=True):
    """Whose status it is."""

    name: str
    url: str
    support: str


class Checks(msgspec.Struct, frozen=True):
    """How it was measured."""

    every_s: float
    confirmations: int
    """Checks in a row that change a state."""
    stale_after_s: int
    """Of a document that is older nothing holds any more."""
    days: int = DAYS


class DayShown(msgspec.Struct, frozen=True):
    """Measured seconds of a UTC day, and the worst in it."""

    day: str
    state: State
    ok_s: int
    degraded_s: int
    down_s: int


class Probe(msgspec.Struct, frozen=True):
    """What our own checks say, without real traffic."""

    state: State
    measured: str
    """What is done to find out."""


class TrafficShown(msgspec.Struct, frozen=True):
    """What real requests came to in the last `span_s` seconds."""

    span_s: int
    requests: int
    failed: int


class Part(msgspec.Struct, frozen=True):
    """One component."""

    id: str
    title: str
    state: State
    detail: str
    since: str | None
    """When it came to stand so; none while that is not known."""
    checked_at: str | None
    """Of the last check; none: there was none yet."""
    probe: Probe
    traffic: TrafficShown | None
    """None where the books could not be asked, and for parts that no request goes to."""
    uptime_ppm: int | None
    """Measured time in which it was not down."""
    days: list[DayShown]
    """Those that anything was measured on, the oldest first."""
    family: str = ""
    dialect: str = ""
    path: str = ""


class NoteShown(msgspec.Struct, frozen=True):
    """What the operator says about an incident."""

    at: str
    text: str


class IncidentShown(msgspec.Struct, frozen=True):
    """A time in which a component was not in order."""

    id: str
    component: str
    title: str
    state: State
    detail: str
    started_at: str
    ended_at: str | None
    notes: list[NoteShown]


class Document(msgspec.Struct, frozen=True):
    """All of it."""

    schema_version: str
    generated_from: list[str]
    generated_at: str
    site: Site
    state: State
    """The worst of the components."""
    checks: Checks
    components: list[Part]
    incidents: list[IncidentShown]
    """The newest first."""

    @property
    def generated_ms(self) -> int:
        """Milliseconds since 1970."""
        return _ms(self.generated_at)


def make(
    settings: Settings, components: tuple[Component, ...], history: History, now_ms: int
) -> Document:
    """The document of this moment."""
    checks = checks_of(settings)
    parts = [
        _part(
            one,
            history.standings.get(one.id, Standing()),
            history.days.get(one.id, {}),
            now_ms=now_ms,
            stale_ms=checks.stale_after_s * 1000,
        )
        for one in components
    ]
    incidents = [
        IncidentShown(
            one.id,
            one.component,
            one.title,
            one.state,
            one.detail,
            iso(one.started_ms),
            iso(one.ended_ms) if one.ended_ms else None,
            [NoteShown(iso(note.at_ms), note.text) for note in one.notes],
        )
        for one in reversed(history.incidents)
    ]
    brand = settings.brand
    return Document(
        VERSION,
        ["probes of the worker", "outcomes of real requests"],
        iso(now_ms),
        Site(brand.name, brand.site_url, brand.support),
        worst([one.state for one in parts]),
        checks,
        parts,
        incidents,
    )


def checks_of(settings: Settings) -> Checks:
    """How this installation measures."""
    status = settings.status
    return Checks(status.probe_s, status.failures, stale_after_s(settings))


def stale_after_s(settings: Settings) -> int:
    """Seconds after which a check says nothing any more: three rounds and the time that they
    take."""
    return int(3 * (settings.status.probe_s + settings.status.timeout_s)) + 15


def is_stale(document: Document, now_ms: int) -> bool:
    """Whether nobody has measured for so long that nothing is known of now."""
    age_ms = now_ms - document.generated_ms
    return not -60_000 <= age_ms <= document.checks.stale_after_s * 1000


def as_unknown(document: Document) -> Document:
    """The same document where it is stale: what it knew is of its own time."""
    parts = [
        msgspec.structs.replace(
            one,
            state=State.UNKNOWN,
            since=None,
            detail=f"Last known: {one.state.value}." if one.state is not State.UNKNOWN else "",
        )
        for one in document.components
    ]
    return msgspec.structs.replace(document, state=State.UNKNOWN, components=parts)


def _part(
    component: Component,
    standing: Standing,
    days: dict[str, Day],
    *,
    now_ms: int,
    stale_ms: int,
) -> Part:
    known = bool(standing.checked_ms) and now_ms - standing.checked_ms <= stale_ms
    state = standing.state if known else State.UNKNOWN
    measured = sum(one.ok_s + one.degraded_s + one.down_s for one in days.values())
    down = sum(one.down_s for one in days.values())
    return Part(
        component.id,
        component.title,
        state,
        standing.detail if state is not State.UNKNOWN else "",
        iso(standing.since_ms) if state is not State.UNKNOWN else None,
        iso(standing.checked_ms) if standing.checked_ms else None,
        Probe(standing.probe if known else State.UNKNOWN, component.measured),
        _traffic(standing.traffic) if known else None,
        (measured - down) * MILLION // measured if measured else None,
        [
            DayShown(day, one.state, one.ok_s, one.degraded_s, one.down_s)
            for day, one in sorted(days.items())
        ],
        component.family,
        component.dialect,
        component.path,
    )


def _traffic(found: Traffic | None) -> TrafficShown | None:
    return None if found is None else TrafficShown(*found)


def iso(at_ms: int) -> str:
    """An instant by ISO 8601, to the second."""
    return f"{instant(at_ms):%Y-%m-%dT%H:%M:%SZ}"


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000
