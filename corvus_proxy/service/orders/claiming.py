"""How a new key reaches its buyer: mail, and the link in it.

A link is looked at by GET and used by POST alone: mail scanners follow links, they send no forms.
"""

from typing import Any

from corvus_proxy import clock
from corvus_proxy.books.shop import links, orders, owners
from corvus_proxy.books.shop.orders import OrderRow
from corvus_proxy.sealing import token_proof, unseal
from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.service.orders.placing import check_email
from corvus_proxy.service.orders.types import Claimed, ClaimView, Problem
from corvus_proxy.service.orders.viewing import owns
from corvus_proxy.shop import delivering
from corvus_proxy.shop.delivering import RECOVERY, SECRET

MAIL_PAUSE_S = 60
"""Between two mails about one order that somebody asks for."""
MAILS_DAILY_MAX = 8
_NO_ORDER = Problem("", "There is no such order, or this is not the browser that made it.")
_GONE = Problem("", "The key was handed over already; its copies are destroyed.")


async def correct_address(desk: Desk, token: str, browser: str, email: str) -> Problem | None:
    """Another address for the delivery mail, which is sent again; for the browser that ordered.

    Raises BooksUnavailable.
    """
    address = check_email(email)
    if isinstance(address, Problem):
        return address
    if not address:
        return Problem("email", "Enter a mail address.")
    async with desk.stores.books.transaction() as connection:
        order = await _own(connection, desk, token, browser)
        if isinstance(order, Problem):
            return order
        if problem := await _too_often(connection, order):
            return problem
        # Whoever got the mail at the wrong address shall not get the key.
        await links.end(connection, order.order_id)
        if order.new_key and order.wallet is not None:
            await owners.correct_email(connection, order.wallet, order.email, address)
        order = await orders.change(connection, order.order_id, email=address)
        await orders.add_step(connection, order.order_id, "address")
        await _send(connection, desk, order)
    return None


async def resend(desk: Desk, token: str, browser: str) -> Problem | None:
    """Sends the delivery mail again, not too often. Raises BooksUnavailable."""
    async with desk.stores.books.transaction() as connection:
        order = await _own(connection, desk, token, browser)
        if isinstance(order, Problem):
            return order
        if not order.email:
            return Problem("email", "This order has no mail address yet.")
        if problem := await _too_often(connection, order):
            return problem
        return await _send(connection, desk, order)


async def claim_view(desk: Desk, link_token: str) -> ClaimView | None:
    """What a claim link leads to; uses nothing up. None: there is no such link. Raises
    BooksUnavailable."""
    async with desk.stores.books.connection() as connection:
        link = await links.find(connection, token_proof(desk.stores.pepper, link_token), "claim")
        order = None if link is None else await orders.by_id(connection, link.order_id)
    if link is None or order is None:
        return None
    if link.used_at is not None:
        state = "used"
    elif link.expires_at <= clock.utc_now():
        state = "expired"
    else:
        state = "open" if order.secret_sealed else "gone"
    return ClaimView(order.order_id, state, link.used_at)


async def claim(desk: Desk, link_token: str) -> Claimed | Problem:
    """Gives out the key, once, and destroys the copies. Raises BooksUnavailable."""
    pepper = desk.stores.pepper
    async with desk.stores.books.transaction() as connection:
        link = await links.use(connection, token_proof(pepper, link_token), "claim")
        if link is None:
            return Problem("", "This link was used already, or its time is over.")
        order = await orders.lock(connection, link.order_id)
        if not order.secret_sealed:
            return _GONE
        found = Claimed(
            unseal(pepper, SECRET, order.secret_sealed),
            unseal(pepper, RECOVERY, order.recovery_sealed),
            order.key_id or "",
            order.order_id,
        )
        order = await orders.change(
            connection, order.order_id, secret_sealed="", recovery_sealed="", fulfilment="claimed"
        )
        await orders.add_step(connection, order.order_id, "claimed")
        await delivering.mail_claimed(connection, desk.means, order)
    return found


async def _own(connection: Any, desk: Desk, token: str, browser: str) -> OrderRow | Problem:
    found = await orders.by_token(connection, token_proof(desk.stores.pepper, token))
    if found is None or not owns(desk, found, browser):
        return _NO_ORDER
    return await orders.lock(connection, found.order_id)


async def _too_often(connection: Any, order: OrderRow) -> Problem | None:
    if await orders.mails(connection, order.order_id, within_s=86_400) >= MAILS_DAILY_MAX:
        return Problem("email", "That is enough mail about this order for today.")
    if await orders.mails(connection, order.order_id, within_s=MAIL_PAUSE_S):
        return Problem("email", "A mail is on its way. Wait a minute before the next one.")
    return None


async def _send(connection: Any, desk: Desk, order: OrderRow) -> Problem | None:
    """Queues what an order's buyer should have in the mail by now."""
    if not order.credited_nanos:
        return None
    if not order.new_key:
        await delivering.mail_top_up(connection, desk.means, order, order.credited_nanos)
        return None
    if not order.secret_sealed:
        return _GONE
    text = unseal(desk.stores.pepper, SECRET, order.secret_sealed)
    await delivering.mail_key(connection, desk.means, order, text)
    return None
