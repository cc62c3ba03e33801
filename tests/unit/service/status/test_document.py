"""What is published, what it is worth when it is old, and what is kept of it."""

from pathlib import Path

import msgspec
import pytest

from corvus_proxy import clock
from corvus_proxy.books.db import Books
from corvus_proxy.service import status
from corvus_proxy.service.status.document import Document, make
from corvus_proxy.service.status.folder import HISTORY, Folder
from corvus_proxy.service.status.machine import Machine
from corvus_proxy.service.status.remembering import bring_together
from corvus_proxy.service.status.types import (
    Component,
    Day,
    History,
    Note,
    Reading,
    Standing,
    State,
    day_of,
)
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings, StatusSettings
from corvus_proxy.till.client import Till

PART = Component("a", "A", "asked")


def measured(now_ms: int, letters: str) -> History:
    """Readings every 30 s until now."""
    history = History()
    machine = Machine((PART,), history, confirm=2, settle_s=0, gap_s=120)
    for at, letter in enumerate(letters):
        reading = Reading(State.OK if letter == "o" else State.DOWN, "Gone." * (letter == "d"))
        machine.take({"a": reading}, now_ms - (len(letters) - 1 - at) * 30_000)
    return history


def test_the_share_recomputes_from_its_days() -> None:
    """Millionths, rounded down: what was down for a second in a year is not 100 %."""
    history = History(days={"a": {"2026-11-25": Day(999_999, 10, 0), "2026-11-26": Day(0, 0, 1)}})
    (part,) = make(Settings(), (PART,), history, clock.wall_ms()).components
    total = sum(one.ok_s + one.degraded_s + one.down_s for one in part.days)
    down = sum(one.down_s for one in part.days)
    assert part.uptime_ppm == (total - down) * 1_000_000 // total == 999_999
    assert [one.state for one in part.days] == [State.DEGRADED, State.DOWN]


@pytest.mark.parametrize(
    ("letters", "state"), [("oo", "ok"), ("o?", "unknown"), ("d?", "down"), ("??", "unknown")]
)
def test_one_word_for_all(letters: str, state: str) -> None:
    """In order only where everything is known to be."""
    states = {"o": State.OK, "d": State.DOWN, "?": State.UNKNOWN}
    parts = (PART, Component("b", "B", "asked"))
    now_ms = clock.wall_ms()
    standings = {
        part.id: Standing(states[letter], now_ms, now_ms)
        for part, letter in zip(parts, letters, strict=True)
    }
    assert make(Settings(), parts, History(standings=standings), now_ms).state.value == state


def test_nothing_is_known_before_the_first_check() -> None:
    """No state, no time, no share."""
    document = make(Settings(), (PART,), History(), clock.wall_ms())
    (part,) = document.components
    assert (part.state, part.checked_at, part.uptime_ppm) == (State.UNKNOWN, None, None)
    assert document.state is State.UNKNOWN


def test_what_was_read_long_ago_is_not_a_state() -> None:
    """A worker that starts again does not tell yesterday's as today's."""
    now_ms = clock.wall_ms()
    history = History(standings={"a": Standing(State.OK, now_ms - 10**7, now_ms - 10**7)})
    (part,) = make(Settings(), (PART,), history, now_ms).components
    assert (part.state, part.since) == (State.UNKNOWN, None)


def test_a_document_survives_its_own_form() -> None:
    """What programs read is all of it."""
    document = make(Settings(), (PART,), measured(clock.wall_ms(), "oddd"), clock.wall_ms())
    assert msgspec.json.decode(msgspec.json.encode(document), type=Document) == document
    assert document.components[0].state is State.DOWN
    assert document.incidents[0].ended_at is None


def test_an_old_document_is_told_as_unknown(tmp_path: Path) -> None:
    """With what was known last; its history stands."""
    settings = Settings(status=StatusSettings(dir=str(tmp_path)))
    folder = Folder(str(tmp_path))
    now_ms = clock.wall_ms()
    for age_s, state in ((0, State.DOWN), (3600, State.UNKNOWN)):
        document = make(settings, (PART,), measured(now_ms, "oddd"), now_ms - age_s * 1000)
        folder.write(status.DOCUMENT, msgspec.json.encode(document))
        found = status.published(settings, (), shop=False)
        assert found.state is state
        assert found.components[0].days == document.components[0].days
    assert found.components[0].detail == "Last known: down."


def test_a_history_that_cannot_be_read_is_put_aside(tmp_path: Path) -> None:
    """Measuring goes on, and nothing is thrown away."""
    (tmp_path / HISTORY).write_text("{")
    assert Folder(str(tmp_path)).history() == History()
    assert (tmp_path / f"{HISTORY}.unread").read_text() == "{"


def test_without_a_folder_all_is_in_memory() -> None:
    """For as long as the worker lives."""
    folder = Folder("")
    folder.keep(measured(clock.wall_ms(), "odd"))
    assert folder.history().incidents
    assert folder.document() is None


@pytest.mark.anyio
async def test_the_books_bring_back_what_a_folder_lost(books: Books) -> None:
    """Days, incidents and notes; twice the same is once."""
    now_ms = clock.wall_ms()
    history = measured(now_ms, "oddoo")
    for _ in range(2):
        await bring_together(books, history, now_ms, whole=True)
    history.incidents[0].notes = [Note(now_ms, "A disk was full.")]
    await bring_together(books, history, now_ms, whole=False)
    fresh = History()
    await bring_together(books, fresh, now_ms, whole=True)
    assert fresh.incidents == history.incidents
    assert fresh.days == history.days
    assert day_of(now_ms) in fresh.days["a"]


@pytest.mark.anyio
async def test_nobody_can_take_an_incident_out(books: Books) -> None:
    """The service's own role may not."""
    import asyncpg

    async with books.connection() as connection:
        for table in ("incident", "incident_note", "status_day"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"delete from {table}")


@pytest.mark.anyio
async def test_a_note_reaches_its_incident(valkey_till: Till, books: Books, tmp_path: Path) -> None:
    """By the books; while they are away by the folder; and never one that there is not."""
    now_ms = clock.wall_ms()
    history, folder = measured(now_ms, "odd"), Folder(str(tmp_path))
    await bring_together(books, history, now_ms, whole=True)
    name = history.incidents[0].id
    here = Stores(valkey_till, books, b"p" * 32)
    away = Stores(valkey_till, Books("postgresql://x@127.0.0.1:1/x"), b"p" * 32)
    with pytest.raises(LookupError):
        await status.note(here, folder, "a-19700101-000000", "What?")
    with pytest.raises(ValueError, match="from 1 to"):
        await status.note(here, folder, name, "  ")
    await status.note(here, folder, name, "We  look\ninto it.")
    await bring_together(books, history, now_ms, whole=False)
    document = make(Settings(), (PART,), history, now_ms)
    folder.write(status.DOCUMENT, msgspec.json.encode(document))
    await status.note(away, folder, name, "It is a disk.")
    for _ in range(2):
        folder.take_notes(history)
    assert [one.text for one in history.incidents[0].notes] == ["We look into it.", "It is a disk."]
    await bring_together(books, history, now_ms, whole=False)
    fresh = History()
    await bring_together(books, fresh, now_ms, whole=True)
    assert fresh.incidents[0].notes == history.incidents[0].notes
