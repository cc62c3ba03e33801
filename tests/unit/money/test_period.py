"""Days, weeks and months of UTC, beside Postgres's own reckoning."""

from datetime import UTC, datetime, timedelta

import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.money.period import PERIODS, ends_at, starts_at

INSTANTS = [
    datetime(2024, 2, 29, 23, 59, 59, 999999, UTC),
    datetime(2024, 12, 31, tzinfo=UTC),
    datetime(2026, 11, 30, 0, 0, tzinfo=UTC),
    datetime(2027, 1, 1, 0, 0, 0, 1, UTC),
    datetime(2100, 2, 28, 12, 0, tzinfo=UTC),
    *(datetime(1999, 12, 1, 7, tzinfo=UTC) + timedelta(days=9 * n) for n in range(100)),
]


@pytest.mark.anyio
async def test_periods_begin_where_postgres_says(books: Books) -> None:
    async with books.connection() as connection:
        for now in INSTANTS:
            for period in ("day", "week", "month"):
                start = await connection.fetchval(
                    "select date_trunc($1, $2::timestamptz, 'UTC')", period, now
                )
                assert starts_at(period, now) == start


def test_a_period_ends_where_the_next_begins() -> None:
    for now in INSTANTS:
        for period in ("day", "week", "month"):
            end = ends_at(period, now)
            assert end is not None
            assert end > now
            assert starts_at(period, end) == end
            assert starts_at(period, end - timedelta(microseconds=1)) == starts_at(period, now)
        assert starts_at("total", now) is ends_at("total", now) is None
    assert PERIODS == ("total", "day", "week", "month")
