"""The simulated neighbours' HTTP server, spoken to byte by byte."""

import asyncio

import pytest

from corvus_proxy.dev.http import Exchange, listen

pytestmark = pytest.mark.anyio


async def echo(exchange: Exchange) -> None:
    if exchange.path == "/bug":
        raise KeyError("a bug")
    exchange.raw(200, "text/plain", exchange.method.encode() + b" " + exchange.body)


async def spoken(*pieces: bytes) -> bytes:
    """Everything the server says to these pieces, sent in turns of their own."""
    listener = await listen(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.002)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()
        await listener.close()


async def test_requests_of_one_connection_in_their_order() -> None:
    """Pipelined requests are answered one after the other; `connection: close` ends it."""
    said = await spoken(
        b"GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi"
        b"GET /c HTTP/1.1\r\nconnection: close\r\n\r\n"
    )
    assert said.count(b"HTTP/1.1 200 OK") == 3
    assert said.index(b"POST hi") > said.index(b"GET ")


async def test_bodies_in_any_pieces() -> None:
    """A chunked body that comes byte by byte is read whole."""
    request = (
        b"POST / HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    said = await spoken(*(bytes([byte]) for byte in request))
    assert said.endswith(b"POST abcde")


async def test_a_bug_is_an_answer() -> None:
    """A handler that raises answers 500 and the connection goes on."""
    said = await spoken(
        b"GET /bug HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"
    )
    assert b"HTTP/1.1 500 " in said
    assert b"HTTP/1.1 200 " in said


async def test_no_http_is_closed() -> None:
    """Bytes that are no request close the connection."""
    assert await spoken(b"\x16\x03\x01 no http\r\n\r\n") == b""
