"""The site port: log-in and the dashboard, as an ASGI application.

Rule 1: a page never ends in a traceback. Redis or Postgres away is a 503 in words, a defect of ours
a 500 with a reference that stands in the log.
Rule 2: figures of a wallet are shown only to the session that the wallet's own key opened.
"""

from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from corvus_proxy import clock, secret
from corvus_proxy.service import account
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.site import forms, pages, render
from corvus_proxy.site.sessions import Sessions
from corvus_proxy.till.client import TillUnavailable

RETRY_S = 5
"""When a page that a server's absence spoilt may be asked for again."""
_LATER = {**render.PRIVATE, "retry-after": str(RETRY_S)}
_log = structlog.get_logger()


class Site:
    """The views: each asks the service and gives the answer a template, or JSON."""

    def __init__(self, stores: Stores, settings: Settings) -> None:
        self._stores = stores
        self._site_url = settings.brand.site_url
        self._pages = render.Pages(settings)
        self._calls = pages.calls(settings)
        self._sessions = Sessions(stores.pepper, https=self._site_url.startswith("https:"))
        self._tries = forms.Tries()

    async def home(self, request: Request) -> Response:
        """`/`: to the dashboard or to the log-in."""
        known = self._sessions.read(request) is not None
        return render.redirect("/dashboard" if known else "/login")

    async def log_in_form(self, request: Request) -> Response:
        """`GET /login`."""
        if self._sessions.read(request) is not None:
            return render.redirect("/dashboard")
        return self._log_in_page()

    async def log_in(self, request: Request) -> Response:
        """`POST /login`: the key opens the dashboard."""
        if not forms.is_own(request, self._site_url):
            return self._log_in_page(
                403, "This form was sent from another site. Enter the key here, on this page."
            )
        address = request.client.host if request.client else ""
        wait_s = self._tries.take(address)
        if wait_s:
            return self._log_in_page(
                429,
                f"Too many wrong keys from your address. Try again in {wait_s} seconds.",
                retry_after_s=wait_s,
            )
        try:
            fields = await forms.read(request)
        except forms.FormTooLarge:
            return self._log_in_page(413, "This is far too long for a key.")
        text = "".join(fields.get("key", "").split())  # line breaks come with keys from a mail
        problem = _shape_problem(text)
        if problem:
            return self._log_in_page(401, problem)
        try:
            session = await account.log_in(self._stores, text)
        except TillUnavailable:
            self._tries.give_back(address)
            raise
        if session is None:
            return self._log_in_page(
                401, "Nobody here knows this key. It may belong to another service, or be replaced."
            )
        self._tries.give_back(address)
        response = render.redirect("/dashboard")
        self._sessions.start(response, session)
        return response

    async def log_out(self, request: Request) -> Response:
        """`POST /logout`."""
        response = render.redirect("/login")
        if forms.is_own(request, self._site_url):
            self._sessions.end(response)
        return response

    async def dashboard(self, request: Request) -> Response:
        """`GET /dashboard`."""
        session = self._sessions.read(request)
        if session is None:
            return render.redirect("/login")
        view = await pages.dashboard(self._stores, session)
        return self._pages.page(
            "dashboard.html",
            status=200 if view.listing else 503,
            headers=render.PRIVATE if view.listing else _LATER,
            session=session,
            calls=self._calls,
            requests_shown=pages.REQUESTS_SHOWN,
            **view._asdict(),
        )

    async def dashboard_twin(self, request: Request) -> Response:
        """`GET /dashboard.json`; `?part=figures` leaves out what the books would be asked for."""
        session = self._sessions.read(request)
        if session is None:
            return render.json(_error("not_logged_in", "Log in with the key first."), status=401)
        if request.query_params.get("part") == "figures":
            figures = await account.overview(self._stores, session.wallet)
            return render.json({**session._asdict(), **render.twin(figures)})
        view = render.twin(await pages.dashboard(self._stores, session))
        return render.json(
            {
                **session._asdict(),
                **view.pop("figures"),
                **view,
                "base_urls": {call.title: call.base_url for call in self._calls},
            },
            status=200 if view["listing"] else 503,
            headers=render.PRIVATE if view["listing"] else _LATER,
        )

    async def unavailable(self, request: Request, error: Exception) -> Response:
        """Redis does not answer, so nothing about money can be said."""
        if request.url.path.endswith(".json"):
            view = _error("ledger_unavailable", "The ledger does not answer; balances are safe.")
            return render.json(view, status=503, headers=_LATER)
        return self._pages.page(
            "message.html",
            status=503,
            headers=_LATER,
            title="The ledger does not answer",
            sentences=[
                "Balances cannot be read at the moment, so no page can show yours.",
                "Nothing is lost: while it is away, new requests are refused, not charged.",
            ],
            action=("/", "Try again"),
        )

    async def refused(self, request: Request, error: Exception) -> Response:
        """No such page, or not with this method."""
        status = error.status_code if isinstance(error, HTTPException) else 404
        known = status == 405
        return self._pages.page(
            "message.html",
            status=status,
            title="This address takes forms only" if known else "There is no such page",
            sentences=["Use the form on its page." if known else "The address may be mistyped."],
            action=("/", "To the dashboard"),
        )

    async def failed(self, request: Request, error: Exception) -> Response:
        """A defect of ours. The log has the route and the reference, never the address: addresses
        of other pages hold tokens."""
        reference = clock.random_text(10)
        view = getattr(request.scope.get("endpoint"), "__name__", "")
        _log.error("page_failed", view=view, reference=reference, exc_info=error)
        return self._pages.page(
            "message.html",
            status=500,
            title="Something broke on our side",
            sentences=[
                "The page could not be made. Your balance is not touched by this.",
                f"If you ask for help, name the reference {reference}.",
            ],
            action=("/", "To the dashboard"),
        )

    def _log_in_page(
        self, status: int = 200, problem: str = "", retry_after_s: int = 0
    ) -> Response:
        headers = {**render.PRIVATE}
        if retry_after_s:
            headers["retry-after"] = str(retry_after_s)
        return self._pages.page("login.html", status=status, headers=headers, problem=problem)


