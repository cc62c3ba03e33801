"""What a customer sees of a wallet at once: figures, pace, days, models, latest requests.

Rule 1: figures are Redis's, rows are the books' (`books.statements`, as everywhere); the books are
read first, so that what Redis has charged beyond their rows (`unlisted_nanos`) is never negative
for lack of order.
Rule 2: without the books the figures still stand, and `listing` is None.
Rule 3: a sub-key sees its own rows, and of the wallet what it can spend.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from corvus_proxy import clock
from corvus_proxy.books import statements as rows
from corvus_proxy.books import views
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.books.statements import Filter, Request, Scope, Totals
from corvus_proxy.money.amount import PICOS_PER_NANO
from corvus_proxy.service import statements
from corvus_proxy.service.keys import STATUS
from corvus_proxy.service.sessions import Session
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.refused import since_empty

BOOKS_S = 5
"""How long a page waits for the books before it is shown without them."""
LATEST = 10
"""Requests on the overview."""
DAYS = 30
PACE_DAYS = 7
"""The pace is that of so many days, or of the time since the first request."""
PACE_HOURS_MIN = 24
"""After less than this nobody can tell a pace."""
ANATOMY_MAX = 20_000
"""Requests that the cost is taken apart of, the latest ones."""
LOW_DAYS = 3
"""A balance that lasts no longer is low."""


class Overview(NamedTuple):
    """The figures of a wallet, from Redis. Amounts in nanos."""

    balance_nanos: int
    held_nanos: int
    available_nanos: int
    spent_nanos: int


class KeyRecord(NamedTuple):
    """A key as its owner knows it."""

    key_id: str
    label: str
    status: str
    masked: str
    """Of the present secret; what a client may still use during a rotation's grace is not told."""
    created_at: datetime
    used_at: datetime | None


class Day(NamedTuple):
    """What one day (UTC) has cost, by model, in the order of `Listing.models`."""

    day: date
    charge_nanos: int
    by_model: list[int]


class ModelRow(NamedTuple):
    """What one model has cost a wallet."""

    slug: str
    totals: Totals


class Part(NamedTuple):
    """A class of tokens and what it has cost."""

    name: str
    """`input`, `cache_read`, `cache_write`, `output`, `searches`, or `rest`: rounding, and what was
    used beyond the balance and not charged."""
    tokens: int
    cost_nanos: int


class Anatomy(NamedTuple):
    """What the latest requests were charged for. The parts come to the charge."""

    parts: list[Part]
    charge_nanos: int
    requests: int
    saved_nanos: int
    """What caching has saved, its writes taken off; below zero where writing cost more."""
    whole: bool
    """All requests of the time are in it."""


class Listing(NamedTuple):
    """What the books know of a wallet, or of one sub-key."""

    key: KeyRecord | None
    requests: list[Request]
    models: list[ModelRow]
    """Of all time, the dearest first."""
    request_count: int
    charged_nanos: int
    month: Totals
    """Since the month (UTC) began."""
    days: list[Day]
    day_models: list[str]
    """The models of `Day.by_model`."""
    anatomy: Anatomy
    pace_nanos: int | None
    """A day's cost at the present pace; None: not to be told yet."""


class Dashboard(NamedTuple):
    """The overview of one session."""

    figures: Overview
    listing: Listing | None
    unlisted_nanos: int
    """Charged by Redis and not yet among the books' rows."""
    runway_days: int | None
    """How long the available balance lasts at the present pace; None: not to be told."""
    low: bool
    refused: int
    """Requests that were refused since the balance ran empty; told at zero, to the main key."""
    as_of: datetime


async def overview(stores: Stores, wallet: str) -> Overview:
    """Balance, held, available and spent. Raises TillUnavailable, also where Redis has lost the
    wallet: zeros would be a lie."""
    state = await stores.till.wallet(wallet)
    if state is None:
        raise TillUnavailable("Redis: the wallet is not loaded")
    return Overview(
        state.balance_nanos,
        state.held_nanos,
        state.balance_nanos - state.held_nanos,
        state.spent_nanos,
    )


async def dashboard(stores: Stores, session: Session) -> Dashboard:
    """All that `/dashboard` shows of an account. Raises TillUnavailable."""
    now = clock.utc_now()
    try:
        async with asyncio.timeout(BOOKS_S):
            listing = await _listing(stores, session, now)
    except (BooksUnavailable, TimeoutError):
        listing = None
    figures = await overview(stores, session.wallet)
    unlisted = 0
    if listing is not None and session.main:
        unlisted = max(0, figures.spent_nanos - listing.charged_nanos)
    elif listing is not None:
        figures = figures._replace(spent_nanos=listing.charged_nanos)
    days = runway_days(figures.available_nanos, None if listing is None else listing.pace_nanos)
    low = figures.available_nanos > 0 and days is not None and days < LOW_DAYS
    empty = figures.available_nanos <= 0 and session.main
    refused = await since_empty(stores.till, session.wallet) if empty else 0
    return Dashboard(figures, listing, unlisted, days, low, refused, now)


