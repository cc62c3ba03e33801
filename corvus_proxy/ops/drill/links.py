"""A TCP link between two parts of the stack, which can fail in every way that a network can.

Every link of the drill's stack stands in the drill's own process, so a fault is made at an exact
place: at the byte, the script call or the commit that a *watch point* names, with no hook in the
product. What a link holds back waits in order, as packets do, and is delivered when it heals.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from corvus_proxy.ops.drill import resp

UP, DOWN = "up", "down"
"""From the one who connects to the server, and back."""
_RESET = struct.pack("ii", 1, 0)
"""Linger for no time: the kernel throws away what was not sent, and says so to the other side."""
NARROW_BYTES, SEGMENT_BYTES = 64 * 1024, 1400
"""Buffers and packets of a narrow link: what a server sends and nobody reads stays with it."""
Watch = Callable[["Seen"], bool]
"""Sees what passes; True keeps it, and everything after it on that connection, from passing."""
Cut = Callable[["Seen"], int | None]
"""Sees what passes; a number lets so many bytes of it pass, and then the connection is reset."""


class Seen(NamedTuple):
    """What a watch point sees: a command or a reply of Redis, else a piece of bytes."""

    way: str
    data: bytes
    call: resp.Call | None = None
    """Redis: the command, or that which `reply` answers."""
    reply: Any = None
    passed_bytes: int = 0
    """How many bytes have passed this way on this connection before."""


class Link:
    """Listens on a port of its own and passes everything on to `target`."""

    def __init__(
        self, name: str, port: int, *, speaks_redis: bool = False, narrow: bool = False
    ) -> None:
        self.name = name
        self.target = port
        self.speaks_redis = speaks_redis
        self.narrow = narrow
        self.port = 0
        self.delay_s = 0.0
        self.watches: list[Watch] = []
        self.cuts: list[Cut] = []
        self.taps: list[Callable[[Seen], None]] = []
        """Called with everything that comes from either side; they cannot stop it."""
        self._held: set[str] = set()
        self._refusing = False
        self._silent = False
        self._copies_held = False
        self._pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begins to listen."""
        loop = asyncio.get_running_loop()
        plain = socket.socket()
        if self.narrow:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW_BYTES)
        plain.bind(("127.0.0.1", 0))
        self._server = await loop.create_server(lambda: _Pair(self), sock=plain)
        self.port = plain.getsockname()[1]

    async def close(self) -> None:
        """Ends the listener and every connection."""
        if self._server is not None:
            self._server.close()
        self.reset()

    def reset(self) -> None:
        """Ends every connection with a TCP reset."""
        for pair in list(self._pairs):
            pair.abort()

    def retarget(self, port: int) -> None:
        """Leads to another server from now on, as after a failover: connections end."""
        self.target = port
        self.reset()

    def hold(self, *ways: str) -> None:
        """Nothing passes these ways (both without a name) until `heal`."""
        self._held |= set(ways or (UP, DOWN))

    def hold_copies(self) -> None:
        """Nothing that a Redis sends to its replicas passes until `heal`; all others' does."""
        self._copies_held = True

    def silence(self) -> None:
        """Nothing that the server says from now on arrives, or is taken for said, until `heal`: as
        if it had lost its power. Not even what is already on its way."""
        self._silent = True

    def refuse(self) -> None:
        """Ends every connection, and new ones at once, until `heal`."""
        self._refusing = True
        self.reset()

    def heal(self) -> None:
        """Ends delay, holding and refusing, and takes every watch point away."""
        self._held.clear()
        self._refusing = False
        self._silent = False
        self._copies_held = False
        self.delay_s = 0.0
        self.watches.clear()
        self.cuts.clear()
        for pair in list(self._pairs):
            pair.flush()

    def watch(self, watch: Watch) -> None:
        """Adds a watch point."""
        self.watches.append(watch)

    def cut(self, cut: Cut) -> None:
        """Resets connections at a byte of what passes."""
        self.cuts.append(cut)

    def holds(self, way: str) -> bool:
        """Whether this way is held at the moment."""
        return way in self._held

    @property
    def copies_held(self) -> bool:
        return self._copies_held

    @property
    def silent(self) -> bool:
        return self._silent

    @property
    def refusing(self) -> bool:
        return self._refusing

    @property
    def pairs(self) -> "set[_Pair]":
        return self._pairs


