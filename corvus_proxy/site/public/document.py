"""What a document for programs is, and the one answer to each.

Rule 1: documents are made from the pages, tables and rows that the pages are made from.
Rule 2: none holds anything of a customer, an order or a key.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy.site import render
from corvus_proxy.site.front import LATER, Front
from corvus_proxy.site.public import sending
from corvus_proxy.site.public.page import Facts
from corvus_proxy.site.public.shelf import Shelf

TEXT = "text/plain; charset=utf-8"
XML = "application/xml; charset=utf-8"


class Given(NamedTuple):
    """What a document is made from."""

    front: Front
    facts: Facts
    documents: "tuple[Document, ...]"
    """All that are made so."""
    served: Collection[str]
    """Paths of the site's other public routes, documents that are made otherwise among them."""


Make = Callable[[Given], Awaitable[object]]


class Document(NamedTuple):
    """One document."""

    path: str
    title: str
    description: str
    make: Make
    """Text or bytes as they are, anything else as JSON; None where there is none."""
    kind: str = sending.JSON
    always: bool = False
    """Also before the operator has stated what opens the pages."""
    lasting: bool = False
    """Whether it says what the facts say and nothing else: then it is made once for all."""


def routes(
    front: Front, shelf: Shelf, documents: tuple[Document, ...], served: Collection[str]
) -> list[Route]:
    """Of every document. `served`: see `Given`."""

    def given() -> Given:
        return Given(front, shelf.facts(), documents, served)

    return [Route(one.path, _view(one, shelf, given)) for one in documents]


def _view(
    one: Document, shelf: Shelf, given: Callable[[], Given]
) -> Callable[[Request], Awaitable[Response]]:
    kept = sending.Kept()

    async def answer(request: Request) -> Response:
        if shelf.missing and not one.always:
            told = f"The operator has not stated {', '.join(shelf.missing)}."
            view = {"error": {"code": "not_open", "message": told}}
            return render.json(view, status=503, headers=LATER)
        of = given()
        found = kept.get(of.facts, one.path) if one.lasting else None
        if found is None:
            made = await one.make(of)
            if made is None:
                told = f"{one.title}: the operator has stated none.\n"
                return Response(told, 404, render.HEADERS, media_type=TEXT)
            found = kept.put(of.facts, one.path, sending.body(_bytes(made), one.kind))
        return sending.send(request, found, sending.OPEN)

    return answer


def _bytes(made: object) -> bytes:
    if isinstance(made, bytes):
        return made
    return made.encode() if isinstance(made, str) else sending.encode(made)
