"""The shipped front in nginx itself, before servers that count what they are sent: where requests
go, and how often. Whole nodes behind it: tests/flow/test_rolling.py."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from corvus_proxy.ops import embedded
from corvus_proxy.roles.leaving import turn_away
from tests.front import API, SITE, Connection, Front
from tests.roles import exchange

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"

Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Stub:
    """An upstream that keeps the heads that it was sent."""

    def __init__(self, handle: Handler) -> None:
        self.heads: list[bytes] = []
        self._handle = handle

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                await self._handle(head, reader, writer)
        writer.close()

    def stop(self) -> None:
        self._server.close()


async def answers(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The ordinary server."""
    found = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
    await reader.readexactly(int(found or 0))
    writer.write(OK + (b"" if head.startswith(b"HEAD") else b"ok"))


async def drops(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One that dies with a request in its hands."""
    writer.transport.abort()


@contextlib.asynccontextmanager
async def before(folder: Path, *ports: int) -> AsyncIterator[Front]:
    """The front before these, for both names."""
    front = Front(folder, ports, ports)
    try:
        await front.start()
        yield front
    finally:
        await front.stop()


async def status_of(front: Front, method: str, name: str) -> int:
    """Of one request with a connection of its own."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", front.port, ssl=front.tls(), server_hostname=name
    )
    body = "content-length: 1\r\n\r\nx" if method in ("POST", "PUT", "PATCH") else "\r\n"
    writer.write(f"{method} /v1/x HTTP/1.1\r\nhost: {name}\r\n{body}".encode())
    try:
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])
    finally:
        writer.transport.abort()  # as most clients do: no TLS farewell that waits for another


@pytest.mark.parametrize("name", [API, SITE])
async def test_what_was_sent_is_never_sent_again(tmp_path: Path, name: str) -> None:
    """Whatever the method: the first server takes the request and dies; nobody else gets it."""
    stubs = [Stub(drops) for _ in range(3)]
    ports = [await stub.start() for stub in stubs]
    for method in METHODS:
        # A front of its own: the one before has put a server out for a second.
        async with before(tmp_path / method, *ports) as front:
            assert await status_of(front, method, name) == 502
        assert sum(len(stub.heads) for stub in stubs) == 1, method
        for stub in stubs:
            stub.heads.clear()
    for stub in stubs:
        stub.stop()


@pytest.mark.parametrize("name", [API, SITE])
async def test_who_cannot_be_reached_is_passed_over(tmp_path: Path, name: str) -> None:
    """Two of three refuse connections: every request is served, once. None left: a sentence."""
    stub = Stub(answers)
    dead = [embedded.free_port()]
    dead.append(embedded.free_port(dead))
    async with before(tmp_path / "some", *dead, await stub.start()) as front:
        for method in METHODS * 3:
            assert await status_of(front, method, name) == 200
        await asyncio.sleep(1.1)  # the dead are tried again
        for method in METHODS:
            assert await status_of(front, method, name) == 200
    assert len(stub.heads) == 4 * len(METHODS)
    stub.stop()
    async with before(tmp_path / "none", *dead) as front:
        for body in (b"", b"{}"):
            answer = await Connection(front, name).ask("/v1/x", body=body)
            assert (answer.status, "retry-after" in answer.headers) == (502, True)
            assert (b"gateway_away" if name == API else b"Try it again") in answer.body


async def test_streams_and_bodies_pass_as_they_come(tmp_path: Path) -> None:
    """Each event reaches the client before the next is written, and the first byte of a body the
    server before the last is sent. A body up to the limit passes; one beyond it is refused."""
    came, got = asyncio.Queue[int](), asyncio.Event()

    async def stream(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while size:
            part = await reader.read(min(size, 65536))
            size -= len(part)
            came.put_nowait(len(part))
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(3):
            got.clear()
            writer.write(b"5\r\ndata\n\r\n")
            await asyncio.wait_for(got.wait(), 5)
        writer.write(b"0\r\n\r\n")

    stub = Stub(stream)
    async with before(tmp_path, await stub.start()) as front:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", front.port, ssl=front.tls(), server_hostname=API
        )
        size = 32 * 1024 * 1024
        head = f"POST /v1/x HTTP/1.1\r\nhost: {API}\r\ncontent-length: {size}\r\n\r\n"
        writer.write(head.encode() + b"x" * 1000)
        assert await asyncio.wait_for(came.get(), 5) > 0
        writer.write(b"x" * (size - 1000))
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(3):
            assert (await reader.readuntil(b"data\n\r\n")).endswith(b"data\n\r\n")
            got.set()
        await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        answer = await Connection(front, API).ask("/v1/x", body=b"x" * (size + 2**21))
        assert answer.status == 413
    assert len(stub.heads) == 1
    assert not list((tmp_path / "nginx-body").iterdir())
    stub.stop()


async def test_a_client_that_leaves_is_seen_to_leave(tmp_path: Path) -> None:
    """Its server's connection ends, so that nobody pays for an answer that nobody reads."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def waits(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        began.set()
        assert await reader.read() == b""
        ended.set()
        writer.close()

    stub = Stub(waits)
    async with before(tmp_path, await stub.start()) as front:
        asking = asyncio.create_task(status_of(front, "GET", API))
        await asyncio.wait_for(began.wait(), 5)
        asking.cancel()
        await asyncio.wait_for(ended.wait(), 5)
    stub.stop()


async def test_what_a_server_is_told_and_what_nobody_is(tmp_path: Path) -> None:
    """The client's own address, the name it asked for and its wish for a WebSocket; metrics do not
    leave; port 80 leads to 443; no path and no secret is written down."""
    stub = Stub(answers)
    async with before(tmp_path, await stub.start()) as front:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", front.port, ssl=front.tls(), server_hostname=API
        )
        lines = [
            "GET /orders/secret-token?key=sk-corvus_x HTTP/1.1", f"host: {API}",
            "x-forwarded-for: 1.2.3.4", "upgrade: websocket", "connection: upgrade",
        ]  # fmt: skip
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await reader.readuntil(b"\r\n\r\nok")
        writer.close()
        head = stub.heads[0].decode().lower()
        assert "x-forwarded-for: 127.0.0.1\r\n" in head
        assert "1.2.3.4" not in head
        assert f"host: {API}\r\n" in head
        assert "upgrade: websocket\r\n" in head
        assert "x-forwarded-proto: https\r\n" in head
        for name in (API, SITE):
            assert (await Connection(front, name).ask("/metrics")).status == 404
        moved = await exchange(
            front.plain_port, f"GET /a?b=c HTTP/1.1\r\nhost: {SITE}\r\n\r\n".encode()
        )
        assert (moved.status, moved.headers["location"]) == (308, f"https://{SITE}/a?b=c")
        assert len(stub.heads) == 1
    written = "\n".join(front.access()) + front.told()
    assert len(front.access()) == 4
    assert "secret-token" not in written
    assert "sk-corvus" not in written
    stub.stop()


async def test_a_machine_that_has_vanished_is_given_up_soon(tmp_path: Path) -> None:
    """It does not even refuse: 2 s, then the next, and nobody else has to wait for a second."""
    stub = Stub(answers)
    with socket.create_server(("127.0.0.1", 0)) as vanished:
        turn_away([vanished])
        async with before(tmp_path, vanished.getsockname()[1], await stub.start()) as front:
            began_s = time.monotonic()
            for method in METHODS:
                assert await status_of(front, method, API) == 200
            assert 2 <= time.monotonic() - began_s < 5
    stub.stop()
