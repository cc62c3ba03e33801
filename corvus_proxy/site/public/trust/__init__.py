"""What a buyer can hold the operator to: facts, checks, proof, law, status."""

from starlette.routing import Route

from corvus_proxy.site.front import Front
from corvus_proxy.site.public.page import Page
from corvus_proxy.site.public.shelf import Shelf
from corvus_proxy.site.public.trust import centre, faq, legal, proof, status, verify
from corvus_proxy.site.public.trust.legal import check

__all__ = ["DOCUMENTS", "check", "pages", "routes"]

DOCUMENTS = (proof.DOCUMENT,)
"""Documents of these pages."""


def pages() -> tuple[Page, ...]:
    """All of them."""
    return (centre.PAGE, verify.PAGE, proof.PAGE, status.PAGE, *legal.PAGES, faq.PAGE)


def routes(front: Front, shelf: Shelf) -> list[Route]:
    """Of the pages that ask the stores; to stand before the shelf's own."""
    return proof.routes(front, shelf)
