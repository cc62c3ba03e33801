"""`settle`: the only way in which an order is credited.

Rule 1: whoever says that money has come (a signed message, the worker's question, a page) only
causes the question; what the payment service answers is what counts.
Rule 2: one transaction under the order's row lock writes payments, cash, the new key, what Redis
has to hear, history and mail. Redis hears of it after the commit, at once and again from the
worker's outbox until it has. The ids are the payments' own, so that nothing happens twice.
Rule 3: answers may overtake each other. Questions are numbered, and an answer to an earlier one
than the last that was taken is dropped: it knows less.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.books import wallets
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.books.shop import orders, owners, payments
from corvus_proxy.books.shop.orders import OrderRow
from corvus_proxy.books.shop.payments import CashLine, PaymentRow
from corvus_proxy.ledger import outbox
from corvus_proxy.shop import delivering, reversing
from corvus_proxy.shop.delivering import Means
from corvus_proxy.shop.price import Price, usd
from corvus_proxy.shop.provider import Paid, ProviderRefused, ProviderUnavailable, Standing
from corvus_proxy.shop.services import simulated
from corvus_proxy.shop.states import PAID, SEEN, Change, Facts, Judgement, Known, by_hand, judge
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.reply import Fenced

SEEN_PAUSE_S = 60
"""Longest pause between two questions while a payment is on its way."""
AGE_SHARE = 40
"""An order is asked about again after this part of its age: soon at first, ever less later."""
_log = structlog.get_logger()


class Settled(NamedTuple):
    """What a settling has done."""

    answered: bool
    """The payment service has said how it stands."""
    status: str
    credited_nanos: int
    """By this settling."""
    asked: bool = True
    """The payment service was asked; not, where it has never heard of the order."""


async def settle(means: Means, order_id: str, *, via: str) -> Settled:
    """Asks the payment service about an order and does what follows from its answer.

    `via` is who caused it: `webhook`, `poll`, `page` or `operator`. Raises LookupError,
    BooksUnavailable; a service that does not answer is a value, and stands on the order.
    """
    async with means.books.transaction() as connection:
        number = await orders.ask(connection, order_id)
        order = await orders.by_id(connection, order_id)
    if order is None:
        raise LookupError(f"there is no order {order_id}")
    if order.provider_ref is None:
        return Settled(False, order.status, 0, asked=False)
    standing = await _ask(means, order)
    if standing is None:
        await _not_answered(means, order_id, number)
        return Settled(False, order.status, 0)
    async with means.books.transaction() as connection:
        order = await orders.lock(connection, order_id)
        if order.answered > number:
            return Settled(True, order.status, 0)
        done, wallet = await _take(connection, means, order, standing, number, via)
    if wallet:
        await bring(means, wallet)
    return done


async def bring(means: Means, wallet: str) -> None:
    """Tells Redis what it has still to hear of a wallet, in order; what does not arrive comes from
    the worker's outbox."""
    try:
        if simulated(means.settings, ""):
            await means.till.mark_simulated()
        async with means.books.connection() as connection:
            rows = await owners.waiting(connection, wallet)
        for row in rows:
            reply = await outbox.send(means.till, means.books, row)
            if reply is False or isinstance(reply, Fenced):
                return
    except (TillUnavailable, BooksUnavailable) as error:
        _log.info("credit_waits", wallet=wallet, why=str(error))


async def _ask(means: Means, order: OrderRow) -> Standing | None:
    """What the payment service says of an order; None where it says nothing."""
    provider = means.providers.get(order.provider)
    if provider is None:
        why = "it is not configured"
    else:
        try:
            return await provider.standing(order.provider_ref or "")
        except (ProviderUnavailable, ProviderRefused) as error:
            why = str(error)
    metrics.PROVIDER_FAILURES.labels(order.provider, "standing").inc()
    _log.warning("provider_away", order=order.order_id, provider=order.provider, why=why)
    return None


async def _not_answered(means: Means, order_id: str, number: int) -> None:
    async with means.books.transaction() as connection:
        order = await orders.lock(connection, order_id)
        if order.answered < number:
            await orders.change(
                connection,
                order_id,
                check_problem="The payment service does not answer; we keep asking.",
                next_check_at=next_check(order, order.status, means.settings.shop.poll_s),
            )


async def _take(
    connection: Any,
    means: Means,
    order: OrderRow,
    standing: Standing,
    number: int,
    via: str,
) -> tuple[Settled, str]:
    """Does what an answer asks for, under the order's lock; what was done, and the wallet that
    Redis has to be told of, if any."""
    before = order
    rows = {row.reference: row for row in await payments.of_order(connection, order.order_id)}
    judgement = judge(facts(order, list(rows.values()), means), standing, clock.utc_now())
    credited, moved, soon = 0, False, False
    for change in judgement.changes:
        row = _row(order, rows.get(change.paid.reference), change)
        if change.share is not None:
            order = await credit(connection, means, order, row, via=via)
            credited += row.credited_nanos
            moved = True
        elif change.undo == "reverse":
            row = await reversing.reverse(connection, order, row)
            moved = True
        elif change.undo == "restore":
            restored = await reversing.restore(connection, order, row)
            if restored is None:  # what it took is not in the books yet: at the next question
                sentence = "A payment has come back; it is credited in a moment."
                judgement = judgement._replace(disputed=True, problem=sentence)
                soon = True
                continue
            row, moved = restored, True
        await payments.put(connection, row)
    poll_s = means.settings.shop.poll_s
    again = next_check(order, judgement.status, poll_s)
    if soon:
        again = clock.utc_now() + timedelta(seconds=poll_s)
    columns = {"due": standing.due, "answered": number, "next_check_at": again}
    await _move_order(connection, order, judgement, via, columns)
    if moved:
        _measure(before, order, credited, via)
    return Settled(True, judgement.status, credited), (order.wallet or "") if moved else ""