class _Way:
    """One direction of a connection: what waits, and what has passed."""

    def __init__(self, pair: "_Pair", name: str) -> None:
        self._pair = pair
        self.name = name
        self.waiting: deque[bytes] = deque()
        self.buffer = bytearray()
        self.passed_bytes = 0
        self.stopped = False
        self._ready_s = 0.0
        self._delayed = 0
        self._then: Callable[[], None] | None = None

    def take(self, data: bytes) -> None:
        """Data has come from one side."""
        if self.name == DOWN and self._pair.link.silent:
            self.stopped = True
        if self.stopped:
            return
        for piece in self._pieces(data):
            if self._pair.watched(piece):
                self.stopped = True
                return
            if (size := self._pair.cut_at(piece)) is not None:
                self.stopped = True
                self._pair.write(self.name, piece.data[:size])
                self._pair.abort()
                return
            self.passed_bytes += len(piece.data)
            self._send(piece.data)

    def _pieces(self, data: bytes) -> list[Seen]:
        if not self._pair.speaks_redis:
            return [Seen(self.name, data, passed_bytes=self.passed_bytes)]
        self.buffer += data
        return [self._pair.seen(self.name, raw, value) for raw, value in resp.split(self.buffer)]

    def _send(self, data: bytes) -> None:
        link = self._pair.link
        held = link.copies_held and self.name == DOWN and self._pair.copies
        if held or link.holds(self.name) or self.waiting:
            self.waiting.append(data)
            return
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self._ready_s = max(self._ready_s, now_s + link.delay_s)
        if self._ready_s <= now_s:
            self._pair.write(self.name, data)
        else:
            self._delayed += 1
            loop.call_at(self._ready_s, self._write_delayed, data)

    def _write_delayed(self, data: bytes) -> None:
        self._delayed -= 1
        self._pair.write(self.name, data)
        if not self._delayed and self._then is not None:
            self._then()

    def after_all(self, done: Callable[[], None]) -> None:
        """Calls `done` once everything that is delayed has passed."""
        if self._delayed:
            self._then = done
        else:
            done()

    def flush(self) -> None:
        """What was held back goes on."""
        waiting, self.waiting = self.waiting, deque()
        for data in waiting:
            self._pair.write(self.name, data)


class _End(asyncio.Protocol):
    """The server's end of a pair."""

    def __init__(self, pair: "_Pair") -> None:
        self._pair = pair

    def data_received(self, data: bytes) -> None:
        self._pair.ways[DOWN].take(data)

    def eof_received(self) -> bool:
        self._pair.half_close(DOWN)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._pair.lost(exc)

    def pause_writing(self) -> None:
        self._pair.pause(UP)

    def resume_writing(self) -> None:
        self._pair.resume(UP)


