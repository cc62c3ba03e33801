"""The history in the books: what the folder knew is there for the next folder, and the reverse.

The folder is what the page is made from; the books bring back what it lost. Both records are
brought together day by day: each only grows, so the larger figure is the truer one.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from corvus_proxy.books import status as books
from corvus_proxy.books.db import Books
from corvus_proxy.service.status.machine import merge
from corvus_proxy.service.status.types import (
    DAYS,
    Day,
    History,
    Incident,
    Note,
    State,
    instant,
)

RECENT_DAYS = 1
"""Days before this one whose records may still change."""


async def bring_together(store: Books, history: History, now_ms: int, *, whole: bool) -> None:
    """Takes from the books what the history lacks and the reverse; but for notes, without `whole`
    the latest days alone go there, and nothing comes from there. Raises BooksUnavailable."""
    now = instant(now_ms)
    oldest = now - timedelta(days=DAYS)
    since = oldest if whole else now - timedelta(days=RECENT_DAYS)
    async with store.transaction() as connection:
        if whole:
            merge(history, await _read(connection, oldest))
        await books.put_days(connection, _day_rows(history, f"{since:%Y-%m-%d}"))
        recent = [
            one for one in history.incidents if not one.ended_ms or one.ended_ms >= _ms(since)
        ]
        await books.put_incidents(connection, [_row(one) for one in recent])
        await books.put_notes(connection, _note_rows(recent))
        if not whole:
            _take_notes(history, await books.notes(connection, oldest))


async def _read(connection: Any, since: datetime) -> History:
    found = History()
    for row in await books.days(connection, since.date()):
        days = found.days.setdefault(row.component, {})
        days[row.day.isoformat()] = Day(row.ok_s, row.degraded_s, row.down_s)
    for one in await books.incidents(connection, since):
        found.incidents.append(
            Incident(
                one.incident_id,
                one.component,
                one.title,
                State(one.state),
                one.detail,
                _ms(one.started_at),
                0 if one.ended_at is None else _ms(one.ended_at),
            )
        )
    _take_notes(found, await books.notes(connection, since))
    return found


def _take_notes(history: History, rows: Iterable[books.NoteRow]) -> None:
    by_id = {one.id: one for one in history.incidents}
    for row in rows:
        incident = by_id.get(row.incident_id)
        note = Note(_ms(row.at), row.text)
        if incident is not None and note not in incident.notes:
            incident.notes = sorted([*incident.notes, note])


def _day_rows(history: History, since: str) -> list[books.DayRow]:
    return [
        books.DayRow(date.fromisoformat(day), name, one.ok_s, one.degraded_s, one.down_s)
        for name, days in history.days.items()
        for day, one in days.items()
        if day >= since
    ]


def _row(one: Incident) -> books.IncidentRow:
    return books.IncidentRow(
        one.id,
        one.component,
        one.title,
        one.state.value,
        one.detail,
        instant(one.started_ms),
        instant(one.ended_ms) if one.ended_ms else None,
    )


def _note_rows(incidents: Iterable[Incident]) -> list[books.NoteRow]:
    return [
        books.NoteRow(one.id, instant(note.at_ms), note.text)
        for one in incidents
        for note in one.notes
    ]


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
