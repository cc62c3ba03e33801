"""The documentation: start, API, clients, troubleshooting."""

from corvus_proxy.site.public.docs import api, clients, errors, start
from corvus_proxy.site.public.docs import help as troubles
from corvus_proxy.site.public.page import Page


def pages() -> tuple[Page, ...]:
    """All of them, in the order in which they are listed."""
    return (*start.PAGES, *api.PAGES, *errors.PAGES, *clients.PAGES, *troubles.PAGES)
