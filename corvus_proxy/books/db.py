"""The connection pool of the books."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from corvus_proxy.errors import CorvusError


class BooksUnavailable(CorvusError):
    """Postgres does not answer."""


class Books:
    """The books. Opens lazily, so that a role starts while Postgres is away."""

    def __init__(self, url: str, *, connections: int = 8) -> None:
        self._url = url
        self._connections = connections
        self._pool: Any = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection with the rights of `corvus_app`. Raises BooksUnavailable."""
        try:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._connections,
                    timeout=5,
                    command_timeout=30,
                    init=_become_app,
                    setup=_become_app,
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


async def _become_app(connection: Any) -> None:
    await connection.execute(_SESSION)
