"""The shared connection to Redis: order, deadlines, and every way in which it can break."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import hiredis
import pytest
import redis.asyncio as aioredis
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy._fast import pack
from corvus_proxy.till.resp.pipe import Pipe, PipeError

pytestmark = pytest.mark.anyio
TIMEOUT_S = 0.2
Answering = Callable[[bytes], bytes | None]


class Server:
    """Reads whole requests; answers each as it is told, or with silence."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.reads: list[list[bytes]] = []
        """The last word of each request, by read."""
        self.connections: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        parser = hiredis.Reader()
        while data := await reader.read(1 << 20):
            parser.feed(data)
            words = []
            while request := parser.gets():
                words.append(request[-1])
                answer = self.answering(request[-1])
                if answer is not None:
                    writer.write(answer)
            self.reads.append(words)
        writer.close()


@asynccontextmanager
async def piped(answering: Answering) -> AsyncIterator[tuple[Pipe, Server]]:
    server = Server(answering)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    pool = aioredis.ConnectionPool.from_url(
        f"redis://127.0.0.1:{port}", protocol=2, driver_info=None, socket_connect_timeout=1
    )
    pipe = Pipe(pool, timeout_s=TIMEOUT_S)
    try:
        yield pipe, server
    finally:
        pipe.close()
        listening.close()
        for writer in server.connections:
            writer.close()


def echo(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


def asked(pipe: Pipe, word: str) -> asyncio.Future[bytes]:
    return pipe.ask(pack(0, b"", ["GET", word]))


@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.text(max_size=40), st.integers(-(1 << 70), 1 << 70))
    )
)
def test_a_request_is_what_the_parser_of_another_reads(
    words: list[bytes | str | int],
) -> None:
    """Beside hiredis' own writer and reader."""
    begin = pack(0, b"", ["EVALSHA", b"\x00\r\n"]).partition(b"\r\n")[2]
    made = pack(2, begin, words)
    texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    assert made == hiredis.pack_command(("EVALSHA", b"\x00\r\n", *texts))
    reader = hiredis.Reader()
    reader.feed(made)
    assert reader.gets() == [b"EVALSHA", b"\x00\r\n", *texts]


def test_what_redis_cannot_take_is_refused() -> None:
    with pytest.raises(TypeError, match="float"):
        pack(0, b"", [1.5])  # type: ignore[list-item]


async def test_questions_of_one_turn_leave_in_one_write_and_are_answered_in_order() -> None:
    async with piped(echo) as (pipe, server):
        await asked(pipe, "first")
        words = [f"w{number}" for number in range(200)]
        found = await asyncio.gather(*(asked(pipe, word) for word in words))
        assert found == [word.encode() for word in words]
        assert server.reads[-1] == found
        assert len(server.connections) == 1


async def test_an_answer_in_pieces_is_one_answer() -> None:
    async with piped(lambda _: None) as (pipe, server):
        waiting = [asked(pipe, word) for word in ("a", "b")]
        await asyncio.sleep(0.05)
        for byte in b"*2\r\n$1\r\nx\r\n:5\r\n-ERR no\r\n":
            server.connections[0].write(bytes([byte]))
            await asyncio.sleep(0.001)
        assert await waiting[0] == [b"x", 5]
        assert isinstance(await waiting[1], hiredis.ReplyError)


async def test_a_question_that_was_given_up_keeps_its_place() -> None:
    """Its answer comes, and is nobody's."""
    async with piped(echo) as (pipe, _):
        await asked(pipe, "open")
        gone, kept = asked(pipe, "gone"), asked(pipe, "kept")
        gone.cancel()
        assert await kept == b"kept"


async def test_an_answer_that_is_late_belongs_to_its_own_question() -> None:
    slow = {b"slow": None}
    async with piped(lambda word: slow.get(word, echo(word))) as (pipe, server):
        await asked(pipe, "open")
        with pytest.raises(TimeoutError):
            await asked(pipe, "slow")
        server.connections[0].write(echo(b"slow"))
        assert await asked(pipe, "next") == b"next"
        assert len(server.connections) == 1


async def test_silence_ends_the_connection_and_the_next_question_opens_another() -> None:
    silent = True
    async with piped(lambda word: None if silent else echo(word)) as (pipe, server):
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await asked(pipe, "one")
        assert asyncio.get_running_loop().time() - began_s < 10
        late = asked(pipe, "two")
        with pytest.raises((TimeoutError, PipeError)):
            await late
        await asyncio.sleep(TIMEOUT_S)
        silent = False
        assert await asked(pipe, "three") == b"three"
        assert len(server.connections) == 2


async def in_turn(server: Server, words: list[bytes], gap_s: float) -> None:
    """Answers one question after the other, each after a while."""
    for word in words:
        await asyncio.sleep(gap_s)
        server.connections[0].write(echo(word))


