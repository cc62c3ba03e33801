"""The site port: log-in and the dashboard."""

from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.money.amount import format_usd
from corvus_proxy.service import account
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.site import render
from corvus_proxy.site.sessions import Sessions, Tries, is_own_form
from corvus_proxy.till.client import TillUnavailable

REQUESTS_SHOWN = 50
FORM_BYTES_MAX = 4096


class Site:
    """The views; each returns data to a template, or the same data as JSON."""

    def __init__(self, stores: Stores, settings: Settings) -> None:
        self._stores = stores
        self._settings = settings
        self._pages = render.Pages(settings)
        self._sessions = Sessions(stores.pepper, https=settings.brand.site_url.startswith("https:"))
        self._tries = Tries()

    async def home(self, request: Request) -> Response:
        """`/`: to the dashboard or to the log-in."""
        known = self._sessions.read(request) is not None
        return RedirectResponse("/dashboard" if known else "/login", 303, render.HEADERS)

    async def log_in_form(self, request: Request) -> Response:
        """`GET /login`."""
        if self._sessions.read(request) is not None:
            return RedirectResponse("/dashboard", 303, render.HEADERS)
        return self._pages.page("login.html", problem="")

    async def log_in(self, request: Request) -> Response:
        """`POST /login`: the key opens the dashboard."""
        if not is_own_form(request):
            return self._pages.page(
                "login.html", status=403, problem="This form was sent from another site."
            )
        address = request.client.host if request.client else ""
        if not self._tries.allowed(address):
            return self._pages.page(
                "login.html",
                status=429,
                problem="Too many attempts from your address. Wait a minute and try again.",
            )
        size = request.headers.get("content-length", "0")
        if not size.isdigit() or int(size) > FORM_BYTES_MAX:
            return self._pages.page("login.html", status=413, problem="That is not a key.")
        fields = parse_qs((await request.body()).decode("latin-1"))
        session = await account.log_in(self._stores, fields.get("key", [""])[0])
        if session is None:
            return self._pages.page(
                "login.html",
                status=401,
                problem="This key is not known. Check that it was copied whole:"
                " it begins with sk-corvus_ and has 56 characters.",
            )
        response = RedirectResponse("/dashboard", 303, render.HEADERS)
        self._sessions.start(response, session)
        return response

    async def log_out(self, request: Request) -> Response:
        """`POST /logout`."""
        response = RedirectResponse("/login", 303, render.HEADERS)
        if is_own_form(request):
            self._sessions.end(response)
        return response

    async def dashboard(self, request: Request) -> Response:
        """`/dashboard` and its twin `/dashboard.json`."""
        session = self._sessions.read(request)
        if session is None:
            return RedirectResponse("/login", 303, render.HEADERS)
        figures = await account.overview(self._stores, session.wallet)
        if request.url.path.endswith(".json"):
            view = {
                **figures._asdict(),
                **{
                    name.removesuffix("_nanos"): format_usd(nanos)
                    for name, nanos in figures._asdict().items()
                },
            }
            return Response(
                msgspec.json.encode(view),
                headers={**render.HEADERS, "cache-control": "no-store"},
                media_type="application/json",
            )
        requests = await account.requests(self._stores, session.wallet, limit=REQUESTS_SHOWN)
        models = await account.models(self._stores, session.wallet)
        return self._pages.page(
            "dashboard.html",
            figures=figures,
            requests=requests,
            models=models,
            session=session,
            bars=render.bars([(row.slug, row.charge_nanos) for row in models]),
            charged_nanos=sum(row.charge_nanos for row in models),
        )

    async def unavailable(self, request: Request, error: Exception) -> Response:
        """Redis or Postgres is away."""
        return self._pages.page(
            "unavailable.html",
            status=503,
            what=(
                "The ledger"
                if isinstance(error, TillUnavailable)
                else "The record of your requests"
            ),
        )

    async def missing(self, request: Request, error: Exception) -> Response:
        """No such page."""
        return self._pages.page("missing.html", status=404)


def create(stores: Stores, settings: Settings) -> Any:
    """The site as an ASGI application."""
    site = Site(stores, settings)
    return Starlette(
        routes=[
            Route("/", site.home),
            Route("/login", site.log_in_form, methods=["GET"]),
            Route("/login", site.log_in, methods=["POST"]),
            Route("/logout", site.log_out, methods=["POST"]),
            Route("/dashboard", site.dashboard),
            Route("/dashboard.json", site.dashboard),
            Route("/livez", _alive),
            Route("/readyz", _alive),
            *(Route(f"/static/{name}", _asset(name)) for name in render.ASSETS),
        ],
        exception_handlers={
            404: site.missing,
            TillUnavailable: site.unavailable,
            BooksUnavailable: site.unavailable,
        },
    )


def _asset(name: str) -> Any:
    async def serve(request: Request) -> Response:
        return render.asset(name)

    return serve


async def _alive(request: Request) -> Response:
    return PlainTextResponse("ok\n")
