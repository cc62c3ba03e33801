"""A link passes bytes on unchanged, and fails exactly where it is told to."""

import asyncio
import contextlib
import gc
import socket
import warnings
from collections.abc import AsyncIterator

import pytest

from corvus_proxy.ops.drill import resp
from corvus_proxy.ops.drill.links import DOWN, UP, Link, Seen
from corvus_proxy.till.scripts import SCRIPTS

pytestmark = pytest.mark.anyio


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionResetError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    one = Link("test", server.sockets[0].getsockname()[1])
    await one.open()
    yield one
    await one.close()
    server.close()
    await server.wait_closed()


async def test_it_passes_everything_both_ways(link: Link) -> None:
    """Five megabytes, more than any buffer, and the end of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    sent = bytes(range(256)) * 20_000

    async def send() -> None:
        writer.write(sent)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    assert await reader.read() == sent
    await sending
    writer.close()


async def test_an_end_that_comes_before_the_server_does_is_passed_on(link: Link) -> None:
    """A client that says one word and closes, faster than the link connects."""
    ended = asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"word"
        ended.set()
        writer.close()

    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    link.retarget(listening.sockets[0].getsockname()[1])
    with socket.create_connection(("127.0.0.1", link.port)) as plain:
        plain.sendall(b"word")
    async with asyncio.timeout(5):
        await ended.wait()
    listening.close()


async def test_a_narrow_link_keeps_little_of_what_nobody_reads() -> None:
    """A server that sends for ever is stopped by a client that does not read."""
    sent = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionResetError):
            while True:
                writer.write(bytes(4096))
                await writer.drain()
                sent += 4096

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    narrow = Link("narrow", server.sockets[0].getsockname()[1], narrow=True)
    await narrow.open()
    _, writer = await asyncio.open_connection("127.0.0.1", narrow.port, limit=1)
    before = -1
    while before < sent:
        before = sent
        await asyncio.sleep(0.2)
    assert 0 < sent < 8 * 2**20
    writer.close()
    await narrow.close()
    server.close()


async def test_what_is_held_waits_in_order_and_then_arrives(link: Link) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    link.hold(DOWN)
    for word in (b"one ", b"two ", b"three"):
        writer.write(word)
        await asyncio.sleep(0.02)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.read(1)
    link.heal()
    assert await reader.readexactly(13) == b"one two three"
    writer.close()


async def test_delay_reset_refusal_and_another_server(link: Link) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    link.delay_s = 0.1
    began_s = asyncio.get_running_loop().time()
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    assert asyncio.get_running_loop().time() - began_s >= 0.2  # once each way
    link.reset()
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    link.refuse()
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    link.heal()
    other = await asyncio.start_server(lambda r, w: w.write(b"other"), "127.0.0.1", 0)
    link.retarget(other.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    assert await reader.readexactly(5) == b"other"
    writer.close()
    other.close()


async def test_a_watch_point_stops_one_connection_at_one_place(link: Link) -> None:
    """What it keeps never arrives; what came before did, and other connections go on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    link.watch(lambda seen: seen.way == UP and b"stop" in seen.data)
    writer.write(b"before")
    assert await reader.readexactly(6) == b"before"
    writer.write(b"stop")
    await asyncio.sleep(0.02)
    writer.write(b"after")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.read(1)
    reader2, writer2 = await asyncio.open_connection("127.0.0.1", link.port)
    writer2.write(b"fine")
    assert await reader2.readexactly(4) == b"fine"
    for one in (writer, writer2):
        one.close()


async def test_what_a_dead_server_said_never_arrives(link: Link) -> None:
    """Neither what is under way nor what comes after the mending; another connection is well."""
    seen: list[Seen] = []
    link.taps.append(seen.append)
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(b"before")
    assert await reader.readexactly(6) == b"before"
    link.silence()
    writer.write(b"lost")
    await asyncio.sleep(0.05)
    link.heal()
    writer.write(b"late")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.read(1)
    assert [one.data for one in seen if one.way == DOWN] == [b"before"]
    other, writer2 = await asyncio.open_connection("127.0.0.1", link.port)
    writer2.write(b"fine")
    assert await other.readexactly(4) == b"fine"
    for one in (writer, writer2):
        one.close()


