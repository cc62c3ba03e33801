"""Where the books stand at this moment, over all wallets: for the operator's gauges.

Each question is bounded: a sum over a table that has one row a wallet, or an index of what waits.
"""

from datetime import datetime
from typing import Any, NamedTuple

WAIT_MAX_S = 60
"""A credit that has waited for so long is not on its way any more."""
PATIENCE_S = 5
"""No gauge is worth a query that runs for longer."""
_SUMS = """
select coalesce(sum(balance_nanos), 0)::bigint as balance,
    coalesce(sum(receivable_nanos), 0)::bigint as receivable from wallet
"""
_UNCREDITED = """
select (select count(*) from outbox where applied_at is null and kind = 'credit'
        and counter like 'clearing:%' and created_at < now() - make_interval(secs => $1))
    + (select count(*) from outbox where refused <> '' and kind = 'credit'
        and counter like 'clearing:%')
"""
_MOVES = "select kind, count(*) from outbox where applied_at is null group by 1"
_MAILS = "select state, count(*) from mail where state in ('queued', 'deferred') group by 1"
_REFUNDS = """
select state, count(*), min(created_at) from refund
where state in ('requested', 'approved') group by 1
"""


class Standing(NamedTuple):
    """Amounts in nanos."""

    at: datetime
    """By the database's clock."""
    balance_nanos: int
    receivable_nanos: int
    uncredited: int
    """Payments that should have been on a balance for a minute."""
    moves: dict[str, int]
    """What Redis does not have yet, by kind."""
    mails: dict[str, int]
    """What is not sent yet, by state."""
    refunds: dict[str, int]
    """What is not sent yet, by state."""
    refund_since: datetime | None
    """Since when the oldest of them is open."""


async def read(connection: Any) -> Standing:
    """The figures of one moment, in the caller's transaction."""
    await connection.execute(f"set local statement_timeout = {PATIENCE_S * 1000}")
    balance, receivable = await connection.fetchrow(_SUMS)
    refunds = await connection.fetch(_REFUNDS)
    return Standing(
        await connection.fetchval("select clock_timestamp()"),
        balance,
        receivable,
        int(await connection.fetchval(_UNCREDITED, WAIT_MAX_S)),
        dict(await connection.fetch(_MOVES)),
        dict(await connection.fetch(_MAILS)),
        {row[0]: row[1] for row in refunds},
        min((row[2] for row in refunds), default=None),
    )
