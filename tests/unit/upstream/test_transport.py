"""Both upstream clients against a scripted server: bytes as they came, every way to break."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from corvus_proxy.settings import TimeoutSettings
from corvus_proxy.upstream.faults import (
    BadAnswer,
    ConnectFailed,
    Cut,
    NoAnswer,
    TimedOut,
    UpstreamBroke,
)  # fmt: skip
from corvus_proxy.upstream.httpx_client import HttpxTransport
from corvus_proxy.upstream.transport import HttptoolsTransport, Origin, Request, Transport

pytestmark = pytest.mark.anyio
BRIEF = TimeoutSettings(connect_s=5, first_byte_s=0.6, silence_s=0.6, total_s=5)
TIMEOUTS = TimeoutSettings(connect_s=30, first_byte_s=30, silence_s=30, total_s=120)
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Origin]:
    """A server that runs `script` for each connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024)
    try:
        yield Origin("127.0.0.1", server.sockets[0].getsockname()[1], False, True)
    finally:
        server.close()


def replies(*parts: bytes | float, once: bool = False) -> Script:
    """Reads a request, then writes each part (a number is a pause); again on the next request."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                if isinstance(part, bytes):
                    writer.write(part)
                    await writer.drain()
                else:
                    await asyncio.sleep(part)
            if once:
                return

    return script


@pytest.fixture(params=[HttptoolsTransport, HttpxTransport], ids=["httptools", "httpx"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    made = request.param()
    yield made
    await made.close()


async def fetch(
    transport: Transport, origin: Origin, timeouts: TimeoutSettings = TIMEOUTS
) -> tuple[int, bytes]:
    request = Request(b"GET", b"/x", [(b"host", b"h")], b"")
    async with await transport.open(origin, request, timeouts=timeouts) as answer:
        return answer.status, await answer.read(1 << 20)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ([OK + b"content-length: 5\r\n\r\nhello"], b"hello"),
        ([OK + b"Content-Length: 5\r\n\r\n", b"he", 0.05, b"llo"], b"hello"),
        (
            [OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"],
            b"hello",
        ),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"content-length: 1\r\n\r\nx"], b"x"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
    ],
)
async def test_answers_are_read_whole(transport: Transport, parts: list, body: bytes) -> None:
    """Every framing, and the connection lives on."""
    async with serving(replies(*parts)) as origin:
        for _ in range(3):
            assert (await fetch(transport, origin))[1] == body
        if isinstance(transport, HttptoolsTransport):
            assert transport.opened == 1


async def test_a_body_may_end_with_its_connection(transport: Transport) -> None:
    """No length and no chunks: until the close."""
    async with serving(replies(b"HTTP/1.0 200 OK\r\n\r\nhel", 0.05, b"lo", once=True)) as origin:
        assert await fetch(transport, origin) == (200, b"hello")


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ([OK + b"content-length: 9\r\n\r\nhel"], Cut),
        ([OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhel"], Cut),
        ([OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nhel"], Cut),
        ([], NoAnswer),
        ([b"HTTP/1.1 200 OK\r\ncontent-le"], UpstreamBroke),
        ([b"SSH-2.0-x\r\n\r\n"], UpstreamBroke),
        ([1.5], TimedOut),
        ([OK + b"content-length: 9\r\n\r\nhel", 1.5], TimedOut),
    ],
)
async def test_every_break_is_a_fault_of_its_kind(
    transport: Transport, parts: list, fault: type[UpstreamBroke]
) -> None:
    """Cut, silent, garbage or closed without a word."""
    async with serving(replies(*parts, once=True)) as origin:
        with pytest.raises(fault):
            await fetch(transport, origin, BRIEF if fault is TimedOut else TIMEOUTS)


async def test_each_stage_has_its_own_patience(transport: Transport) -> None:
    """A long silence inside an answer is none before its head, and the whole has an end, too."""
    brief = TimeoutSettings(connect_s=5, first_byte_s=0.3, silence_s=20, total_s=60)
    head = OK + b"content-length: 5\r\n\r\nhe"
    async with serving(replies(head, 0.8, b"llo")) as origin:
        assert await fetch(transport, origin, brief) == (200, b"hello")
    drops: list[bytes | float] = [OK + b"content-length: 99\r\n\r\n"]
    for _ in range(20):
        drops += [0.1, b"x"]
    short = TimeoutSettings(connect_s=5, first_byte_s=5, silence_s=5, total_s=0.5)
    for parts, stage in ((drops, "total"), ([2.0], "total")):
        async with serving(replies(*parts)) as origin:
            with pytest.raises(TimedOut) as late:
                await fetch(transport, origin, short)
        assert late.value.stage == stage


async def test_a_name_without_an_address_is_a_connect_fault(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is a resolver that says nothing: another credential is tried."""

    async def unknown(*args: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def silent(*args: object, **more: object) -> None:
        await asyncio.sleep(60)

    loop = asyncio.get_running_loop()
    away = Origin("api.test", 443, True, False)
    with monkeypatch.context() as patch:
        patch.setattr(type(loop), "getaddrinfo", unknown, raising=False)
        with pytest.raises(ConnectFailed):
            await fetch(transport, away)
        patch.setattr(type(loop), "getaddrinfo", silent, raising=False)
        with pytest.raises(TimedOut):
            await fetch(transport, away, TimeoutSettings(connect_s=0.2))


async def test_no_listener_is_a_connect_fault(transport: Transport) -> None:
    """Nothing was sent."""
    async with serving(replies()) as origin:
        pass
    with pytest.raises(ConnectFailed):
        await fetch(transport, origin)


async def test_private_addresses_need_permission(transport: Transport) -> None:
    """Loopback, link-local, private and mapped addresses are refused at the connection."""
    for host in ("127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "::1",
                 "::ffff:127.0.0.1", "192.168.1.1"):  # fmt: skip
        with pytest.raises(ConnectFailed, match="private"):
            await fetch(transport, Origin(host, 9, False, False))


async def test_abort_wakes_the_reader_and_spares_the_next_request(transport: Transport) -> None:
    """An aborted answer ends with Cut; its handle cannot hurt the connection's next answer."""
    head = OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
    async with serving(replies(head, 0.4, b"0\r\n\r\n")) as origin:
        request = Request(b"GET", b"/x", [(b"host", b"h")], b"")
        first = await transport.open(origin, request, timeouts=TIMEOUTS)
        async with first:
            assert await first.chunk() == b"hello"
            asyncio.get_running_loop().call_later(0.05, first.abort)
            with pytest.raises(Cut):
                await first.chunk()
        second = await transport.open(origin, request, timeouts=TIMEOUTS)
        async with second:
            assert await second.chunk() == b"hello"
            assert await second.chunk() is None
        third = await transport.open(origin, request, timeouts=TIMEOUTS)
        async with third:
            second.abort()
            assert await third.read(100) == b"hello"


async def test_no_cookie_goes_from_one_answer_into_another_request(transport: Transport) -> None:
    """They would tie customers and credentials to each other."""
    heads: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK + b"set-cookie: who=you; path=/\r\ncontent-length: 1\r\n\r\nx")

    async with serving(script) as origin:
        for _ in range(2):
            assert await fetch(transport, origin) == (200, b"x")
    assert len(heads) == 2
    assert all(b"cookie" not in head.lower() for head in heads)