class _Pair(asyncio.Protocol):
    """A client's connection and ours to the server."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.speaks_redis = link.speaks_redis
        """Commands and replies; not any more once a replica copies over this connection."""
        self.ways = {UP: _Way(self, UP), DOWN: _Way(self, DOWN)}
        self._ends: dict[str, asyncio.Transport] = {}
        self._early: list[bytes] = []
        self._ended_early = False
        self._calls: deque[resp.Call] = deque()
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def copies(self) -> bool:
        """Whether a replica copies over it."""
        return self.link.speaks_redis and not self.speaks_redis

    # -- the two ends -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._ends[DOWN] = cast(asyncio.Transport, transport)
        if self.link.refusing:
            self.abort()
            return
        self.link.pairs.add(self)
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        plain = socket.socket()
        plain.setblocking(False)
        if self.link.narrow:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        try:
            await loop.sock_connect(plain, ("127.0.0.1", self.link.target))
        except OSError:
            plain.close()
            self.abort()
            return
        except asyncio.CancelledError:
            plain.close()
            raise
        transport, _ = await loop.create_connection(lambda: _End(self), sock=plain)
        self._server_is_there(transport)

    def _server_is_there(self, transport: asyncio.Transport) -> None:
        """Our connection to the server stands. Not called by its `connection_made`: uvloop takes
        the socket's object in hand after that, and closes the descriptor a second time, when it is
        another connection's, where the transport has ended by then."""
        if self._closed:
            transport.abort()
            return
        self._ends[UP] = transport
        for data in self._early:
            transport.write(data)
        self._early.clear()
        if self._ended_early:
            self.half_close(UP)

    def data_received(self, data: bytes) -> None:
        self.ways[UP].take(data)

    def eof_received(self) -> bool:
        self.half_close(UP)
        return True

    def half_close(self, way: str) -> None:
        """One side has sent its last byte."""
        if self.link.holds(way):
            return
        if self.ways[way].stopped:  # what it sent last never arrives, its end does
            self.abort()
            return
        self.ways[way].after_all(lambda: self._half_closed(way))

    def _half_closed(self, way: str) -> None:
        end = self._ends.get(way)
        self._ended_early = way == UP and end is None
        if end is not None and end.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                end.write_eof()
        if way == DOWN:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost(exc)

    def lost(self, exc: Exception | None) -> None:
        """One side has gone: so does the other, unless the network is what is broken."""
        self.link.pairs.discard(self)
        (self.abort if exc is not None else self.close)()

    def close(self) -> None:
        """Ends both sides, in order."""
        self._closed = True
        for end in self._ends.values():
            end.close()

    def abort(self) -> None:
        """Ends both sides by a reset."""
        self._closed = True
        self.link.pairs.discard(self)
        for end in self._ends.values():
            plain = end.get_extra_info("socket")  # None, or a ValueError: it has been closed
            with contextlib.suppress(OSError, ValueError):
                if plain is not None:
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.abort()

    def pause(self, way: str) -> None:
        """The receiver is full: its sender waits."""
        end = self._ends.get(DOWN if way == UP else UP)
        if end is not None and not end.is_closing():
            end.pause_reading()

    def resume(self, way: str) -> None:
        """The receiver takes bytes again."""
        end = self._ends.get(DOWN if way == UP else UP)
        if end is not None and not end.is_closing():
            end.resume_reading()

    def pause_writing(self) -> None:
        self.pause(DOWN)

    def resume_writing(self) -> None:
        self.resume(DOWN)

    # -- what passes --------------------------------------------------------------------------

    def seen(self, way: str, raw: bytes, value: Any) -> Seen:
        """A whole command or reply of Redis."""
        passed = self.ways[way].passed_bytes
        if way == UP:
            call = resp.call_of(value)
            self._calls.append(call)
            self.speaks_redis = self.speaks_redis and call.name != "PSYNC"
            return Seen(way, raw, call, passed_bytes=passed)
        call = self._calls.popleft() if self._calls else resp.Call("", [])
        return Seen(way, raw, call, value, passed)

    def watched(self, piece: Seen) -> bool:
        """Whether a watch point keeps it from passing."""
        for tap in self.link.taps:
            tap(piece)
        kept = [watch(piece) for watch in list(self.link.watches)]  # each of them sees it
        return any(kept)

    def cut_at(self, piece: Seen) -> int | None:
        """After how many bytes of it the connection is reset, if it is."""
        found = (cut(piece) for cut in self.link.cuts)
        return next((size for size in found if size is not None), None)

    def write(self, way: str, data: bytes) -> None:
        """Hands data to the other side."""
        if way == UP and UP not in self._ends:
            self._early.append(data)
            return
        end = self._ends.get(way)
        if end is not None and not end.is_closing():
            end.write(data)

    def flush(self) -> None:
        """What was held back goes on, both ways."""
        for way in self.ways.values():
            way.flush()
