"""A connection to the books: its rights, how long a vanished client may hold a lock, its end."""

import asyncio

import pytest

from corvus_proxy.books.db import Books, BooksUnavailable

pytestmark = pytest.mark.anyio


async def test_a_connection_has_the_applications_rights_and_notices_a_dead_client(
    books: Books,
) -> None:
    """`corvus_app`, an end to idle transactions, keep-alives within 30 s."""
    async with books.connection() as connection:
        found = {
            name: await connection.fetchval(f"show {name}")
            for name in (
                "role",
                "idle_in_transaction_session_timeout",
                "tcp_keepalives_idle",
                "tcp_keepalives_interval",
                "tcp_keepalives_count",
            )
        }
    assert found == {
        "role": "corvus_app",
        "idle_in_transaction_session_timeout": "30s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }


class Dying:
    """A server that is stopped while a session is idle: its last word comes, its end a while later.

    As much of Postgres's protocol as a connection needs to stand.
    """

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        size = int.from_bytes(await reader.readexactly(4))
        await reader.readexactly(size - 4)
        version = b"server_version\x0015.0\x00"
        writer.write(b"R" + (8).to_bytes(4) + bytes(4))
        writer.write(b"S" + (4 + len(version)).to_bytes(4) + version)
        writer.write(b"K" + (12).to_bytes(4) + bytes(8) + READY)
        while kind := await reader.read(1):
            size = int.from_bytes(await reader.readexactly(4))
            await reader.readexactly(size - 4)
            if kind == b"Q":
                writer.write(b"C" + (8).to_bytes(4) + b"SET\x00" + READY)

    def last_word(self) -> None:
        """What `pg_terminate_backend` and a stop of the server say to an idle session."""
        text = b"SFATAL\x00VFATAL\x00C57P01\x00Mterminating connection\x00\x00"
        for writer in self.writers:
            writer.write(b"E" + (4 + len(text)).to_bytes(4) + text)


READY = b"Z" + (5).to_bytes(4) + b"I"


async def test_a_session_whose_end_is_on_its_way_is_an_absence() -> None:
    """The client still takes it from its pool, and cannot ask it anything."""
    dying = Dying()
    server = await asyncio.start_server(dying.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    books = Books(f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=disable")
    try:
        async with books.connection() as connection:
            await connection.execute("select")
        dying.last_word()
        await asyncio.sleep(0.1)
        with pytest.raises(BooksUnavailable):
            async with books.connection():
                pass
        async with books.connection() as connection:  # a new session
            await connection.execute("select")
    finally:
        await books.close()
        server.close()
