"""`/metrics` of all roles on this machine, health, and a page that says where things are."""

import asyncio
import platform
from html import escape

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from corvus_proxy import __version__, exposing
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.till.client import TillUnavailable

READY_S = 3
"""A store that needs longer to say that it is there counts as away."""
_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def create(stores: Stores, settings: Settings) -> Starlette:
    """The console as an ASGI application. Neither store needs to be there yet."""

    async def metrics(request: Request) -> Response:
        body = await asyncio.to_thread(exposing.text, settings.metrics.dir)
        return Response(body, headers=_HEADERS, media_type=exposing.CONTENT_TYPE_LATEST)

    async def ready(request: Request) -> Response:
        try:
            await _versions(stores)
        except (TillUnavailable, BooksUnavailable) as error:
            return PlainTextResponse(f"{error}\n", 503, _HEADERS)
        return PlainTextResponse("ok\n", headers=_HEADERS)

    async def alive(request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=_HEADERS)

    async def home(request: Request) -> Response:
        try:
            state = await _versions(stores)
        except (TillUnavailable, BooksUnavailable) as error:
            state = [str(error)]
        return HTMLResponse(_page(settings, state), headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/", home),
            Route("/metrics", metrics),
            Route("/livez", alive),
            Route("/readyz", ready),
        ]
    )


async def _versions(stores: Stores) -> list[str]:
    """Names and versions of Redis and Postgres. Raises TillUnavailable, BooksUnavailable."""
    name, version = await stores.till.version()
    try:
        async with asyncio.timeout(READY_S), stores.books.connection() as connection:
            postgres = await connection.fetchval("show server_version")
    except TimeoutError:
        raise BooksUnavailable("Postgres: no answer in time") from None
    return [f"{name} {version}", f"postgres {postgres}"]


def _page(settings: Settings, state: list[str]) -> str:
    """Links and versions; no style of its own, the policy forbids all."""
    links = "".join(
        f'<li><a href="{escape(address)}">{escape(label)}</a>\n'
        for label, address in (
            ("metrics of every role on this machine", "/metrics"),
            ("live", "/livez"),
            ("ready: Redis and Postgres answer", "/readyz"),
            ("site", settings.brand.site_url),
            ("API", settings.brand.api_url),
        )
    )
    versions = "".join(
        f"<li>{escape(text)}\n"
        for text in (f"corvus {__version__}", f"python {platform.python_version()}", *state)
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>Console · {escape(settings.brand.name)}</title>"
        f"<main><h1>Console</h1>\n<ul>\n{links}</ul>\n<h2>Versions</h2>\n<ul>\n{versions}</ul>"
        "</main></html>\n"
    )
