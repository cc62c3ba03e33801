"""Money back: `requested → approved → sent`, or `refused`.

Redis first: what is free is taken from the balance, and only then does the payment service hear of
it, under the refund's own id. A crash between two steps leaves a row on which the worker goes on;
neither step happens twice. What the service refuses for good is given back to the balance.
"""

import json
from typing import Any, NamedTuple

import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.books import wallets
from corvus_proxy.books.shop import orders, payments
from corvus_proxy.books.shop import refunds as rows
from corvus_proxy.books.shop.orders import OrderRow
from corvus_proxy.books.shop.payments import CashLine, PaymentRow
from corvus_proxy.books.shop.refunds import RefundRow
from corvus_proxy.ledger import outbox
from corvus_proxy.shop import delivering
from corvus_proxy.shop.delivering import Means
from corvus_proxy.shop.price import CENT_NANOS, usd
from corvus_proxy.shop.provider import ProviderRefused, ProviderUnavailable
from corvus_proxy.shop.settle import bring
from corvus_proxy.shop.states import by_hand
from corvus_proxy.till.reply import Debited, Duplicate

COUNTER = "refunds"
OWN = "Who has asked for a refund does not approve it; another operator does."
_log = structlog.get_logger()


class Left(NamedTuple):
    """What of one payment can still be sent back. Nanos."""

    payment: PaymentRow
    nanos: int


async def most(means: Means, order: OrderRow) -> Left | None:
    """The payment of which most can be sent back now, whole cents: credited by this order, not sent
    back yet, and free on the balance. None: nothing. Raises BooksUnavailable, TillUnavailable."""
    if order.wallet is None:
        return None
    state = await means.till.wallet(order.wallet)
    free = state.balance_nanos - state.held_nanos if state else 0
    async with means.books.connection() as connection:
        left = _left(
            order,
            await payments.of_order(connection, order.order_id),
            await rows.of_order(connection, order.order_id),
        )
    found = max(left, key=lambda one: one.nanos, default=None)
    if found is None:
        return None
    nanos = min(found.nanos, free) // CENT_NANOS * CENT_NANOS
    return found._replace(nanos=nanos) if nanos > 0 else None


async def request(
    means: Means, order_id: str, nanos: int, *, reason: str, actor: str
) -> RefundRow | str:
    """Asks for a refund and goes on with it as far as it comes; or a sentence that says why not.
    One by which more of the order goes back than `shop.refund_alone_usd` waits for another
    operator's `approve`. Raises LookupError, BooksUnavailable."""
    if nanos <= 0 or nanos % CENT_NANOS:
        return "A refund is an amount above zero in whole cents."
    refund_id = f"ref_{clock.random_text(12)}"
    async with means.books.transaction() as connection:
        order = await orders.lock(connection, order_id)
        earlier = await rows.of_order(connection, order_id)
        left = _left(order, await payments.of_order(connection, order_id), earlier)
        payment = next((one.payment for one in left if one.nanos >= nanos), None)
        if payment is None or order.wallet is None:
            return "No single payment of this order has so much left to be sent back."
        waits = wants_two(means, nanos, earlier)
        await rows.insert(
            connection, refund_id, order_id, payment.payment_id, nanos, actor=actor, reason=reason,
            waits=waits,
        )  # fmt: skip
        if not waits:
            await wallets.insert_outbox(connection, _debit(order, refund_id, nanos))
        await orders.change(connection, order_id, refund="requested")
        await orders.add_step(connection, order_id, "refund_requested", amount_nanos=nanos)
        details = json.dumps({"refund": refund_id, "nanos": nanos, "reason": reason})
        await wallets.insert_audit(
            connection, actor=actor, action="orders.refund", subject=order_id, details=details
        )
        await delivering.mail_refund(connection, means, order, nanos, "requested", reason)
    return await advance(means, refund_id)


async def approve(means: Means, refund_id: str, *, reason: str, actor: str) -> RefundRow | str:
    """A second operator's yes: the refund goes on as far as it comes; or a sentence that says why
    not. Raises LookupError, BooksUnavailable, TillUnavailable."""
    refund, order = await _read(means, refund_id)
    if same_person(refund.actor, actor):
        return OWN
    async with means.books.transaction() as connection:
        await orders.lock(connection, order.order_id)
        if not await rows.go_on(connection, refund_id):
            return f"It does not wait for anybody: it is {refund.state}."
        await wallets.insert_outbox(connection, _debit(order, refund_id, refund.amount_nanos))
        await _audit(connection, "refunds.approve", refund, reason=reason, actor=actor)
    return await advance(means, refund_id)


async def refuse(means: Means, refund_id: str, *, reason: str, actor: str) -> RefundRow | str:
    """Ends a refund that waits for a second operator; nothing was taken for it. Or a sentence that
    says why not. Raises LookupError, BooksUnavailable."""
    refund, order = await _read(means, refund_id)
    async with means.books.transaction() as connection:
        await orders.lock(connection, order.order_id)
        if not await rows.go_on(connection, refund_id):
            return f"It does not wait for anybody: it is {refund.state}."
        await rows.move(connection, refund_id, "requested", "refused")
        await orders.change(connection, order.order_id, refund="refused")
        await orders.add_step(
            connection, order.order_id, "refund_refused", amount_nanos=refund.amount_nanos
        )
        await _audit(connection, "refunds.refuse", refund, reason=reason, actor=actor)
        await delivering.mail_refund(
            connection, means, order, refund.amount_nanos, "refused", reason
        )
    return (await _read(means, refund_id))[0]


def same_person(one: str, other: str) -> bool:
    """Whether two actors have the name of one person, as `cli:ada` and `console:ada`."""
    return (one.partition(":")[2] or one) == (other.partition(":")[2] or other)


