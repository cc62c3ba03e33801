"""The site port: what visitors and customers see, as an ASGI application.

Rule 1: a page never ends in a traceback. Redis or Postgres away is a 503 in words, a defect of ours
a 500 with a reference that stands in the log.
Rule 2: figures of a wallet are shown only to a session that the wallet's key, mailbox, order or
read-only token opened.
Rule 3: a key in an address is refused, whatever page it is: addresses are kept by browsers, proxies
and histories.
"""

import re
from collections.abc import Mapping

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from corvus_proxy import clock
from corvus_proxy.account import orders as machines
from corvus_proxy.account import webhooks
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.shop.provider import Provider
from corvus_proxy.site import account, demo, forms, login, public, render, shop
from corvus_proxy.site.front import LATER, Front
from corvus_proxy.till.client import TillUnavailable

ORDERS_MAX, ORDERS_S = 30, 60
"""Orders that programs at one address may place in so many seconds."""
_SECRET = re.compile(rb"(sk|ro)-corvus_\w")
_log = structlog.get_logger()


class Notices:
    """Answers to what no view can answer."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._pages = front.pages

    async def no_till(self, request: Request, problem: Exception) -> Response:
        """Redis does not answer, so nothing about money can be said."""
        if request.url.path.endswith((".json", "/events")):
            message = "The ledger does not answer; balances are safe."
            view = self._front.error("ledger_unavailable", message)
            return render.json(view, status=503, headers=LATER)
        return self._later(
            "The ledger does not answer",
            "Balances cannot be read at the moment, so no page can show yours.",
            "Nothing is lost: while it is away, new requests are refused, not charged.",
        )

    async def no_books(self, request: Request, problem: Exception) -> Response:
        """Postgres does not answer, and this page is made of nothing else."""
        if request.url.path.endswith((".json", "/events")):
            message = "The database does not answer; balances are safe."
            view = self._front.error("books_unavailable", message)
            return render.json(view, status=503, headers=LATER)
        return self._later(
            "The database does not answer",
            "This page cannot be made at the moment. Keys work as before, and nothing is lost.",
            "Log in with the key itself to see the balance: that works without the database.",
        )

    def _later(self, title: str, *sentences: str) -> Response:
        return self._pages.page(
            "message.html",
            status=503,
            headers=LATER,
            title=title,
            sentences=sentences,
            action=("/dashboard", "Try again"),
        )

    async def refused(self, request: Request, problem: Exception) -> Response:
        """No such page, or not with this method."""
        status = problem.status_code if isinstance(problem, HTTPException) else 404
        known = status == 405
        return self._pages.page(
            "message.html",
            status=status,
            title="This address takes forms only" if known else "There is no such page",
            sentences=["Use the form on its page." if known else "The address may be mistyped."],
            action=("/", "To the home page"),
        )

    async def failed(self, request: Request, problem: Exception) -> Response:
        """A defect of ours. The log has the route and the reference, never the address: addresses
        of other pages hold tokens."""
        reference = clock.random_text(10)
        view = getattr(request.scope.get("endpoint"), "__qualname__", "")
        _log.error("page_failed", view=view, reference=reference, exc_info=problem)
        return self._pages.page(
            "message.html",
            status=500,
            title="Something broke on our side",
            sentences=[
                "The page could not be made. Your balance is not touched by this.",
                f"If you ask for help, name the reference {reference}.",
            ],
            action=("/", "To the home page"),
        )

    def key_in_address(self) -> Response:
        """A key has no place in an address."""
        return self._pages.page(
            "message.html",
            status=400,
            title="A key has no place in an address",
            sentences=[
                "Addresses stay in histories and in logs on the way. This one was not read and not"
                " logged here.",
                "Log in by the form. If others may have seen the address, rotate the key.",
            ],
            action=("/login", "To the log-in"),
        )


class NoKeyInAddress:
    """Refuses every request whose address holds a secret, before any view sees it."""

    def __init__(self, app: ASGIApp, notices: Notices) -> None:
        self._app = app
        self._notices = notices

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            address = scope["path"].encode() + b"?" + scope.get("query_string", b"")
            if _SECRET.search(address.replace(b"%5F", b"_").replace(b"%5f", b"_")):
                await self._notices.key_in_address()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def create(
    stores: Stores, settings: Settings, providers: Mapping[str, Provider] | None = None
) -> Starlette:
    """The site as an ASGI application, selling by these payment services. Neither they nor the
    stores need to be there yet.

    `/readyz` does not ask for them: without them the site still answers, in words, and must get
    the visitors for that.
    """
    front = Front(stores, settings, providers or {})
    notices = Notices(front)
    placed = forms.Tries(ORDERS_MAX, ORDERS_S)
    app = Starlette(
        routes=[
            *login.routes(front),
            *account.routes(front),
            *shop.routes(front),
            *public.routes(front),
            *webhooks.routes(front.desk),
            *machines.routes(front.desk, lambda request: placed.take(front.address(request))),
            *demo.routes(settings),
            Route("/livez", _alive),
            Route("/readyz", _alive),
            Route("/static/{name}", _asset),
        ],
        middleware=[Middleware(NoKeyInAddress, notices=notices)],
        exception_handlers={
            HTTPException: notices.refused,
            TillUnavailable: notices.no_till,
            BooksUnavailable: notices.no_books,
            Exception: notices.failed,
        },
    )
    app.state.leave = front.leave
    app.router.redirect_slashes = False  # its redirects would go out without our headers
    return app


async def _asset(request: Request) -> Response:
    found = render.ASSETS.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return found.response(request.query_params.get("v", ""))


async def _alive(request: Request) -> Response:
    return PlainTextResponse("ok\n", headers=render.HEADERS)
