"""Signed notices to addresses that customers name.

Rule 1: a notice goes to public addresses alone, over https, unless the operator's setting says
otherwise. The name is resolved here, every address it has is judged, and the connection goes to the
very address that was judged: a name that changes its mind in between leads nowhere else.
Rule 2: redirects are not followed, no body is read, and nothing about the answer but its status is
kept.
Rule 3: what was not taken is tried again with pauses that double; the same id comes with each try.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import socket
from urllib.parse import urlsplit

from corvus_proxy import clock, sealing
from corvus_proxy.books.people import alarms as rows
from corvus_proxy.sealing import SealBroken
from corvus_proxy.service.stores import Stores
from corvus_proxy.upstream import httpx_client
from corvus_proxy.upstream.faults import UpstreamBroke

PURPOSE = "alarm webhook"
TIMEOUT_S = 8.0
LEASE_S = 60
BATCH = 20
ATTEMPTS_MAX = 8
PAUSE_S = 30
"""After the first try; it doubles with each."""
URL_MAX = 500
_TRANSLATED = tuple(
    ipaddress.ip_network(text)
    for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "fec0::/10")
)
"""IPv6 that leads to an IPv4 address inside it, or that was once of a site alone."""


class Unreachable(Exception):
    """An address may not be called, or does not take the notice; the text says why."""


def address_problem(url: str, *, private: bool) -> str:
    """What is wrong with a webhook's address by its look alone, in words; empty when nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "This is no address."
    if len(url) > URL_MAX or not url.isprintable() or not parts.hostname or port == 0:
        return "This is no address."
    if parts.username is not None or parts.password is not None:
        return "The address must not hold a user name or password."
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        return "The address has to begin with https://."
    try:
        literal = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return ""
    return "" if private or is_public(literal) else "The address is not a public one."


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is on the public net and means nothing else."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if any(address in network for network in _TRANSLATED):
            return False
    return address.is_global and not address.is_multicast


async def resolve(url: str, *, private: bool) -> str:
    """The address to connect to. Raises Unreachable where the name has none, or one of its
    addresses is not public."""
    problem = address_problem(url, private=private)
    if problem:
        raise Unreachable(problem)
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        raise Unreachable("the name is not known") from None
    addresses = [str(row[4][0]).partition("%")[0] for row in found]
    if not addresses:
        raise Unreachable("the name has no address")
    if not private and not all(is_public(ipaddress.ip_address(one)) for one in addresses):
        raise Unreachable("the name leads to an address that is not public")
    return addresses[0]


def signature(secret: str, at_s: int, body: bytes) -> str:
    """`t=…,v1=…`: HMAC-SHA-256 over the time, a point and the body."""
    text = f"{at_s}.".encode() + body
    digest = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


async def tick(stores: Stores, *, private: bool) -> int:
    """Sends the notices that are due; how many were taken. Raises BooksUnavailable."""
    async with stores.books.transaction() as connection:
        due = await rows.due(connection, limit=BATCH, lease_s=LEASE_S)
    done = await asyncio.gather(*(_send(stores, one, private=private) for one in due))
    return sum(done)


async def _send(stores: Stores, notice: rows.NoticeRow, *, private: bool) -> bool:
    problem = ""
    try:
        await _post(stores, notice, private=private)
    except Unreachable as error:
        problem = str(error)
    async with stores.books.connection() as connection:
        if not problem:
            await rows.end(connection, notice.notice_id, state="sent")
        elif notice.attempts >= ATTEMPTS_MAX or not notice.secret_sealed:
            await rows.end(connection, notice.notice_id, state="failed", problem=problem)
        else:
            pause_s = PAUSE_S << (notice.attempts - 1)
            await rows.postpone(connection, notice.notice_id, pause_s=pause_s, problem=problem)
    return not problem


async def _post(stores: Stores, notice: rows.NoticeRow, *, private: bool) -> None:
    """Raises Unreachable."""
    try:
        secret = sealing.unseal(stores.pepper, PURPOSE, notice.secret_sealed)
    except SealBroken:
        raise Unreachable("the alarm is gone") from None
    address = await resolve(notice.url, private=private)
    body = notice.body.encode()
    headers = {
        "content-type": "application/json",
        "user-agent": "corvus-alarm",
        "x-corvus-id": notice.notice_id,
        "x-corvus-signature": signature(secret, clock.wall_s(), body),
    }
    try:
        status = await httpx_client.post_to(address, notice.url, headers, body, timeout_s=TIMEOUT_S)
    except UpstreamBroke as error:
        raise Unreachable(f"no answer: {type(error).__name__}") from None
    if not 200 <= status < 300:
        raise Unreachable(f"answered with {status}")
