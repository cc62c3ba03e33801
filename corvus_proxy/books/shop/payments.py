"""Payments, and the double entry of money outside the wallets."""

from datetime import datetime
from typing import Any, NamedTuple


class PaymentRow(NamedTuple):
    """One payment as the books have it. Amounts in nanos."""

    payment_id: str
    order_id: str
    provider: str
    reference: str
    state: str
    asset: str
    asset_amount: str
    rate: str
    value_nanos: int
    counted: bool
    credited_nanos: int
    fee_nanos: int
    tax_nanos: int
    reversals: int
    reversed_nanos: int
    destination: str
    transaction: str
    confirmations: int
    confirmations_needed: int
    late: bool
    seen_at: datetime
    confirmed_at: datetime | None
    reversed_at: datetime | None


class CashLine(NamedTuple):
    """One line of a cash entry: from `credit` to `debit`. Lines of nothing are left out."""

    debit: str
    credit: str
    amount_nanos: int


_COLUMNS = ", ".join(PaymentRow._fields)
_PLACES = ", ".join(f"${at}" for at in range(1, len(PaymentRow._fields) + 1))
_SET = ", ".join(
    f"{name} = excluded.{name}"
    for name in PaymentRow._fields
    if name not in ("payment_id", "order_id", "provider", "reference", "seen_at")
)
PUT = f"""
insert into payment ({_COLUMNS}) values ({_PLACES}) on conflict (payment_id) do update set {_SET}
"""  # noqa: S608
SELECT = f"select {_COLUMNS} from payment"  # noqa: S608


async def of_order(connection: Any, order_id: str) -> list[PaymentRow]:
    """An order's payments, oldest first."""
    rows = await connection.fetch(
        f"{SELECT} where order_id = $1 order by seen_at, payment_id", order_id
    )
    return [PaymentRow(*row) for row in rows]


async def put(connection: Any, row: PaymentRow) -> None:
    """A payment as it is now."""
    await connection.execute(PUT, *row)


async def cash(connection: Any, entry_id: str, order_id: str, lines: list[CashLine]) -> None:
    """A cash entry; the same id twice is one."""
    await connection.executemany(
        "insert into cash (id, line, debit, credit, amount_nanos, order_id)"
        " values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        [(entry_id, at, *line, order_id) for at, line in enumerate(lines) if line.amount_nanos > 0],
    )


async def refused(connection: Any, credit_ids: list[str]) -> dict[str, str]:
    """Those of these credits to which Redis has said no, and why."""
    rows = await connection.fetch(
        "select id, refused from outbox where id = any($1) and refused <> ''", credit_ids
    )
    return {row["id"]: row["refused"] for row in rows}


async def moved(connection: Any, move_id: str) -> tuple[int, int] | None:
    """What a booked credit or debit has moved, and what it fell short of; None: not booked yet."""
    row = await connection.fetchrow(
        "select abs(delta_nanos) as moved, shortfall_nanos from event"
        " where type in ('C', 'D') and ext_id = $1",
        move_id,
    )
    return None if row is None else (int(row["moved"]), int(row["shortfall_nanos"]))
