"""What each upstream credential has cost the operator, by UTC day: what its budgets are held to.

Added to in the transaction that books a request, so it is counted once, by whichever gateway and
whatever restarts in between. Where an ended lease is charged late, both rows name what there was
until then: a budget is met too early there, never too late.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

_ADD = """
insert into credential_cost as had (day, credential, cost_nanos) values ($1, $2, $3)
on conflict (day, credential) do update set cost_nanos = had.cost_nanos + excluded.cost_nanos
"""
_TOTALS = """
select credential, coalesce(sum(cost_nanos) filter (where day = $1), 0)::bigint as today,
    sum(cost_nanos)::bigint as month
from credential_cost where day between date_trunc('month', $1::date)::date and $1
group by credential
"""


class Cost(NamedTuple):
    """Of one request."""

    ended_at: datetime
    credential: str
    nanos: int


class Spent(NamedTuple):
    """Of one credential, in nanos."""

    day_nanos: int
    month_nanos: int


async def add(connection: Any, found: Iterable[Cost]) -> None:
    """Counts requests, in the caller's transaction."""
    sums: dict[tuple[date, str], int] = {}
    for ended_at, credential, nanos in found:
        if nanos > 0:
            at = (ended_at.astimezone(UTC).date(), credential)
            sums[at] = sums.get(at, 0) + nanos
    # In one order, so that two writers never wait for each other.
    await connection.executemany(_ADD, [(*at, sums[at]) for at in sorted(sums)])


async def totals(connection: Any, day: date) -> dict[str, Spent]:
    """What each credential has cost on that UTC day, and since its month began, by name."""
    rows = await connection.fetch(_TOTALS, day)
    return {row["credential"]: Spent(row["today"], row["month"]) for row in rows}