async def test_httpx_goes_through_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which looks the name up itself: where a proxy is needed, there is often no resolver."""
    lines: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
        writer.write(OK + b"content-length: 1\r\n\r\nx")
        await writer.drain()

    async with serving(script) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        transport = HttpxTransport()
        assert await fetch(transport, Origin("api.invalid", 80, False, False)) == (200, b"x")
        await transport.close()
    assert lines == [b"GET http://api.invalid/x HTTP/1.1"]


async def test_a_connection_closed_while_idle_is_replaced_silently() -> None:
    """The one repeat that is allowed: a reused connection that had been closed before."""
    transport = HttptoolsTransport()
    async with serving(replies(OK + b"content-length: 1\r\n\r\nx", once=True)) as origin:
        for _ in range(3):
            assert await fetch(transport, origin) == (200, b"x")
    await transport.close()


async def test_a_slow_consumer_stops_the_reading_not_the_memory() -> None:
    """Of 40 MB that nobody takes, less than 2 MB are read."""
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"content-length: 41943040\r\n\r\n")
        for _ in range(640):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    transport = HttptoolsTransport()
    async with serving(flood) as origin:
        request = Request(b"GET", b"/x", [(b"host", b"h")], b"")
        async with await transport.open(origin, request, timeouts=TIMEOUTS) as answer:
            await asyncio.sleep(0.9)
            assert sent < 12_000_000  # what the kernel's own buffers hold is not ours
            assert answer._connection._queued < 2_000_000
            total = 0
            while (chunk := await answer.chunk()) is not None:
                total += len(chunk)
            assert total == 41943040
    await transport.close()


async def test_500_streams_at_once_lose_nothing() -> None:
    """Every chunk of every stream arrives, in order."""
    parts: list[bytes | float] = [OK + b"transfer-encoding: chunked\r\n\r\n"]
    for n in range(10):
        parts += [b"3\r\n%03d\r\n" % n, 0.02]
    transport = HttptoolsTransport()
    async with serving(replies(*parts, b"0\r\n\r\n")) as origin:
        bodies = await asyncio.gather(*(fetch(transport, origin) for _ in range(500)))
    assert {body for _, body in bodies} == {b"".join(b"%03d" % n for n in range(10))}
    await transport.close()


def test_garbage_has_its_own_name() -> None:
    """`BadAnswer` is an upstream's fault like the others."""
    assert issubclass(BadAnswer, UpstreamBroke)
