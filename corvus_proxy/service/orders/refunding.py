"""Money back."""

from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.service.orders.types import Problem, RefundView


async def refundable(desk: Desk, order_id: str) -> int:
    """What of an order can be sent back now: unspent, credited by it, in whole cents. Raises
    LookupError, BooksUnavailable, TillUnavailable."""
    raise NotImplementedError


async def refund(
    desk: Desk, order_id: str, nanos: int, *, reason: str, actor: str
) -> RefundView | Problem:
    """Takes free money from the balance and has the payment service send it back. Raises
    LookupError, BooksUnavailable."""
    raise NotImplementedError
