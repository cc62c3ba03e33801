"""One HTTP/1.1 connection to an upstream: an asyncio Protocol around httptools' parser."""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from corvus_proxy.settings import TimeoutSettings
from corvus_proxy.upstream.faults import BadAnswer, Cut, NoAnswer, TimedOut, UpstreamBroke

QUEUE_BYTES_MAX = 256 * 1024
HEAD_BYTES_MAX = 64 * 1024
LARGE_BYTES = 256 * 1024
"""A request's body from this size on is not copied behind its head."""

Released = Callable[["Connection"], None]


class HttpAnswer:
    """One answer on a connection (`transport.Answer`). Harmless once the connection serves
    another."""

    __slots__ = ("_connection", "_serial", "chunk", "headers", "status")

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self.chunk = connection.chunk
        """See `transport.Answer`; no coroutine of its own a piece."""
        self._serial = connection.serial
        self.status = connection.status
        self.headers = connection.headers

    async def read(self, bytes_max: int) -> bytes:
        """See `transport.Answer`."""
        parts = []
        size = 0
        while (part := await self._connection.chunk()) is not None:
            size += len(part)
            if size > bytes_max:
                self.abort()
                raise Cut(f"the answer is larger than {bytes_max} bytes")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def abort(self) -> None:
        """See `transport.Answer`."""
        if self._connection.serial == self._serial:
            self._connection.abort()

    async def __aenter__(self) -> "HttpAnswer":
        return self

    async def __aexit__(self, *error: object) -> None:
        self._connection.release()


class Connection(asyncio.Protocol):
    """Sends one request at a time and hands out its answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, released: Released) -> None:
        self._loop = loop
        self._released = released
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._closed = False
        self.closed_by_peer = False
        self.serial = 0
        """Grows with every answer, so that an old one cannot touch the next."""
        self._in_use = False
        self.idle_since_s = 0.0
        self._timeouts = TimeoutSettings()
        self._silence_s = self._total_s = 0.0
        self._reset()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "in use" if self._in_use else "idle"
        return f"<Connection {state} status={self.status} queued={self._queued}>"

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._queued = 0
        self._head_bytes = 0
        self._head = False
        self._ended = False
        self._keep = False
        self._paused = False
        self._fault: UpstreamBroke | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._got_bytes = False
        self._until_close = False

    @property
    def usable(self) -> bool:
        """Idle and open, so that a request may be sent on it."""
        return not self._closed and not self._in_use

    # -- sending --------------------------------------------------------------------------------

    async def send(
        self,
        method: bytes,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        timeouts: TimeoutSettings,
    ) -> None:
        """Sends a request and waits for the answer's head. Raises UpstreamBroke."""
        if self._closed:
            raise NoAnswer("the connection was closed")
        self._reset()
        self._in_use = True
        self._parser = httptools.HttpResponseParser(self)
        self._timeouts = timeouts
        now_s = self._loop.time()
        self._total_s = now_s + timeouts.total_s
        self._silence_s = now_s + timeouts.first_byte_s
        lines = [b"%s %s HTTP/1.1\r\n" % (method, target)]
        lines += [b"%s: %s\r\n" % pair for pair in headers]
        transport = cast(asyncio.Transport, self._transport)
        if len(body) < LARGE_BYTES:
            lines += (b"\r\n", body)
            transport.write(b"".join(lines))
        else:  # a copy of it would take longer than a second buffer
            lines.append(b"\r\n")
            transport.writelines((b"".join(lines), body))
        while not self._head:
            if self._fault is not None:
                raise self._fault
            await self._wait()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def check(self, now_s: float) -> None:
        """Ends an exchange that takes too long; called a few times a second."""
        if not self._in_use or self._ended or self._fault is not None:
            return
        if self._paused or self._queued:
            # It is our consumer that is slow: the upstream's silence is not its fault.
            self._silence_s = now_s + self._timeouts.silence_s
        if now_s > self._total_s:
            self._fail(TimedOut("total"))
        elif now_s > self._silence_s:
            self._fail(TimedOut("silence" if self._head else "first_byte"))

    # -- reading --------------------------------------------------------------------------------

    async def chunk(self) -> bytes | None:
        """The next bytes of the body, None at its clean end. Raises Cut, TimedOut."""
        while not self._parts:
            if self._ended:
                return None
            if self._fault is not None:
                raise self._fault
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        found = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._queued = 0
        if self._paused:
            self._resume()
        return found

    def abort(self) -> None:
        """Closes now; whoever waits for the answer hears of it."""
        if self._in_use and not self._ended:
            self._fail(Cut("aborted by us"))
        else:
            self._close()

    def release(self) -> None:
        """Back to the pool when the answer was read to its end, else closed."""
        if not (self._ended and self._keep and not self._parts):
            self._close()
        elif self._paused:
            self._resume()
        self._in_use = False
        self.serial += 1
        self._parts.clear()
        self.idle_since_s = self._loop.time()
        self._released(self)

    def _resume(self) -> None:
        self._paused = False
        self._silence_s = self._loop.time() + self._timeouts.silence_s
        if self._transport is not None and not self._closed:
            self._transport.resume_reading()

    def _fail(self, fault: UpstreamBroke) -> None:
        if self._fault is None:
            self._fault = fault
        self._close()
        self._wake()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            if self._transport is not None:
                self._transport.abort()

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        if not self._in_use or self._ended:
            return
        if self._head and self._until_close:
            self._ended = True
            self._wake()
        elif self._fault is None:
            self.closed_by_peer = not self._got_bytes
            self._fail(
                Cut("the upstream closed")
                if self._head
                else NoAnswer("the upstream closed without an answer")
            )

    def eof_received(self) -> bool:
        return False  # close; connection_lost tells the reader

    def data_received(self, data: bytes) -> None:
        if not self._in_use or self._parser is None or self._ended:
            self._close()  # bytes that nobody asked for: this connection is not to be trusted
            return
        self._got_bytes = True
        self._silence_s = self._loop.time() + self._timeouts.silence_s
        if not self._head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(BadAnswer("the upstream switches protocols"))
            return
        except httptools.HttpParserError as error:
            self._fail(
                Cut(f"the body's framing broke: {error}")
                if self._head
                else BadAnswer(f"no HTTP: {error}")
            )
            return
        if not self._head and self._head_bytes > HEAD_BYTES_MAX:
            self._fail(BadAnswer("the answer's head is too large"))
            return
        if self._queued > QUEUE_BYTES_MAX and not self._paused and not self._ended:
            self._paused = True
            cast(asyncio.Transport, self._transport).pause_reading()
        self._wake()

    # -- httptools' callbacks -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = cast(httptools.HttpResponseParser, self._parser).get_status_code()
        if status < 200:
            return  # 100 Continue and the like: the real head follows
        self.status = status
        self._head = True
        names = {name for name, _ in self.headers}
        self._until_close = not names & {b"content-length", b"transfer-encoding"} and (
            status not in (204, 304)
        )

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._queued += len(body)

    def on_message_complete(self) -> None:
        if not self._head:
            return
        # Only here does the parser still know whether this answer lets the connection live.
        self._keep = cast(httptools.HttpResponseParser, self._parser).should_keep_alive()
        self._ended = True
