"""One connection to Redis that many callers share.

Rule 1: what is asked within one loop turn leaves in one write; answers come in the order of the
        questions.
Rule 2: each question ends: with its answer, with the connection, or at its deadline. One that was
        given up keeps its place in line, and its answer is thrown away.
Rule 3: whatever breaks ends the connection, and everybody who waits on it hears of that. The next
        question opens another.

redis-py opens the connection, for it knows everything that a URL may say (TLS, users, sockets);
then its socket is taken over.
"""

import asyncio
from collections import deque
from typing import Any, cast

import hiredis
import redis.asyncio as aioredis
from redis.exceptions import RedisError

_MORE = object()
"""What the parser says where an answer is not complete."""


class PipeError(Exception):
    """The connection ended, or could not be made."""


class Pipe(asyncio.Protocol):
    """Asks Redis. Opens at the first question, and again after each fault."""

    def __init__(self, pool: aioredis.ConnectionPool, *, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._transport: asyncio.Transport | None = None
        self._writer: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._reader = _reader()
        self._line: deque[tuple[float, asyncio.Future[Any]]] = deque()
        """Deadline (loop time) and future of each question without an answer, in their order."""
        self._out: list[bytes] = []
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, request: bytes) -> asyncio.Future[Any]:
        """The answer to one packed request; an error of Redis's is a `hiredis.ReplyError` among
        the answers. The future raises PipeError or TimeoutError."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        due_s = loop.time() + self._timeout_s
        self._line.append((due_s, future))
        self._out.append(request)
        if not self._flushing:
            self._flushing = True
            loop.call_soon(self._flush)
        if self._timer is None:
            self._timer = loop.call_at(due_s, self._tick)
        return future

    def drop(self, why: str) -> None:
        """Ends the connection; everybody who waits gets PipeError."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._reader = _reader()
        line = tuple(self._line)
        self._line.clear()
        self._out.clear()
        for _, future in line:
            if not future.done():
                future.set_exception(PipeError(why))

    def close(self) -> None:
        """Ends the connection for good."""
        self.drop("closed")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- connecting and writing -----------------------------------------------------------------

    def _flush(self) -> None:
        self._flushing = False
        if not self._out:
            return
        if self._transport is None:
            if self._connecting is None:
                self._connecting = asyncio.ensure_future(self._connect())
            return
        if self._transport.is_closing():
            self.drop("the connection was reset")
            return
        whole = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        self._transport.write(whole)

    async def _connect(self) -> None:
        connection = cast(Any, self._pool).make_connection()
        try:
            await connection.connect()
        except (RedisError, OSError, TimeoutError) as error:
            self._connecting = None
            self.drop(str(error) or "cannot be reached")
            return
        self._connecting = None
        # The writer is kept for as long as its socket: it would close it when it is collected.
        self._writer, connection._writer, connection._reader = connection._writer, None, None
        self._transport = cast(asyncio.Transport, self._writer.transport)
        self._transport.set_protocol(self)
        self._flush()

    # -- reading --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not _MORE:
                _, future = self._line.popleft()
                if not future.done():
                    future.set_result(answer)
        except (hiredis.ProtocolError, IndexError) as error:
            self.drop(f"an answer that nobody understands: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self.drop(str(exc) if exc else "the connection was closed")

    # -- deadlines ------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Gives up what is overdue; drops a connection whose oldest question waits twice as long:
        what would be written to it meanwhile would be lost as well."""
        loop = asyncio.get_running_loop()
        self._timer = None
        now_s = loop.time()
        if self._line and self._line[0][0] + self._timeout_s <= now_s:
            self._give_up(now_s)
            self.drop("no answer in time")
        next_s = self._give_up(now_s)
        if self._line:
            self._timer = loop.call_at(next_s, self._tick)

    def _give_up(self, now_s: float) -> float:
        """Ends overdue questions; when to look again."""
        for due_s, future in self._line:
            if due_s > now_s:
                return due_s
            if not future.done():
                future.set_exception(TimeoutError("no answer in time"))
        return now_s + self._timeout_s / 4


def _reader() -> Any:
    return hiredis.Reader(notEnoughData=_MORE)
