"""What an order would cost, before there is one."""

from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.service.orders.types import Problem, Quote
from corvus_proxy.shop import price


def quote(desk: Desk, text: str) -> Quote | Problem:
    """The lines of an order for an amount as a person types it; by the function that orders."""
    terms = price.terms(desk.settings.shop)
    nanos = price.typed(text, terms)
    if isinstance(nanos, str):
        return Problem("amount", nanos)
    lines = price.price(nanos, terms)
    return Quote(*lines, lines.total_nanos)
