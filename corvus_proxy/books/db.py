"""The connection pool of the books."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import asyncpg

from corvus_proxy.errors import CorvusError


class BooksUnavailable(CorvusError):
    """Postgres does not answer."""


class SchemaUnknown(CorvusError):
    """The database has a schema that this release does not know."""


class Schema(NamedTuple):
    """The migrations of a database beside those of this release, by number."""

    missing: list[str]
    """Those that it does not have yet."""
    beyond: list[str]
    """Those that this release does not know, and may run beside."""
    unknown: list[str]
    """Those that it does not know, and may not run beside."""

    def refusal(self) -> str:
        """The sentence that refuses it; empty where it may be used."""
        if not self.unknown:
            return ""
        return (
            f"the database has migration {self.unknown[-1]}, which this release does not know"
            f" (it ends at {known_migrations()[-1]}): use the release that migrated it, or restore"
            " a backup from before"
        )


@cache
def known_migrations() -> tuple[str, ...]:
    """The numbers of this release's migrations, in order."""
    folder = resources.files("corvus_proxy.books") / "migrations"
    return tuple(sorted(
        path.name.partition("_")[0] for path in folder.iterdir() if path.name.endswith(".sql")
    ))  # fmt: skip


async def read_schema(connection: Any) -> Schema:
    """The schema of a database, by a connection that is not `corvus_app`'s yet."""
    known = known_migrations()
    have, supported = set(), {}
    if await connection.fetchval("select to_regclass('schema_migrations') is not null"):
        have = {row[0] for row in await connection.fetch("select version from schema_migrations")}
    if await connection.fetchval("select to_regclass('schema_support') is not null"):
        rows = await connection.fetch("select version, runs_from from schema_support")
        supported = {row[0]: row[1] for row in rows}
    other = sorted(have.difference(known))
    beyond = [one for one in other if one in supported and supported[one] <= known[-1]]
    return Schema(
        [one for one in known if one not in have],
        beyond,
        [one for one in other if one not in beyond],
    )


class Books:
    """The books. Opens lazily, so that a role starts while Postgres is away."""

    def __init__(self, url: str, *, connections: int = 8, pepper_id: str = "") -> None:
        """`pepper_id`: which pepper the digests of new secrets are noted under."""
        self._url = url
        self._session = _SESSION
        if pepper_id:
            self._session += f"; set corvus.pepper = '{pepper_id}'"
        self._connections = connections
        self._pool: Any = None
        self._schema_read = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection with the rights of `corvus_app`. Raises BooksUnavailable, SchemaUnknown."""
        try:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._connections,
                    timeout=5,
                    command_timeout=30,
                    init=self._meet,
                    setup=self._become_app,
                )
            async with self._pool.acquire(timeout=5) as connection:
                yield connection
        except (
            OSError,
            asyncpg.PostgresConnectionError,
            asyncpg.InterfaceError,
            asyncpg.CannotConnectNowError,
            asyncpg.AdminShutdownError,
            asyncpg.CrashShutdownError,
            asyncpg.InternalClientError,  # the server's last word has come, and not yet its end
            TimeoutError,
        ) as error:
            raise BooksUnavailable(f"Postgres: {error or type(error).__name__}") from None

    async def _meet(self, connection: Any) -> None:
        """Nothing is written to a schema that a later release has made."""
        if not self._schema_read:
            if refusal := (await read_schema(connection)).refusal():
                raise SchemaUnknown(refusal)
            self._schema_read = True
        await self._become_app(connection)

    async def _become_app(self, connection: Any) -> None:
        await connection.execute(self._session)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection inside one transaction."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None


_SESSION = """
set role corvus_app;
set idle_in_transaction_session_timeout = '30s';
set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3
"""
"""A client whose machine has vanished holds its locks until the server notices: by the system's
default two hours, in which no other writer could book a partition. So it notices within 30 s."""
