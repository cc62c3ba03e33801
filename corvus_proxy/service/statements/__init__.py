"""A wallet's requests, usage and ledger: the rows behind the API's answers and the pages alike.

Rule 1: every sum is made of the rows that the list shows, and of the days of those whose detail is
        gone; nothing is counted twice or elsewhere.
Rule 2: what Redis has decided before a question is in the answer, unless the books are behind for
        longer than `PATIENCE_S`: then the answer says that it is not current.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import NamedTuple

from corvus_proxy import clock
from corvus_proxy.books import retention
from corvus_proxy.books import statements as rows
from corvus_proxy.books.statements import (
    EntryRow,
    Filter,
    Month,
    Request,
    Scope,
    Span,
    Totals,
    UsageRow,
)
from corvus_proxy.money.event import partition_of
from corvus_proxy.service.statements.explained import Explained, explain, formula
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import TillUnavailable

__all__ = [
    "LedgerPage",
    "RequestPage",
    "Running",
    "Statement",
    "Usage",
    "export",
    "formula",
    "instant",
    "is_current",
    "ledger",
    "make_cursor",
    "months",
    "request",
    "requests",
    "scope_of",
    "span",
    "statement",
    "usage",
]

PATIENCE_S = 1.0
"""How long a question waits for the books to have what Redis had when it was asked."""
_PAUSE_S = 0.03
BUCKETS_MAX = 5000
EXPORT_ROWS = 250
"""Rows that an export reads and writes at a time: a few milliseconds, for which others of the
process wait."""
STEPS_MAX = 240
"""Points of the line that shows a balance."""


class RequestPage(NamedTuple):
    """Some requests, the latest first, and the sums of all that match."""

    rows: list[Request]
    totals: Totals
    next_cursor: str
    """Where the next page begins; empty on the last."""
    current: bool
    """Whether everything that Redis had decided when it was asked is among the rows."""
    deleted_before: datetime | None
    """Requests that ended before it have no rows any more; the totals have them."""


class Running(NamedTuple):
    """A request that has not ended: what is set aside for it, in nanos."""

    request_id: str
    held_nanos: int


class Usage(NamedTuple):
    """Sums by bucket and group, and the sum of them."""

    rows: list[UsageRow]
    totals: Totals
    since: datetime | None
    until: datetime | None
    more: bool
    """There are more than `BUCKETS_MAX` rows; the rest is left out."""
    current: bool
    deleted_before: datetime | None
    """What ended before it is told by whole UTC days."""


class LedgerPage(NamedTuple):
    """Some entries of a ledger."""

    entries: list[EntryRow]
    more: bool
    current: bool


class Statement(NamedTuple):
    """A month's ledger: where it began and ended, and its line. Amounts in nanos."""

    month: Month
    opening_nanos: int
    closing_nanos: int
    steps: list[tuple[datetime, int]]
    """Instants, and the balance from each on."""


async def scope_of(stores: Stores, wallet: str, key_id: str) -> Scope:
    """What a key may see: all of its wallet, or only itself where it is a sub-key. Raises
    BooksUnavailable."""
    async with stores.books.connection() as connection:
        main = await rows.is_main(connection, wallet, key_id)
    return Scope(wallet, "" if main else key_id)


async def is_current(stores: Stores, wallet: str) -> bool:
    """Whether the books have what Redis has, waiting up to `PATIENCE_S` for it. Raises
    BooksUnavailable."""
    part = partition_of(wallet)
    try:
        end = await stores.till.last_event(part)
    except TillUnavailable:
        return False
    if end is None:
        return True
    deadline_s = clock.monotonic_s() + PATIENCE_S
    while True:
        async with stores.books.connection() as connection:
            at = await rows.cursor(connection, part)
        if at >= end:
            return True
        if clock.monotonic_s() >= deadline_s:
            return False
        await asyncio.sleep(_PAUSE_S)


