"""The counter: checkout, an order's page, claim and recovery; each with its `routes(front)`."""

from starlette.routing import Route

from corvus_proxy.site.front import Front
from corvus_proxy.site.shop import checkout, claim, order, recover


def routes(front: Front) -> list[Route]:
    """All of them."""
    return [
        *checkout.routes(front),
        *order.routes(front),
        *claim.routes(front),
        *recover.routes(front),
    ]
