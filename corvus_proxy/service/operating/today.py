"""The operator's day on one screen.

Rule 1: every figure comes from the rows that bill, or from what was measured; none is made here.
Rule 2: it is there within a second: what cannot be told in time is None, and says so.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from corvus_proxy import clock
from corvus_proxy.books.operating import figures
from corvus_proxy.books.operating.figures import ModelDay, Owed, Queues, Uncredited
from corvus_proxy.books.operating.stopped import StoppedRow
from corvus_proxy.books.published import checks, days
from corvus_proxy.books.published.checks import Check
from corvus_proxy.books.published.days import DayTotal
from corvus_proxy.catalogue import book, history, tracked
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.service import status
from corvus_proxy.service.operating import pools, stopping
from corvus_proxy.service.operating.pools import PoolRow
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings

MODELS = 5
MODELS_S = 0.4
"""How long the models of the day may take to be summed."""
COMING_DAYS = 14


class Prices(NamedTuple):
    """How our price book stands to what is known of the vendors'."""

    differences: int | None
    """From the table of the installed `genai-prices` that no row explains; None: there is no such
    package here."""
    coming: list[str]
    """Announced changes of the next two weeks, `slug from day`."""


class Incident(NamedTuple):
    """An incident of the status that goes on."""

    id: str
    started_at: str
    detail: str


class Today(NamedTuple):
    """One UTC day as it stands. Amounts in nanos."""

    at: datetime
    counted: datetime | None
    """Until when what was booked is in the day's totals; None: nothing is counted yet."""
    today: DayTotal
    yesterday: DayTotal
    cost_nanos: int
    """What upstreams billed today, by each credential's `cost_factor`."""
    owed: Owed
    uncredited: Uncredited
    queues: Queues
    check: Check | None
    """The last comparison of Redis with the books; None: there was none yet."""
    models: list[ModelDay] | None
    """None: there are too many requests to be summed at once."""
    pools: list[PoolRow]
    prices: Prices
    incidents: list[Incident] | None
    """That go on; None: no worker has published a status that can be read here."""
    stopped: list[StoppedRow]

    @property
    def problems(self) -> list[str]:
        """What wants somebody, the most urgent first, a sentence each."""
        return _problems(self)


async def read(stores: Stores, settings: Settings) -> Today:
    """The day so far. Raises BooksUnavailable."""
    now = clock.utc_now()
    day = now.astimezone(UTC).date()
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    rows = await pools.listing(stores, settings)
    async with stores.books.connection() as connection:
        totals = {one.day: one for one in await days.read(connection, day - timedelta(days=1))}
        counted = await days.counted(connection)
        owed = await figures.owed(connection)
        uncredited = await figures.uncredited(connection)
        queues = await figures.queues(connection)
        check = await checks.last(connection)
        models = await figures.models(connection, midnight, limit=MODELS, timeout_s=MODELS_S)
        costs = await figures.costs_since(connection, day)
    none = [0] * (len(DayTotal._fields) - 1)
    yesterday = day - timedelta(days=1)
    return Today(
        now,
        counted,
        totals.get(day) or DayTotal(day, *none),
        totals.get(yesterday) or DayTotal(yesterday, *none),
        sum(costs.values()),
        owed,
        uncredited,
        queues,
        check,
        models,
        rows,
        prices(settings, now),
        _incidents(settings),
        await stopping.every(stores),
    )


def prices(settings: Settings, now: datetime) -> Prices:
    """How the price book stands. Raises ConfigurationError where there is none that can be read."""
    rows = [book.periods(raw, settings.pricing.factor) for raw in book.read(settings.pricing)]
    day = now.date()
    coming = [
        f"{row[0].model.slug} from {one.span.start}"
        for row in rows
        for one in row[history.in_force([each.span for each in row], day) + 1 :]
        if one.span.start is not None and one.span.start <= day + timedelta(days=COMING_DAYS)
    ]
    try:
        found = tracked.compare(rows, day)
    except ConfigurationError:
        return Prices(None, coming)
    return Prices(sum(1 for one in found.differences if not one.known), coming)


def _incidents(settings: Settings) -> list[Incident] | None:
    found = status.Folder(settings.status.dir).document()
    if found is None:
        return None
    return [
        Incident(one.id, one.started_at, one.detail) for one in found.incidents if not one.ended_at
    ]


def _problems(found: Today) -> list[str]:
    said = []
    if found.check is not None and not found.check.ok:
        said.append(f"the ledger check of {found.check.at:%Y-%m-%d %H:%M} UTC found drift")
    counts = [
        (found.uncredited.refused, "credits refused by Redis: `corvus orders list --exception`"),
        (found.uncredited.waiting, "credits waiting for Redis for more than a minute"),
        (found.uncredited.payments, "payments confirmed and not credited: `corvus orders doctor`"),
        (found.queues.refunds_waiting, "refunds waiting for a second operator"),
        (found.queues.orders_disputed, "orders disputed"),
        (found.queues.orders_problem, "orders whose payment service does not answer"),
        (found.queues.mails_bounced, "mails bounced within a day: `corvus mail outbox`"),
        (len(found.incidents or ()), "incidents open: `corvus status show`"),
        (found.prices.differences or 0, "prices that differ from the vendor's: `prices diff`"),
    ]
    said += [f"{count} {what}" for count, what in counts if count]
    said += [
        f"{one.name}: its budget lasts {one.runway_h} h"
        for one in found.pools
        if one.runway_h is not None and one.runway_h < 24
    ]
    said += [
        f"{row.kind} {row.subject or 'paused'}{' off' if row.subject else ''}: {row.reason}"
        for row in found.stopped
    ]
    return said
