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
from corvus_proxy.settings.retention import KINDS, Kind, RetentionSettings

AT_ONCE = 500
"""Rows of one transaction: some ten milliseconds."""
WORK_S = 1.0
_log = structlog.get_logger()


async def tick(books: Books, settings: RetentionSettings) -> int:
    """Goes on with what is to be deleted now, at most `WORK_S` long; how many rows went. Raises
    BooksUnavailable."""
    deadline_s = clock.monotonic_s() + WORK_S
    total = 0
    for kind in KINDS:
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
