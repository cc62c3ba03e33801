"""What every page of the console has at hand, and the door: nobody passes without a log-in.

Rule 1: a log-in is a signed cookie, judged by the books at each request: it ends with its token
(`corvus operators revoke`), after half a day, or with the pepper.
Rule 2: a form is taken from our own page alone, by a browser that says so; and once.
"""

import functools
import hashlib
from collections.abc import Awaitable, Callable, Mapping

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from corvus_proxy import clock
from corvus_proxy.console.pages import HEADERS, Pages, redirect
from corvus_proxy.service.operating import operators
from corvus_proxy.service.operating.operators import Operator
from corvus_proxy.service.orders import open_desk
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.shop.provider import Provider
from corvus_proxy.site import forms

COOKIE = "corvus_console"
SESSION_S = 12 * 3600
TRIES_MAX, TRIES_S = 5, 60
_NONCES_MAX = 10_000

View = Callable[[Request], Awaitable[Response]]
OperatorView = Callable[[Request, Operator], Awaitable[Response]]


class Front:
    """Stores, settings, templates, log-ins."""

    def __init__(
        self, stores: Stores, settings: Settings, providers: Mapping[str, Provider]
    ) -> None:
        self.stores = stores
        self.settings = settings
        self.desk = open_desk(settings, stores, providers)
        self.pages = Pages(settings)
        self.tries = forms.Tries(TRIES_MAX, TRIES_S)
        # Under no other pepper: with a leaked old one and a copy of the books cookies can be made.
        key = hashlib.blake2b(b"console session", key=stores.pepper[:64], digest_size=32).digest()
        self._signer = URLSafeTimedSerializer(
            key, salt="console", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._offered: dict[str, None] = {}

    # -- who is there ---------------------------------------------------------------------------

    async def operator(self, request: Request) -> Operator | None:
        """Who is logged in. Raises BooksUnavailable."""
        try:
            name, digest = self._signer.loads(request.cookies.get(COOKIE, ""), max_age=SESSION_S)
        except (BadSignature, ValueError, TypeError):
            return None
        return await operators.still(self.stores, str(name), str(digest))

    def log_in(self, response: Response, operator: Operator) -> None:
        """Begins a log-in in this browser."""
        response.set_cookie(
            COOKIE,
            self._signer.dumps(list(operator)),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            path="/",
        )

    def log_out(self, response: Response) -> None:
        """Takes the cookie from this browser."""
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")

    def guarded(self, view: OperatorView) -> View:
        """A view for operators; others are led to the log-in."""

        @functools.wraps(view)
        async def opened(request: Request) -> Response:
            operator = await self.operator(request)
            if operator is None:
                return redirect("/login")
            if request.method not in ("GET", "HEAD") and not self.is_own(request):
                return self.foreign()
            return await view(request, operator)

        return opened

    # -- forms ----------------------------------------------------------------------------------

    def is_own(self, request: Request) -> bool:
        """Whether a form comes from a page of ours: its origin is the address that was asked."""
        return forms.is_own(request, str(request.base_url))

    def foreign(self) -> Response:
        """The answer to any other form."""
        return self.pages.message("Not here", "This form was sent from another site.", status=403)

    async def fields(self, request: Request) -> dict[str, str]:
        """A form's fields; none of one that is too large for any of ours."""
        try:
            return await forms.read(request)
        except forms.FormTooLarge:
            return {}

    def offer(self) -> str:
        """A nonce for a form that may be sent once."""
        nonce = clock.random_text(20)
        self._offered[nonce] = None
        if len(self._offered) > _NONCES_MAX:
            del self._offered[next(iter(self._offered))]
        return nonce

    def take(self, nonce: str) -> bool:
        """Whether a form of ours is sent for the first time: going back or loading again does
        nothing twice, also after a restart, since which no form was offered."""
        return self._offered.pop(nonce, False) is None


def plain(text: str, status: int = 200) -> Response:
    """A line of text, for health checks."""
    return Response(f"{text}\n", status, HEADERS, media_type="text/plain")
