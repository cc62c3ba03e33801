"""A payment that its payer or his bank took back, and one that came again.

What was credited is taken from what is free; the rest the wallet owes, until the dispute is won or
the wallet is topped up: what it owes is then taken from that, as if the reversal came again.

Its owner's payment was taken back, so the wallet stands still until the dispute is won or the
operator has spoken. A stranger may pay for a key of which he knows the id alone; his dispute takes
the money back, and stops nobody.
"""

from typing import Any

from corvus_proxy.books import wallets
from corvus_proxy.books.shop import orders, owners, payments, refunds
from corvus_proxy.books.shop.orders import OrderRow
from corvus_proxy.books.shop.payments import CashLine, PaymentRow
from corvus_proxy.money.event import CHARGEBACKS


async def reverse(connection: Any, order: OrderRow, row: PaymentRow) -> PaymentRow:
    """Takes back what a payment was credited, less what was refunded of it; the payment after."""
    back = sum(
        one.amount_nanos
        for one in await refunds.of_order(connection, order.order_id)
        if one.payment_id == row.payment_id and one.state != "refused"
    )
    amount = max(0, row.credited_nanos - back)
    row = row._replace(reversals=row.reversals + 1, reversed_nanos=amount)
    entry, asset = f"rev:{row.payment_id}:{row.reversals}", f"cash:{row.provider}"
    await payments.cash(
        connection,
        entry,
        order.order_id,
        [
            CashLine(CHARGEBACKS, asset, amount),
            CashLine("fees", asset, row.fee_nanos),
            CashLine("tax", asset, row.tax_nanos),
        ],
    )
    await _move(connection, order, entry, "reversal", amount)
    if order.new_key or order.by_owner:
        await _tell(connection, order, await owners.freeze(connection, order.wallet or ""))
    await orders.add_step(connection, order.order_id, "reversed", amount_nanos=amount)
    return row


async def restore(connection: Any, order: OrderRow, row: PaymentRow) -> PaymentRow | None:
    """Gives again what a reversal took; None while the books do not know yet how much that was.

    What the wallet still owes of it is forgiven first; the rest is credited.
    """
    taken = f"rev:{row.payment_id}:{row.reversals}"
    moved = (0, 0)
    if row.reversed_nanos:
        booked = await payments.moved(connection, taken)
        if booked is None:
            return None
        moved = booked
    forgiven = await wallets.lower_receivable(connection, order.wallet or "", moved[1])
    entry, asset = f"won:{row.payment_id}:{row.reversals}", f"cash:{row.provider}"
    await payments.cash(
        connection,
        entry,
        order.order_id,
        [
            CashLine(asset, CHARGEBACKS, row.reversed_nanos),
            CashLine(asset, "fees", row.fee_nanos),
            CashLine(asset, "tax", row.tax_nanos),
            CashLine(CHARGEBACKS, f"receivable:{order.wallet}", forgiven),
        ],
    )
    await _move(connection, order, entry, "credit", row.reversed_nanos - forgiven)
    await _tell(
        connection, order, await owners.thaw(connection, order.wallet or "", order.order_id)
    )
    await orders.add_step(connection, order.order_id, "restored", amount_nanos=row.reversed_nanos)
    return row._replace(reversed_nanos=0)


async def collect(connection: Any, order: OrderRow, row: PaymentRow) -> None:
    """Has what a wallet still owes taken from what this payment has credited, behind its credit.
    What is spent or held by then is owed again, by the event itself."""
    owed = await wallets.lower_receivable(connection, order.wallet or "", row.credited_nanos)
    if owed:
        entry = f"owed:{row.payment_id}"
        line = CashLine(CHARGEBACKS, f"receivable:{order.wallet}", owed)
        await payments.cash(connection, entry, order.order_id, [line])
        reason = f"owed of a payment that was taken back; from order {order.order_id}"
        await _move(connection, order, entry, "reversal", owed, reason)
        await orders.add_step(connection, order.order_id, "collected", amount_nanos=owed)


async def _move(
    connection: Any, order: OrderRow, entry: str, kind: str, amount_nanos: int, reason: str = ""
) -> None:
    if amount_nanos:
        row = wallets.OutboxRow(
            entry,
            kind,
            order.wallet or "",
            amount_nanos,
            CHARGEBACKS,
            order.key_id or "",
            reason or f"order {order.order_id}",
        )
        await wallets.insert_outbox(connection, row)


async def _tell(connection: Any, order: OrderRow, version: int | None) -> None:
    """Has Redis take the wallet's row again, where it has changed."""
    if version is not None:
        row = wallets.OutboxRow(
            f"key:{order.wallet}:{version}",
            "key",
            order.wallet or "",
            0,
            "",
            order.key_id or "",
            "chargeback",
        )
        await wallets.insert_outbox(connection, row)
