"""No stall anywhere: nothing waits for an acknowledgment, for another client, or for a timer.

What needs a quiet machine is measured by `bench/`; here sockets and turns of the loop are looked
at, and times only by bounds that a busy machine keeps too.
"""

import asyncio
import ctypes
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import far, load, processes
from bench import stack as stacks
from bench.far import Asked, Far
from bench.scenarios.holding import LEFT_S
from bench.stack import Stack
from bench.stack.closed import ClosedProcess
from corvus_proxy import secret, settings
from corvus_proxy.gateway.front.asgi import application
from corvus_proxy.ops import embedded
from corvus_proxy.upstream.connection import Connection
from tests.conftest import open_all

ACTIVE, IDLE = 8, 500
BUSY_MS = 150.0
"""What a machine that does other things may add to any gap."""
_PIDFD_GETFD = 438
_LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module")
def end() -> Iterator[Far]:
    with far.running() as running:
        yield running


@pytest.fixture(scope="module")
def measured(end: Far) -> Iterator[Stack]:
    patient = "[redis]\ntimeout_ms = 5000\n[ledger]\njournal_stall_ms = 10000\n"
    with stacks.running(end, pinned=False, options=patient) as running:
        yield running


def sockets_of(pid: int) -> Iterator[socket.socket]:
    """Duplicates of all connected TCP sockets of a process."""
    process = os.pidfd_open(pid)
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if not os.readlink(entry).startswith("socket:"):
                continue
            fd = _LIBC.syscall(_PIDFD_GETFD, process, int(entry.name), 0)
            if fd < 0:
                pytest.skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
            with socket.socket(fileno=fd) as one:
                if one.family != socket.AF_INET or one.type != socket.SOCK_STREAM:
                    continue
                try:
                    one.getpeername()
                except OSError:
                    continue  # a listener
                yield one
    finally:
        os.close(process)


def serving_pid(stack: Stack) -> int:
    """The gateway's own process under Granian's master."""
    (pid,) = processes.tree(stack.pids["gateway"])[1:]
    return pid


def test_neither_side_waits_for_an_acknowledgment(end: Far, measured: Stack) -> None:
    """Nagle's algorithm with a delayed acknowledgment costs 40 ms: it is off on every connection,
    those of clients and those of upstreams."""
    asked = far.stream(gap_us=50_000, events=100)
    words = {"connections": ACTIVE, "seconds": 60, "tell": 1, "cut": 1}
    with load.beside(measured.api_port, asked, secrets=[measured.secret], **words) as held:
        assert held.wait_all()
        near, up = [], []
        for one in sockets_of(serving_pid(measured)):
            delays = not one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            if one.getsockname()[1] == measured.api_port:
                near.append(delays)
            elif one.getpeername()[1] == end.port:
                up.append(delays)
    assert len(near) >= ACTIVE  # the status asks now and then, too
    assert not any(near)
    assert len(up) >= ACTIVE
    assert not any(up)


def gaps(stack: Stack) -> dict[str, Any]:
    """A few streams of events 10 ms apart."""
    return load.run(
        stack.api_port,
        far.stream(events=100),
        secrets=[stack.secret],
        connections=ACTIVE,
        seconds=1,
        spread_s=0.5,
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (far.stream(gap_us=30_000_000), {"connections": IDLE, "spread_s": 1, "tell": 1}),
        (far.picture(20_000_000), {"connections": 1, "tell": 1}),
    ],
    ids=["500 silent streams", "bodies of 20 MB"],
)
def test_one_client_does_not_hold_up_another(
    measured: Stack, asked: Asked, words: dict[str, float]
) -> None:
    """Streams are whole beside it, and their gaps within what a busy machine adds."""
    alone = gaps(measured)
    with load.beside(
        measured.api_port, asked, secrets=[measured.secret], seconds=600, cut=1, **words
    ) as other:
        assert other.wait_all(), other.end()
        for _ in range(3):  # what holds one stream up by nature does so each time
            beside = gaps(measured)
            if (beside["gap_p50_ms"] <= 2 * alone["gap_p50_ms"] + 5
                    and beside["gap_p99_ms"] <= 3 * alone["gap_p99_ms"] + BUSY_MS):  # fmt: skip
                break
    assert alone["errors"] == beside["errors"] == {}
    assert beside["gap_p50_ms"] <= 2 * alone["gap_p50_ms"] + 5
    assert beside["gap_p99_ms"] <= 3 * alone["gap_p99_ms"] + BUSY_MS
    time.sleep(LEFT_S)


class Turns:
    """Counts the loop's turns, and how many pass from an upstream's bytes to the client's."""

    def __init__(self) -> None:
        self.now = 0
        self.came: list[int] = []
        self.left: list[int] = []
        self.running = True

    def count(self) -> None:
        self.now += 1
        if self.running:
            asyncio.get_running_loop().call_soon(self.count)

    async def ask(self, app: Any, body: bytes, key: str) -> None:
        """One request of an ASGI server that takes every byte at once."""
        given = iter([{"type": "http.request", "body": body}])
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            for message in given:
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message.get("body"):
                self.left.append(self.now)

        headers = [(b"authorization", f"Bearer {key}".encode())]
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions"}
        await app({**scope, "query_string": b"", "headers": headers}, receive, send)


CONFIG = """
[redis]
url = "{redis}"
timeout_ms = 5000
[ledger]
journal_dir = "{folder}"
journal_stall_ms = 10000
[secrets]
pepper_file = "{folder}/pepper"
[[upstream]]
family = "openai"
base_url = "http://127.0.0.1:{port}"
allow_private = true
[[upstream.credential]]
name = "far"
secret_file = "{folder}/pepper"
"""


@pytest.mark.anyio
async def test_each_chunk_leaves_in_the_turn_in_which_it_came(
    end: Far, redis_server: embedded.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between an upstream's bytes and the client's lies no wait: what was received in one turn of
    the loop is sent in it, or in the next where a task had to be woken for it."""
    (tmp_path / "pepper").write_text("p" * 64)
    config = tmp_path / "config.toml"
    text = CONFIG.format(redis=redis_server.url, folder=tmp_path, port=end.port)
    config.write_text(text)
    turns = Turns()
    received = Connection.data_received

    def data_received(self: Connection, data: bytes) -> None:
        turns.came.append(turns.now)
        received(self, data)

    monkeypatch.setattr(Connection, "data_received", data_received)
    process = ClosedProcess(settings.load(config, {}), since=())
    await open_all(process._till)
    await process.start()
    while process._ready() is not None:  # noqa: ASYNC110 -- it is told to nobody
        await asyncio.sleep(0.01)
    app = as_application(process)
    asked = far.stream(events=400, gap_us=5_000)
    turns.count()
    try:
        await turns.ask(app, asked.body, secret.new_secret(secret.new_wallet_id()))
    finally:
        turns.running = False
        await process.stop()
    # One write for what one read brought; the last one waits for the till.
    pairs = list(zip(turns.came, turns.left, strict=False))[:-1]
    assert len(pairs) >= 20
    assert {left - came for came, left in pairs} <= {0, 1}


def as_application(process: ClosedProcess) -> Any:
    """The gateway as an ASGI application, without a lifespan."""

    async def never() -> None:
        pass

    async def engine(client: Any) -> None:
        await process.engine(client)

    return application(engine, never, never)
