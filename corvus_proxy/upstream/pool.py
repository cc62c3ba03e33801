"""Credentials of a family: which one carries the next request, and what it adds to it."""

from typing import NamedTuple
from urllib.parse import urlsplit

from corvus_proxy.catalogue.book import Model
from corvus_proxy.errors import ConfigurationError, Unpriced
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.settings import Credential, Upstream
from corvus_proxy.upstream.transport import Origin, Request, Transport
from corvus_proxy.wire.dialect import Dialect

_PPM = 1_000_000
_PATHS = {
    ("anthropic", Dialect.MESSAGES): "/v1/messages",
    ("openai", Dialect.CHAT): "/v1/chat/completions",
    ("glm", Dialect.CHAT): "/chat/completions",
}
"""Path behind `base_url`; GLM's base holds its version (`…/api/paas/v4`)."""


class Lease(NamedTuple):
    """One request's use of a credential."""

    family: str
    credential: Credential
    secret: bytes
    origin: Origin
    base_path: str
    transport: Transport

    def request(self, dialect: Dialect, headers: list[tuple[bytes, bytes]], body: bytes) -> Request:
        """The request as it goes out, with this credential's own headers."""
        target = self.base_path + _PATHS[self.family, dialect]
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
        return charge(usage, model.official_price) * self.credential.cost_ppm() // _PPM


class _Member:
    """A credential in its pool."""

    def __init__(self, lease: Lease, weight: int) -> None:
        self.lease = lease
        self.weight = weight
        self.turn = 0


class Pool:
    """All credentials by family, chosen by weight."""

    def __init__(self, upstreams: list[Upstream], transports: dict[str, Transport]) -> None:
        self._members: dict[str, list[_Member]] = {}
        for upstream in upstreams:
            url = urlsplit(upstream.base_url)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise ConfigurationError(f"upstream.base_url: {upstream.base_url!r} is no URL")
            tls = url.scheme == "https"
            origin = Origin(
                url.hostname, url.port or (443 if tls else 80), tls, upstream.allow_private
            )
            for credential in upstream.credential:
                if credential.weight < 1:
                    raise ConfigurationError(f"credential {credential.name}: weight below 1")
                lease = Lease(
                    upstream.family,
                    credential,
                    credential.secret().encode(),
                    origin,
                    url.path.rstrip("/"),
                    transports[upstream.client],
                )
                self._members.setdefault(upstream.family, []).append(
                    _Member(lease, credential.weight)
                )

    @property
    def families(self) -> tuple[str, ...]:
        """Families that have a credential."""
        return tuple(self._members)

    def choose(self, family: str) -> Lease:
        """The next credential by smooth weighted turns. Raises Unpriced when there is none."""
        members = self._members.get(family)
        if not members:
            raise Unpriced(f"No upstream for {family} models is configured here.")
        for member in members:
            member.turn += member.weight
        chosen = max(members, key=lambda member: member.turn)
        chosen.turn -= sum(member.weight for member in members)
        return chosen.lease