def create(stores: Stores, settings: Settings) -> Starlette:
    """The site as an ASGI application. Neither store needs to be there yet.

    `/readyz` does not ask for them: without them the site still answers, in words, and must get
    the visitors for that.
    """
    site = Site(stores, settings)
    app = Starlette(
        routes=[
            Route("/", site.home),
            Route("/login", site.log_in_form, methods=["GET"]),
            Route("/login", site.log_in, methods=["POST"]),
            Route("/logout", site.log_out, methods=["POST"]),
            Route("/dashboard", site.dashboard),
            Route("/dashboard.json", site.dashboard_twin),
            Route("/livez", _alive),
            Route("/readyz", _alive),
            Route("/static/{name}", _asset),
        ],
        exception_handlers={
            HTTPException: site.refused,
            TillUnavailable: site.unavailable,
            Exception: site.failed,
        },
    )
    app.router.redirect_slashes = False  # its redirects would go out without our headers
    return app


def _shape_problem(text: str) -> str:
    """What is wrong with a key by its look alone, in words; empty when nothing is."""
    if not text:
        return "Enter your key."
    if not text.startswith(secret.PREFIX):
        return f"This is not one of our keys: they begin with {secret.PREFIX}."
    if secret.parse(text) is None:
        return "This key was not copied whole, or a character of it is wrong."
    return ""


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


async def _asset(request: Request) -> Response:
    found = render.ASSETS.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return found.response(request.query_params.get("v", ""))


async def _alive(request: Request) -> Response:
    return PlainTextResponse("ok\n", headers=render.HEADERS)
