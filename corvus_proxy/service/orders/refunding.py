"""Money back, and money by hand: what the operator does to an order."""

import json

from corvus_proxy import clock
from corvus_proxy.books import wallets
from corvus_proxy.books.shop import orders, payments
from corvus_proxy.books.shop.payments import PaymentRow
from corvus_proxy.money.amount import WALLET_NANOS_MAX, format_usd
from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.service.orders.types import Problem, RefundView
from corvus_proxy.service.orders.viewing import refund_view
from corvus_proxy.shop import refunds
from corvus_proxy.shop.settle import bring, credit
from corvus_proxy.shop.states import FOLLOWS, MANUAL, PAID


async def refundable(desk: Desk, order_id: str) -> int:
    """What of an order can be sent back at once now: unspent, credited by it, of one payment, in
    whole cents. Raises LookupError, BooksUnavailable, TillUnavailable."""
    async with desk.stores.books.connection() as connection:
        order = await orders.by_id(connection, order_id)
    if order is None:
        raise LookupError(f"there is no order {order_id}")
    found = await refunds.most(desk.means, order)
    return found.nanos if found else 0


async def refund(
    desk: Desk, order_id: str, nanos: int, *, reason: str, actor: str
) -> RefundView | Problem:
    """Takes free money from the balance and has the payment service send it back. Raises
    LookupError, BooksUnavailable, TillUnavailable."""
    most = await refundable(desk, order_id)
    if nanos > most:
        return Problem("amount", f"At most {format_usd(most)} USD can be sent back now.")
    done = await refunds.request(desk.means, order_id, nanos, reason=reason, actor=actor)
    if isinstance(done, str):
        return Problem("amount", done)
    return refund_view(desk, done, own=True)


async def credit_by_hand(desk: Desk, order_id: str, nanos: int, *, reason: str, actor: str) -> int:
    """Credits an order for money that its payment service does not know; what it is credited in
    all. `reason` is public: it stands on the order's page. Raises LookupError, ValueError,
    BooksUnavailable."""
    if not 0 < nanos <= WALLET_NANOS_MAX:
        raise ValueError("an amount above zero is needed, of 1,000,000 USD at the most")
    if not reason.strip():
        raise ValueError("the buyer reads why: give a reason")
    now = clock.utc_now()
    reference = MANUAL + clock.random_text(12)
    async with desk.stores.books.transaction() as connection:
        order = await orders.lock(connection, order_id)
        row = PaymentRow(
            reference, order_id, "manual", reference, "confirmed", "USD", format_usd(nanos), "1",
            nanos, True, nanos, 0, 0, 0, 0, "", "", 0, 0, False, now, now, None,
        )  # fmt: skip
        order = await credit(connection, desk.means, order, row, via="operator")
        await payments.put(connection, row)
        state = (PAID, "manual")
        if state not in FOLLOWS[(order.status, order.exception)]:
            state = (order.status, order.exception)
        elif state != (order.status, order.exception):
            await orders.add_step(connection, order_id, PAID, exception="manual", via="operator")
        order = await orders.change(
            connection, order_id, status=state[0], exception=state[1], reason=reason.strip()
        )
        details = json.dumps({"nanos": nanos, "reason": reason})
        await wallets.insert_audit(
            connection, actor=actor, action="orders.credit", subject=order_id, details=details
        )
    await bring(desk.means, order.wallet or "")
    return order.credited_nanos
