"""Migrated databases for tests: copies of a template, emptied and used again where that is safe.

A copy makes some 300 files and a drop waits for a checkpoint; emptying costs a fraction of that.
"""

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterator

import asyncpg

from corvus_proxy.ops import embedded

ROWS = 2000
"""More dead rows than these would slow the next test down."""
SESSIONS = "select count(*) from pg_stat_activity where datname = $1"
TABLES = """
select oid::regclass::text from pg_class
where relkind = 'r' and relnamespace = 'public'::regnamespace
"""
MADE_BY = """
select (select oid::text from pg_database where datname = current_database())
    || md5(string_agg(concat_ws(' ', oid, xmin), ',' order by oid, xmin::text))
from (
    select oid, xmin from pg_class where relnamespace = 'public'::regnamespace
    union all select attrelid, xmin from pg_attribute where attrelid >= 16384
    union all select oid, xmin from pg_constraint where oid >= 16384
    union all select oid, xmin from pg_proc where oid >= 16384
    union all select oid, xmin from pg_trigger where oid >= 16384
    union all select setdatabase, xmin from pg_db_role_setting
) as found
"""
"""Which database it is, and which transactions made all that its schema is of."""
RESTART = "select setval(seqrelid::regclass, seqstart, false) from pg_sequence"


class Databases:
    """Databases of one server, each for one test at a time."""

    def __init__(self, server: embedded.Postgres) -> None:
        self._base, _, self._template = server.url.rpartition("/")
        self._spare: list[str] = []
        self._made_by: dict[str, str] = {}
        self._seed: dict[str, bytes] = {}

    @contextlib.asynccontextmanager
    async def fresh(self) -> AsyncIterator[str]:
        """The URL of a database that has what the migrations put there, and nothing else."""
        name = self._spare.pop() if self._spare else await self._copy()
        yield f"{self._base}/{name}"
        if await self._left(name) and await self._emptied(name):
            self._spare.append(name)
        else:
            async with self._connected("postgres") as admin:
                await admin.execute(f"drop database if exists {name} with (force)")

    @contextlib.asynccontextmanager
    async def _connected(self, name: str) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(f"{self._base}/{name}")
        try:
            yield connection
        finally:
            await connection.close()

    async def _copy(self) -> str:
        name = f"t{os.urandom(6).hex()}"
        async with self._connected("postgres") as admin:
            await admin.execute(f"create database {name} template {self._template}")
        async with self._connected(name) as connection:
            self._made_by[name] = await connection.fetchval(MADE_BY)
            if not self._seed:
                for (table,) in await connection.fetch(TABLES):
                    rows = io.BytesIO()
                    await connection.copy_from_table(table, output=rows)
                    self._seed[table] = rows.getvalue()
        return name

    async def _left(self, name: str) -> bool:
        """Every session has ended. A statement that was cancelled still says so over its
        connection: cut by force, that would be an error in the loop, and so in the next test."""
        async with self._connected("postgres") as admin:
            for _ in range(1500):
                if not await admin.fetchval(SESSIONS, name):
                    return True
                await asyncio.sleep(0.02)
        return False

    async def _emptied(self, name: str) -> bool:
        """Back to what the migrations left; False where the test has changed more than rows."""
        try:
            async with self._connected(name) as connection:
                if await connection.fetchval(MADE_BY) != self._made_by[name]:
                    return False
                await connection.execute("set session_replication_role = replica")  # no triggers
                told = [await connection.execute(f"delete from {table}") for table in self._seed]
                if sum(int(words.split()[1]) for words in told) > ROWS:
                    return False
                await connection.fetch(RESTART)
                for table, rows in self._seed.items():
                    if rows:
                        await connection.copy_to_table(table, source=io.BytesIO(rows))
        except asyncpg.InvalidCatalogNameError:  # the test has dropped it
            return False
        return True
