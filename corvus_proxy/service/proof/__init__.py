"""What is published of the books: days are counted and the ledger is checked here, and both are
read for the proof page.

Rule 1: nothing that is read here is of one wallet, key or order.
Rule 2: the worker checks once a UTC day, and while the last check has found something, again; every
        result stays.
"""

import contextlib
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import structlog

from corvus_proxy import clock
from corvus_proxy.books.db import Books, BooksUnavailable
from corvus_proxy.books.published import checks, days
from corvus_proxy.books.published.checks import Check, DayChecks
from corvus_proxy.books.published.days import DayTotal
from corvus_proxy.ledger import verify as comparing
from corvus_proxy.ledger.verify import Told, VerifyReport, untold
from corvus_proxy.service.stores import Stores

SHOWN_DAYS = 90
ROUNDS_MAX = 5
"""Transactions of one tick in which days are counted; the rest is left to the next."""
AGAIN_S = 600
"""How soon a check that has found something is repeated."""
SETTLED_S = 300
"""How long after its end a day may still get events: those whose booking had begun before."""
_log = structlog.get_logger()


class Day(NamedTuple):
    """One UTC day: its total, and what was checked on it."""

    total: DayTotal
    closed: bool
    """It is over and all of it is counted: its figures stay as they are."""
    checks: int
    failed: int
    drift_nanos: int


class Proof(NamedTuple):
    """What there is to publish."""

    last: Check | None
    days: list[Day]
    """Without a gap from the first one that there is, at most `SHOWN_DAYS`; the latest first."""
    upto: datetime | None
    """Until when everything booked is counted."""


async def check(stores: Stores, *, by: str = "operator", told: Told = untold) -> VerifyReport:
    """Compares Redis with the books, wallet by wallet, and keeps the result for the proof page.
    Raises TillUnavailable, BooksUnavailable."""
    report = await comparing.verify(stores.till, stores.books, told=told)
    found = Check(
        clock.utc_now(),
        by,
        report.ok,
        report.wallets,
        report.events,
        report.drift_nanos,
        report.undrained,
        len(report.problems),
    )
    with contextlib.suppress(BooksUnavailable):  # the report itself does not depend on it
        async with stores.books.connection() as connection:
            await checks.add(connection, found)
    return report


async def check_daily(stores: Stores) -> None:
    """The worker's check, where one is due and the ledger is open: while a partition is rebuilt
    both sides differ by right. Raises TillUnavailable, BooksUnavailable."""
    async with stores.books.connection() as connection:
        last = await checks.last(connection)
    if not _is_due(last, clock.utc_now()):
        return
    if await stores.till.closed():
        return
    report = await check(stores, by="worker")
    if not report.ok:
        _log.error("ledger_differs", drift_nanos=report.drift_nanos, problems=report.problems[:20])


def _is_due(last: Check | None, now: datetime) -> bool:
    if last is None or last.at.astimezone(UTC).date() != now.date():
        return True
    return not last.ok and now - last.at >= timedelta(seconds=AGAIN_S)


async def count_days(stores: Stores) -> None:
    """Adds what has been booked to the totals of its days. Raises BooksUnavailable."""
    for _ in range(ROUNDS_MAX):
        async with stores.books.transaction() as connection:
            if await days.count(connection):
                return


async def read(books: Books, today: date) -> Proof:
    """What is published, up to `today` (UTC). Raises BooksUnavailable."""
    since = today - timedelta(days=SHOWN_DAYS - 1)
    async with books.connection() as connection:
        totals = {one.day: one for one in await days.read(connection, since)}
        checked = {one.day: one for one in await checks.by_day(connection, since)}
        upto = await days.counted(connection)
        last = await checks.last(connection)
    if not totals and not checked:
        return Proof(last, [], upto)
    first = min([*totals, *checked])
    shown = [today - timedelta(days=back) for back in range((today - first).days + 1)]
    none = DayChecks(today, 0, 0, 0)
    found = [
        Day(totals.get(day) or DayTotal(day, *[0] * (len(DayTotal._fields) - 1)),
            _is_closed(day, upto), *(checked.get(day, none))[1:])
        for day in shown
    ]  # fmt: skip
    return Proof(last, found, upto)


def _is_closed(day: date, upto: datetime | None) -> bool:
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1, seconds=SETTLED_S)
    return upto is not None and upto >= end
