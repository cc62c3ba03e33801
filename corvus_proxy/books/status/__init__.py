"""The status in the books: what real requests came to, days, incidents and the operator's notes.

Rule 1: nothing is taken out: incidents are annotated, never deleted.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, NamedTuple

import asyncpg

from corvus_proxy.books.db import BooksUnavailable

UNANSWERED: tuple[type[Exception], ...] = (
    BooksUnavailable,
    asyncpg.PostgresError,
    TimeoutError,
)
"""What a question may end with: Postgres away, too slow, or there and not as it should be (no
tables yet, a full disk)."""
_OUTCOMES = """
select slug, coalesce(meta->>'dl', '') as dialect, outcome, count(*) as requests
from event where type in ('S', 'X') and written_at > now() - make_interval(secs => $1)
group by 1, 2, 3
"""
_DAYS = "select day, component, ok_s, degraded_s, down_s from status_day where day >= $1"
# Two records of one day, by a worker that knew less, are brought together: each only grows.
_PUT_DAY = """
insert into status_day as had (day, component, ok_s, degraded_s, down_s) values ($1, $2, $3, $4, $5)
on conflict (day, component) do update set ok_s = greatest(had.ok_s, excluded.ok_s),
    degraded_s = greatest(had.degraded_s, excluded.degraded_s),
    down_s = greatest(had.down_s, excluded.down_s)
"""
_INCIDENTS = """
select incident_id, component, title, state, detail, started_at, ended_at from incident
where ended_at is null or ended_at >= $1 order by started_at
"""
_PUT_INCIDENT = """
insert into incident as had (incident_id, component, title, state, detail, started_at, ended_at)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (incident_id) do update set state = excluded.state, detail = excluded.detail,
    ended_at = coalesce(had.ended_at, excluded.ended_at)
"""
_NOTES = """
select n.incident_id, n.at, n.text from incident_note n join incident i using (incident_id)
where i.ended_at is null or i.ended_at >= $1 order by n.at
"""
_PUT_NOTE = """
insert into incident_note (incident_id, at, text) values ($1, $2, $3) on conflict do nothing
"""


class OutcomeRow(NamedTuple):
    """Requests of one model and dialect that came to the same."""

    slug: str
    dialect: str
    outcome: str
    requests: int


class DayRow(NamedTuple):
    """Measured seconds of one component on one UTC day."""

    day: date
    component: str
    ok_s: int
    degraded_s: int
    down_s: int


class IncidentRow(NamedTuple):
    """An incident; it goes on where `ended_at` is None."""

    incident_id: str
    component: str
    title: str
    state: str
    detail: str
    started_at: datetime
    ended_at: datetime | None


class NoteRow(NamedTuple):
    """What the operator said about an incident."""

    incident_id: str
    at: datetime
    text: str


async def answer(connection: Any) -> None:
    """Whether the books answer, by their own table."""
    await connection.fetchval("select partitions from installation")


async def outcomes(connection: Any, *, span_s: int) -> list[OutcomeRow]:
    """What the requests of the last `span_s` seconds came to."""
    return [OutcomeRow(*row) for row in await connection.fetch(_OUTCOMES, span_s)]


async def days(connection: Any, since: date) -> list[DayRow]:
    """Every component's days from `since` on."""
    return [DayRow(*row) for row in await connection.fetch(_DAYS, since)]


async def put_days(connection: Any, rows: Iterable[DayRow]) -> None:
    """Keeps days; of two records of one the larger figures."""
    await connection.executemany(_PUT_DAY, sorted(rows))


async def incidents(connection: Any, since: datetime) -> list[IncidentRow]:
    """Incidents that go on or ended from `since` on, by their beginning."""
    return [IncidentRow(*row) for row in await connection.fetch(_INCIDENTS, since)]


async def put_incidents(connection: Any, rows: Iterable[IncidentRow]) -> None:
    """Keeps incidents."""
    await connection.executemany(_PUT_INCIDENT, sorted(rows, key=lambda row: row.incident_id))


async def notes(connection: Any, since: datetime) -> list[NoteRow]:
    """The notes on the incidents that `incidents` gives, by their time."""
    return [NoteRow(*row) for row in await connection.fetch(_NOTES, since)]


async def put_notes(connection: Any, rows: Iterable[NoteRow]) -> None:
    """Keeps notes."""
    await connection.executemany(_PUT_NOTE, sorted(rows))


async def knows(connection: Any, incident_id: str) -> bool:
    """Whether there is such an incident."""
    found = await connection.fetchval(
        "select true from incident where incident_id = $1", incident_id
    )
    return bool(found)