async def test_redis_that_answers_others_first_is_busy_and_not_away() -> None:
    """The last in line waits three timeouts long; nobody is refused."""
    async with piped(lambda _: None) as (pipe, server):
        words = [b"%d" % number for number in range(6)]
        waiting = [asked(pipe, word.decode()) for word in words]
        await asyncio.sleep(0.02)
        began_s = asyncio.get_running_loop().time()
        answering = asyncio.create_task(in_turn(server, words, TIMEOUT_S / 2))
        assert await asyncio.gather(*waiting) == words
        assert asyncio.get_running_loop().time() - began_s > 2 * TIMEOUT_S
        await answering
        assert len(server.connections) == 1


@pytest.mark.parametrize("own", [None, TIMEOUT_S * 1.5])
async def test_patience_with_a_busy_redis_ends(own: float | None) -> None:
    """That of the question, or eight timeouts; its place in line stays."""
    async with piped(lambda _: None) as (pipe, server):
        words = [b"%d" % number for number in range(40)]
        waiting = [asked(pipe, word.decode()) for word in words]
        last = pipe.ask(pack(0, b"", ["GET", "last"]), patience_s=own)
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(0.02)
        answering = asyncio.create_task(in_turn(server, words, TIMEOUT_S / 4))
        with pytest.raises(TimeoutError):
            await last
        took_s = asyncio.get_running_loop().time() - began_s
        assert (own or 8 * TIMEOUT_S) - 0.1 < took_s < (own or 8 * TIMEOUT_S) + 10
        done = await asyncio.gather(*waiting, return_exceptions=True)
        got = [one for one in done if isinstance(one, bytes)]
        assert got
        assert got == words[: len(got)]
        await answering
        server.connections[0].write(echo(b"last"))
        after = asked(pipe, "after")
        await asyncio.sleep(0.02)
        server.connections[0].write(echo(b"after"))
        assert await after == b"after"


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])
async def test_an_answer_that_came_while_the_loop_was_busy_is_in_time() -> None:
    """It lies in the socket when the deadline is found to be over: uvloop, which the gateway runs
    on, has its timers first."""
    busy, other = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listening, busy, other:

        def answer() -> None:
            with listening.accept()[0] as one:
                for word in (b"first", b"second"):
                    one.recv(1 << 16)
                    one.sendall(echo(word))
                one.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        pool = aioredis.ConnectionPool.from_url(
            f"redis://127.0.0.1:{listening.getsockname()[1]}", protocol=2, driver_info=None
        )
        pipe, loop = Pipe(pool, timeout_s=TIMEOUT_S), asyncio.get_running_loop()
        try:
            assert await asked(pipe, "first") == b"first"
            second = asked(pipe, "second")
            # It is written as this turn ends; then another socket's reader takes two timeouts.
            loop.add_reader(busy, lambda: (busy.recv(1), time.sleep(2 * TIMEOUT_S)))
            other.send(b"x")
            assert await second == b"second"
        finally:
            loop.remove_reader(busy)
            pipe.close()
            await asyncio.to_thread(thread.join)


@pytest.mark.parametrize("rubbish", [b"!what\r\n", b":1\r\n:2\r\n:3\r\n"])
async def test_an_answer_that_nobody_understands_ends_the_connection(rubbish: bytes) -> None:
    broken = True
    async with piped(lambda word: rubbish if broken else echo(word)) as (pipe, server):
        first = asked(pipe, "one")
        with contextlib.suppress(PipeError):
            await first
        broken = False
        await asyncio.sleep(0.05)
        assert await asked(pipe, "two") == b"two"
        assert len(server.connections) == 2


async def test_everybody_who_waits_hears_that_the_connection_has_ended() -> None:
    async with piped(lambda _: None) as (pipe, server):
        waiting = [asked(pipe, str(number)) for number in range(5)]
        await asyncio.sleep(0.05)
        server.connections[0].transport.abort()
        for one in waiting:
            with pytest.raises(PipeError):
                await one
        server.answering = echo
        assert await asked(pipe, "again") == b"again"


async def test_nobody_there_is_said_at_once() -> None:
    pool = aioredis.ConnectionPool.from_url(
        "redis://127.0.0.1:1", protocol=2, driver_info=None, socket_connect_timeout=1
    )
    pipe = Pipe(pool, timeout_s=5)
    with pytest.raises(PipeError, match=r"127\.0\.0\.1:1"):
        await asked(pipe, "x")
    pipe.close()


async def test_a_pipe_that_closes_leaves_nobody_waiting() -> None:
    async with piped(lambda _: None) as (pipe, _):
        waiting = asked(pipe, "x")
        pipe.close()
        with pytest.raises(PipeError, match="closed"):
            await waiting
