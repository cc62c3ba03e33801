"""A TCP link that a test may cut, point elsewhere, or listen to."""

import asyncio
import contextlib
from collections.abc import Callable

from corvus_proxy.ops import embedded

Tap = Callable[[int, bool, bytes], None]
"""Is told of every piece: the connection's number, whether the client sent it, the bytes."""


class Link:
    """Listens on a port of its own and passes everything on to `target`, a port on loopback."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.tap: Tap | None = None
        self.port = embedded.free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._count = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Refuses new connections and ends those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count += 1
        number = self._count
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(
            self._pass(number, True, reader, far_writer),
            self._pass(number, False, far_reader, writer),
        )
        self._writers -= {writer, far_writer}

    async def _pass(
        self, number: int, sent: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                if self.tap is not None:
                    self.tap(number, sent, piece)
                writer.write(piece)
                await writer.drain()
        writer.close()
