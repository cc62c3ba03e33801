"""ASGI in, `Client` out: the thin adapter between the server and the engine.

Disconnects are learnt from `receive()`: the server goes on accepting `send()` for a client that has
gone, so a send that succeeds proves nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from corvus_proxy import metrics
from corvus_proxy._fast import join_pieces
from corvus_proxy.errors import BodyTimeout, BodyTooLarge
from corvus_proxy.gateway.front import framing
from corvus_proxy.gateway.front.client import LARGE_BYTES, Client, ClientGone, Headers
from corvus_proxy.gateway.front.framing import Message, Receive, Send
from corvus_proxy.gateway.front.lifespan import Hook, lifespan
from corvus_proxy.gateway.front.timers import Later, Patience

Engine = Callable[[Client], Awaitable[None]]

_watch: Later["AsgiClient"] = Later(lambda client: client.watch())
"""A request that is answered at once costs no task that looks out for its client."""


class AsgiClient:
    """A `Client` over one ASGI `http` scope."""

    # fmt: off
    __slots__ = ("_callbacks", "_closed", "_leaves", "_receive", "_send", "_watching", "gone",
                 "head_sent", "headers", "method", "path", "query")
    # fmt: on

    def __init__(
        self, scope: Message, receive: Receive, send: Send, leaves: Callable[[], bool]
    ) -> None:
        """`leaves`: whether the process is about to go, and connections have to end."""
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: Headers = list(scope["headers"])
        self.head_sent = False
        self.gone = False
        self._leaves = leaves
        self._receive = receive
        self._send = send
        self._watching: asyncio.Task[None] | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._closed = False

    async def body(self, bytes_max: int, timeout_s: float) -> bytes:
        try:
            with Patience(timeout_s):
                return await self._read_body(bytes_max)
        except TimeoutError:
            raise BodyTimeout(f"The request body did not arrive within {timeout_s:g} s.") from None

    async def _read_body(self, bytes_max: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise ClientGone
            part: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(part)
            if size > bytes_max:
                raise BodyTooLarge(f"The request body is larger than {bytes_max:,} bytes.")
            parts.append(part)
        if len(parts) == 1:
            return parts[0]
        if size < LARGE_BYTES:
            return b"".join(parts)
        return await asyncio.to_thread(join_pieces, tuple(parts))

    async def head(self, status: int, headers: Headers) -> None:
        self.head_sent = True
        if self._leaves():
            headers = [*headers, (b"connection", b"close")]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, last: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    def on_gone(self, callback: Callable[[], None]) -> None:
        if self.gone:
            callback()
            return
        if not self._callbacks:
            _watch.add(self)
        self._callbacks.append(callback)

    def watch(self) -> None:
        """Looks out for the client's going, from now on and for as long as it is answered."""
        if not self._closed and self._watching is None:
            self._watching = asyncio.ensure_future(self._watch_gone())

    def close(self) -> None:
        """Stops watching; called when the request has been answered."""
        self._closed = True
        self._callbacks.clear()  # they know of the request, and it knows of this client
        if self._watching is not None:
            self._watching.cancel()

    async def _watch_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        for callback in self._callbacks:
            callback()


def _stays() -> bool:
    return False


def application(
    engine: Engine, start: Hook, stop: Hook, leaves: Callable[[], bool] = _stays
) -> Any:
    """The ASGI callable: `engine` answers requests, `start` and `stop` frame the process's life,
    `leaves` tells that connections have to end with their answers."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send, start, stop)
            return
        if why := framing.problem(scope):
            metrics.refused("other", "invalid_request")
            await framing.refuse(send, why)
            return
        client = AsgiClient(scope, receive, send, leaves)
        try:
            await engine(client)
            if not client.head_sent:
                # A body that is damaged looks as one whose client has gone. Without an answer of
                # ours the server would call it a fault of its own.
                await framing.refuse(send, framing.BROKEN)
        finally:
            client.close()

    return app
