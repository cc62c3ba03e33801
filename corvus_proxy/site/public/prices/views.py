"""Answers of the pages of prices that have a form.

Rule: what is shown to one customer is never kept, here or on the way; all else is the same for all.
"""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.books.statements import Scope
from corvus_proxy.service.statements import repriced
from corvus_proxy.service.statements.repriced import Own
from corvus_proxy.site import render
from corvus_proxy.site.front import Front
from corvus_proxy.site.public.page import Facts, Page
from corvus_proxy.site.public.places import foot, menu
from corvus_proxy.site.public.prices import calculator, directory, tracking
from corvus_proxy.site.public.prices.calculator import Asked
from corvus_proxy.site.public.prices.offer import offer
from corvus_proxy.site.public.shelf import Shelf
from corvus_proxy.till.client import TillUnavailable

QUERY_MAX = 60


class Prices:
    """Views of the pages that take a query."""

    def __init__(self, front: Front, shelf: Shelf) -> None:
        self._front = front
        self._shelf = shelf

    async def tracker(self, request: Request) -> Response:
        """`GET /pricing/tracker`; `?family=` chooses whose table is shown."""
        found = offer(self._shelf.facts())
        chosen = tracking.choose(found, request.query_params.get("family", ""))
        page = self._shelf.pages["/pricing/tracker"]
        return self._shelf.answered(request, page, {"chosen": chosen}, key=chosen)

    async def directory(self, request: Request) -> Response:
        """`GET /models`; `?q=` and `?family=` say what is looked for."""
        query = request.query_params.get("q", "").strip()[:QUERY_MAX]
        family = request.query_params.get("family", "")[:QUERY_MAX]
        page = self._shelf.pages["/models"]
        if not query and not family:
            return self._shelf.answered(request, page)
        asked = directory.asked(offer(self._shelf.facts()), query, family)
        return self._shelf.answered(request, page, asked)

    async def model(self, request: Request) -> Response:
        """`GET /models/{slug}` where no page stands: the vendor's other name of a model leads to
        its page, for any other name those are shown that may have been meant."""
        name = request.path_params["slug"]
        found = offer(self._shelf.facts())
        twin = name.endswith(".md")
        model = found.book.find(name.removesuffix(".md"))
        if model is not None and f"/models/{model.slug}" in self._shelf.pages:
            return render.redirect(f"/models/{model.slug}{'.md' if twin else ''}")
        if twin:
            raise HTTPException(404)
        return self._front.pages.page(
            "public/prices/unknown.html",
            status=404,
            asked=name[:QUERY_MAX],
            like=directory.like(found.book, name),
            places=menu(self._shelf.pages),
            at="/models",
            feet=foot(self._shelf.pages),
        )

    async def calculator(self, request: Request) -> Response:
        """`GET /pricing/calculator`: everything that is asked stands in the address."""
        facts = self._shelf.facts()
        page = self._shelf.pages[calculator.PATH]
        if not request.query_params:
            return self._shelf.answered(request, page)
        query = request.query_params
        asked = calculator.read(dict(query), query.getlist("model"), offer(facts))
        shown = calculator.answer(facts, asked)
        if asked.mine:
            return await self._mine(request, page, facts, asked, shown)
        return self._shelf.answered(request, page, shown)

    async def _mine(
        self, request: Request, page: Page, facts: Facts, asked: Asked, shown: dict[str, object]
    ) -> Response:
        """The calculator with one's own usage; nobody else is shown it."""
        if (closed := self._shelf.closed(page)) is not None:
            return closed
        try:
            shown["own"] = await self._own(request, facts, asked)
        except (BooksUnavailable, TillUnavailable):
            shown["own_problem"] = "At the moment the records do not answer; try again later."
        text = self._shelf.text(page, facts, {**shown, "people": True})
        answer = self._shelf.html(page, facts, text)
        answer.headers.update(render.PRIVATE)
        return answer

    async def _own(self, request: Request, facts: Facts, asked: Asked) -> Own | None:
        """The last requests of whoever is logged in, priced again; None for nobody. Raises
        BooksUnavailable, TillUnavailable."""
        session = await self._front.sessions.read(request)
        if session is None or session.status == "revoked":
            return None
        found = offer(facts)
        names = asked.models or calculator.headline(found)
        models = [model for name in names if (model := found.book.find(name)) is not None]
        scope = Scope(session.wallet, "" if session.main else session.key_id)
        return await repriced.reprice(
            self._front.stores,
            scope,
            models,
            lambda counts, model: calculator.fit(counts, model)[0],
        )


def routes(front: Front, shelf: Shelf) -> list[Route]:
    """Of what the shelf alone cannot answer; they stand before the shelf's own."""
    views = Prices(front, shelf)
    return [
        Route("/pricing/tracker", views.tracker),
        Route(calculator.PATH, views.calculator),
        Route("/models", views.directory),
    ]


def last_routes(front: Front, shelf: Shelf) -> list[Route]:
    """Of addresses at which no page stands; they stand behind all others."""
    return [Route("/models/{slug}", Prices(front, shelf).model)]
