"""The gateway's own Python, and nothing else: `python -m bench.engine [--stream] [--profile]`.

One process answers plain requests whose client, till and upstream are there at once: no socket, no
other process, no server. What it costs moves little with the machine's other work, so that a change
of a few microseconds can be seen; the best of many rounds is told. `--stream` feeds the events of
streams to upstream connections as the loop would, and tells what one of them costs on its way to
the server's `send`. `--profile` lists the functions.
"""

import argparse
import asyncio
import cProfile
import pstats
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn, cast

import uvloop

from bench import far
from bench.stack.closed import ClosedProcess
from corvus_proxy import secret
from corvus_proxy.gateway.front.asgi import application
from corvus_proxy.gateway.front.client import Client, Headers
from corvus_proxy.settings import load
from corvus_proxy.upstream.connection import Connection, HttpAnswer
from corvus_proxy.upstream.transport import Origin, Request

ROUNDS, REQUESTS = 400, 50
"""Short ones: the best of many finds the machine undisturbed."""
STREAMS, EVENTS = 32, 200
_CONFIG = """
[secrets]
pepper_file = "{folder}/pepper"
[redis]
url = "redis://127.0.0.1:1"
[ledger]
journal_dir = "{folder}"
[[upstream]]
family = "openai"
base_url = "http://127.0.0.1:1"
allow_private = true
[[upstream.credential]]
name = "bench"
secret_file = "{folder}/pepper"
"""


class InstantAnswer:
    """A whole answer that has come."""

    status = 200

    def __init__(self, headers: Headers, body: bytes) -> None:
        self.headers = headers
        self._parts = [body]

    async def chunk(self) -> bytes | None:
        return self._parts.pop() if self._parts else None

    async def read(self, bytes_max: int) -> bytes:
        return self._parts.pop()

    def abort(self) -> None:
        pass

    async def __aenter__(self) -> "InstantAnswer":
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


class InstantTransport:
    """Answers every request with the same bytes."""

    def __init__(self, headers: Headers, body: bytes) -> None:
        self._headers, self._body = headers, body

    async def open(self, origin: Origin, request: Request, *, timeouts: Any) -> InstantAnswer:
        return InstantAnswer(list(self._headers), self._body)

    async def close(self) -> None:
        pass


class FedSocket:
    """A connection's socket whose bytes are fed to it by hand."""

    def write(self, data: bytes) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        pass


class FedTransport:
    """The gateway's own upstream client over sockets that are fed: one connection a request."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[Connection] = asyncio.Queue()

    async def open(self, origin: Origin, request: Request, *, timeouts: Any) -> HttpAnswer:
        connection = Connection(asyncio.get_running_loop(), lambda _: None)
        socket: Any = FedSocket()
        connection.connection_made(socket)
        self.connections.put_nowait(connection)
        await connection.send(
            request.method, request.target, request.headers, request.body, timeouts
        )
        return HttpAnswer(connection)

    async def close(self) -> None:
        pass


class Taken:
    """What the server's `send` returns where its socket takes more: nothing to wait for."""

    def __await__(self) -> "Taken":
        return self

    def __iter__(self) -> "Taken":
        return self

    def __next__(self) -> NoReturn:
        raise StopIteration


TAKEN = Taken()
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


class InstantClient:
    """One request whose body is there, and who takes whatever comes."""

    method, query, gone = "POST", b"", False

    def __init__(self, path: str, headers: Headers, body: bytes) -> None:
        self.path, self.headers, self._body = path, headers, body
        self.head_sent = False
        self.status = 0

    async def body(self, bytes_max: int, timeout_s: float) -> bytes:
        return self._body

    async def head(self, status: int, headers: Headers) -> None:
        self.head_sent, self.status = True, status

    async def write(self, chunk: bytes) -> None:
        pass

    async def end(self, last: bytes = b"") -> None:
        pass

    def on_gone(self, callback: Any) -> None:
        pass

    def watch(self) -> None:
        pass


