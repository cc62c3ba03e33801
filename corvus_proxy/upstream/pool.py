"""Credentials of a family: which one carries the next request, and what it adds to it."""

import contextlib
import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from corvus_proxy.catalogue.book import Model
from corvus_proxy.errors import ConfigurationError, Unpriced
from corvus_proxy.money.pricing import at_cost, charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.settings import Credential, Upstream
from corvus_proxy.upstream.transport import Origin, Request, Transport
from corvus_proxy.wire.dialect import Dialect

_PPM = 1_000_000
_PATHS = {
    ("anthropic", Dialect.MESSAGES): "/v1/messages",
    ("openai", Dialect.CHAT): "/v1/chat/completions",
    ("openai", Dialect.RESPONSES): "/v1/responses",
    ("openai", Dialect.EMBEDDINGS): "/v1/embeddings",
    ("glm", Dialect.CHAT): "/chat/completions",
    ("glm", Dialect.MESSAGES): "/v1/messages",
}
"""What a family's upstream speaks, and the path behind its base; GLM's base for chat holds its
version (`…/api/paas/v4`), its base for messages is `messages_base_url`."""


class Lease(NamedTuple):
    """One request's use of a credential."""

    family: str
    dialect: Dialect
    credential: Credential
    secret: bytes
    origin: Origin
    base_path: str
    transport: Transport

    def request(
        self, headers: list[tuple[bytes, bytes]], body: bytes, *, below: str = ""
    ) -> Request:
        """The request as it goes out, with this credential's own headers; `below` is a path below
        the dialect's own."""
        target = self.base_path + _PATHS[self.family, self.dialect] + below
        auth = (
            (b"x-api-key", self.secret)
            if self.family == "anthropic"
            else (b"authorization", b"Bearer " + self.secret)
        )
        return Request(
            b"POST",
            target.encode(),
            [
                (b"host", self.origin.authority.encode()),
                auth,
                *headers,
                (b"accept-encoding", b"identity"),
                (b"content-length", b"%d" % len(body)),
            ],
            body,
        )

    def cost_nanos(self, usage: Usage, model: Model) -> int:
        """What the operator pays for `usage`: the official price, by this credential's factor."""
        return charge(at_cost(usage), model.official_price) * self.credential.cost_ppm() // _PPM


class _Member:
    """A credential in its pool."""

    def __init__(self, lease: Lease, weight: int) -> None:
        self.lease = lease
        self.weight = weight
        self.turn = 0


class Pool:
    """All credentials by family and dialect, chosen by weight."""

    def __init__(self, upstreams: list[Upstream], transports: dict[str, Transport]) -> None:
        self._members: dict[tuple[str, Dialect], list[_Member]] = {}
        for upstream in upstreams:
            for family, dialect in _PATHS:
                base_url = upstream.base_url
                if (family, dialect) == ("glm", Dialect.MESSAGES):
                    base_url = upstream.messages_base_url
                if family == upstream.family and base_url:
                    self._add(upstream, dialect, base_url, transports[upstream.client])

    def _add(
        self, upstream: Upstream, dialect: Dialect, base_url: str, transport: Transport
    ) -> None:
        origin, path = _target(base_url, allow_private=upstream.allow_private)
        for credential in upstream.credential:
            if credential.weight < 1:
                raise ConfigurationError(f"credential {credential.name}: weight below 1")
            secret = credential.secret().encode()
            lease = Lease(upstream.family, dialect, credential, secret, origin, path, transport)
            members = self._members.setdefault((upstream.family, dialect), [])
            members.append(_Member(lease, credential.weight))

    def serves(self, family: str, dialect: Dialect) -> bool:
        """Whether some credential's upstream speaks this dialect for the family."""
        return (family, dialect) in self._members

    def choose(self, family: str, dialect: Dialect) -> Lease:
        """The next credential by smooth weighted turns. Raises Unpriced when there is none."""
        members = self._members.get((family, dialect))
        if not members:
            raise Unpriced(f"No upstream for {family} models is configured here.")
        for member in members:
            member.turn += member.weight
        chosen = max(members, key=lambda member: member.turn)
        chosen.turn -= sum(member.weight for member in members)
        return chosen.lease


def _target(base_url: str, *, allow_private: bool) -> tuple[Origin, str]:
    """Origin and path of a base URL.

    An address written out in the configuration is meant; a name must not lead to a private one
    unless `allow_private` says so.
    """
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigurationError(f"upstream.base_url: {base_url!r} is no URL")
    tls = url.scheme == "https"
    literal = url.hostname == "localhost"
    with contextlib.suppress(ValueError):
        literal = bool(ipaddress.ip_address(url.hostname)) or literal
    port = url.port or (443 if tls else 80)
    return Origin(url.hostname, port, tls, allow_private or literal), url.path.rstrip("/")
