"""What order pages need of a browser: the cookie that says who ordered, and stricter headers.

Rule 1: addresses of these pages hold tokens, so all of them have `render.TOKEN_PAGE`'s headers.
Rule 2: the cookie is one token a browser, whatever number of orders it makes; the books know its
digest.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from corvus_proxy.site import render

COOKIE_S = 30 * 86_400


def order_cookie(*, https: bool) -> str:
    """The cookie's name."""
    return "__Host-order" if https else "order"


class Browsers:
    """Makes and reads the cookie of the browser that orders."""

    def __init__(self, *, https: bool) -> None:
        self._https = https
        self.cookie = order_cookie(https=https)

    def read(self, request: Request) -> str:
        """The browser's token, or nothing; whether it means anything, the books say."""
        return request.cookies.get(self.cookie, "")[:64]

    def remember(self, response: Response, token: str) -> None:
        """Sets the cookie."""
        response.set_cookie(
            self.cookie,
            token,
            max_age=COOKIE_S,
            httponly=True,
            samesite="lax",
            secure=self._https,
            path="/",
        )


def may_lead_to(origins: Iterable[str]) -> dict[str, str]:
    """Headers of a page whose forms may be redirected to these origins."""
    policy = render.HEADERS["content-security-policy"]
    allowed = " ".join(["form-action 'self'", *sorted(filter(None, origins))])
    return {
        **render.TOKEN_PAGE,
        "content-security-policy": policy.replace("form-action 'self'", allowed),
    }


def origin_of(url: str) -> str:
    """Scheme and authority of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
