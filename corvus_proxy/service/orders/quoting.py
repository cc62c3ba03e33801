"""What an order would cost, before there is one."""

from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.service.orders.types import Problem, Quote
from corvus_proxy.shop.price import price, typed


def quote_typed(desk: Desk, text: str) -> Quote | Problem:
    """The lines of an order for an amount as a person types it, or what is wrong with it; read and
    priced as the order itself is."""
    nanos = typed(text, desk.terms)
    if isinstance(nanos, str):
        return Problem("amount", nanos)
    lines = price(nanos, desk.terms)
    return Quote(*lines, lines.total_nanos)
