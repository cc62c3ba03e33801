"""`/metrics` of all roles on this machine, health, and a page that says where things are."""

from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from corvus_proxy import __version__
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.till.client import TillUnavailable


def _forget_dead(folder: Path) -> None:
    """Takes the live gauges of processes that have ended out of the sums."""
    for path in folder.glob("gauge_live*_*.db"):
        if not Path(f"/proc/{path.stem.rpartition('_')[2]}").exists():
            path.unlink(missing_ok=True)


def create(stores: Stores, settings: Settings) -> Any:
    """The console as an ASGI application."""

    async def metrics(request: Request) -> Response:
        registry = REGISTRY
        if settings.metrics.dir:
            _forget_dead(Path(settings.metrics.dir))
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=settings.metrics.dir)  # type: ignore[no-untyped-call]
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def ready(request: Request) -> Response:
        try:
            await stores.till.replid()
            async with stores.books.connection() as connection:
                await connection.fetchval("select 1")
        except (TillUnavailable, BooksUnavailable) as error:
            return PlainTextResponse(f"{error}\n", 503)
        return PlainTextResponse("ok\n")

    async def alive(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def home(request: Request) -> Response:
        return PlainTextResponse(
            f"corvus {__version__}\n\n"
            f"API      {settings.brand.api_url}\nsite     {settings.brand.site_url}\n"
            "metrics  /metrics\nhealth   /livez /readyz\n"
        )

    return Starlette(
        routes=[
            Route("/", home),
            Route("/metrics", metrics),
            Route("/livez", alive),
            Route("/readyz", ready),
        ]
    )
