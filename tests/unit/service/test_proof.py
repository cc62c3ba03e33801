"""Days and checks for the proof page: when a check is due, what is read."""

from datetime import UTC, date, datetime, timedelta

import pytest

from corvus_proxy import clock
from corvus_proxy.books.db import Books, BooksUnavailable
from corvus_proxy.books.published import checks
from corvus_proxy.books.published.checks import Check
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.event import partition_of
from corvus_proxy.service import keys, ledger, proof
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, b"p" * 32)


async def write(stores: Stores) -> None:
    while await Writer(stores.till, stores.books, keep=10).tick(block_ms=1):
        pass


def result(at: datetime, *, ok: bool = True) -> Check:
    return Check(at, "worker", ok, 1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("last", "due"),
    [
        (None, True),
        (result(NOON - timedelta(minutes=1)), False),
        (result(NOON - timedelta(hours=11)), False),
        (result(NOON - timedelta(hours=13)), True),
        (result(NOON - timedelta(minutes=9), ok=False), False),
        (result(NOON - timedelta(minutes=10), ok=False), True),
    ],
)
def test_a_check_is_due_once_a_day_and_after_a_finding(last: Check | None, due: bool) -> None:
    assert proof._is_due(last, NOON) is due


async def test_the_worker_checks_an_open_ledger_and_repeats_what_failed(stores: Stores) -> None:
    """Once a day where all agrees; a nano too much is kept as found, for everybody to see."""
    made = await keys.create(stores, credit_nanos=1000)
    await write(stores)
    await proof.check_daily(stores)
    await proof.check_daily(stores)
    today = clock.utc_now().date()
    found = await proof.read(stores.books, today)
    assert found.last is not None
    assert found.last[1:] == ("worker", True, 1, 1, 0, 0, 0)
    assert sum(day.checks for day in found.days) == 1
    name = f"{{p{partition_of(made.wallet):02d}}}:w:{made.wallet}"
    await stores.till._redis.hset(name, "bal", "1001")
    report = await ledger.verify(stores)
    assert not report.ok
    found = await proof.read(stores.books, today)
    assert found.last is not None
    assert (found.last.by, found.last.ok, found.last.drift_nanos) == ("operator", False, 1)
    assert found.last.problems == len(report.problems)
    assert (found.days[0].checks, found.days[0].failed) == (2, 1)


async def test_a_ledger_that_is_being_rebuilt_is_not_checked(stores: Stores) -> None:
    """Both sides differ by right then; a finding would stay for ever."""
    await stores.till._redis.hset("{p07}:m", "st", "REBUILD")
    await proof.check_daily(stores)
    async with stores.books.connection() as connection:
        assert await checks.last(connection) is None


async def test_days_stand_without_a_gap_and_close_when_all_of_them_is_counted(
    stores: Stores,
) -> None:
    """Today is open; a day long ago is closed; one without anything is there, at zero."""
    await keys.create(stores, credit_nanos=1000)
    await write(stores)
    await proof.count_days(stores)
    now = clock.utc_now()
    async with stores.books.transaction() as connection:
        await checks.add(connection, result(now - timedelta(days=3)))
    found = await proof.read(stores.books, now.date())
    assert [day.total.day for day in found.days] == [
        now.date() - timedelta(days=back) for back in range(4)
    ]
    assert [day.closed for day in found.days] == [False, *[True] * 3] or now.hour == 0
    assert found.days[0].total.granted_nanos + found.days[1].total.granted_nanos == 1000
    assert (found.days[3].checks, found.days[3].total.requests) == (1, 0)
    assert found.upto is not None


def test_a_day_is_closed_minutes_after_its_end() -> None:
    """A batch that began before midnight may be committed after it."""
    day, end = date(2026, 11, 26), datetime(2026, 11, 27, tzinfo=UTC)
    late = timedelta(seconds=proof.SETTLED_S)
    closed = [proof._is_closed(day, at) for at in (None, end, end + late, end + 2 * late)]
    assert closed == [False, False, True, True]


async def test_without_the_books_there_is_nothing_to_read() -> None:
    with pytest.raises(BooksUnavailable):
        await proof.read(Books("postgresql://127.0.0.1:1/x"), NOON.date())