async def credit(
    connection: Any, means: Means, order: OrderRow, row: PaymentRow, *, via: str
) -> OrderRow:
    """Books a confirmed payment's share: the key first, where there is none; the order after it."""
    if order.wallet is None:
        order = await delivering.make_key(connection, means, order)
        first = True
    else:
        first = False
    asset = "cash:manual" if by_hand(row.reference) else f"cash:{row.provider}"
    entry = f"pay:{row.payment_id}"
    counter = f"clearing:{row.provider}"
    await payments.cash(
        connection,
        entry,
        order.order_id,
        [
            CashLine(asset, counter, row.credited_nanos),
            CashLine(asset, "fees", row.fee_nanos),
            CashLine(asset, "tax", row.tax_nanos),
        ],
    )
    if row.credited_nanos:
        await wallets.insert_outbox(
            connection,
            wallets.OutboxRow(
                entry,
                "credit",
                order.wallet or "",
                row.credited_nanos,
                counter,
                order.key_id or "",
                f"order {order.order_id}",
            ),
        )
    if simulated(means.settings, order.destination):
        await wallets.mark_simulated(connection)
    order = await orders.change(
        connection,
        order.order_id,
        credited_nanos=order.credited_nanos + row.credited_nanos,
        fulfilment=_fulfilled(order),
        confirmed_at=order.confirmed_at or clock.utc_now(),
    )
    await orders.add_step(
        connection, order.order_id, "credited", amount_nanos=row.credited_nanos, via=via
    )
    await reversing.collect(connection, order, row)
    if order.email and not first and row.credited_nanos:
        await delivering.mail_top_up(connection, means, order, row.credited_nanos)
    metrics.CREDITS.labels(row.provider, via).inc()
    return order


def facts(order: OrderRow, rows: list[PaymentRow], means: Means) -> Facts:
    """An order as `judge` reads it."""
    return Facts(
        order.status,
        order.exception,
        Price(order.amount_nanos, order.fee_nanos, order.tax_nanos),
        usd("dust_usd", means.settings.shop.dust_usd),
        order.asset,
        order.asset_amount,
        order.provider_ref or "",
        order.expires_at,
        tuple(Known(_paid(row), row.state, row.credited_nanos, row.counted) for row in rows),
    )


def next_check(order: OrderRow, status: str, poll_s: int) -> datetime | None:
    """When the worker asks about an order again; None: not any more."""
    now = clock.utc_now()
    if now >= order.watched_until:
        return None
    pause_s = (now - order.created_at).total_seconds() // AGE_SHARE
    if status == SEEN:
        pause_s = min(pause_s, SEEN_PAUSE_S)
    return now + timedelta(seconds=max(poll_s, pause_s))


async def _move_order(
    connection: Any,
    order: OrderRow,
    judgement: Judgement,
    via: str,
    columns: Mapping[str, object],
) -> None:
    if (judgement.status, judgement.exception) != (order.status, order.exception):
        await orders.add_step(
            connection, order.order_id, judgement.status, exception=judgement.exception, via=via
        )
    now = clock.utc_now()
    await orders.change(
        connection,
        order.order_id,
        status=judgement.status,
        exception=judgement.exception,
        disputed=judgement.disputed,
        checked_at=now,
        check_problem=judgement.problem,
        confirmed_at=order.confirmed_at or (now if judgement.status == PAID else None),
        **columns,
    )


def _fulfilled(order: OrderRow) -> str:
    if order.fulfilment != "none":
        return order.fulfilment
    return "credited" if order.new_key else "delivered"


def _measure(before: OrderRow, after: OrderRow, credited_nanos: int, via: str) -> None:
    """The delay is counted from the last answer that did not know of the payment: at most it."""
    if credited_nanos:
        since = before.checked_at or before.created_at
        delay_s = (clock.utc_now() - since).total_seconds()
        metrics.CREDIT_DELAY.labels(before.provider).observe(max(0.0, delay_s))
        _log.info(
            "credited", order=after.order_id, provider=after.provider, via=via, nanos=credited_nanos
        )


def _paid(row: PaymentRow) -> Paid:
    return Paid(
        row.reference,
        row.state,
        row.asset,
        row.asset_amount,
        row.rate,
        row.value_nanos,
        row.destination,
        row.transaction,
        row.confirmations,
        row.confirmations_needed,
        row.late,
    )


def _row(order: OrderRow, was: PaymentRow | None, change: Change) -> PaymentRow:
    """A payment's row after a change; what it was credited once stays."""
    now, paid, share = clock.utc_now(), change.paid, change.share
    if share is not None:
        booked: tuple[int, int, int] = share
    elif was is not None:
        booked = (was.credited_nanos, was.fee_nanos, was.tax_nanos)
    else:
        booked = (0, 0, 0)
    confirmed_at = was.confirmed_at if was else None
    return PaymentRow(
        f"{order.provider}:{paid.reference}",
        order.order_id,
        order.provider,
        paid.reference,
        change.state,
        paid.asset,
        paid.asset_amount,
        paid.rate,
        paid.value_nanos,
        share is not None or (was is not None and was.counted),
        *booked,
        was.reversals if was else 0,
        was.reversed_nanos if was else 0,
        paid.destination,
        paid.transaction,
        paid.confirmations,
        paid.confirmations_needed,
        paid.late,
        was.seen_at if was else now,
        confirmed_at or (now if change.state == "confirmed" else None),
        now if change.undo == "reverse" else (was.reversed_at if was else None),
    )
