"""How a server that is told to stop leaves the front before it, without losing a request.

A front learns that a server has gone from a connection that is refused. A request that it has sent
by then, on a connection that the server closes, is lost: it must not send it again. So the server
goes on for `leave_s`, not ready, and ends each connection with its answer, until the front has
closed those that it kept. Then new ones are turned away in the kernel, where none is half made;
those that were made are served; and only then the port is closed.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import structlog

HALF_MADE_S = 0.02
"""The rest of a connection's making: a round trip to the front, with room. Whoever tries to connect
meanwhile tries again after a second, so it is short."""
ACCEPT_S = 1.0
"""Patience with a server that does not accept what is connected."""
CLOSE = (b"connection", b"close")
_SO_ATTACH_FILTER = 26
_UNACKED = 24
"""Place in `struct tcp_info`; of a socket that listens: connections that wait to be accepted."""
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the flags of the TCP header
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # … drop it: its sender tries again in a second, and is refused by then
    (0x06, 0, 0, 0xFFFFFFFF),  # everything else stays
)
"""A classic socket filter: operation, jumps if true and if false, operand."""
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
_log = structlog.get_logger()


class Leaving:
    """Whether a server leaves, and the steps of it."""

    def __init__(self, leave_s: float) -> None:
        self.begun = False
        self._leave_s = leave_s

    async def run(self, port: int) -> None:
        """Returns when the port may be closed: at once where there is no front."""
        self.begun = True
        if not self._leave_s:
            return
        await asyncio.sleep(self._leave_s)
        try:
            await self._turn_away(port)
        except OSError as error:  # no filters, or no /proc: a request may be lost, no more
            _log.warning("cannot_turn_away", why=str(error))

    async def _turn_away(self, port: int) -> None:
        with contextlib.ExitStack() as held:
            listeners = [held.enter_context(one) for one in _listeners(port)]
            turn_away(listeners)
            for _ in range(round(ACCEPT_S / HALF_MADE_S)):
                await asyncio.sleep(HALF_MADE_S)
                if not waiting(listeners):
                    return

    def wrapped(self, app: Any) -> Any:
        """An ASGI application that leaves: its `/readyz` fails, its answers end connections."""

        async def answer(scope: Message, receive: Any, send: Send) -> None:
            if self.begun and scope["path"] == "/readyz":
                head = {"status": 503, "headers": [(b"content-type", b"text/plain"), CLOSE]}
                await send({"type": "http.response.start", **head})
                await send({"type": "http.response.body", "body": b"the process is stopping\n"})
                return

            async def closing(message: Message) -> None:
                if self.begun and message["type"] == "http.response.start":
                    message["headers"] = [*message.get("headers", ()), CLOSE]
                await send(message)

            await app(scope, receive, closing)

        return answer


def turn_away(listeners: Sequence[socket.socket]) -> None:
    """Has the kernel drop every attempt to connect to these. What is connected, or nearly, is not
    touched. Raises OSError where the kernel does not do that."""
    program = b"".join(struct.pack("HBBI", *step) for step in _NO_SYN)
    held = ctypes.create_string_buffer(program)
    option = struct.pack("HL", len(_NO_SYN), ctypes.addressof(held))
    for listener in listeners:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)


def waiting(listeners: Sequence[socket.socket]) -> int:
    """How many connections nobody has accepted yet."""
    told = (one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104) for one in listeners)
    return sum(struct.unpack_from("I", info, _UNACKED)[0] for info in told)


def _listeners(port: int) -> list[socket.socket]:
    """Second handles of this process's own sockets that listen on `port`: the server keeps the
    first to itself."""
    found = []
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            number = int(name.name)
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            one = socket.socket(fileno=os.dup(number))
            listens = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if listens and one.family != socket.AF_UNIX and one.getsockname()[1] == port:
                found.append(one)
            else:
                one.close()
    return found
