"""One connection to Redis that many callers share.

Rule 1: what is asked within one loop turn leaves in one write; answers come in the order of the
        questions.
Rule 2: each question ends: with its answer, with the connection, after `timeout_s` in which Redis
        said nothing, or when its patience is over. A Redis that answers, if others first, is busy
        and not away. A question that was given up keeps its place in line, and its answer is
        thrown away.
Rule 3: whatever breaks ends the connection, and everybody who waits on it hears of that. The next
        question opens another.

redis-py opens the connection, for it knows everything that a URL may say (TLS, users, sockets);
then its socket is taken over.
"""

import asyncio
from collections import deque
from typing import Any, Protocol, cast

import hiredis
from redis.exceptions import RedisError

PATIENCE = 8
"""Times the timeout that a question waits while others are answered, unless it says less."""
LOOK_S = 0.001
_MORE = object()
"""What the parser says where an answer is not complete."""


class PipeError(Exception):
    """The connection ended, or could not be made."""


class Dial(Protocol):
    """Makes connections; a pool of redis-py's is one."""

    def make_connection(self) -> Any:
        """A connection that is not open yet."""


class Pipe(asyncio.Protocol):
    """Asks Redis. Opens at the first question, and again after each fault."""

    def __init__(self, dial: Dial, *, timeout_s: float) -> None:
        self._dial = dial
        self._timeout_s = timeout_s
        self._heard_s = 0.0
        """When something came last, in loop time."""
        self._looked = False
        """Whether the socket was read since a question was found overdue."""
        self._transport: asyncio.Transport | None = None
        self._writer: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._reader = _reader()
        self._line: deque[tuple[float, float, asyncio.Future[Any]]] = deque()
        """Of each question without an answer, in their order: when it was asked, when its patience
        is over (loop time), and its future."""
        self._out: list[bytes] = []
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, request: bytes, *, patience_s: float | None = None) -> asyncio.Future[Any]:
        """The answer to one packed request; an error of Redis's is a `hiredis.ReplyError` among
        the answers. The future raises PipeError or TimeoutError."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        now_s = loop.time()
        if patience_s is None:
            patience_s = self._timeout_s * PATIENCE
        self._line.append((now_s, now_s + patience_s, future))
        self._out.append(request)
        if not self._flushing:
            self._flushing = True
            loop.call_soon(self._flush)
        if self._timer is None:
            self._timer = loop.call_at(now_s + min(patience_s, self._timeout_s), self._tick)
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
        for *_, future in line:
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
        connection = self._dial.make_connection()
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
        self._heard_s = asyncio.get_running_loop().time()
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not _MORE:
                future = self._line.popleft()[2]
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
        """Gives up what is overdue; drops a connection that says nothing for twice as long: what
        would be written to it meanwhile would be lost as well."""
        loop = asyncio.get_running_loop()
        self._timer = None
        if not self._line:
            return
        now_s = loop.time()
        next_s = self._next_due(now_s)
        if next_s <= now_s and not self._looked:
            # A loop that was busy comes to its timers before its sockets: what they have is read
            # first.
            self._looked = True
            self._timer = loop.call_later(LOOK_S, self._tick)
            return
        self._looked = False
        if next_s <= now_s:
            self._give_up(now_s)
            next_s = self._next_due(now_s)
        if self._silent_s(self._line[0][0]) + 2 * self._timeout_s <= now_s:
            self.drop("no answer in time")
        else:
            self._timer = loop.call_at(next_s, self._tick)

    def _silent_s(self, asked_s: float) -> float:
        """Since when a question has waited with no word from Redis."""
        return max(asked_s, self._heard_s)

    def _next_due(self, now_s: float) -> float:
        """When the first of the questions is overdue; soon, where all of them were given up."""
        due_s = (
            min(self._silent_s(asked_s) + self._timeout_s, last_s)
            for asked_s, last_s, future in self._line
            if not future.done()
        )
        return min(due_s, default=now_s + self._timeout_s / 4)

    def _give_up(self, now_s: float) -> None:
        """Ends overdue questions."""
        for asked_s, last_s, future in self._line:
            overdue = last_s <= now_s or self._silent_s(asked_s) + self._timeout_s <= now_s
            if overdue and not future.done():
                future.set_exception(TimeoutError("no answer in time"))


def _reader() -> Any:
    return hiredis.Reader(notEnoughData=_MORE)
