"""How a new key reaches its buyer: mail, and the link in it."""

from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.service.orders.types import Claimed, ClaimView, Problem


async def correct_address(desk: Desk, token: str, browser: str, email: str) -> Problem | None:
    """Another address for the delivery mail, which is sent again; for the browser that ordered.

    Raises BooksUnavailable.
    """
    raise NotImplementedError


async def resend(desk: Desk, token: str, browser: str) -> Problem | None:
    """Sends the delivery mail again, not too often. Raises BooksUnavailable."""
    raise NotImplementedError


async def claim_view(desk: Desk, link_token: str) -> ClaimView | None:
    """What a claim link leads to; uses nothing up. None: there is no such link. Raises
    BooksUnavailable."""
    raise NotImplementedError


async def claim(desk: Desk, link_token: str) -> Claimed | Problem:
    """Gives out the key, once, and destroys the copies. Raises BooksUnavailable."""
    raise NotImplementedError