class Engine:
    """The gateway's process over all that, and one request of the measurements."""

    def __init__(self, folder: Path) -> None:
        (folder / "pepper").write_text("p" * 64)
        config = folder / "config.toml"
        config.write_text(_CONFIG.format(folder=folder))
        settings = self._settings = load(config, {})
        self.process = ClosedProcess(settings, since=())
        head, _, body = far.whole(far.plain()).partition(b"\r\n\r\n")
        pairs = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
        transport: Any = InstantTransport([(name.lower(), value) for name, value in pairs], body)
        self.process._pool.update(settings.upstream, {"httptools": transport})
        self._asked = far.plain()
        key = secret.new_secret(secret.new_wallet_id()).encode()
        self._headers: Headers = [
            (b"host", b"127.0.0.1"),
            (b"authorization", b"Bearer " + key),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self._asked.body)),
        ]
        self._feeds = FedTransport()
        self._streamed = far.stream(events=EVENTS, gap_us=0)
        self._pieces = [
            b"%x\r\n%b\r\n" % (len(piece), piece) for piece in far.pieces("chat", EVENTS)
        ]

    async def ask(self) -> int:
        """One request; its status."""
        client = InstantClient(self._asked.path, self._headers, self._asked.body)
        answered: Client = client
        await self.process.engine(answered)
        return client.status

    async def round_us(self) -> float:
        """CPU of a request, in microseconds, over one round."""
        began_ns = time.process_time_ns()
        for _ in range(REQUESTS):
            await self.ask()
        return (time.process_time_ns() - began_ns) / REQUESTS / 1000

    def stream(self) -> None:
        """From here on the upstream is one that is fed."""
        process, transport = self.process, cast(Any, self._feeds)
        process._pool.update(self._settings.upstream, {"httptools": transport})
        self._application = application(process.engine, process.start, process.stop)

    async def _ask_stream(self) -> int:
        """One streamed answer; how many pieces of its body the server was given."""
        scope = {
            "type": "http",
            "method": "POST",
            "path": self._streamed.path,
            "query_string": b"",
            "headers": [*self._headers[:-1], (b"content-length", b"%d" % len(self._streamed.body))],
        }
        asked = [{"type": "http.request", "body": self._streamed.body, "more_body": False}]
        gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        given = 0

        async def receive() -> Any:
            return asked.pop() if asked else await gone

        def send(message: Any) -> Taken:
            nonlocal given
            given += message["type"] == "http.response.body"
            return TAKEN

        await self._application(scope, receive, send)
        return given

    async def event_us(self) -> float:
        """CPU of a streamed event, in microseconds, over one round of streams side by side."""
        answers = [asyncio.ensure_future(self._ask_stream()) for _ in range(STREAMS)]
        fed = [await self._feeds.connections.get() for _ in answers]
        first, *paced, last, closing = self._pieces
        await _feed(fed, STREAM_HEAD + first)
        await _feed(fed, paced[0])
        began_ns = time.process_time_ns()
        for piece in paced[1:]:
            for connection in fed:
                connection.data_received(piece)
            await asyncio.sleep(0)
        took_ns = time.process_time_ns() - began_ns
        await _feed(fed, last + closing + b"0\r\n\r\n")
        assert min(await asyncio.gather(*answers)) >= len(paced)
        return took_ns / (len(paced) - 1) / STREAMS / 1000


async def _feed(connections: list[Connection], data: bytes) -> None:
    """All of them receive the same, and what that sets off is over."""
    for connection in connections:
        connection.data_received(data)
    for _ in range(10):
        await asyncio.sleep(0)


async def main(*, stream: bool, profile: bool) -> None:
    """Prints the best round, and the functions of one more where they are asked for."""
    with tempfile.TemporaryDirectory(prefix="corvus-engine-") as folder:
        engine = Engine(Path(folder))
        await engine.process.start()
        engine.process.engine.closed = None
        assert await engine.ask() == 200
        if stream:
            engine.stream()
        measure = engine.event_us if stream else engine.round_us
        best_us = min([await measure() for _ in range(ROUNDS // 8 if stream else ROUNDS)])
        sys.stdout.write(f"{best_us:.1f} µs of CPU {'an event' if stream else 'a request'}\n")
        if profile:
            with cProfile.Profile() as seen:
                for _ in range(1 if stream else ROUNDS // 20):
                    await measure()
            pstats.Stats(seen).sort_stats("tottime").print_stats(50)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    uvloop.run(main(stream=asked.stream, profile=asked.profile))
