"""What the operator reads of orders: everything but what only their buyers may see."""

from typing import NamedTuple

from corvus_proxy.books.shop import orders, payments, refunds
from corvus_proxy.books.shop.orders import OrderRow, Step
from corvus_proxy.books.shop.payments import PaymentRow
from corvus_proxy.books.shop.refunds import RefundRow
from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.shop.settle import Settled, settle

_SEALED = ("token_sealed", "browser_digest", "secret_sealed", "recovery_sealed")


class File(NamedTuple):
    """All about one order."""

    order: dict[str, object]
    payments: list[PaymentRow]
    refunds: list[RefundRow]
    steps: list[Step]


async def listing(
    desk: Desk, *, status: str = "", exceptions_only: bool = False, limit: int = 100
) -> list[dict[str, object]]:
    """The newest orders, without their seals. Raises BooksUnavailable."""
    async with desk.stores.books.connection() as connection:
        rows = await orders.latest(
            connection, status=status, exceptions_only=exceptions_only, limit=limit
        )
    return [_open(row) for row in rows]


async def file(desk: Desk, order_id: str) -> File:
    """One order. Raises LookupError, BooksUnavailable."""
    async with desk.stores.books.connection() as connection:
        order = await orders.by_id(connection, order_id)
        if order is None:
            raise LookupError(f"there is no order {order_id}")
        return File(
            _open(order),
            await payments.of_order(connection, order_id),
            await refunds.of_order(connection, order_id),
            await orders.steps(connection, order_id),
        )


async def check(desk: Desk, order_id: str) -> Settled:
    """Asks the payment service now. Raises LookupError, BooksUnavailable."""
    return await settle(desk.means, order_id, via="operator")


def _open(row: OrderRow) -> dict[str, object]:
    return {name: value for name, value in row._asdict().items() if name not in _SEALED}
