"""Money in without a page: messages of payment services, and the worker's questions."""

from collections.abc import Mapping

from corvus_proxy.service.orders.desk import Desk


async def webhook(desk: Desk, provider: str, headers: Mapping[str, str], body: bytes) -> int:
    """Takes a payment service's message; the HTTP status: 200, 400 (forged), 404 (no such
    service) or 503 (to be repeated). Header names are in lower case."""
    raise NotImplementedError


async def tick(desk: Desk) -> int:
    """The worker's turn: asks about orders that are due, goes on with refunds, destroys old
    copies of keys; how many orders were asked about. Raises BooksUnavailable."""
    raise NotImplementedError
