"""An order as its page shows it."""

from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.service.orders.types import OrderView


async def view(desk: Desk, token: str, browser: str, *, check: bool = True) -> OrderView | None:
    """An order by its page's token; None: there is no such order.

    With `check` an open one is settled first: the payment service is asked. Raises
    BooksUnavailable.
    """
    raise NotImplementedError
