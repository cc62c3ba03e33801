"""What a movement of money would write, told before it is made (`--dry-run`)."""

from typing import NamedTuple

from corvus_proxy.books.shop import orders
from corvus_proxy.books.shop import refunds as rows
from corvus_proxy.books.shop.orders import OrderRow
from corvus_proxy.books.shop.refunds import RefundRow
from corvus_proxy.money.amount import WALLET_NANOS_MAX, format_usd
from corvus_proxy.service import keys
from corvus_proxy.service.keys import ServiceRefused
from corvus_proxy.service.orders import Desk, refundable
from corvus_proxy.service.stores import Stores
from corvus_proxy.shop import refunds
from corvus_proxy.shop.price import CENT_NANOS

_AMOUNT = "an amount above zero is needed, of 1,000,000 USD at the most"


class Line(NamedTuple):
    """A row of the books that would be written. Nanos."""

    table: str
    """`posting` or `cash`."""
    debit: str
    credit: str
    amount_nanos: int


class Plan(NamedTuple):
    """What would be written, and the wallet's balance before and after. Nanos."""

    key_id: str
    wallet: str
    rows: list[Line]
    balance_nanos: int
    after_nanos: int
    note: str = ""
    """What has to happen before."""


async def move(stores: Stores, key_id: str, nanos: int, counter: str) -> Plan:
    """A credit of a key from an account, or with an amount below zero a debit to it. Raises
    ServiceRefused, TillUnavailable, BooksUnavailable, as the movement itself would."""
    found = await keys.show(stores, key_id)
    after = found.balance_nanos + nanos
    if not 0 < abs(nanos) <= WALLET_NANOS_MAX:
        raise ServiceRefused(_AMOUNT)
    if after > WALLET_NANOS_MAX:
        raise ServiceRefused("a wallet holds at most 1,000,000 USD")
    if found.available_nanos + nanos < 0:
        raise ServiceRefused(
            f"only {found.available_nanos} nanos are free; {found.held_nanos} are held"
        )
    wallet = f"wallet:{found.wallet}"
    debit, credit = (counter, wallet) if nanos > 0 else (wallet, counter)
    return Plan(
        key_id,
        found.wallet,
        [Line("posting", debit, credit, abs(nanos))],
        found.balance_nanos,
        after,
    )


async def credit_order(desk: Desk, order_id: str, nanos: int) -> Plan:
    """A credit of an order by hand. Raises LookupError, ServiceRefused, TillUnavailable,
    BooksUnavailable."""
    async with desk.stores.books.connection() as connection:
        order = await orders.by_id(connection, order_id)
    if order is None:
        raise LookupError(f"there is no order {order_id}")
    if not 0 < nanos <= WALLET_NANOS_MAX:
        raise ServiceRefused(_AMOUNT)
    counter = "clearing:manual"
    cash = Line("cash", "cash:manual", counter, nanos)
    if order.key_id is None:  # its first credit makes the key
        posting = Line("posting", counter, "wallet:(new)", nanos)
        return Plan("", "", [cash, posting], 0, nanos)
    plan = await move(desk.stores, order.key_id, nanos, counter)
    return plan._replace(rows=[cash, *plan.rows])


async def refund(desk: Desk, order_id: str, nanos: int) -> Plan:
    """A refund of an order. Raises LookupError, ServiceRefused, TillUnavailable,
    BooksUnavailable."""
    most = await refundable(desk, order_id)
    if nanos > most:
        raise ServiceRefused(f"At most {format_usd(most)} USD can be sent back now.")
    if nanos <= 0 or nanos % CENT_NANOS:
        raise ServiceRefused("A refund is an amount above zero in whole cents.")
    async with desk.stores.books.connection() as connection:
        order = await orders.by_id(connection, order_id)
        earlier = await rows.of_order(connection, order_id)
    plan = await _sent_back(desk, order, order_id, nanos)
    waits = refunds.wants_two(desk.means, nanos, earlier)
    return plan._replace(note="not before another operator has agreed" if waits else "")


async def waiting(desk: Desk, refund_id: str) -> RefundRow:
    """A refund that waits for a second operator. Raises LookupError, ServiceRefused,
    BooksUnavailable."""
    async with desk.stores.books.connection() as connection:
        found = await rows.by_id(connection, refund_id)
    if found is None:
        raise LookupError(f"there is no refund {refund_id}")
    if not found.waits:
        raise ServiceRefused(f"It does not wait for anybody: it is {found.state}.")
    return found


async def approval(desk: Desk, refund_id: str, actor: str) -> Plan:
    """A second operator's yes. Raises LookupError, ServiceRefused, TillUnavailable,
    BooksUnavailable."""
    found = await waiting(desk, refund_id)
    if refunds.same_person(found.actor, actor):
        raise ServiceRefused(refunds.OWN)
    async with desk.stores.books.connection() as connection:
        order = await orders.by_id(connection, found.order_id)
    return await _sent_back(desk, order, found.order_id, found.amount_nanos)


async def _sent_back(desk: Desk, order: OrderRow | None, order_id: str, nanos: int) -> Plan:
    if order is None or order.key_id is None:
        raise LookupError(f"there is no order {order_id} that made or credited a key")
    plan = await move(desk.stores, order.key_id, -nanos, "refunds")
    line = Line("cash", "refunds", f"cash:{order.provider}", nanos)
    return plan._replace(rows=[*plan.rows, line])
