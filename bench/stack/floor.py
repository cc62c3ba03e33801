"""The ASGI server alone: what there is before a line of the gateway's own is run.

`python -m bench.stack.floor PORT FAR` serves with the gateway's options and says one of three
things, by path: `/answers` a kilobyte from memory, `/forwards…` what the far end says to the same
body, through the gateway's own upstream client, `/streams…` the same piece by piece as it comes.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels

from bench.far import Far
from bench.stack import Subject, place
from corvus_proxy.errors import CorvusError
from corvus_proxy.ops.embedded import free_port
from corvus_proxy.settings import TimeoutSettings
from corvus_proxy.upstream.transport import Answer, HttptoolsTransport, Origin, Request

START_S = 10.0
ANSWER = b"x" * 1024
FAR_PORT = "CORVUS_BENCH_FAR_PORT"
_KIND = (b"content-type", b"application/json")
_TIMEOUTS = TimeoutSettings()

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Floor:
    """The ASGI application."""

    def __init__(self) -> None:
        self._far = Origin("127.0.0.1", int(os.environ[FAR_PORT]), tls=False, allow_private=True)
        self._transport: HttptoolsTransport | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            return
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        path: str = scope["path"]
        if path.startswith("/streams"):
            await self._stream(path[8:], body, send)
            return
        answer = ANSWER if path == "/answers" else await self._forward(path[9:], body)
        size = (b"content-length", b"%d" % len(answer))
        await send({"type": "http.response.start", "status": 200, "headers": [_KIND, size]})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    async def _forward(self, path: str, body: bytes) -> bytes:
        async with await self._open(path, body) as answer:
            return await answer.read(1 << 26)

    async def _stream(self, path: str, body: bytes, send: Send) -> None:
        kind = (b"content-type", b"text/event-stream")
        await send({"type": "http.response.start", "status": 200, "headers": [kind]})

        async with await self._open(path, body) as answer:
            while (chunk := await answer.chunk()) is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _open(self, path: str, body: bytes) -> Answer:
        if self._transport is None:
            self._transport = HttptoolsTransport()
        size = (b"content-length", b"%d" % len(body))
        asked = Request(b"POST", path.encode(), [(b"host", b"far"), _KIND, size], body)
        return await self._transport.open(self._far, asked, timeouts=_TIMEOUTS)


def create() -> Floor:
    """The application of one process."""
    return Floor()


@contextmanager
def running(far: Far) -> Iterator[Subject]:
    """The server with it, placed as the gateway is. Raises CorvusError."""
    port = free_port({})
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.stack.floor", str(port)],
        env={**os.environ, FAR_PORT: str(far.port)},
    )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise CorvusError("the bare server did not start")
            time.sleep(0.05)
        place({"gateway": child.pid})
        yield Subject("server", port, {"gateway": child.pid})
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    Granian(
        "bench.stack.floor:create",
        factory=True,
        interface=Interfaces.ASGI,
        address="127.0.0.1",
        port=int(sys.argv[1]),
        workers=1,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        runtime_threads=1,
        backpressure=8192,
        log_level=LogLevels.warning,
    ).serve()
