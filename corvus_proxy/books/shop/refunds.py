"""Refunds: money that goes back to its payer."""

from datetime import datetime
from typing import Any, NamedTuple


class RefundRow(NamedTuple):
    """One refund. Amount in nanos."""

    refund_id: str
    order_id: str
    payment_id: str
    amount_nanos: int
    state: str
    provider_ref: str
    actor: str
    reason: str
    created_at: datetime
    ended_at: datetime | None
    waits: bool = False
    """For a second operator's word; nothing is taken from the balance before it."""


_COLUMNS = ", ".join(RefundRow._fields)
SELECT = f"select {_COLUMNS} from refund"  # noqa: S608


async def insert(
    connection: Any,
    refund_id: str,
    order_id: str,
    payment_id: str,
    amount_nanos: int,
    *,
    actor: str,
    reason: str,
    waits: bool = False,
) -> None:
    """A refund that was asked for."""
    await connection.execute(
        "insert into refund"
        " (refund_id, order_id, payment_id, amount_nanos, state, actor, reason, waits)"
        " values ($1, $2, $3, $4, 'requested', $5, $6, $7)",
        refund_id,
        order_id,
        payment_id,
        amount_nanos,
        actor,
        reason,
        waits,
    )


async def by_id(connection: Any, refund_id: str) -> RefundRow | None:
    row = await connection.fetchrow(f"{SELECT} where refund_id = $1", refund_id)
    return None if row is None else RefundRow(*row)


async def of_order(connection: Any, order_id: str) -> list[RefundRow]:
    """An order's refunds, oldest first."""
    rows = await connection.fetch(
        f"{SELECT} where order_id = $1 order by created_at, refund_id", order_id
    )
    return [RefundRow(*row) for row in rows]


async def open_ones(connection: Any, *, limit: int = 50) -> list[RefundRow]:
    """Refunds that have a step to go by themselves, oldest first."""
    rows = await connection.fetch(
        f"{SELECT} where state in ('requested', 'approved') and not waits"
        " order by created_at limit $1",
        limit,
    )
    return [RefundRow(*row) for row in rows]


async def latest(connection: Any, *, open_only: bool, limit: int) -> list[RefundRow]:
    """The newest refunds, or the newest that have not ended."""
    rows = await connection.fetch(
        f"{SELECT} where not $1 or state in ('requested', 'approved')"
        " order by created_at desc, refund_id limit $2",
        open_only,
        limit,
    )
    return [RefundRow(*row) for row in rows]


async def go_on(connection: Any, refund_id: str) -> bool:
    """Ends a refund's waiting for a second operator; False: it does not wait."""
    done = await connection.execute(
        "update refund set waits = false where refund_id = $1 and waits and state = 'requested'",
        refund_id,
    )
    return bool(done == "UPDATE 1")


async def move(
    connection: Any, refund_id: str, before: str, after: str, *, provider_ref: str = ""
) -> bool:
    """Takes a refund one step on; False: somebody else has."""
    done = await connection.execute(
        """update refund set state = $3, provider_ref = $4,
           ended_at = case when $3 in ('sent', 'refused') then now() end
        where refund_id = $1 and state = $2""",
        refund_id,
        before,
        after,
        provider_ref,
    )
    return bool(done == "UPDATE 1")
