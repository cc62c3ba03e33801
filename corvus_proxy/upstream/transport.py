"""Streaming HTTP/1.1 to upstreams: the interface, and our own client for the hot path.

The pool keeps idle connections last-in-first-out. Timeouts are looked at by one coarse timer for
all connections; a chunk wakes its reader in the loop turn in which it came.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from typing import NamedTuple, Protocol

from corvus_proxy.settings import TimeoutSettings
from corvus_proxy.upstream.connection import Connection, HttpAnswer
from corvus_proxy.upstream.faults import ConnectFailed, NoAnswer, TimedOut

IDLE_S = 60.0
TICK_S = 0.25


class Origin(NamedTuple):
    """Where an upstream listens."""

    host: str
    port: int
    tls: bool
    allow_private: bool

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.tls else 80
        return host if self.port == default else f"{host}:{self.port}"


class Request(NamedTuple):
    """One request; host, length and credentials are among `headers` already."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Answer(Protocol):
    """An answer whose head has come. Leave it by its context manager."""

    status: int
    headers: list[tuple[bytes, bytes]]

    async def chunk(self) -> bytes | None:
        """The next bytes of the body as they came, None at its clean end. Raises Cut, TimedOut."""

    async def read(self, bytes_max: int) -> bytes:
        """The rest of the body. Raises Cut (also when it is larger), TimedOut."""

    def abort(self) -> None:
        """Closes the connection now; `chunk` then raises Cut. Harmless after the end."""

    async def __aenter__(self) -> "Answer": ...

    async def __aexit__(self, *error: object) -> None: ...


class Transport(Protocol):
    """Opens exchanges."""

    async def open(self, origin: Origin, request: Request, *, timeouts: TimeoutSettings) -> Answer:
        """Sends `request`; the answer's head has come. Raises UpstreamBroke."""

    async def close(self) -> None: ...


class HttptoolsTransport:
    """Our own client over httptools' parser."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._tls = ssl.create_default_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        self.opened = 0
        """Connections opened so far."""

    async def open(
        self, origin: Origin, request: Request, *, timeouts: TimeoutSettings
    ) -> HttpAnswer:
        """See `Transport.open`."""
        while True:
            connection = self._take(origin)
            reused = connection is not None
            if connection is None:
                connection = await self._connect(origin, timeouts.connect_s)
            self._busy.add(connection)
            self._start_timer()
            try:
                await connection.send(
                    request.method, request.target, request.headers, request.body, timeouts
                )
            except NoAnswer:
                self._busy.discard(connection)
                if reused and connection.closed_by_peer:
                    continue  # it had been closed while idle: nothing of this was processed
                raise
            except BaseException:
                self._busy.discard(connection)
                connection.abort()
                raise
            return HttpAnswer(connection)

    async def close(self) -> None:
        """Closes idle connections; running ones end with their requests."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _take(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    def _release(self, origin: Origin, connection: Connection) -> None:
        """The consumer has taken the last byte, or given up."""
        self._busy.discard(connection)
        if connection.usable:
            self._idle.setdefault(origin, []).append(connection)

    async def _connect(self, origin: Origin, connect_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(connect_s):
                address = await resolve(origin)
                _, protocol = await loop.create_connection(
                    lambda: Connection(loop, lambda one: self._release(origin, one)),
                    address,
                    origin.port,
                    ssl=self._tls if origin.tls else None,
                    server_hostname=origin.host if origin.tls else None,
                )
        except TimeoutError:
            raise TimedOut("connect") from None
        except (OSError, ssl.SSLError) as error:
            raise ConnectFailed(f"{origin.authority}: {error}") from None
        self.opened += 1
        return protocol

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in tuple(self._busy):
            connection.check(now_s)
        for idle in self._idle.values():
            for connection in [one for one in idle if now_s - one.idle_since_s > IDLE_S]:
                idle.remove(connection)
                connection.abort()
        again = self._busy or any(self._idle.values())
        self._timer = loop.call_later(TICK_S, self._tick) if again else None


async def resolve(origin: Origin) -> str:
    """An address of the origin that may be connected to. Raises ConnectFailed.

    Checked on the address itself, at each connection: a name may change its mind.
    """
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ValueError):
        return _allowed(origin, str(ipaddress.ip_address(origin.host)))
    found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    if not found:
        raise ConnectFailed(f"{origin.host} has no address")
    return _allowed(origin, str(found[0][4][0]))


def _allowed(origin: Origin, address: str) -> str:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    if not (mapped or parsed).is_global and not origin.allow_private:
        raise ConnectFailed(
            f"{origin.host} is at the private address {address}; upstream.allow_private is off"
        )
    return address
