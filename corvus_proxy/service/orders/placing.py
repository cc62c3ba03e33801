"""The way to an order."""

from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.service.orders.types import Form, LoggedIn, Offer, Placed, Problem


def offer(desk: Desk) -> Offer:
    """What is sold, and how it can be paid."""
    raise NotImplementedError


async def place(
    desk: Desk, form: Form, *, session: LoggedIn | None, browser: str
) -> Placed | Problem:
    """An order for what a form asks; the same form twice is one order.

    `browser` is the token of its cookie, or empty. Raises BooksUnavailable.
    """
    raise NotImplementedError
