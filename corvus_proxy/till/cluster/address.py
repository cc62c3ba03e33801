"""URLs that name a cluster: `redis+cluster://[user:password@]host:port,host:port`, and with
`rediss+cluster://` the same over TLS."""

from typing import NamedTuple
from urllib.parse import urlsplit

from corvus_proxy.errors import ConfigurationError

SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
PORT = 6379


class Seeds(NamedTuple):
    """Where a cluster is found: any of its servers tells of all others."""

    url: str
    """The first of them as redis-py takes it, with user, password and options."""
    nodes: list[tuple[str, int]]


def is_cluster(url: str) -> bool:
    """Whether a URL names a cluster."""
    return url.partition("://")[0] in SCHEMES


def seeds(url: str) -> Seeds:
    """What a cluster's URL says. Raises ConfigurationError."""
    scheme, _, rest = url.partition("://")
    size = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    authority, tail = rest[:size], rest[size:]
    user, at, hosts = authority.rpartition("@")
    if tail.partition("?")[0] not in ("", "/", "/0"):
        raise ConfigurationError("redis.url: a cluster has no databases but 0; leave the path out.")
    nodes = [_node(host) for host in hosts.split(",") if host]
    if not nodes:
        raise ConfigurationError(
            "redis.url: name at least one server: redis+cluster://host:port,host:port"
        )
    first = next(host for host in hosts.split(",") if host)
    return Seeds(f"{SCHEMES[scheme]}://{user}{at}{first}{tail}", nodes)


def _node(text: str) -> tuple[str, int]:
    try:
        found = urlsplit(f"//{text}")
        host, port = found.hostname, found.port or PORT
    except ValueError:
        host, port = None, 0
    if not host:
        raise ConfigurationError(f"redis.url: {text!r} is no host:port")
    return host, port
