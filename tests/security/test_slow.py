"""Clients that never finish: while they are there, everybody else is served.

Each of these takes its time and many connections, so all wait for `--all`.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable

import pytest

from tests.roles import ask
from tests.stack import RunningStack

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
IDLE = 10_000
"""Connections that say nothing; each takes a descriptor here and one there, of 20,000 or so."""
GOOD = 60
BODY = {
    "model": "gpt-4o-mini", "max_tokens": 9,
    "messages": [{"role": "user", "content": "word [[simulate: tokens=3 delay_ms=0]]"}],
}  # fmt: skip
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
P99_S = 0.5
"""Of good requests meanwhile, on a machine that tests share."""


async def good(port: int, secret: str) -> float:
    """So many ordinary requests, one behind the other; the slowest but one in a hundred."""
    took: list[float] = []
    for _ in range(GOOD):
        began_s = time.monotonic()
        answer = await ask(port, secret, BODY)
        assert answer.status == 200, answer.body
        took.append(time.monotonic() - began_s)
    return sorted(took)[-2]


@contextlib.asynccontextmanager
async def open_connections(
    port: int, count: int, begin: Callable[[int], bytes]
) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """So many connections that have said `begin(n)`; closed at the end."""
    pairs: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        for start in range(0, count, 200):
            some = range(start, min(start + 200, count))
            made = await asyncio.gather(
                *(asyncio.open_connection("127.0.0.1", port, limit=4096) for _ in some)
            )
            for number, (_, writer) in zip(some, made, strict=True):
                writer.write(begin(number))  # at once: who says nothing for 30 s is closed
            pairs += made
        yield pairs
    finally:
        for _, writer in pairs:
            writer.close()
        await asyncio.sleep(0.5)


async def drip(
    pairs: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]], text: bytes, pause_s: float
) -> None:
    """A byte at a time to all of them, for ever."""
    while True:
        for byte in text:
            for _, writer in pairs:
                writer.write(bytes([byte]))
            await asyncio.sleep(pause_s)


def port_of(stack: RunningStack) -> int:
    return int(stack.api.rpartition(":")[2])


@pytest.mark.parametrize(
    ("begin", "text"),
    [
        (HEAD, b"x-a: b\r\n"),
        (b"", b"GET / HTTP/1.1\r\nhost: x\r\n"),
        (HEAD + b"authorization: Bearer {key}\r\ncontent-length: 100000\r\n\r\n", b'{"model":  '),
        (HEAD + b"authorization: Bearer {key}\r\ntransfer-encoding: chunked\r\n\r\n",
         b"1\r\n{\r\n"),
    ],
    ids=["headers", "from the first byte", "body", "chunks"],
)  # fmt: skip
async def test_slow_senders_hold_up_nobody(stack: RunningStack, begin: bytes, text: bytes) -> None:
    """500 connections with a byte every tenth of a second each."""
    secret = (await asyncio.to_thread(stack.new_key, "1"))["secret"]
    begin = begin.replace(b"{key}", secret.encode())
    async with open_connections(port_of(stack), 500, lambda _: begin) as pairs:
        dripping = asyncio.ensure_future(drip(pairs, text, 0.1))
        took_s = await good(port_of(stack), secret)
        dripping.cancel()
    assert took_s < P99_S


async def test_a_head_that_does_not_end_is_cut_off(stack: RunningStack) -> None:
    """Within the server's 30 s and a little."""
    began_s = time.monotonic()
    async with open_connections(port_of(stack), 20, lambda _: HEAD) as pairs:
        async with asyncio.timeout(45):
            ends = await asyncio.gather(*(reader.read() for reader, _ in pairs))
    assert all(not end or b" 408 " in end or b" 400 " in end for end in ends)
    assert time.monotonic() - began_s > 20


async def test_a_body_that_does_not_end_is_told_so(stack: RunningStack) -> None:
    """408 after `gateway.body_timeout_s`, in the caller's dialect; nothing is held meanwhile."""
    key = await asyncio.to_thread(stack.new_key, "1")
    head = HEAD + f"authorization: Bearer {key['secret']}\r\ncontent-length: 999\r\n\r\n{{".encode()
    async with open_connections(port_of(stack), 5, lambda _: head) as pairs:
        standing = await asyncio.to_thread(stack.standing, key["key_id"])
        assert standing["held_nanos"] == 0
        async with asyncio.timeout(90):
            for reader, _ in pairs:
                assert b" 408 " in await reader.readuntil(b"\r\n")


async def test_idle_connections_hold_up_nobody(stack: RunningStack) -> None:
    """10,000 connections that have asked once and keep their connection: each is answered, and
    others are served as before."""
    secret = (await asyncio.to_thread(stack.new_key, "1"))["secret"]
    text = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
    async with open_connections(port_of(stack), IDLE, lambda _: text) as pairs:
        async with asyncio.timeout(60):
            lines = await asyncio.gather(*(reader.readline() for reader, _ in pairs))
        assert set(lines) == {b"HTTP/1.1 200 OK\r\n"}
        assert await good(port_of(stack), secret) < P99_S
    assert json.loads((await ask(port_of(stack), secret, BODY)).body)["choices"]
