"""From readings to states, days and incidents. Pure: time comes with each round of readings.

Rule 1: one odd reading changes nothing: a state changes when so many readings in a row say so. The
first good one of a component that was unknown is believed at once.
Rule 2: time counts for the state that it turned out to belong to; time without readings counts for
none.
Rule 3: an incident begins with the first bad reading and ends with the first good one of the row
that was believed. Nothing here takes one back.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from corvus_proxy.service.status.types import (
    DAYS,
    WORSE,
    Component,
    Day,
    History,
    Incident,
    Reading,
    Standing,
    State,
    day_of,
    instant,
)

GONE = "It is not measured any more."


class Change(NamedTuple):
    """A component came to stand otherwise."""

    component: Component
    before: State
    after: State
    reading: Reading


class Machine:
    """Takes rounds of readings into a history."""

    def __init__(
        self,
        components: tuple[Component, ...],
        history: History,
        *,
        confirm: int,
        settle_s: float,
        gap_s: float,
    ) -> None:
        """`confirm`: readings in a row that change a state, over `settle_s` at least, however
        quickly they follow; after `gap_s` without a reading nothing is known of the time
        between."""
        self.components = components
        self.history = history
        self._confirm = max(1, confirm)
        self._settle_ms = settle_s * 1000
        self._gap_ms = gap_s * 1000

    def take(self, readings: Mapping[str, Reading], now_ms: int) -> list[Change]:
        """One round; what has changed by it. A component without a reading stays as it is."""
        known = {one.id for one in self.components}
        for name in [name for name in self.history.standings if name not in known]:
            del self.history.standings[name]
        for incident in self.history.incidents:
            if not incident.ended_ms and incident.component not in known:
                incident.ended_ms = now_ms
                incident.detail = f"{incident.detail} {GONE}".strip()
        changes = []
        for component in self.components:
            reading = readings.get(component.id)
            if reading is not None:
                change = self._read(component, reading, now_ms)
                if change is not None:
                    changes.append(change)
        self.forget(now_ms)
        return changes

    def _read(self, component: Component, reading: Reading, now_ms: int) -> Change | None:
        standing = self.history.standings.setdefault(component.id, Standing())
        past_ms = now_ms - standing.checked_ms
        if not 0 <= past_ms <= self._gap_ms:
            # Its clock was put back, or nobody looked: what stands there is of another time.
            past_ms = 0
            standing.state, standing.detail = State.UNKNOWN, ""
            standing.doubts = standing.doubted_s = 0
        standing.checked_ms, standing.probe = now_ms, reading.probe
        standing.traffic = reading.traffic
        past_s = past_ms // 1000
        if reading.state is standing.state:
            self._count(component.id, standing.state, standing.doubted_s + past_s, now_ms)
            standing.doubts = standing.doubted_s = 0
            standing.detail = reading.detail
            return None
        if standing.doubts:
            standing.doubted_s += past_s
        else:  # until this reading it stood as before
            self._count(component.id, standing.state, past_s, now_ms)
            standing.doubted_since_ms = now_ms
        standing.doubts += 1
        first = standing.state is State.UNKNOWN and reading.state is State.OK
        lasted_ms = now_ms - standing.doubted_since_ms
        sure = standing.doubts >= self._confirm and lasted_ms >= self._settle_ms
        if not sure and not first:
            return None
        return self._change(component, standing, reading, now_ms)

    def _change(
        self, component: Component, standing: Standing, reading: Reading, now_ms: int
    ) -> Change:
        before = standing.state
        self._count(component.id, reading.state, standing.doubted_s, now_ms)
        standing.state, standing.detail = reading.state, reading.detail
        standing.since_ms = standing.doubted_since_ms
        standing.doubts = standing.doubted_s = 0
        self._note_incident(component, standing)
        return Change(component, before, reading.state, reading)

    def _count(self, name: str, state: State, seconds: int, now_ms: int) -> None:
        if seconds > 0 and state is not State.UNKNOWN:
            days = self.history.days.setdefault(name, {})
            days.setdefault(day_of(now_ms), Day()).add(state, seconds)

    def _note_incident(self, component: Component, standing: Standing) -> None:
        running = self.running(component.id)
        if standing.state is State.OK:
            for incident in running:
                incident.ended_ms = max(standing.since_ms, incident.started_ms)
        elif running:
            worse = max(running[-1].state, standing.state, key=WORSE.index)
            running[-1].state = worse
        elif standing.state is not State.UNKNOWN:
            started = instant(standing.since_ms)
            self.history.incidents.append(
                Incident(
                    f"{component.id}-{started:%Y%m%d-%H%M%S}",
                    component.id,
                    component.title,
                    standing.state,
                    standing.detail,
                    standing.since_ms,
                )
            )

    def running(self, name: str) -> list[Incident]:
        """A component's incidents that have not ended."""
        return [one for one in self.history.incidents if one.component == name and not one.ended_ms]

    def forget(self, now_ms: int) -> None:
        """Drops what is older than the history goes back; what goes on is kept."""
        first = f"{instant(now_ms) - timedelta(days=DAYS - 1):%Y-%m-%d}"
        for days in self.history.days.values():
            for day in [day for day in days if day < first]:
                del days[day]
        self.history.incidents = [
            one
            for one in self.history.incidents
            if not one.ended_ms or day_of(one.ended_ms) >= first
        ]


def merge(history: History, other: History) -> None:
    """Takes into a history what another record of the same service has beside it: days, incidents
    and their notes. Of an incident that both know, the end and the worst that either knows."""
    for name, days in other.days.items():
        mine = history.days.setdefault(name, {})
        for day, found in days.items():
            mine[day] = mine.get(day, Day()).most(found)
    known = {one.id: one for one in history.incidents}
    for theirs in other.incidents:
        mine_too = known.get(theirs.id)
        if mine_too is None:
            history.incidents.append(theirs)
            continue
        mine_too.ended_ms = mine_too.ended_ms or theirs.ended_ms
        mine_too.state = max(mine_too.state, theirs.state, key=WORSE.index)
        mine_too.notes = sorted({*mine_too.notes, *theirs.notes})
    history.incidents.sort(key=lambda one: one.started_ms)
