"""What the service says about itself: documentation, prices, models, trust, status.

`page.py` says what a page is, `shelf.py` finds and makes pages; each package below holds the pages
of one subject.
"""

from starlette.routing import Route

from corvus_proxy.catalogue import book
from corvus_proxy.site.front import Front
from corvus_proxy.site.public import docs, prices, trust
from corvus_proxy.site.public.page import Page
from corvus_proxy.site.public.shelf import Shelf


def shelf(front: Front) -> Shelf:
    """All pages. Raises ConfigurationError where the price book cannot be read."""
    models = book.load(front.settings.pricing).models
    pages: tuple[Page, ...] = (*docs.pages(), *prices.pages(models), *trust.pages())
    return Shelf(front, pages)


def routes(front: Front) -> list[Route]:
    """Of every page, its twin, and the documents for programs."""
    return shelf(front).routes()
