"""`/metrics`: the figures of all processes that share a folder, as Prometheus reads them."""

import ipaddress
import os
import socket
import threading
import time
from pathlib import Path

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import start_http_server
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from corvus_proxy.errors import ConfigurationError

__all__ = ["CONTENT_TYPE_LATEST", "is_loopback", "private_address", "serve", "text"]

AGAIN_S = 1.0
_log = structlog.get_logger()
_opening = threading.Lock()
"""Held while a port is opened and while the process is forked: no fork comes in between."""
_opened: list[socket.socket] = []


class _Folder(Collector):
    """What stands in a folder at the moment of the question."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def collect(self):  # type: ignore[no-untyped-def]
        """The metrics of all processes; the live gauges of dead ones are left out for ever."""
        _forget_dead(Path(self._folder))
        yield from MultiProcessCollector(None, path=self._folder).collect()  # type: ignore[no-untyped-call]


def text(folder: str) -> bytes:
    """The figures of all processes that keep them in `folder`; empty: of this process alone."""
    return generate_latest(_registry(folder))


def serve(address: str, port: int, folder: str) -> None:
    """Answers `GET /metrics` on a thread of its own for as long as the process lives. A port that
    is taken, as by a gateway that still drains, is asked for again until it is free."""
    threading.Thread(
        target=_serve, args=(address, port, _registry(folder)), name="metrics", daemon=True
    ).start()


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def private_address(host: str) -> str:
    """The address that a name or an address means, if it is private. Raises ConfigurationError:
    what is on a public address is everybody's to read."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        raise ConfigurationError(f"metrics.listen: {host!r} leads to no address") from None
    address = str(found[0][4][0])
    where = ipaddress.ip_address(address.partition("%")[0])
    where = getattr(where, "ipv4_mapped", None) or where
    if where.is_unspecified or not where.is_private:
        raise ConfigurationError(
            f"metrics.listen: {address} is not private; name a loopback or a private address, such"
            " as 10.0.0.5"
        )
    return address


def _serve(address: str, port: int, registry: CollectorRegistry) -> None:
    told = False
    while True:
        try:
            with _opening:
                server, _ = start_http_server(port, address, registry)
                _opened.append(server.socket)
        except OSError as error:
            if not told:
                _log.warning("metrics_port_taken", port=port, why=error.strerror or str(error))
            told = True
            time.sleep(AGAIN_S)
        else:
            return


def _close_opened() -> None:
    _opening.release()
    for one in _opened:
        one.close()
    _opened.clear()


# A gateway's processes are forked from the one that serves, and may outlive it while they drain.
os.register_at_fork(
    before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_close_opened
)


def _registry(folder: str) -> CollectorRegistry:
    if not folder:
        return REGISTRY
    registry = CollectorRegistry()
    registry.register(_Folder(folder))
    return registry


def _forget_dead(folder: Path) -> None:
    """Takes the live gauges of processes that have ended out of the sums."""
    for path in folder.glob("gauge_live*_*.db"):
        if not Path(f"/proc/{path.stem.rpartition('_')[2]}").exists():
            path.unlink(missing_ok=True)