def runway_days(available_nanos: int, pace_nanos: int | None) -> int | None:
    """Whole days that a balance lasts at a pace; None where there is none."""
    if not pace_nanos:
        return None
    return max(0, available_nanos) // pace_nanos


async def _listing(stores: Stores, session: Session, now: datetime) -> Listing:
    await statements.is_current(stores, session.wallet)
    scope = Scope(session.wallet, "" if session.main else session.key_id)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    async with (
        stores.books.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        key = await views.key(connection, session.wallet, session.key_id)
        latest = await rows.requests(
            connection, scope, Filter(), before=(rows.LATEST, ""), limit=LATEST
        )
        ever = await _usage(connection, scope, Filter(), bucket="")
        since = today - timedelta(days=DAYS - 1)
        daily = await _usage(connection, scope, Filter(since=since), bucket="1d")
        month = await rows.totals(connection, scope, Filter(since=today.replace(day=1)))
        anatomy = await views.anatomy(
            connection, session.wallet, scope.key_id, since=since, limit=ANATOMY_MAX
        )
        pace = await _pace(connection, scope, now)
    models = sorted(
        (ModelRow(row.slug, row.totals) for row in ever),
        key=lambda model: (-model.totals.charge_nanos, model.slug),
    )
    day_models, days = _days(daily, today.date())
    return Listing(
        None if key is None else KeyRecord(**{**key, "status": STATUS[key["status"]]}),
        latest,
        models,
        sum(model.totals.requests for model in models),
        sum(model.totals.charge_nanos for model in models),
        month,
        days,
        day_models,
        take_apart(anatomy),
        pace,
    )


async def _usage(
    connection: Any, scope: Scope, wanted: Filter, *, bucket: str
) -> list[rows.UsageRow]:
    return await rows.usage(
        connection,
        scope,
        wanted,
        bucket=bucket,
        zone="UTC",
        by_model=True,
        by_key=False,
        limit=statements.BUCKETS_MAX,
    )


async def _pace(connection: Any, scope: Scope, now: datetime) -> int | None:
    """Nanos a day."""
    since = now - timedelta(days=PACE_DAYS)
    totals = await rows.totals(connection, scope, Filter(since=since))
    if not totals.charge_nanos:
        return None
    first = await views.first_request(connection, scope.wallet, scope.key_id)
    hours = (now - max(first or since, since)) // timedelta(hours=1)
    return None if hours < PACE_HOURS_MIN else totals.charge_nanos * 24 // hours


def _days(daily: Sequence[rows.UsageRow], last: date) -> tuple[list[str], list[Day]]:
    """Every day of the last `DAYS`, those without a request too, and the models, dearest first."""
    cost: dict[tuple[date, str], int] = defaultdict(int)
    whole: dict[str, int] = defaultdict(int)
    for row in daily:
        if row.start is not None:
            cost[row.start.date(), row.slug] += row.totals.charge_nanos
            whole[row.slug] += row.totals.charge_nanos
    models = sorted(whole, key=lambda slug: (-whole[slug], slug))
    days = []
    for back in reversed(range(DAYS)):
        day = last - timedelta(days=back)
        by_model = [cost[day, slug] for slug in models]
        days.append(Day(day, sum(by_model), by_model))
    return models, days


def take_apart(anatomy: views.Anatomy) -> Anatomy:
    """The four parts of a cost, searches where there were any, and what is left over: the parts
    come to the charge, to the nano."""
    tokens: dict[str, int] = defaultdict(int)
    picos: dict[str, int] = defaultdict(int)
    for row in anatomy.rows:
        name = "cache_write" if row.name.startswith("cache_write") else row.name
        tokens[name] += row.tokens
        picos[name] += row.picos
    names = ["input", "cache_read", "cache_write", "output"]
    names += ["searches"] if tokens["searches"] else []
    parts = [Part(name, tokens[name], picos[name] // PICOS_PER_NANO) for name in names]
    rest = anatomy.charge_nanos - sum(part.cost_nanos for part in parts)
    if rest:
        parts.append(Part("rest", 0, rest))
    saved = sum(row.saved_picos for row in anatomy.rows)
    return Anatomy(
        parts,
        anatomy.charge_nanos,
        anatomy.requests,
        saved // PICOS_PER_NANO,
        anatomy.requests < ANATOMY_MAX,
    )