async def requests(
    stores: Stores, scope: Scope, wanted: Filter, *, cursor: str = "", limit: int
) -> RequestPage:
    """A page of requests. Raises ValueError for a cursor that is none of ours, BooksUnavailable."""
    before = read_cursor(cursor)
    current = await is_current(stores, scope.wallet)
    async with (
        stores.books.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        found = await rows.requests(connection, scope, wanted, before=before, limit=limit + 1)
        totals = await rows.totals(connection, scope, wanted)
        gone = await retention.detail_gone(connection)
    page = found[:limit]
    more = make_cursor(page[-1]) if len(found) > limit else ""
    return RequestPage(page, totals, more, current, gone)


async def request(stores: Stores, scope: Scope, request_id: str) -> Explained | Running | None:
    """One request, explained; None where this wallet has none of that name. Raises
    BooksUnavailable."""
    current = False
    while True:
        async with stores.books.connection() as connection:
            found = await rows.changes(connection, scope, request_id)
        if found:
            return explain(request_id, found)
        if current:
            return None
        if not scope.key_id:
            held = await _held(stores, scope.wallet, request_id)
            if held is not None:
                return held
        # It may have ended a moment ago.
        await is_current(stores, scope.wallet)
        current = True


async def _held(stores: Stores, wallet: str, request_id: str) -> Running | None:
    try:
        hold = (await stores.till.holds(partition_of(wallet))).get(request_id)
    except TillUnavailable:
        return None
    if hold is None or hold.wallet != wallet:
        return None
    return Running(request_id, hold.held_nanos)


async def usage(
    stores: Stores,
    scope: Scope,
    wanted: Filter,
    *,
    bucket: str = "",
    zone: str = "UTC",
    by_model: bool = False,
    by_key: bool = False,
) -> Usage:
    """Sums of what was used, by bucket (`1m`, `1h`, `1d` or all in one), model and key. Raises
    ZoneUnknown, BooksUnavailable."""
    current = await is_current(stores, scope.wallet)
    async with (
        stores.books.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        found = await rows.usage(
            connection,
            scope,
            wanted,
            bucket=bucket,
            zone=zone,
            by_model=by_model,
            by_key=by_key,
            limit=BUCKETS_MAX + 1,
        )
        totals = await rows.totals(connection, scope, wanted)
        gone = await retention.detail_gone(connection)
    since = None if wanted.since == rows.EARLIEST else wanted.since
    until = None if wanted.until == rows.LATEST else wanted.until
    more = len(found) > BUCKETS_MAX
    return Usage(found[:BUCKETS_MAX], totals, since, until, more, current, gone)


async def instant(stores: Stores, local: datetime, zone: str) -> datetime:
    """The instant at which clocks of a zone show `local`. Raises ZoneUnknown, BooksUnavailable."""
    async with stores.books.connection() as connection:
        return await rows.instant(connection, local, zone)


async def ledger(
    stores: Stores, scope: Scope, span: Span, *, limit: int, newest_first: bool = False
) -> LedgerPage:
    """A page of entries with their running balance. Raises BooksUnavailable."""
    current = await is_current(stores, scope.wallet)
    async with stores.books.connection() as connection:
        found = await rows.entries(
            connection, scope, span, limit=limit + 1, newest_first=newest_first
        )
    return LedgerPage(found[:limit], len(found) > limit, current)


async def span(
    stores: Stores, scope: Scope, since: datetime = rows.EARLIEST, until: datetime = rows.LATEST
) -> Span:
    """The entries that were booked within a time. Raises BooksUnavailable."""
    if (since, until) == (rows.EARLIEST, rows.LATEST):
        return Span()
    async with stores.books.connection() as connection:
        found = await rows.span(connection, scope, since, until)
    return found or Span(1, 0)


async def export(stores: Stores, scope: Scope, span: Span) -> AsyncIterator[list[EntryRow]]:
    """All entries of a span in their order, some at a time: the first that are read hold no
    connection while the next are written. Raises BooksUnavailable."""
    last = span.last_seq
    if last == Span().last_seq:  # what comes in meanwhile is the next export's
        async with stores.books.connection() as connection:
            newest = await rows.entries(connection, scope, span, limit=1, newest_first=True)
        last = newest[0].wallet_seq if newest else 0
    first = span.first_seq
    while first <= last:
        async with stores.books.connection() as connection:
            found = await rows.entries(connection, scope, Span(first, last), limit=EXPORT_ROWS)
        if not found:
            return
        yield found
        first = found[-1].wallet_seq + 1


async def months(stores: Stores, scope: Scope) -> list[Month]:
    """Every month (UTC) that has entries, the latest first. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        return await rows.months(connection, scope)


async def statement(stores: Stores, scope: Scope, month: Month) -> Statement:
    """A month's opening and closing balance and the line between. Raises BooksUnavailable."""
    span = Span(month.first_seq, month.last_seq)
    async with (
        stores.books.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        first = (await rows.entries(connection, scope, span, limit=1))[0]
        last = (await rows.entries(connection, scope, span, limit=1, newest_first=True))[0]
        length_s = int((last.booked_at - first.booked_at) / timedelta(seconds=1))
        steps = await rows.steps(connection, scope, span, step_s=max(1, -(-length_s // STEPS_MAX)))
    return Statement(month, first.balance_nanos - first.delta_nanos, last.balance_nanos, steps)


def make_cursor(row: Request) -> str:
    """The place of a request in the list of all, as text for an address."""
    micros = (row.ended_at - rows.EARLIEST) // timedelta(microseconds=1)
    return f"{micros}.{row.request_id}"


def read_cursor(text: str) -> tuple[datetime, str]:
    """The place that `make_cursor` has written; before everything where it is empty. Raises
    ValueError."""
    if not text:
        return rows.LATEST, ""
    micros, _, request_id = text.partition(".")
    if not (micros.isascii() and micros.isdigit() and len(micros) < 18 and request_id):
        raise ValueError("this is no cursor of this list")
    try:
        return rows.EARLIEST + timedelta(microseconds=int(micros)), request_id
    except OverflowError:
        raise ValueError("this is no cursor of this list") from None
