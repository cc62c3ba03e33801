"""Readings become states, days and incidents, by an injected clock."""

from datetime import UTC, datetime

import pytest

from corvus_proxy.service.status.machine import Machine, merge
from corvus_proxy.service.status.types import (
    DAYS,
    Component,
    Day,
    History,
    Incident,
    Note,
    Reading,
    State,
    worst,
)

OK, BAD, DOWN = State.OK, State.DEGRADED, State.DOWN
PART, OTHER = Component("a", "A", "asked"), Component("b", "B", "asked")
NOON_MS = int(datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()) * 1000
LETTERS = {"o": OK, "d": DOWN, "g": BAD, "?": State.UNKNOWN}


class Clocked:
    """A machine and its clock; a round every 30 s."""

    def __init__(self, *, confirm: int = 2, settle_s: float = 0) -> None:
        self.history = History()
        self.machine = Machine(
            (PART, OTHER), self.history, confirm=confirm, settle_s=settle_s, gap_s=120
        )
        self.now_ms = NOON_MS

    def take(self, letters: str, *, every_s: int = 30, name: str = "a") -> str:
        """The states after each reading."""
        found = ""
        for letter in letters:
            self.machine.take({name: Reading(LETTERS[letter], f"it is {letter}")}, self.now_ms)
            found += self.state(name)
            self.now_ms += every_s * 1000
        return found

    def state(self, name: str = "a") -> str:
        standing = self.history.standings.get(name)
        state = State.UNKNOWN if standing is None else standing.state
        return next(letter for letter, one in LETTERS.items() if one is state)

    def day(self, name: str = "a") -> Day:
        return self.history.days[name]["2026-11-26"]


@pytest.mark.parametrize(
    ("readings", "states"),
    [
        ("ooo", "ooo"),
        ("d", "?"),
        ("dd", "?d"),
        ("do", "?o"),
        ("odo", "ooo"),
        ("oddo", "oodd"),
        ("oddoo", "ooddo"),
        ("odgg", "oogg"),
        ("ododod", "oooooo"),
        ("ddgg", "?ddg"),
        ("ddodoo", "?ddddo"),
    ],
)
def test_a_state_changes_by_two_readings_in_a_row(readings: str, states: str) -> None:
    """The first good one of what was unknown is believed at once; one odd one changes nothing."""
    assert Clocked().take(readings) == states


def test_quick_readings_do_not_hurry_a_state() -> None:
    """They have to agree for as long as ordinary ones would."""
    clocked = Clocked(settle_s=24)
    assert clocked.take("ddddddd", every_s=2) == "???????"
    assert clocked.take("d", every_s=30) == "?"
    assert clocked.take("d") == "d"


def test_time_counts_for_the_state_that_it_belonged_to() -> None:
    """Down from the first bad reading to the first good one of the row that was believed; a blip
    counts for nothing."""
    clocked = Clocked()
    clocked.take("oodo" + "dddd" + "oo" + "o")
    assert clocked.day() == Day(ok_s=4 * 30 + 2 * 30, down_s=4 * 30)


def test_time_without_readings_counts_for_none() -> None:
    """A worker that was away knows nothing of that time, nor of what stood before it."""
    clocked = Clocked()
    clocked.take("oo")
    clocked.now_ms += 3_600_000
    assert clocked.take("d") == "?"
    clocked.take("dd")
    assert clocked.day() == Day(ok_s=30, down_s=60)


def test_a_clock_that_is_put_back_breaks_nothing() -> None:
    """What it had measured is of another time."""
    clocked = Clocked()
    clocked.take("oo")
    clocked.now_ms -= 7_200_000
    assert clocked.take("oo") == "oo"
    assert clocked.day() == Day(ok_s=60)


