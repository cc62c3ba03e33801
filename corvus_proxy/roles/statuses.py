"""The worker's port: the status page with its twins, and health. It needs no other role and no
store: what was measured last is shown, with its time."""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from corvus_proxy.catalogue import book
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.roles.reloading import stamp_of
from corvus_proxy.service.status import Document, Folder, State
from corvus_proxy.service.status.keeping import Keeper
from corvus_proxy.service.status.probes import Prober
from corvus_proxy.settings import Settings, config_path, load
from corvus_proxy.shop.provider import Provider
from corvus_proxy.site import public, render
from corvus_proxy.site.public.trust.showing import Showing
from corvus_proxy.till.client import Till

HASTE_S = 2.0
"""Pause between rounds while a part has no state yet."""
ROUNDS = 10
"""Of such rounds; then the ordinary pause."""
_log = structlog.get_logger()


class Press(NamedTuple):
    """What the page is made with."""

    settings: Settings
    pages: render.Pages


class Status:
    """Measures and publishes."""

    def __init__(self, settings: Settings, till: Till, providers: Mapping[str, Provider]) -> None:
        """Raises ConfigurationError where the price book cannot be read."""
        self._site_url = settings.brand.site_url
        self._haste_s = min(HASTE_S, settings.status.probe_s)
        folder = Folder(settings.status.dir)
        models = book.load(settings.pricing)
        self._prober = Prober(settings, till, providers, models)
        self._keeper = Keeper(settings, self._prober, folder)
        self._showing = Showing(public.shelf(Press(settings, render.Pages(settings))), folder)
        self._seen = stamp_of(config_path())
        self._begun = False

    async def tick(self) -> None:
        """One round, and its page. While a part has no state yet, some more: who has just started
        is not left waiting. Before the first one, what was known when the last one ended."""
        if not self._begun:
            self._begun = True
            self._print(self._keeper.document())
        self._follow()
        for _ in range(ROUNDS):
            document = await self._keeper.tick()
            self._print(document)
            if all(one.state is not State.UNKNOWN for one in document.components):
                return
            await asyncio.sleep(self._haste_s)

    def _print(self, document: Document) -> None:
        try:
            self._showing.publish(document)
        except OSError as error:
            _log.error("status_not_published", why=str(error))

    def _follow(self) -> None:
        """Gateways take changed upstreams from the configuration while they run: those are what is
        asked, then. What they would refuse is refused here, too; their log says why."""
        seen = stamp_of(config_path())
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._prober.take(load(config_path()))
        except ConfigurationError as error:
            _log.warning("status_keeps_upstreams", why=str(error))

    def app(self, problems: Callable[[], list[str]]) -> Starlette:
        """The worker's port. `/readyz` answers 503 with the first of `problems`."""

        async def alive(request: Request) -> Response:
            return PlainTextResponse("ok\n", headers=render.HEADERS)

        async def ready(request: Request) -> Response:
            found = problems()
            status, text = (503, found[0]) if found else (200, "ok")
            return PlainTextResponse(f"{text}\n", status, headers=render.HEADERS)

        async def home(request: Request) -> Response:
            return RedirectResponse("/status", 307, render.HEADERS)

        async def asset(request: Request) -> Response:
            found = render.ASSETS.get(request.path_params["name"])
            if found is None:
                raise HTTPException(404)
            return found.response(request.query_params.get("v", ""))

        async def elsewhere(request: Request) -> Response:
            # The page's links lead to other pages, which the site has.
            return RedirectResponse(self._site_url + request.url.path, 307, render.HEADERS)

        app = Starlette(
            routes=[
                Route("/livez", alive),
                Route("/readyz", ready),
                Route("/", home),
                *self._showing.routes(),
                Route("/static/{name}", asset),
                Route("/{path:path}", elsewhere),
            ]
        )
        app.router.redirect_slashes = False
        return app

    async def close(self) -> None:
        """Ends its connections."""
        await self._prober.close()
