"""What credentials cost: counted with the request that is booked, by UTC day, once."""

from datetime import date

import msgspec
import pytest

from corvus_proxy import clock
from corvus_proxy.books import costs, entries
from corvus_proxy.books.db import Books
from corvus_proxy.money.event import Event, Meta, encode_meta
from corvus_proxy.service import budgets
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till
from corvus_proxy.till.telling import spending

pytestmark = pytest.mark.anyio
PART = 5
W = "w_costs0000001"
NOON_MS = 1_795_694_400_000
"""2026-11-26 12:00 UTC."""
HOUR_MS = 3_600_000


def settle(seq: int, credential: str, cost_nanos: int, ended_ms: int) -> Event:
    """A request at zero that cost the operator something."""
    meta = Meta(credential=credential, cost_nanos=cost_nanos, ended_ms=ended_ms, attempts=1)
    return Event(
        partition=PART, epoch=1, seq=seq, type="S", id=f"r{seq}", wallet=W, key="", slug="s",
        delta_nanos=0, balance_nanos=0, wallet_seq=seq, actual_nanos=0, shortfall_nanos=0,
        outcome="completed", meta=encode_meta(meta),
    )  # fmt: skip


async def spent(books: Books, day: str) -> dict[str, tuple[int, int]]:
    async with books.connection() as connection:
        return {**await costs.totals(connection, date.fromisoformat(day))}


async def test_requests_are_counted_by_day_and_month_with_their_booking(books: Books) -> None:
    """Midnight is UTC's; what is not booked, because another was there first, is not counted."""
    async with books.connection() as connection:
        await connection.execute("insert into wallet (wallet, part) values ($1, $2)", W, PART)
    events = [
        settle(1, "a", 30, NOON_MS),
        settle(2, "a", 12, NOON_MS + 12 * HOUR_MS - 1),
        settle(3, "a", 500, NOON_MS + 12 * HOUR_MS),
        settle(4, "b", 7, NOON_MS),
        settle(5, "a", 9000, NOON_MS + 5 * 24 * HOUR_MS),
        settle(6, "b", 0, NOON_MS),
    ]
    for batch in (events[:2], events, events[2:]):
        async with books.transaction() as connection:
            undone = len(batch) == len(events)
            written = await entries.write(connection, PART, batch)
            assert (written is None) is undone
    assert await spent(books, "2026-11-26") == {"a": (42, 42), "b": (7, 7)}
    assert await spent(books, "2026-11-27") == {"a": (500, 542), "b": (0, 7)}
    assert await spent(books, "2026-12-01") == {"a": (9000, 9000)}
    async with books.connection() as connection:
        rows = await connection.fetch(
            "select (ended_at at time zone 'utc')::date as day, credential, sum(cost_nanos)"
            " from request where cost_nanos > 0 group by 1, 2 order by 1, 2"
        )
        counted = await connection.fetch("select * from credential_cost order by 1, 2")
    assert list(map(tuple, rows)) == list(map(tuple, counted))


async def test_the_worker_tells_the_gateways(valkey_till: Till, books: Books) -> None:
    """What the books have today; again after Redis has lost it, and unreadable words are none."""
    stores = Stores(valkey_till, books, b"p" * 32)
    assert await spending.read(valkey_till) is None
    async with books.transaction() as connection:
        await costs.add(connection, [costs.Cost(clock.utc_now(), "a", 5)])
    for _ in range(2):
        await budgets.tick(stores)
        told = await spending.read(valkey_till)
        assert told == spending.Spending(clock.utc_day(), {"a": (5, 5)})
        await valkey_till.redis.delete(spending.SPENDING_KEY)
    await valkey_till.redis.set(spending.SPENDING_KEY, "?")
    assert await spending.read(valkey_till) is None
    await budgets.tick(stores)
    assert await spending.read(valkey_till) == told


def test_what_was_told_yesterday_counts_for_the_month_alone() -> None:
    """And nothing of an earlier month counts; a worker ahead of us is believed."""
    told = spending.Spending("2026-11-29", {"a": (3, 40)})
    assert told.on("2026-11-29") == {"a": (3, 40)}
    assert told.on("2026-11-28") == {"a": (3, 40)}
    assert told.on("2026-11-30") == {"a": (0, 40)}
    assert told.on("2026-12-01") == {}
    assert spending.Spending().on("2026-12-01") == {}
    assert msgspec.json.decode(msgspec.json.encode(told), type=spending.Spending) == told
