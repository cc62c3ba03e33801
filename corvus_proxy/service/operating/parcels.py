"""What the desk does to orders beside crediting them: their mail, their claim link, their end; and
asking about all that are open."""

from collections.abc import AsyncIterator
from datetime import timedelta

from corvus_proxy import clock
from corvus_proxy.books.shop import links, orders, payments
from corvus_proxy.books.shop.orders import OrderRow
from corvus_proxy.sealing import new_token, token_digest, unseal
from corvus_proxy.service.operating.deeds import record
from corvus_proxy.service.operating.stopping import why
from corvus_proxy.service.orders import Desk, Diagnosis, Problem
from corvus_proxy.service.orders import doctor as diagnose
from corvus_proxy.shop import delivering
from corvus_proxy.shop.delivering import SECRET
from corvus_proxy.shop.settle import Settled, settle
from corvus_proxy.shop.states import AWAITING, EXPIRED

_HANDED_OVER = Problem(
    "",
    "The key was handed over already and its copies are destroyed: not even an operator can show"
    " it. `corvus keys rotate` makes a new secret for the same key.",
)


async def resend(desk: Desk, order_id: str, *, reason: str, actor: str) -> Problem | None:
    """Queues the mail of delivery once more, to the order's address. Raises LookupError, ValueError
    (no reason), BooksUnavailable."""
    reason = why(reason)
    async with desk.stores.books.transaction() as connection:
        order = await orders.lock(connection, order_id)
        if not order.email:
            return Problem("", "This order has no mail address; `orders claim-link` makes a link.")
        if not order.credited_nanos:
            return Problem("", "Nothing was credited yet, so there is nothing to deliver.")
        if not order.new_key:
            await delivering.mail_top_up(connection, desk.means, order, order.credited_nanos)
        elif order.secret_sealed:
            text = unseal(desk.stores.pepper, SECRET, order.secret_sealed)
            await delivering.mail_key(connection, desk.means, order, text)
        else:
            return _HANDED_OVER
        await record(connection, actor, "orders.resend", order_id, reason=reason)
    return None


async def claim_link(desk: Desk, order_id: str, *, reason: str, actor: str) -> str | Problem:
    """A link by which the buyer fetches the new key, once; earlier ones end. Whoever opens it has
    the key. Raises LookupError, ValueError (no reason), BooksUnavailable."""
    reason = why(reason)
    async with desk.stores.books.transaction() as connection:
        order = await orders.lock(connection, order_id)
        if not order.credited_nanos or not order.new_key:
            return Problem("", "This order has made no new key.")
        if not order.secret_sealed:
            return _HANDED_OVER
        await links.end(connection, order_id)
        token, days = new_token(), desk.settings.shop.reveal_days
        await links.insert(
            connection,
            token_digest(desk.stores.pepper, token),
            "claim",
            clock.utc_now() + timedelta(days=days),
            order_id=order_id,
            wallet=order.wallet or "",
            key_id=order.key_id or "",
            email=order.email,
        )
        await record(connection, actor, "orders.claim_link", order_id, reason=reason)
    return f"{desk.settings.brand.site_url}/claim/{token}"


async def cancel(desk: Desk, order_id: str, *, reason: str, actor: str) -> Problem | None:
    """Ends the quote of an order that nothing has come for. The payment service is asked first;
    what is paid later all the same is credited, as late. Raises LookupError, ValueError (no
    reason), BooksUnavailable."""
    reason = why(reason)
    asked = await settle(desk.means, order_id, via="operator")
    if asked.asked and not asked.answered:
        return Problem(
            "", "The payment service does not answer, so nobody knows whether this order is paid."
        )
    async with desk.stores.books.transaction() as connection:
        order = await orders.lock(connection, order_id)
        if order.status != AWAITING or await payments.of_order(connection, order_id):
            return Problem("", f"It is {order.status}; only an order that waits is cancelled.")
        await orders.change(
            connection, order_id, status=EXPIRED, expires_at=clock.utc_now(), reason=reason
        )
        await orders.add_step(connection, order_id, EXPIRED, exception="", via="operator")
        await record(connection, actor, "orders.cancel", order_id, reason=reason)
    return None


async def watched(desk: Desk, *, limit: int) -> list[OrderRow]:
    """Orders that the worker still asks about, the oldest first. Raises BooksUnavailable."""
    async with desk.stores.books.connection() as connection:
        return await orders.watched(connection, limit=limit)


async def settle_all(
    desk: Desk, order_ids: list[str], *, reason: str, actor: str
) -> AsyncIterator[tuple[str, Settled]]:
    """Asks about orders one after the other, and credits what has come. Raises LookupError,
    ValueError (no reason), BooksUnavailable."""
    reason = why(reason)
    async with desk.stores.books.transaction() as connection:
        await record(
            connection, actor, "orders.settle", "orders", reason=reason, orders=len(order_ids)
        )
    for order_id in order_ids:
        yield order_id, await settle(desk.means, order_id, via="operator")


async def doctor(desk: Desk, order_id: str, *, actor: str) -> Diagnosis:
    """`orders.doctor`, which also credits what has come: with its row in the audit. Raises
    LookupError, BooksUnavailable."""
    found = await diagnose(desk, order_id)
    async with desk.stores.books.transaction() as connection:
        await record(connection, actor, "orders.doctor", order_id, broken=found.broken)
    return found


async def check(desk: Desk, order_id: str, *, actor: str) -> Settled:
    """Asks the payment service now and credits what has come, with a row in the audit where it has.
    Raises LookupError, BooksUnavailable."""
    done = await settle(desk.means, order_id, via="operator")
    if done.credited_nanos:
        async with desk.stores.books.transaction() as connection:
            await record(connection, actor, "orders.check", order_id, nanos=done.credited_nanos)
    return done
