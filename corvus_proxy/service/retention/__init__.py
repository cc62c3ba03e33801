"""Retention: the worker deletes the detail of what is older than the settings keep it.

Rule 1: a transaction is short (`AT_ONCE` rows) and locks nothing that is written at the time; a
        tick works for `WORK_S` and leaves the rest to the next.
Rule 2: amounts stay: balances, entries, postings, totals of days and of customers are the same
        before and after.
"""

import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.books import retention
from corvus_proxy.books.db import Books
from corvus_proxy.money.event import PARTITIONS
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings.retention import KINDS, Kind, RetentionSettings
from corvus_proxy.till.checks import oldest_event

AT_ONCE = 500
"""Rows of one transaction: some ten milliseconds."""
WORK_S = 1.0
STREAM = "stream"
"""In Redis the same detail stands in the last events of each partition."""
STREAM_AT_ONCE = 5_000
REQUEST = next(kind for kind in KINDS if kind.name == "request")
_log = structlog.get_logger()


async def tick(books: Books, settings: RetentionSettings) -> int:
    """Goes on with what is to be deleted now, at most `WORK_S` long; how many rows went. Raises
    BooksUnavailable."""
    deadline_s = clock.monotonic_s() + WORK_S
    total = 0
    for kind in reversed(KINDS):  # requests last: of them there are most
        total += await _forget(books, kind, settings, deadline_s)
    return total


async def _forget(books: Books, kind: Kind, settings: RetentionSettings, deadline_s: float) -> int:
    """One kind, until it is done or the time is over."""
    cut = kind.cut(settings, clock.utc_now())
    total, more = 0, cut is not None
    while more and cut is not None and clock.monotonic_s() < deadline_s:
        async with books.transaction() as connection:
            if not await retention.lock(connection):
                break
            at = await retention.begin(connection, kind.name, cut)
            if at.done or at.cut > cut:  # a time that was made longer brings nothing back
                break
            gone, more = await retention.forget(connection, at, most=AT_ONCE)
        total += gone
        metrics.FORGOTTEN.labels(kind.name).inc(gone)
    if total:
        _log.info("forgotten", kind=kind.name, rows=total, before=str(cut), more=more)
    return total


async def trim(stores: Stores, settings: RetentionSettings) -> None:
    """Takes from Redis's streams the booked events whose detail is older than requests' is kept,
    but for each partition's last one, which tells where it stands; once for each day. Raises
    TillUnavailable, BooksUnavailable."""
    cut = REQUEST.cut(settings, clock.utc_now())
    if cut is None:
        return
    async with stores.books.connection() as connection:
        at = await retention.begin(connection, STREAM, cut)
        if at.done or at.cut > cut:
            return
        whole = True
        for part in range(PARTITIONS):
            first = await oldest_event(stores.till, part)
            if first is None:
                continue
            end, old = await retention.last_old(connection, part, first, cut, most=STREAM_AT_ONCE)
            if old is None:
                continue
            answer = await stores.till.ack(part, end.seq, keep=max(1, end.seq - old))
            # One that is rebuilt at the moment, or has more that is old, is looked at again.
            whole &= answer[0] == "OK" and old < first.seq + STREAM_AT_ONCE
        if whole:
            await retention.finish(connection, STREAM)
