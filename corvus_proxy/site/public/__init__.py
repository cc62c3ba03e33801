"""What the service says about itself: documentation, prices, models, trust, status.

`page.py` says what a page is, `shelf.py` finds and makes pages, `document.py` says what a document
for programs is; each package below holds the pages, or documents, of one subject.
"""

from starlette.routing import Route

from corvus_proxy.catalogue import book
from corvus_proxy.catalogue.book import Model
from corvus_proxy.service.status import Folder
from corvus_proxy.site.front import Front
from corvus_proxy.site.public import docs, document, documents, home, prices, trust
from corvus_proxy.site.public.docs.setups import index
from corvus_proxy.site.public.page import Page
from corvus_proxy.site.public.prices import views
from corvus_proxy.site.public.shelf import Maker, Shelf
from corvus_proxy.site.public.trust.showing import Showing

DOCUMENTS = (*documents.DOCUMENTS, index.DOCUMENT, *prices.DOCUMENTS, *trust.DOCUMENTS)
"""All documents for programs that stand in the table of `document.py`."""


def pages(models: tuple[Model, ...]) -> tuple[Page, ...]:
    """All pages; of `models` each has one of its own."""
    return (*home.PAGES, *docs.pages(), *prices.pages(models), *trust.pages())


def shelf(front: Maker) -> Shelf:
    """All pages of a site. Raises ConfigurationError where the price book cannot be read."""
    return Shelf(front, pages(book.load(front.settings.pricing).models))


def routes(front: Front) -> list[Route]:
    """Of every page, its twin, and the documents for programs. Raises ConfigurationError where the
    price book, or a text of the operator's, cannot be read."""
    trust.check(front.settings)
    found = shelf(front)
    rows = [
        *Showing(found, Folder(front.settings.status.dir)).routes(),
        *trust.routes(front, found),
        *views.routes(front, found),
        *found.routes(),
        *views.last_routes(front, found),
    ]
    served = frozenset(row.path for row in rows)
    return [*rows, *document.routes(front, found, DOCUMENTS, served)]
