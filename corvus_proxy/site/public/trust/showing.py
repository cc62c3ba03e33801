"""The status as files: made by the worker after each round, served by it and by the site alike.

Rule 1: nothing here needs Redis, Postgres or the other role: what was published last is shown, with
its time, and as unknown once it is too old to hold.
Rule 2: `/status` and its twins are open while the operator's facts are missing.
"""

from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import clock
from corvus_proxy.service.status import DOCUMENT, MARKDOWN, PAGE, Document, Folder, is_stale
from corvus_proxy.site import render
from corvus_proxy.site.public import sending
from corvus_proxy.site.public.page import Facts
from corvus_proxy.site.public.shelf import Shelf
from corvus_proxy.site.public.trust import status

HEADERS = {**render.HEADERS, "cache-control": "public, max-age=10"}
JSON_HEADERS = {**HEADERS, "access-control-allow-origin": "*"}
KINDS = {
    DOCUMENT: "application/json",
    PAGE: "text/html; charset=utf-8",
    MARKDOWN: sending.MARKDOWN,
}
PATHS = {
    "/status": PAGE,
    "/status.md": MARKDOWN,
    "/status.json": DOCUMENT,
    "/data/status.json": DOCUMENT,
}


class Showing:
    """The status page and its twins from one folder."""

    def __init__(self, pages: Shelf, folder: Folder) -> None:
        self._shelf = pages
        self._folder = folder

    def publish(self, document: Document) -> None:
        """Makes the files of a document; what programs read first: it needs no template. Raises
        OSError, ConfigurationError (price book)."""
        self._folder.write(DOCUMENT, msgspec.json.encode(document))
        for name, data in self._made(document, self._shelf.facts()).items():
            self._folder.write(name, data)

    def _made(self, document: Document, facts: Facts) -> dict[str, bytes]:
        today = datetime.fromtimestamp(clock.wall_s(), UTC).date()
        text = self._shelf.text(status.PAGE, facts, status.shown(document, today))
        html = self._shelf.html(status.PAGE, facts, text)
        return {
            PAGE: bytes(html.body),
            MARKDOWN: self._shelf.twin(status.PAGE, facts, text).encode(),
        }

    async def answer(self, request: Request) -> Response:
        """`GET` of the page or a twin."""
        name = PATHS[request.url.path]
        document = self._folder.document()
        found = None
        if document is not None and not is_stale(document, clock.wall_ms()):
            found = self._folder.read(name)
        if found is None:
            facts = self._shelf.facts()
            document = status.published(facts, self._folder)
            found = (
                msgspec.json.encode(document)
                if name == DOCUMENT
                else self._made(document, facts)[name]
            )
        headers = JSON_HEADERS if name == DOCUMENT else HEADERS
        return Response(found, headers=headers, media_type=KINDS[name])

    def routes(self) -> list[Route]:
        """Of the page and its twins; to stand before the shelf's own."""
        return [Route(path, self.answer) for path in PATHS]
