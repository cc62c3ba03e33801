"""Redis and Postgres beyond what they must be: replicas, clocks, migrations, simulated money."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from corvus_proxy import clock
from corvus_proxy.books import retention
from corvus_proxy.ops import migrate
from corvus_proxy.ops.doctor.finding import Finding
from corvus_proxy.service import demo
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings.retention import KINDS, RetentionSettings
from corvus_proxy.till.checks import clocks_ms, replicas

SKEW_MS = 1000
"""Clocks may differ by so much: leases and days of caps follow Redis's, books Postgres's."""
LATE = timedelta(days=1)
DURABLE = {
    "synchronous_commit": "a commit that was told may be lost with the machine",
    "fsync": "the database may be lost with the machine",
    "full_page_writes": "a page may be torn by a power cut",
}
"""Settings of Postgres that may not be off."""


async def clocks(stores: Stores, connection: Any, *, bad: str) -> list[Finding]:
    """This machine's clock beside the servers'. Raises TillUnavailable, BooksUnavailable."""
    found = []
    for name in ("redis", "postgres"):
        before_ms = clock.wall_ms()
        if name == "redis":
            theirs = await clocks_ms(stores.till)
        else:
            at = await connection.fetchval("select clock_timestamp()")
            theirs = [int((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)]
        after_ms = clock.wall_ms()
        # What lies between asking and hearing says nothing about the clocks.
        off_ms = max(max(before_ms - their, their - after_ms, 0) for their in theirs)
        if off_ms > SKEW_MS:
            text = (
                f"{name}'s clock differs from this machine's by {off_ms / 1000:.1f} s; let both"
                " follow the same time service (chrony, systemd-timesyncd)"
            )
            found.append(Finding("clock", bad, text))
    return found or [Finding("clock", "ok", "Redis, Postgres and this machine agree")]


async def replication(stores: Stores, *, production: bool) -> list[Finding]:
    """Whether a write of Redis's is on two machines: a replica is promoted with what it has.
    Raises TillUnavailable."""
    counts = await replicas(stores.till)
    least = await stores.till.configs("min-replicas-to-write") or {}
    bad = "error" if production else "warning"
    found = []
    for server, count in counts.items():
        if not count and production:
            text = f"{server} has no replica: its disk alone holds what the books do not have yet"
            found.append(Finding("redis", "warning", text))
        elif count and least.get(server) == "0":
            text = (
                f"{server}: min-replicas-to-write = 0 with {count} replicas: a write may be on one"
                " machine alone when it dies; set it to 1"
            )
            found.append(Finding("redis", bad, text))
    return found


async def durability(connection: Any, *, bad: str) -> list[Finding]:
    """Settings of Postgres that lose what was committed."""
    found = []
    for option, loses in DURABLE.items():
        if await connection.fetchval(f"show {option}") == "off":
            text = f"{option} = off: {loses}; turn it on"
            found.append(Finding("postgres", bad, text))
    return found


async def migrations(connection: Any) -> list[Finding]:
    """Whether the database is what this release expects."""
    here = {path.name.partition("_")[0] for path in migrate.folder().glob("*.sql")}
    try:
        # What is applied is not for the services' role to read.
        await connection.execute("reset role")
        rows = await connection.fetch("select version from schema_migrations")
    except asyncpg.UndefinedTableError:
        rows = []
    except asyncpg.InsufficientPrivilegeError:
        return [Finding("schema", "warning", "this role may not read which migrations are applied")]
    missing = sorted(here - {row["version"] for row in rows})
    if missing:
        text = f"migrations {', '.join(missing)} are not applied; run `corvus db migrate`"
        return [Finding("schema", "error", text)]
    return [Finding("schema", "ok", f"{len(here)} migrations are applied")]


async def forgetting(connection: Any, settings: RetentionSettings) -> list[Finding]:
    """Whether what is older than it is kept is deleted: a worker's deed, which takes time."""
    done = await retention.read(connection)
    late = []
    for kind in KINDS:
        cut = kind.cut(settings, clock.utc_now())
        if cut is None:
            continue
        found = done.get(kind.name)
        if found is None or found.cut < cut - LATE:
            late.append(kind.name)
    if not late:
        return [Finding("retention", "ok", "what is older than it is kept is deleted")]
    text = (
        f"retention: {', '.join(late)}: older detail than the settings keep is still there; let a"
        " worker run, and see `forgotten` and `job_failed` in its log"
    )
    return [Finding("retention", "warning", text)]


async def simulated_money(stores: Stores) -> list[Finding]:
    """Whether these stores were ever a demonstration. Raises TillUnavailable, BooksUnavailable."""
    if not await demo.marked(stores):
        return []
    text = "these stores hold simulated money; begin with an empty Redis and an empty database"
    return [Finding("money", "error", text)]
