"""The console as an application: pages behind a log-in, and what machines ask without one.

`/metrics` of all roles on this machine, `/livez` and `/readyz` need no log-in: the port is on
loopback or a private address, and they tell nothing of customers.
"""

import asyncio
from collections.abc import Mapping

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import clock, exposing
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.console.deeds import Doing
from corvus_proxy.console.front import Front, plain
from corvus_proxy.console.login import Login
from corvus_proxy.console.pages import HEADERS, sheet
from corvus_proxy.console.views import Views
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.shop.provider import Provider
from corvus_proxy.till.client import TillUnavailable

READY_S = 3
"""A store that needs longer to say that it is there counts as away."""
_log = structlog.get_logger()


def create(
    stores: Stores, settings: Settings, providers: Mapping[str, Provider] | None = None
) -> Starlette:
    """The console as an ASGI application, with these payment services. Neither they nor the stores
    need to be there yet."""
    front = Front(stores, settings, providers or {})

    async def metrics(request: Request) -> Response:
        body = await asyncio.to_thread(exposing.text, settings.metrics.dir)
        return Response(body, headers=HEADERS, media_type=exposing.CONTENT_TYPE_LATEST)

    async def ready(request: Request) -> Response:
        try:
            await _answer(stores)
        except (TillUnavailable, BooksUnavailable) as error:
            return plain(str(error), 503)
        return plain("ok")

    async def alive(request: Request) -> Response:
        return plain("ok")

    async def style(request: Request) -> Response:
        return sheet()

    app = Starlette(
        routes=[
            *Login(front).routes(),
            *Views(front).routes(),
            *Doing(front).routes(),
            Route("/static/console.css", style),
            Route("/metrics", metrics),
            Route("/livez", alive),
            Route("/readyz", ready),
        ],
        exception_handlers={
            HTTPException: _Notices(front).refused,
            TillUnavailable: _Notices(front).away,
            BooksUnavailable: _Notices(front).away,
            Exception: _Notices(front).failed,
        },
    )
    app.router.redirect_slashes = False  # its redirects would go out without our headers
    return app


class _Notices:
    """Answers to what no view can answer."""

    def __init__(self, front: Front) -> None:
        self._pages = front.pages

    async def refused(self, request: Request, problem: Exception) -> Response:
        status = problem.status_code if isinstance(problem, HTTPException) else 404
        return self._pages.message("Not here", "There is no such page.", status=status)

    async def away(self, request: Request, problem: Exception) -> Response:
        sentence = f"{problem}. The command line asks the same servers; `corvus doctor` says more."
        return self._pages.message("A server is away", sentence, status=503)

    async def failed(self, request: Request, problem: Exception) -> Response:
        reference = clock.random_text(10)
        _log.error("console_failed", path=request.url.path, reference=reference, exc_info=problem)
        sentence = f"The console's log has it under {reference}."
        return self._pages.message("Something broke", sentence, status=500)


async def _answer(stores: Stores) -> None:
    """Both stores answer. Raises TillUnavailable, BooksUnavailable."""
    await stores.till.version()
    try:
        async with asyncio.timeout(READY_S), stores.books.connection() as connection:
            await connection.fetchval("select 1")
    except TimeoutError:
        raise BooksUnavailable("Postgres: no answer in time") from None
