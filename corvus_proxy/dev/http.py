"""As much of an HTTP/1.1 server as a simulated neighbour needs, with every byte in its hands.

Rule 1: requests of one connection are answered one after the other, in their order.
Rule 2: a peer that closes, or half-closes, is gone at once: a handler that waits in `pause` learns
        it in the same turn of the loop.
Rule 3: a handler is never cancelled by its peer: it ends by itself and can write its log.
"""

import asyncio
import json
import sys
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, cast

import httptools

Handler = Callable[["Exchange"], Awaitable[None]]

WRITE_BUFFER_BYTES = 64 * 1024


class Exchange:
    """One request and its answer. `path` includes the query; header names are lower-case."""

    def __init__(self, connection: "Connection", method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.headers: dict[str, str] = {}
        self.body = b""
        self.extra: list[tuple[str, str]] = []
        """Headers that every answer to this request carries."""
        self.answered = False
        """Whether the head of an answer has been sent."""
        self.keep_alive = True
        self._connection = connection

    @property
    def gone(self) -> bool:
        """The peer has closed, or we have."""
        return self._connection.gone

    async def pause(self, seconds: float) -> bool:
        """Waits, but not longer than the peer stays; returns whether it is still there."""
        if seconds > 0 and not self.gone:
            await asyncio.wait({self._connection.lost}, timeout=seconds)
        return not self.gone

    def json(self, status: int, body: Any) -> None:
        """Sends a whole JSON answer."""
        self.raw(status, "application/json", json.dumps(body).encode())

    def raw(self, status: int, content_type: str, body: bytes) -> None:
        """Sends a whole answer."""
        self._head(
            status, [("content-type", content_type), ("content-length", str(len(body)))], body
        )

    def raw_cut(self, status: int, content_type: str, body: bytes) -> None:
        """Announces a whole answer, sends half of it and closes."""
        self._head(
            status,
            [("content-type", content_type), ("content-length", str(len(body)))],
            body[: len(body) // 2],
        )
        self.cut()

    def head(self, status: int, content_type: str) -> None:
        """Sends the head of a streamed answer."""
        self._head(status, [("content-type", content_type), ("transfer-encoding", "chunked")])

    def _head(self, status: int, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        self.answered = True
        headers = [*headers, *self.extra]
        if not self.keep_alive:
            headers.append(("connection", "close"))
        lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self._connection.write("\r\n".join([*lines, "", ""]).encode() + body)

    def write(self, data: bytes) -> None:
        """Sends one piece of a streamed answer."""
        self._connection.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def write_paced(self, data: bytes) -> None:
        """Sends one piece and waits while the peer does not read."""
        self.write(data)
        await self._connection.drain()

    def end(self) -> None:
        """Ends a streamed answer cleanly."""
        self._connection.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Closes the socket without another word."""
        self.keep_alive = False
        self._connection.abort()


class Connection(asyncio.Protocol):
    """One accepted socket."""

    def __init__(self, handler: Handler, living: set["Connection"]) -> None:
        self._handler = handler
        self._living = living
        self._waiting: deque[Exchange] = deque()
        self._task: asyncio.Task[None] | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._writable = asyncio.Event()
        self._writable.set()

    # -- for an exchange ------------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self.gone:
            self._transport.write(data)

    async def drain(self) -> None:
        await self._writable.wait()

    def abort(self) -> None:
        self._transport.abort()

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._living.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._living.discard(self)
        self._leave()

    def eof_received(self) -> bool:
        self._leave()
        return False

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.close()

    def _leave(self) -> None:
        self._writable.set()
        self._waiting.clear()
        if not self.lost.done():
            self.lost.set_result(None)

    # -- httptools' callbacks -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("latin-1")
        exchange = Exchange(self, method, self._url.decode("latin-1"))
        exchange.headers = self._headers
        exchange.body = b"".join(self._body)
        exchange.keep_alive = self._parser.should_keep_alive()
        self._waiting.append(exchange)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._answer_all())

    async def _answer_all(self) -> None:
        while self._waiting:
            exchange = self._waiting.popleft()
            try:
                await self._handler(exchange)
            except Exception as error:  # one bad request must not silence the whole neighbour
                traceback.print_exc(file=sys.stderr)
                if exchange.answered:
                    self.abort()
                else:
                    exchange.json(500, {"error": {"message": repr(error), "type": "bug"}})
            if not exchange.keep_alive:
                self._transport.close()
        self._task = None


class Listener:
    """A listening socket and the connections that came through it."""

    def __init__(self, server: asyncio.Server, living: set[Connection]) -> None:
        self._server = server
        self._living = living
        host, self.port = server.sockets[0].getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def close(self) -> None:
        """Stops listening and cuts what is open."""
        self._server.close()
        for connection in list(self._living):
            connection.abort()
        await self._server.wait_closed()


async def listen(handler: Handler, host: str, port: int) -> Listener:
    """Starts answering on `host:port`; port 0 takes a free one."""
    living: set[Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(handler, living), host, port, backlog=1024
    )
    return Listener(server, living)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
