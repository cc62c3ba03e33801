"""What every view has at hand, and the door of the pages that need a log-in.

Rule 1: a logged-in page is reached only through `Front.guarded`: it judges the session each time.
Rule 2: a POST that changes something comes from our own page (`forms.is_own`) and not from a
read-only log-in.
"""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from corvus_proxy.account import orders
from corvus_proxy.service import account, sessions
from corvus_proxy.service.orders import open_desk
from corvus_proxy.service.sessions import Session
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.shop.provider import Provider
from corvus_proxy.site import calls, forms, render
from corvus_proxy.site.sessions import Sessions
from corvus_proxy.till.client import TillUnavailable

RETRY_S = 5
"""When a page that a server's absence spoilt may be asked for again."""
LATER = {**render.PRIVATE, "retry-after": str(RETRY_S)}

View = Callable[[Request], Awaitable[Response]]
AccountView = Callable[[Request, Session], Awaitable[Response]]


class Place(NamedTuple):
    """An entry of the navigation."""

    title: str
    path: str


PLACES = (
    Place("Overview", "/dashboard"),
    Place("Requests", "/dashboard/requests"),
    Place("Ledger", "/dashboard/ledger"),
    Place("Keys", "/dashboard/keys"),
    Place("Alarms", "/dashboard/alarms"),
    Place("Security", "/dashboard/security"),
)
STATEMENT = "/dashboard/ledger"
"""All that a revoked key still sees."""
MAIN_ONLY = frozenset({"/dashboard/alarms", "/dashboard/security"})


class Front:
    """Stores, settings, templates and sessions: what the views of one site share."""

    def __init__(
        self, stores: Stores, settings: Settings, providers: Mapping[str, Provider]
    ) -> None:
        self.stores = stores
        self.settings = settings
        self.desk = open_desk(settings, stores, providers)
        self.site_url = settings.brand.site_url
        self.pages = render.Pages(settings)
        self.calls = calls.calls(settings)
        self.sessions = Sessions(stores, https=self.site_url.startswith("https:"))
        self.tries = forms.Tries()
        self._proofs = forms.Tries()
        self._proxies = forms.networks(settings.site.trusted_proxies)
        self.leaving: list[Callable[[], None]] = []
        """What ends streams when the site is told to stop."""
        self.built: set[str] = set()
        """Paths of the navigation that have a view."""

    def leave(self) -> None:
        """Ends every stream: the site is told to stop."""
        for end in self.leaving:
            end()

    def is_own(self, request: Request) -> bool:
        """Whether a POST comes from a page of ours."""
        return forms.is_own(request, self.site_url)

    def address(self, request: Request) -> str:
        """Who asks, for limits alone; it is kept nowhere."""
        return forms.client_address(request, self._proxies)

    async def fields(self, request: Request) -> dict[str, str]:
        """A form's fields; none of one that is too large for any of ours."""
        try:
            return await forms.read(request)
        except forms.FormTooLarge:
            return {}

    async def why_unproven(self, session: Session, text: str) -> str:
        """Why a typed key or recovery code does not prove who is logged in; empty where it does.

        Wrong ones are counted for each wallet. Raises TillUnavailable, BooksUnavailable.
        """
        wait_s = self._proofs.take(session.wallet)
        if wait_s:
            return f"That was wrong too often. Try again in {wait_s} seconds."
        if await sessions.is_proof(self.stores, session, text):
            self._proofs.give_back(session.wallet)
            return ""
        return "Enter the key that you are logged in with, or the recovery code."

    def guarded(self, view: AccountView, *, main: bool = False, revoked: bool = False) -> View:
        """A view for those who are logged in; others are led to the log-in (JSON: 401).

        `main`: not for sub-keys. `revoked`: a revoked key's statement, too.
        """

        @functools.wraps(view)
        async def opened(request: Request) -> Response:
            session = await self.sessions.read(request)
            if session is None:
                if request.url.path.endswith((".json", "/events")):
                    return render.json(self.error("not_logged_in", "Log in first."), status=401)
                return render.redirect("/login")
            if session.status == "revoked" and not revoked:
                return render.redirect(STATEMENT)
            if main and not session.main:
                return self.no_entry("Only the main key opens this page.")
            if request.method != "GET" and session.read_only:
                return self.no_entry("A read-only log-in changes nothing.")
            if request.method != "GET" and not self.is_own(request):
                return self.no_entry("This form was sent from another site.")
            return await view(request, session)

        return opened

    async def account_page(
        self,
        session: Session,
        name: str,
        at: str,
        *,
        status: int = 200,
        **view: Any,
    ) -> Response:
        """A page inside the account: with the navigation, `at` marked, and the balance.

        Raises TillUnavailable where `figures` has to be asked for and Redis is away.
        """
        if "figures" not in view:
            try:
                view["figures"] = await account.overview(self.stores, session.wallet)
            except TillUnavailable:
                view["figures"] = None
        return self.pages.page(
            name,
            status=status,
            headers=LATER if status == 503 else render.PRIVATE,
            session=session,
            places=self.places(session),
            at=at,
            **view,
        )

    def places(self, session: Session) -> list[Place]:
        """The navigation of a session."""
        return [
            place
            for place in PLACES
            if place.path in self.built
            and (session.main or place.path not in MAIN_ONLY)
            and (session.status != "revoked" or place.path == STATEMENT)
        ]

    def no_entry(self, sentence: str, status: int = 403) -> Response:
        """A refusal in words."""
        return self.pages.page(
            "message.html",
            status=status,
            title="Not here",
            sentences=[sentence],
            action=("/dashboard", "To the overview"),
        )

    def error(self, code: str, message: str) -> dict[str, Any]:
        """A refusal for JSON."""
        return orders.error_object(code, message, self.site_url)