def wants_two(means: Means, nanos: int, earlier: list[RefundRow]) -> bool:
    """Whether a refund waits for a second operator (`shop.refund_alone_usd`); `earlier`: those of
    its order, for a large one is not to be sent in small parts."""
    alone = means.settings.shop.refund_alone_usd
    of_order = nanos + sum(one.amount_nanos for one in earlier if one.state != "refused")
    return alone != "" and of_order > usd("refund_alone_usd", alone)


async def _audit(
    connection: Any, action: str, refund: RefundRow, *, reason: str, actor: str
) -> None:
    details = json.dumps({"order": refund.order_id, "nanos": refund.amount_nanos, "reason": reason})
    await wallets.insert_audit(
        connection, actor=actor, action=action, subject=refund.refund_id, details=details
    )


async def go_on(means: Means) -> int:
    """Takes every open refund as far as it comes; how many there were. Raises BooksUnavailable,
    TillUnavailable."""
    async with means.books.connection() as connection:
        found = await rows.open_ones(connection)
    for one in found:
        await advance(means, one.refund_id)
    return len(found)


async def advance(means: Means, refund_id: str) -> RefundRow:
    """Takes a refund as far as it comes; as it stands then. Raises LookupError, BooksUnavailable,
    TillUnavailable."""
    refund, order = await _read(means, refund_id)
    if refund.state == "requested" and not refund.waits:
        await _take_from_balance(means, refund, order)
        refund, order = await _read(means, refund_id)
    if refund.state == "approved":
        await _send(means, refund, order)
        refund, _ = await _read(means, refund_id)
    return refund


async def _read(means: Means, refund_id: str) -> tuple[RefundRow, OrderRow]:
    async with means.books.connection() as connection:
        refund = await rows.by_id(connection, refund_id)
        order = None if refund is None else await orders.by_id(connection, refund.order_id)
    if refund is None or order is None:
        raise LookupError(f"there is no refund {refund_id}")
    return refund, order


async def _take_from_balance(means: Means, refund: RefundRow, order: OrderRow) -> None:
    row = _debit(order, refund.refund_id, refund.amount_nanos)
    reply = await outbox.send(means.till, means.books, row)
    if isinstance(reply, Debited | Duplicate):
        await _move(means, refund, "approved", refunded_nanos=refund.amount_nanos)
    elif isinstance(reply, outbox.Refused):
        await _move(means, refund, "refused", refunded_nanos=0)


async def _send(means: Means, refund: RefundRow, order: OrderRow) -> None:
    provider = means.providers.get(order.provider)
    if provider is None:
        return
    reference = refund.payment_id.partition(":")[2]
    try:
        sent = await provider.refund(reference, refund.amount_nanos, refund.refund_id)
    except ProviderUnavailable as error:
        metrics.PROVIDER_FAILURES.labels(order.provider, "refund").inc()
        _log.warning("refund_waits", refund=refund.refund_id, why=str(error))
    except ProviderRefused as error:
        _log.error("refund_refused", refund=refund.refund_id, why=str(error))
        await _move(means, refund, "refused", refunded_nanos=-refund.amount_nanos)
        await bring(means, order.wallet or "")
    else:
        await _move(means, refund, "sent", refunded_nanos=0, provider_ref=sent)


async def _move(
    means: Means, refund: RefundRow, state: str, *, refunded_nanos: int, provider_ref: str = ""
) -> None:
    """One step on, with all that belongs to it, in one transaction; nothing where somebody else has
    made it."""
    async with means.books.transaction() as connection:
        order = await orders.lock(connection, refund.order_id)
        if not await rows.move(
            connection, refund.refund_id, refund.state, state, provider_ref=provider_ref
        ):
            return
        order = await orders.change(
            connection,
            order.order_id,
            refund=state,
            refunded_nanos=order.refunded_nanos + refunded_nanos,
        )
        if state == "sent":
            line = CashLine(COUNTER, f"cash:{order.provider}", refund.amount_nanos)
            entry = f"refund:{refund.refund_id}"
            await payments.cash(connection, entry, order.order_id, [line])
        if refunded_nanos < 0:
            await wallets.insert_outbox(connection, _give_back(order, refund))
        await orders.add_step(
            connection, order.order_id, f"refund_{state}", amount_nanos=refund.amount_nanos
        )
        provider = means.providers.get(order.provider)
        url = provider.claim_url(provider_ref) if provider and state == "sent" else ""
        await delivering.mail_refund(
            connection, means, order, refund.amount_nanos, state, refund.reason, claim_url=url
        )


def _left(order: OrderRow, paid: list[PaymentRow], sent: list[RefundRow]) -> list[Left]:
    """What each confirmed payment was credited, less what goes back of it already."""
    return [
        Left(
            one,
            one.credited_nanos
            - sum(
                back.amount_nanos
                for back in sent
                if back.payment_id == one.payment_id and back.state != "refused"
            ),
        )
        for one in paid
        if one.state == "confirmed" and one.credited_nanos and not by_hand(one.reference)
    ]


def _debit(order: OrderRow, refund_id: str, nanos: int) -> wallets.OutboxRow:
    return wallets.OutboxRow(
        f"refund:{refund_id}",
        "debit",
        order.wallet or "",
        nanos,
        COUNTER,
        order.key_id or "",
        f"refund of order {order.order_id}",
    )


def _give_back(order: OrderRow, refund: RefundRow) -> wallets.OutboxRow:
    return wallets.OutboxRow(
        f"refund-back:{refund.refund_id}",
        "credit",
        order.wallet or "",
        refund.amount_nanos,
        COUNTER,
        order.key_id or "",
        f"refund of order {order.order_id} could not be sent",
    )
