"""The gateway's own Python, and nothing else: `python -m bench.engine [--profile]`.

One process answers plain requests whose client, till and upstream are there at once: no socket, no
other process, no server. What it costs moves little with the machine's other work, so that a change
of a few microseconds can be seen; the best of many rounds is told. `--profile` lists the functions.
"""

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from bench import far
from bench.stack.closed import ClosedProcess
from corvus_proxy import secret
from corvus_proxy.gateway.front.client import Client, Headers
from corvus_proxy.settings import load
from corvus_proxy.upstream.transport import Origin, Request

ROUNDS, REQUESTS = 400, 50
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
        settings = load(config, {})
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


async def main(*, profile: bool) -> None:
    """Prints the best round, and the functions of one more where they are asked for."""
    with tempfile.TemporaryDirectory(prefix="corvus-engine-") as folder:
        engine = Engine(Path(folder))
        await engine.process.start()
        engine.process.engine.closed = None
        assert await engine.ask() == 200
        best_us = min([await engine.round_us() for _ in range(ROUNDS)])
        sys.stdout.write(f"{best_us:.1f} µs of CPU a request\n")
        if profile:
            with cProfile.Profile() as seen:
                await engine.round_us()
            pstats.Stats(seen).sort_stats("tottime").print_stats(50)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--profile", action="store_true")
    uvloop.run(main(profile=parser.parse_args().profile))
