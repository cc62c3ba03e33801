"""A connection to the books: its rights, how long a vanished client may hold a lock, its end."""

import asyncio

import asyncpg
import pytest

from corvus_proxy.books.db import (
    Books,
    BooksUnavailable,
    SchemaUnknown,
    known_migrations,
    read_schema,
)
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops import migrate

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
    books._schema_read = True  # it has none
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


async def test_a_schema_of_a_later_release_is_refused_unless_it_says_otherwise(
    books: Books,
) -> None:
    """One sentence, before anything is read; a migration that supports this release is fine."""
    newest = known_migrations()[-1]
    admin = await asyncpg.connect(books._url)
    try:
        assert (await read_schema(admin)) == ([], [], [])
        await admin.execute("insert into schema_migrations values ('9998')")
        await admin.execute("insert into schema_support values ('9998', $1)", newest)
        assert (await read_schema(admin)) == ([], ["9998"], [])
        async with books.connection():
            pass
        await admin.execute("insert into schema_migrations values ('9999')")
        await admin.execute("insert into schema_support values ('9999', '9998')")
        refusal = (await read_schema(admin)).refusal()
        assert refusal.startswith("the database has migration 9999, which this release does not")
        late = Books(books._url)
        with pytest.raises(SchemaUnknown, match="9999"):
            async with late.connection():
                pass
        await late.close()
        with pytest.raises(ConfigurationError, match="9999"):
            await migrate.refuse_unknown(books._url)
        await migrate.refuse_unknown("postgresql://x@127.0.0.1:1/none")
    finally:
        await admin.close()
