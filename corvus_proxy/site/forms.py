"""What a form may be: small, sent by our own page, and not tried too often.

Rule 1: a POST from another site changes nothing. Browsers say where a form came from
(`Sec-Fetch-Site`, else `Origin`); a client that says neither is no browser and carries nobody's
cookie.
Rule 2: the body is counted while it comes; a missing or false length does not help.
"""

import ipaddress
from collections import deque
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

from starlette.requests import ClientDisconnect, Request

from corvus_proxy import clock, secret
from corvus_proxy.errors import ConfigurationError

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


Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]


def networks(texts: Sequence[str]) -> Networks:
    """Addresses and networks (`10.0.0.0/8`) of our own proxies. Raises ConfigurationError."""
    try:
        return [ipaddress.ip_network(text, strict=False) for text in texts]
    except ValueError as error:
        raise ConfigurationError(f"site.trusted_proxies: {error}") from None


def client_address(request: Request, proxies: Networks) -> str:
    """Who asks: the peer, or behind our proxies the last address in `X-Forwarded-For` that is none
    of theirs. What anybody else writes into the header counts for nothing."""
    found = request.client.host if request.client else ""
    lines = request.headers.getlist("x-forwarded-for")
    hops = [hop.strip() for line in lines for hop in line.split(",")]
    while hops and _is_in(found, proxies):
        found = hops.pop()
    return found


def _is_in(address: str, proxies: Networks) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in proxies)


def key_problem(text: str) -> str:
    """What is wrong with a key by its look alone, in words; empty when nothing is."""
    if not text:
        return "Enter your key."
    if not text.startswith(secret.PREFIX):
        return f"This is not one of our keys: they begin with {secret.PREFIX}."
    off = len(text) - secret.LENGTH
    if off < 0:
        return f"This key was not copied whole: {_characters(-off)} missing at its end or inside."
    if off > 0:
        return f"This key was not copied cleanly: it has {_characters(off)} too many."
    strange = secret.strange_characters(text)
    if strange:
        return f"This key was not copied cleanly: {_characters(strange)} cannot stand in a key."
    if secret.parse(text) is None:
        if secret.is_one_off(text):
            return "Exactly 1 character of this key is wrong. Copy it again, do not type it."
        return "At least 2 characters of this key are wrong. Copy it again, do not type it."
    return ""


def _characters(count: int) -> str:
    return "1 character" if count == 1 else f"{count} characters"


class Tries:
    """Limits failed log-ins and the like per address, in this process's memory."""

    def __init__(self, tries_max: int = TRIES_MAX, tries_s: int = TRIES_S) -> None:
        self._max = tries_max
        self._s = tries_s
        self._tries: dict[str, deque[float]] = {}

    def take(self, address: str) -> int:
        """Takes one try; 0, or the seconds to wait when there is none left."""
        now_s = clock.monotonic_s()
        tries = self._tries.setdefault(_neighbours(address), deque())
        while tries and now_s - tries[0] >= self._s:
            tries.popleft()
        if len(tries) >= self._max:
            return max(1, round(self._s - (now_s - tries[0])))
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
