"""The status of the service, measured: probes, states, 90 days of history, incidents.

The worker asks (`probes`), judges (`machine`), remembers (`folder`, `remembering`) and publishes
(`document`); pages and programs read what it has published.
"""

from corvus_proxy import clock
from corvus_proxy.catalogue.book import Model
from corvus_proxy.service.status.document import Document, as_unknown, is_stale, make
from corvus_proxy.service.status.folder import DOCUMENT, MARKDOWN, PAGE, Folder
from corvus_proxy.service.status.noting import note
from corvus_proxy.service.status.parts import components
from corvus_proxy.service.status.types import DAYS, History, State
from corvus_proxy.settings import Settings

__all__ = [
    "DAYS",
    "DOCUMENT",
    "MARKDOWN",
    "PAGE",
    "Document",
    "Folder",
    "State",
    "as_unknown",
    "is_stale",
    "note",
    "published",
]


def published(
    settings: Settings, models: tuple[Model, ...], *, shop: bool, folder: Folder | None = None
) -> Document:
    """What the worker published last; as unknown where it has not measured for too long or never.

    `models` and `shop` say what would be measured where nothing has been yet.
    """
    now_ms = clock.wall_ms()
    found = (folder or Folder(settings.status.dir)).document()
    if found is None:
        parts = components(settings, models, shop=shop)
        return make(settings, parts, History(), now_ms)
    return as_unknown(found) if is_stale(found, now_ms) else found
