"""Prices, models, the tracker and the calculator."""

from corvus_proxy.catalogue.book import Model
from corvus_proxy.site.public.page import Page


def pages(models: tuple[Model, ...]) -> tuple[Page, ...]:
    """All of them; of `models` each has a page of its own."""
    return ()
