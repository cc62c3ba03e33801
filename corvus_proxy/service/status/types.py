"""What the status is told in: parts of the service, readings, days, incidents.

All instants are milliseconds since 1970 (UTC), all spans whole seconds.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

DAYS = 90
"""Days of history that are kept and shown."""


class State(StrEnum):
    """How a part of the service stands."""

    OK = "ok"
    DEGRADED = "degraded"
    """It works for some, or with faults."""
    DOWN = "down"
    UNKNOWN = "unknown"
    """Not measured yet, or not any more."""


WORSE = (State.UNKNOWN, State.OK, State.DEGRADED, State.DOWN)
"""From what says least to what is worst; the figures of the metric."""


def worst(states: list[State]) -> State:
    """The worst of several; unknown where there is none."""
    return max(states, key=WORSE.index, default=State.UNKNOWN)


class Component(NamedTuple):
    """A part of the service that is measured by itself."""

    id: str
    """`website`, `checkout`, `login`, `api-anthropic-messages` …"""
    title: str
    measured: str
    """In one sentence, what is done to find out."""
    family: str = ""
    dialect: str = ""
    """As its upstream is asked."""
    path: str = ""
    """Of the route on the API."""


class Traffic(NamedTuple):
    """Real requests that ended in the last `span_s` seconds."""

    span_s: int
    requests: int
    failed: int
    """By the vendor's or our fault; what a client broke off or got wrong is none."""

    @property
    def failing(self) -> bool:
        """Whether so many failed that their route is not in order."""
        return self.requests >= TRAFFIC_MIN and self.failed * 100 >= (
            self.requests * TRAFFIC_FAILED_PERCENT
        )


TRAFFIC_S = 120
"""Requests that ended longer ago say nothing of the present."""
TRAFFIC_MIN = 20
"""Fewer requests prove nothing: one customer's may be peculiar."""
TRAFFIC_FAILED_PERCENT = 20
"""From this share on a route is not in order, whatever its probe says."""


class Reading(NamedTuple):
    """What one round of probes found of one component."""

    state: State
    detail: str = ""
    """In a sentence for customers, what is wrong; empty where nothing is."""
    why: str = ""
    """For the operator's log alone: what the probe met, word for word."""
    probe: State = State.UNKNOWN
    """What the probe alone says; `state` may be worse by real traffic."""
    traffic: Traffic | None = None


class Standing(msgspec.Struct):
    """How a component stands, and what may be about to change that."""

    state: State = State.UNKNOWN
    since_ms: int = 0
    """When it came to stand so."""
    checked_ms: int = 0
    """Of the last reading; 0: none yet."""
    detail: str = ""
    probe: State = State.UNKNOWN
    traffic: Traffic | None = None
    doubts: int = 0
    """Readings in a row that say otherwise than `state`."""
    doubted_since_ms: int = 0
    doubted_s: int = 0
    """Measured time that is counted once it is clear for which state."""


class Day(msgspec.Struct):
    """Measured seconds of one component on one UTC day."""

    ok_s: int = 0
    degraded_s: int = 0
    down_s: int = 0

    def add(self, state: State, seconds: int) -> None:
        """Counts measured time; what is unknown is not measured."""
        match state:
            case State.OK:
                self.ok_s += seconds
            case State.DEGRADED:
                self.degraded_s += seconds
            case State.DOWN:
                self.down_s += seconds
            case State.UNKNOWN:
                pass

    def most(self, other: "Day") -> "Day":
        """Of two records of the same day, what both have seen: each only grows."""
        return Day(
            max(self.ok_s, other.ok_s),
            max(self.degraded_s, other.degraded_s),
            max(self.down_s, other.down_s),
        )

    @property
    def state(self) -> State:
        """The worst that was measured."""
        if self.down_s:
            return State.DOWN
        if self.degraded_s:
            return State.DEGRADED
        return State.OK if self.ok_s else State.UNKNOWN


class Note(msgspec.Struct, frozen=True, order=True):
    """What the operator says about an incident."""

    at_ms: int
    text: str


class Incident(msgspec.Struct):
    """A time in which a component was not in order. It opens and closes by itself."""

    id: str
    component: str
    title: str
    state: State
    """The worst that it came to."""
    detail: str
    """What was wrong at first."""
    started_ms: int
    """Of the first reading that said so."""
    ended_ms: int = 0
    """0: it goes on."""
    notes: list[Note] = []


class History(msgspec.Struct):
    """All that is known, as it is kept."""

    standings: dict[str, Standing] = {}
    days: dict[str, dict[str, Day]] = {}
    """By component and by day, `YYYY-MM-DD`."""
    incidents: list[Incident] = []
    """The newest last."""


def instant(at_ms: int) -> datetime:
    """Milliseconds since 1970 as an aware instant, to the millisecond."""
    return datetime.fromtimestamp(at_ms // 1000, UTC) + timedelta(milliseconds=at_ms % 1000)


def day_of(at_ms: int) -> str:
    """The UTC day of an instant, `YYYY-MM-DD`."""
    return f"{instant(at_ms):%Y-%m-%d}"
