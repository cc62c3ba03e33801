"""Log-in sessions: a signed cookie that names wallet and key, never the secret."""

import hashlib
from collections import defaultdict, deque

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from corvus_proxy import clock
from corvus_proxy.service.account import Session

SESSION_S = 12 * 3600
TRIES_MAX, TRIES_S = 5, 60
_ADDRESSES_MAX = 10_000


class Sessions:
    """Makes and reads session cookies."""

    def __init__(self, pepper: bytes, *, https: bool) -> None:
        key = hashlib.blake2b(b"site session", key=pepper[:64], digest_size=32).digest()
        self._signer = URLSafeTimedSerializer(key, salt="session")
        self._https = https
        self._cookie = "__Host-session" if https else "session"

    def start(self, response: Response, session: Session) -> None:
        """Logs in."""
        response.set_cookie(
            self._cookie,
            self._signer.dumps(list(session)),
            max_age=SESSION_S,
            httponly=True,
            samesite="lax",
            secure=self._https,
            path="/",
        )

    def end(self, response: Response) -> None:
        """Logs out."""
        response.delete_cookie(
            self._cookie, path="/", secure=self._https, httponly=True, samesite="lax"
        )

    def read(self, request: Request) -> Session | None:
        """Who is logged in, or None."""
        try:
            wallet, key_id = self._signer.loads(
                request.cookies.get(self._cookie, ""), max_age=SESSION_S
            )
        except (BadSignature, ValueError, TypeError):
            return None
        return Session(wallet, key_id)


class Tries:
    """Limits log-in attempts per address, in this process's memory."""

    def __init__(self) -> None:
        self._tries: defaultdict[str, deque[float]] = defaultdict(deque)

    def allowed(self, address: str) -> bool:
        """Whether this address may try once more now."""
        now_s = clock.monotonic_s()
        if len(self._tries) > _ADDRESSES_MAX:
            self._tries.clear()
        tries = self._tries[address]
        while tries and now_s - tries[0] > TRIES_S:
            tries.popleft()
        if len(tries) >= TRIES_MAX:
            return False
        tries.append(now_s)
        return True


def is_own_form(request: Request) -> bool:
    """Whether a POST comes from our own page: browsers say so, and others cannot carry a cookie."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or origin.partition("//")[2] == request.headers.get("host")
