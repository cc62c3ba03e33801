"""As much of an HTTP/1.1 server as a simulated neighbour needs, with every byte under its control."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

Handler = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request and its answer."""

    def __init__(
        self, method: str, path: str, headers: dict[str, str], body: bytes,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.extra: list[tuple[str, str]] = []
        """Headers that every answer to this request carries."""
        self._writer = writer
        self.closing = headers.get("connection", "").lower() == "close"

    @property
    def gone(self) -> bool:
        """The peer has closed."""
        return self._writer.transport.is_closing()

    def json(self, status: int, body: Any) -> None:
        """Sends a whole JSON answer."""
        self.raw(status, "application/json", json.dumps(body).encode())

    def raw(self, status: int, content_type: str, body: bytes) -> None:
        """Sends a whole answer."""
        lines = [f"HTTP/1.1 {status} OK", f"content-type: {content_type}",
                 f"content-length: {len(body)}", *(f"{name}: {value}" for name, value in self.extra)]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    def head(self, status: int, content_type: str) -> None:
        """Sends the head of a streamed answer."""
        lines = [f"HTTP/1.1 {status} OK", f"content-type: {content_type}",
                 "transfer-encoding: chunked", *(f"{name}: {value}" for name, value in self.extra)]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())

    def write(self, data: bytes) -> None:
        """Sends one piece of a streamed answer."""
        self._writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def write_paced(self, data: bytes) -> None:
        """Sends one piece and waits while the peer does not read."""
        self.write(data)
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    def end(self) -> None:
        """Ends a streamed answer cleanly."""
        self._writer.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Closes the socket without another word."""
        self.closing = True
        self._writer.transport.abort()


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
) -> None:
    """Answers requests on one connection until it closes."""
    try:
        while True:
            exchange = await _read(reader, writer)
            if exchange is None:
                break
            await handler(exchange)
            if exchange.closing or exchange.gone:
                break
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, ValueError):
        pass
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int((await reader.readline()).strip(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(method, path, headers, body, writer)
