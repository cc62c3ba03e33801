"""The cookie of a log-in: a signed `Ticket`, never a secret.

Rule 1: nothing of it is kept in this process, so a log-in outlives a deployment; the signing key
follows from the pepper.
Rule 2: a cookie that is sound only says who somebody claims to be; `service.sessions.judge` says at
each page whether that still counts.
Rule 3: the cookie is `Secure` and `__Host-` exactly when the site's public address is https.
"""

import hashlib
import re

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from corvus_proxy import pepper as peppers
from corvus_proxy.service import sessions
from corvus_proxy.service.sessions import SESSION_S, Session, Ticket
from corvus_proxy.service.stores import Stores

_SYSTEMS = (
    (r"iPad", "iPad"),
    (r"iPhone", "iPhone"),
    (r"Android.*Mobile", "Android phone"),
    (r"Android", "Android tablet"),
    (r"CrOS", "Chromebook"),
    (r"Windows", "Windows computer"),
    (r"Macintosh|Mac OS X", "Mac"),
    (r"Linux|X11", "Linux computer"),
)
_BROWSERS = (
    (r"Edg", "Edge"),
    (r"Firefox|FxiOS", "Firefox"),
    (r"Chrome|CriOS|Chromium", "Chrome"),
    (r"Safari", "Safari"),
)


def session_cookie(*, https: bool) -> str:
    """The cookie's name."""
    return "__Host-session" if https else "session"


class Sessions:
    """Makes and reads session cookies."""

    def __init__(self, stores: Stores, *, https: bool) -> None:
        keys = [
            hashlib.blake2b(b"site session", key=one[:64], digest_size=32).digest()
            for one in reversed(peppers.all_of(stores.pepper))  # the last one signs
        ]
        self._signer = URLSafeTimedSerializer(
            keys, salt="session", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._stores = stores
        self._https = https
        self.cookie = session_cookie(https=https)

    def start(self, response: Response, ticket: Ticket) -> None:
        """Logs in."""
        response.set_cookie(
            self.cookie,
            self._signer.dumps(list(ticket)),
            max_age=SESSION_S,
            httponly=True,
            samesite="lax",
            secure=self._https,
            path="/",
        )

    def end(self, response: Response) -> None:
        """Takes the cookie from this browser."""
        response.delete_cookie(
            self.cookie, path="/", secure=self._https, httponly=True, samesite="lax"
        )

    def ticket(self, request: Request) -> Ticket | None:
        """What the browser carries, or None for a cookie that is missing, changed or too old."""
        try:
            return Ticket(
                *self._signer.loads(request.cookies.get(self.cookie, ""), max_age=SESSION_S)
            )
        except (BadSignature, ValueError, TypeError):
            return None

    async def read(self, request: Request) -> Session | None:
        """Who is logged in. Raises TillUnavailable, BooksUnavailable."""
        ticket = self.ticket(request)
        return None if ticket is None else await sessions.judge(self._stores, ticket)


def device(request: Request) -> str:
    """The kind of browser and machine, as coarse as a list of log-ins needs it."""
    agent = request.headers.get("user-agent", "")
    browser = next((name for pattern, name in _BROWSERS if re.search(pattern, agent)), "")
    system = next((name for pattern, name in _SYSTEMS if re.search(pattern, agent)), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or "a program"
