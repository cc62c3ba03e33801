"""Results of ledger checks: kept for ever, also those that found something."""

from datetime import date, datetime
from typing import Any, NamedTuple

import asyncpg


class Check(NamedTuple):
    """One comparison of Redis with the books."""

    at: datetime
    by: str
    """`worker` or `operator`."""
    ok: bool
    wallets: int
    events: int
    """That the books had."""
    drift_nanos: int
    """Sum of the absolute differences over all wallets."""
    undrained: int
    """Events that the books were yet to have; part of the comparison."""
    problems: int
    """Findings; what they are is the operator's to know, for they name wallets."""


class DayChecks(NamedTuple):
    """The checks of one UTC day."""

    day: date
    checks: int
    failed: int
    drift_nanos: int
    """The largest."""


_COLUMNS = ", ".join(Check._fields)
_INSERT = f"insert into ledger_check ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8)"  # noqa: S608
_LAST = f"select {_COLUMNS} from ledger_check order by at desc limit 1"  # noqa: S608
_BY_DAY = """
select (at at time zone 'utc')::date as day, count(*), count(*) filter (where not ok),
    max(drift_nanos) from ledger_check where at >= $1::date::timestamp at time zone 'utc'
group by 1 order by 1
"""


async def add(connection: Any, check: Check) -> None:
    """Keeps a result. Books that were not migrated yet have no place for it."""
    try:
        await connection.execute(_INSERT, *check)
    except asyncpg.UndefinedTableError:
        return


async def last(connection: Any) -> Check | None:
    """The latest result."""
    row = await connection.fetchrow(_LAST)
    return None if row is None else _check(row)


async def by_day(connection: Any, since: date) -> list[DayChecks]:
    """The days from `since` on on which something was checked, the earliest first."""
    return [
        DayChecks(row[0], row[1], row[2], int(row[3]))
        for row in await connection.fetch(_BY_DAY, since)
    ]


def _check(row: Any) -> Check:
    found = Check(*row)
    return found._replace(drift_nanos=int(found.drift_nanos))
