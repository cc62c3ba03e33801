"""What the operator's gauges show of both stores and the disks; the worker measures it.

Rule 1: slowly, and by bounded questions: no gauge may cost a customer a millisecond.
Rule 2: a gauge that cannot be measured keeps its last figure, and
        `corvus_measured_timestamp_seconds` says how old that is.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, time

import asyncpg
import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.books.published import checks, standing
from corvus_proxy.books.published.standing import Standing
from corvus_proxy.catalogue import timeline
from corvus_proxy.money.event import PARTITIONS
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.till.checks import clocks_ms
from corvus_proxy.till.client import Till

MEASURE_S = 30.0
PRICES_S = 3600.0
"""Prices are read anew so often: the book is a file that changes by the week."""
_log = structlog.get_logger()


class Gauges:
    """Measures, for as long as a worker runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._prices_at_s: float | None = None

    async def tick(self, stores: Stores) -> None:
        """One round. Raises TillUnavailable, BooksUnavailable, with all told that can be."""
        for name, folder in self._folders().items():
            if folder:
                metrics.disk_used(name, folder)
        await self._tell_prices()
        try:
            measured = await _measure_books(stores)
        finally:  # each store's figures matter most while the other one is away
            await _measure_redis(stores.till)
        if measured:
            metrics.MEASURED.set(clock.utc_now().timestamp())

    def _folders(self) -> dict[str, str]:
        ledger = self._settings.ledger
        return {
            "archive": ledger.archive_dir,
            "journal": ledger.journal_dir,
            "status": self._settings.status.dir,
        }

    async def _tell_prices(self) -> None:
        now_s = clock.monotonic_s()
        if self._prices_at_s is not None and now_s - self._prices_at_s < PRICES_S:
            return
        self._prices_at_s = now_s
        served = {upstream.family for upstream in self._settings.upstream}
        oldest: dict[str, float] = {}
        prices = await asyncio.to_thread(timeline.load, self._settings.pricing)
        for model in prices.at(clock.utc_now().date()).models:
            if model.family in served:
                at = datetime.combine(model.official.checked, time(), UTC).timestamp()
                oldest[model.family] = min(at, oldest.get(model.family, at))
        for family, at in oldest.items():
            metrics.PRICE_CHECKED.labels(family).set(at)


async def _measure_books(stores: Stores) -> bool:
    """Whether the books have answered in time. Raises BooksUnavailable."""
    try:
        async with stores.books.transaction() as connection:
            before = clock.utc_now()
            found = await standing.read(connection)
            after = clock.utc_now()
            last = await checks.last(connection)
    except asyncpg.QueryCanceledError:
        _log.warning("gauges_too_slow", patience_s=standing.PATIENCE_S)
        return False
    tell(found, after)
    metrics.CLOCK_SKEW.labels("postgres").set(_skew_s(before, found.at, after))
    if last is not None:
        metrics.LEDGER_PROBLEMS.set(last.problems)
        metrics.LEDGER_VERIFIED.set(last.at.timestamp())
    return True


def tell(found: Standing, now: datetime) -> None:
    """Sets the gauges of the books."""
    metrics.LIABILITY.set(found.balance_nanos)
    metrics.RECEIVABLE.set(found.receivable_nanos)
    metrics.PAID_NOT_CREDITED.set(found.uncredited)
    for gauge, kinds, counts in (
        (metrics.MOVES_WAITING, ("key", "credit", "debit", "reversal"), found.moves),
        (metrics.MAIL_WAITING, ("queued", "deferred"), found.mails),
        (metrics.REFUNDS_OPEN, ("requested", "approved"), found.refunds),
    ):
        for kind in kinds:
            gauge.labels(kind).set(counts.get(kind, 0))
    since = found.refund_since
    metrics.REFUND_AGE.set(0 if since is None else max(0.0, (now - since).total_seconds()))


async def held_nanos(till: Till, parts: Iterable[int] = range(PARTITIONS)) -> int:
    """What all running requests hold. Raises TillUnavailable."""
    return sum([hold.held_nanos for part in parts for hold in (await till.holds(part)).values()])


async def _measure_redis(till: Till) -> None:
    metrics.HELD.set(await held_nanos(till))
    before = clock.utc_now()
    told_ms = await clocks_ms(till)
    after = clock.utc_now()
    off_s = [_skew_s(before, datetime.fromtimestamp(ms / 1000, UTC), after) for ms in told_ms]
    metrics.CLOCK_SKEW.labels("redis").set(max(off_s))


def _skew_s(before: datetime, at: datetime, after: datetime) -> float:
    """How far off a clock is that said `at`: not at all where that lies between both moments."""
    return max((before - at).total_seconds(), (at - after).total_seconds(), 0.0)
