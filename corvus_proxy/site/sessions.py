"""Log-in sessions: a signed cookie that names wallet, key and time, never the secret.

Rule 1: nothing is kept on the server, so a session outlives a deployment; the signing key follows
from the pepper.
Rule 2: the cookie is `Secure` and `__Host-` exactly when the site's public address is https.
"""

import hashlib

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from corvus_proxy.service.account import Session

SESSION_S = 12 * 3600


class Sessions:
    """Makes and reads session cookies."""

    def __init__(self, pepper: bytes, *, https: bool) -> None:
        key = hashlib.blake2b(b"site session", key=pepper[:64], digest_size=32).digest()
        self._signer = URLSafeTimedSerializer(
            key, salt="session", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._https = https
        self.cookie = "__Host-session" if https else "session"

    def start(self, response: Response, session: Session) -> None:
        """Logs in."""
        response.set_cookie(
            self.cookie,
            self._signer.dumps(list(session)),
            max_age=SESSION_S,
            httponly=True,
            samesite="lax",
            secure=self._https,
            path="/",
        )

    def end(self, response: Response) -> None:
        """Logs out this browser."""
        response.delete_cookie(
            self.cookie, path="/", secure=self._https, httponly=True, samesite="lax"
        )

    def read(self, request: Request) -> Session | None:
        """Who is logged in, or None for a cookie that is missing, changed or too old."""
        try:
            wallet, key_id = self._signer.loads(
                request.cookies.get(self.cookie, ""), max_age=SESSION_S
            )
        except (BadSignature, ValueError, TypeError):
            return None
        return Session(wallet, key_id)