def test_an_incident_opens_and_closes_by_itself() -> None:
    """It begins with the first bad reading and ends with the first good one; its state is the worst
    that it came to, its sentence the first."""
    clocked = Clocked()
    clocked.take("ogg")
    (opened,) = clocked.history.incidents
    assert opened == Incident(
        "a-20261126-120030", "a", "A", BAD, "it is g", NOON_MS + 30_000, ended_ms=0
    )
    clocked.take("ddgg")
    assert (opened.state, opened.ended_ms) == (DOWN, 0)
    clocked.take("oo")
    assert opened.ended_ms == NOON_MS + 7 * 30_000
    clocked.take("oo")
    assert clocked.history.incidents == [opened]


def test_an_incident_survives_a_worker_that_was_away() -> None:
    """It goes on where it is still so, and closes where it is not."""
    clocked = Clocked()
    clocked.take("odd")
    clocked.now_ms += 3_600_000
    clocked.take("dd")
    (incident,) = clocked.history.incidents
    assert not incident.ended_ms
    clocked.now_ms += 3_600_000
    clocked.take("o")
    assert incident.ended_ms == clocked.now_ms - 30_000
    assert len(clocked.history.incidents) == 1


def test_components_stand_for_themselves() -> None:
    """The trouble of one is none of the other's."""
    clocked = Clocked()
    for _ in range(3):
        readings = {"a": Reading(DOWN), "b": Reading(OK)}
        clocked.machine.take(readings, clocked.now_ms)
        clocked.now_ms += 30_000
    assert (clocked.state("a"), clocked.state("b")) == ("d", "o")
    assert [one.component for one in clocked.history.incidents] == ["a"]


def test_what_is_not_measured_any_more_has_no_open_incident() -> None:
    """A family that is not sold now: its incident ends, its days stay."""
    clocked = Clocked()
    clocked.take("odd")
    clocked.machine.components = (OTHER,)
    clocked.take("o", name="b")
    (incident,) = clocked.history.incidents
    assert incident.ended_ms
    assert "not measured" in incident.detail
    assert "a" not in clocked.history.standings
    assert "a" in clocked.history.days


def test_history_goes_back_so_many_days() -> None:
    """Days and ended incidents beyond are dropped; an incident that goes on is kept."""
    clocked = Clocked()
    clocked.take("oddoo")
    clocked.take("dd", name="b")
    clocked.now_ms += (DAYS - 1) * 86_400_000
    clocked.take("o")
    assert [one.component for one in clocked.history.incidents] == ["a", "b"]
    clocked.now_ms += 86_400_000
    clocked.take("oo")
    assert [one.component for one in clocked.history.incidents] == ["b"]
    assert "2026-11-26" not in clocked.history.days["a"]


def test_two_records_are_brought_together() -> None:
    """Days by their larger figures; of an incident the worst, the end and all notes."""
    mine, theirs = History(), History()
    mine.days = {"a": {"2026-11-26": Day(100, 0, 5)}}
    theirs.days = {"a": {"2026-11-26": Day(90, 3, 9), "2026-11-25": Day(7)}}
    note, other = Note(1, "one"), Note(2, "two")
    mine.incidents = [Incident("a-1", "a", "A", BAD, "", 10, notes=[note])]
    theirs.incidents = [
        Incident("a-1", "a", "A", DOWN, "", 10, 20, [note, other]),
        Incident("a-0", "a", "A", DOWN, "", 5, 6),
    ]
    merge(mine, theirs)
    assert mine.days["a"] == {"2026-11-26": Day(100, 3, 9), "2026-11-25": Day(7)}
    assert [one.id for one in mine.incidents] == ["a-0", "a-1"]
    assert mine.incidents[1] == Incident("a-1", "a", "A", DOWN, "", 10, 20, [note, other])


def test_the_worst_of_several() -> None:
    """Not known is less than known; of none nothing is known."""
    assert worst([OK, State.UNKNOWN]) is OK
    assert worst([OK, DOWN, BAD]) is DOWN
    assert worst([]) is State.UNKNOWN
