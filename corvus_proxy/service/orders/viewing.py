"""An order as its page shows it."""

import hmac
from typing import Any

from corvus_proxy.books.shop import orders, owners, payments, refunds
from corvus_proxy.books.shop.orders import OrderRow
from corvus_proxy.books.shop.refunds import RefundRow
from corvus_proxy.sealing import token_proof, unseal
from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.service.orders.types import (
    OpenOrder,
    OrderView,
    PaymentView,
    RefundView,
    StepView,
)
from corvus_proxy.shop.delivering import RECOVERY, SECRET, TOKEN
from corvus_proxy.shop.settle import bring, settle
from corvus_proxy.shop.states import AWAITING, PAID, SEEN
from corvus_proxy.till.client import TillUnavailable


async def view(desk: Desk, token: str, browser: str, *, check: bool = True) -> OrderView | None:
    """An order by its page's token; None: there is no such order.

    With `check` an open one is settled first: the payment service is asked, unless it was asked
    too often just now. Raises BooksUnavailable.
    """
    books = desk.stores.books
    async with books.connection() as connection:
        order = await orders.by_token(connection, token_proof(desk.stores.pepper, token))
    if order is None:
        return None
    if check and order.status != PAID and desk.looks.take(order.order_id):
        await settle(desk.means, order.order_id, via="page")
    await _bring(desk, order.order_id)
    async with books.transaction() as connection:
        order = await orders.lock(connection, order.order_id)
        own = owns(desk, order, browser)
        secret = (
            unseal(desk.stores.pepper, SECRET, order.secret_sealed)
            if (own and order.secret_sealed)
            else ""
        )
        if secret and order.fulfilment == "credited":
            order = await orders.change(connection, order.order_id, fulfilment="delivered")
            await orders.add_step(connection, order.order_id, "delivered")
        return await _seen(connection, desk, order, secret, own=own)


async def _bring(desk: Desk, order_id: str) -> None:
    """Redis has heard what the page is about to show: whoever credited the order just now may not
    have told it yet."""
    async with desk.stores.books.connection() as connection:
        order = await orders.by_id(connection, order_id)
        wallet = order.wallet if order and order.credited_nanos else None
        waits = await owners.waiting(connection, wallet) if wallet else []
    if wallet and waits:
        await bring(desk.means, wallet)


async def open_of(desk: Desk, wallet: str) -> list[OpenOrder]:
    """Orders of a wallet's owner that still wait for their money or its confirmation. Raises
    BooksUnavailable."""
    return [
        OpenOrder(one.order_id, one.status, one.provider, one.amount_nanos, one.expires_at)
        for one in await _open_rows(desk, wallet)
    ]


async def token_of(desk: Desk, wallet: str, order_id: str) -> str | None:
    """The page's token of one of these. Raises BooksUnavailable."""
    for one in await _open_rows(desk, wallet):
        if one.order_id == order_id:
            return unseal(desk.stores.pepper, TOKEN, one.token_sealed)
    return None


async def _open_rows(desk: Desk, wallet: str) -> list[OrderRow]:
    async with desk.stores.books.connection() as connection:
        found = await orders.of_wallet(connection, wallet)
    # What a stranger has ordered for this key is theirs to look at.
    return [one for one in found if one.by_owner and one.status in (AWAITING, SEEN)]


def owns(desk: Desk, order: OrderRow, browser: str) -> bool:
    """Whether this is the browser that ordered."""
    digests = token_proof(desk.stores.pepper, browser).split(",")
    return bool(browser) and any(hmac.compare_digest(one, order.browser_digest) for one in digests)


async def _seen(
    connection: Any, desk: Desk, order: OrderRow, secret: str, *, own: bool
) -> OrderView:
    by_owner = order.new_key or order.by_owner
    told = own and by_owner
    target = await owners.by_id(connection, order.key_id) if order.key_id else None
    last = await orders.last_mail(connection, order.order_id)
    provider = desk.providers.get(order.provider)
    recovery = order.recovery_sealed if own else ""
    return OrderView(
        order_id=order.order_id,
        status=order.status,
        exception=order.exception,
        fulfilment=order.fulfilment,
        refund=order.refund,
        disputed=order.disputed,
        reason=order.reason,
        provider=order.provider,
        provider_title=provider.title if provider else order.provider,
        amount_nanos=order.amount_nanos,
        fee_nanos=order.fee_nanos,
        tax_nanos=order.tax_nanos,
        total_nanos=order.total_nanos,
        credited_nanos=order.credited_nanos,
        refunded_nanos=order.refunded_nanos,
        new_key=order.new_key,
        key_id=order.key_id or "",
        masked=target.masked if target and told else "",
        email=order.email if own else "",
        mail_state=last[0] if last else "",
        mail_problem=last[1] if last and own else "",
        pay_url=order.pay_url,
        destination=order.destination,
        asset=order.asset,
        asset_amount=order.asset_amount,
        due=order.due,
        expires_at=order.expires_at,
        created_at=order.created_at,
        confirmed_at=order.confirmed_at,
        checked_at=order.checked_at,
        check_problem=order.check_problem,
        payments=await _payments(connection, order),
        steps=[
            StepView(*step)
            for step in await orders.steps(connection, order.order_id)
            if told or step[0] != "collected"  # what a key owes is its owner's matter
        ],
        refunds=[
            refund_view(desk, one, own=own)
            for one in await refunds.of_order(connection, order.order_id)
        ],
        own_browser=own,
        secret=secret,
        recovery=unseal(desk.stores.pepper, RECOVERY, recovery) if recovery else "",
        balance_nanos=await _balance(desk, order) if told else None,
    )


def refund_view(desk: Desk, row: RefundRow, *, own: bool) -> RefundView:
    """A refund as its order's page shows it; the way to its money for its payer alone."""
    provider = desk.providers.get(row.payment_id.partition(":")[0])
    url = provider.claim_url(row.provider_ref) if provider and row.state == "sent" else ""
    return RefundView(
        row.refund_id,
        row.amount_nanos,
        row.state,
        "" if url and not own else row.provider_ref,
        url if own else "",
        row.reason,
        row.created_at,
        row.ended_at,
    )


async def _payments(connection: Any, order: OrderRow) -> list[PaymentView]:
    rows = await payments.of_order(connection, order.order_id)
    refused = await payments.refused(connection, [f"pay:{row.payment_id}" for row in rows])
    return [
        PaymentView(
            row.reference,
            row.state,
            row.asset,
            row.asset_amount,
            row.rate,
            row.value_nanos,
            row.credited_nanos,
            row.transaction,
            row.confirmations,
            row.confirmations_needed,
            row.late,
            row.seen_at,
            row.confirmed_at,
            refused.get(f"pay:{row.payment_id}", ""),
        )
        for row in rows
    ]


async def _balance(desk: Desk, order: OrderRow) -> int | None:
    if order.wallet is None:
        return None
    try:
        state = await desk.stores.till.wallet(order.wallet)
    except TillUnavailable:
        return None
    return None if state is None else state.balance_nanos