async def test_a_connection_is_reset_at_a_byte(link: Link) -> None:
    """So much of the piece arrives and no more."""
    link.cut(lambda seen: 3 if seen.way == DOWN and b"cut" in seen.data else None)
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(b"whole")
    assert await reader.readexactly(5) == b"whole"
    writer.write(b"a cut b")
    assert await reader.readexactly(3) == b"a c"
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    writer.close()


async def test_the_end_of_a_connection_is_delayed_like_its_bytes(link: Link) -> None:
    link.delay_s = 0.05
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(b"last words")
    writer.write_eof()
    assert await reader.read() == b"last words"
    writer.close()


def test_redis_values_are_cut_where_they_end() -> None:
    """Commands and replies, whole or in pieces, nested, empty, absent."""
    texts = [
        (b"+OK\r\n", b"OK"),
        (b":12\r\n", b"12"),
        (b"$5\r\nab\r\nc\r\n", b"ab\r\nc"),
        (b"$-1\r\n", None),
        (b"*-1\r\n", []),
        (b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$0\r\n\r\n", [b"a", [b"1", b""]]),
    ]
    stream = b"".join(raw for raw, _ in texts)
    for size in (1, 3, len(stream)):
        buffer, found = bytearray(), []
        for at in range(0, len(stream), size):
            buffer += stream[at : at + size]
            found += resp.split(buffer)
        assert found == texts
        assert not buffer


async def test_a_script_call_is_known_by_its_name_and_its_reply_follows_it() -> None:
    """EVALSHA of one of ours; the reply comes with the call that it answers."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(b"*2\r\n$2\r\nOK\r\n$1\r\n7\r\n+PONG\r\n")

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    link = Link("test", server.sockets[0].getsockname()[1], speaks_redis=True)
    await link.open()
    seen: list[Seen] = []
    link.taps.append(seen.append)
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    words = [b"EVALSHA", SCRIPTS["settle"].sha.encode(), b"2", b"m", b"w", b"1", b"req_1", b"5"]
    for one in (words, [b"PING"]):
        writer.write(b"*%d\r\n" % len(one) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in one))
    assert (await reader.readexactly(26)).endswith(b"+PONG\r\n")
    assert [(one.way, one.call.name if one.call else "") for one in seen] == [
        (UP, "settle"), (UP, "PING"), (DOWN, "settle"), (DOWN, "PING")]  # fmt: skip
    assert seen[0].call is not None
    assert seen[0].call.args == [b"req_1", b"5"]
    assert seen[2].reply == [b"OK", b"7"]
    writer.close()
    await link.close()
    server.close()


async def test_what_a_replica_copies_passes_as_it_is() -> None:
    """After PSYNC nothing is a command or a reply: a file without an end, then a stream."""
    copied = b"+FULLRESYNC x 0\r\n$9\r\nREDIS0011*1\r\n$4\r\nPING\r\n*9\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(psync))
        writer.write(copied)
        assert await reader.readexactly(6) == b"*3\r\n$8"  # and no more of it comes
        writer.write(b"-")
        await over.wait()
        writer.close()

    over = asyncio.Event()
    psync = b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n"
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    link = Link("test", server.sockets[0].getsockname()[1], speaks_redis=True)
    await link.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(psync)
    assert await reader.readexactly(len(copied)) == copied
    link.hold_copies()
    writer.write(b"*3\r\n$8")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    link.heal()
    assert await reader.readexactly(1) == b"-"
    over.set()
    writer.close()
    await link.close()
    server.close()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])
async def test_a_pair_that_ends_while_it_connects_closes_its_descriptor_once(
    link: Link, recwarn: pytest.WarningsRecorder
) -> None:
    """A second time it is another connection's, which then ends without a word to anybody: a
    socket that is still open when it is thrown away closes its number, and warns."""
    gc.collect()  # an earlier test's sockets are no news of this one
    recwarn.clear()
    warnings.simplefilter("always")
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", link.port)):
            while not link.pairs:  # noqa: ASYNC110
                await asyncio.sleep(0)
            link.reset()
            await asyncio.sleep(0.01)
    gc.collect()
    assert [str(one.message) for one in recwarn if "unclosed" in str(one.message)] == []
