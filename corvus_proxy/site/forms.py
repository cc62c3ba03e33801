"""What a form may be: small, sent by our own page, and not tried too often.

Rule 1: a POST from another site changes nothing. Browsers say where a form came from
(`Sec-Fetch-Site`, else `Origin`); a client that says neither is no browser and carries nobody's
cookie.
Rule 2: the body is counted while it comes; a missing or false length does not help.
"""

import ipaddress
from collections import deque
from urllib.parse import parse_qs, urlsplit

from starlette.requests import ClientDisconnect, Request

from corvus_proxy import clock

FORM_BYTES_MAX = 4096
TRIES_MAX, TRIES_S = 5, 60
_ADDRESSES_MAX = 10_000


class FormTooLarge(ValueError):
    """More than any of our forms can hold."""


async def read(request: Request) -> dict[str, str]:
    """The fields of a urlencoded form, the first of each name. Raises FormTooLarge."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > FORM_BYTES_MAX:
                raise FormTooLarge
    except ClientDisconnect:
        return {}
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def is_own(request: Request, site_url: str) -> bool:
    """Whether a POST comes from a page of ours.

    `Origin` may name the public address (behind a proxy that changes `Host`) or the one asked for.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return True
    own = urlsplit(site_url)
    return origin == f"{own.scheme}://{own.netloc}" or (
        origin.partition("://")[2] == request.headers.get("host")
    )


class Tries:
    """Limits failed log-ins per address, in this process's memory."""

    def __init__(self) -> None:
        self._tries: dict[str, deque[float]] = {}

    def take(self, address: str) -> int:
        """Takes one try; 0, or the seconds to wait when there is none left."""
        now_s = clock.monotonic_s()
        tries = self._tries.setdefault(_neighbours(address), deque())
        while tries and now_s - tries[0] >= TRIES_S:
            tries.popleft()
        if len(tries) >= TRIES_MAX:
            return max(1, round(TRIES_S - (now_s - tries[0])))
        tries.append(now_s)
        if len(self._tries) > _ADDRESSES_MAX:
            del self._tries[next(iter(self._tries))]
        return 0

    def give_back(self, address: str) -> None:
        """The last try was a right key: it does not count."""
        tries = self._tries.get(_neighbours(address))
        if tries:
            tries.pop()


def _neighbours(address: str) -> str:
    """What one person holds: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
