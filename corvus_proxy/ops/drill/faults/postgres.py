"""Faults of Postgres: away beyond the lag limit, in conflict, slow, full, put back."""

import asyncio
import contextlib
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from corvus_proxy import clock
from corvus_proxy.books import entries
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.money.event import partition_of
from corvus_proxy.ops.drill.client import Answer
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.stack import GATEWAYS, LAG_LIMIT
from corvus_proxy.ops.drill.workload import CLIENTS, POOR, SHARED, Wallet
from corvus_proxy.till import scripts

HASTY = 24
"""Clients that ask without a pause, all for one wallet: so one partition reaches its limit."""


# -- away ---------------------------------------------------------------------------------------


async def away(scene: Scene) -> None:
    """23"""
    stack = scene.stack
    wallet = rich(scene)
    part = partition_of(wallet.wallet)
    end = scene.postgres.kill if scene.chance.random() < 0.5 else scene.postgres.stop
    began_s = clock.monotonic_s()
    await asyncio.to_thread(end)
    hurry = Hurry(scene, wallet)
    try:
        await scene.until(lambda: bool(hurry.refused), f"p{part:02d} is at its limit")
        full_s = hurry.refused[0].began_s
        await scene.wait(1.5, 2.5)
        state = (await stack.stores.till.partitions())[part]
    finally:
        await hurry.stop()
    lag = state.seq - state.committed
    scene.note(f"p{part:02d} was {lag} events ahead after {full_s - began_s:.1f} s")
    # What ran when the limit was reached still ends.
    if not LAG_LIMIT < lag <= LAG_LIMIT + HASTY + CLIENTS:
        scene.violated(f"p{part:02d} refuses with a lag of {lag}, and the limit is {LAG_LIMIT}")
    upto_s = clock.monotonic_s()
    await scene.start_postgres()
    scene.healed()
    await scene.until(lambda: drained(scene, part, state.seq), "the books have all of it")
    here = [one for one in scene.asked(began_s, upto_s) if partition_of(one.wish.wallet) == part]
    others = [one for one in scene.asked(began_s, upto_s) if partition_of(one.wish.wallet) != part]
    scene.must_be_well(others, "Postgres is away, in a partition below its limit")
    early = [one for one in here if one.ended_s < full_s]
    scene.must_be_well(early, "Postgres is away, before the limit")
    late = [one for one in here if one.began_s > full_s + 0.5 and one.status == 200]
    if late:
        scene.violated(f"{late[0].request_id}: served beyond the limit")


async def drained(scene: Scene, part: int, seq: int) -> bool:
    """Whether the books have a partition's events up to that one."""
    return (await scene.stack.stores.till.partitions())[part].committed >= seq


def rich(scene: Scene) -> Wallet:
    """A wallet that can pay for all that is asked here."""
    return scene.chance.choice(scene.load.wallets[POOR:-SHARED])


class Hurry:
    """Clients of one wallet that want one token each, one after the other without a pause."""

    def __init__(self, scene: Scene, wallet: Wallet) -> None:
        self.refused: list[Answer] = []
        self._running = True
        self._tasks = [
            asyncio.create_task(self._ask(scene, wallet, GATEWAYS[number % len(GATEWAYS)]))
            for number in range(HASTY)
        ]

    async def _ask(self, scene: Scene, wallet: Wallet, gateway: str) -> None:
        while self._running:
            wish = scene.load.wish(scene.chance, wallet)
            wish.stream, wish.leave_after, wish.directive = False, -1, "tokens=1; delay_ms=0"
            answer = await scene.load.send(wish, gateway)
            if answer.status != 200:
                self.refused.append(answer)
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Ends them; each ends what it asks."""
        self._running = False
        await asyncio.gather(*self._tasks)


# -- in conflict, slow, full --------------------------------------------------------------------


async def conflicts(scene: Scene) -> None:
    """26"""
    began_s = clock.monotonic_s()
    kinds = [deadlock, serialization, statement_timeout, disk_full]
    scene.chance.shuffle(kinds)
    for kind in kinds:
        await kind(scene)
        await scene.wait(0.2, 0.4)
    scene.must_be_well(scene.asked(began_s), "Postgres refuses the writer")


@asynccontextmanager
async def administrator(scene: Scene) -> AsyncIterator[Any]:
    """A connection past every link, with all rights; waits for a server that recovers."""
    url, connection = scene.stack.postgres_server.url, None

    async def connects() -> bool:
        nonlocal connection
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(url)
        return connection is not None

    await scene.until(connects, "Postgres accepts connections")
    try:
        yield connection
    finally:
        await connection.close()  # type: ignore[union-attr]


@asynccontextmanager
async def setting(connection: Any, name: str, value: str) -> AsyncIterator[None]:
    """Every other session is ended, and begins anew under this setting; so again afterwards."""
    await connection.execute(f"alter role corvus set {name} = '{value}'")
    await connection.execute(END)
    try:
        yield
    finally:
        await connection.execute("alter role corvus reset all")
        await connection.execute(END)


END = """
select pg_terminate_backend(pid) from pg_stat_activity
where usename = 'corvus' and pid <> pg_backend_pid()
"""
WAITS = """
select count(*) from pg_stat_activity
where wait_event_type = 'Lock' and query like '%' || $1 || '%' and pid <> pg_backend_pid()
"""


async def until_it_waits(scene: Scene, what: str) -> None:
    """Until a session waits for a lock at a statement with these words."""
    async with administrator(scene) as connection:

        async def waits() -> bool:
            return bool(await connection.fetchval(WAITS, what))

        await scene.until(waits, f"the writer waits at `{what}`")


def neighbours(scene: Scene) -> tuple[int, list[str]]:
    """A partition in which much happens, and its wallets."""
    part = partition_of(scene.chance.choice(scene.load.wallets[-SHARED:]).wallet)
    ids = [one.wallet for one in scene.load.wallets]
    return part, [one for one in ids if partition_of(one) == part]


async def deadlock(scene: Scene) -> None:
    """Ours has the cursor and wants a wallet, the writer's has the wallet and wants the cursor: it
    has waited longer, so it is the one that Postgres ends."""
    part, wallets = neighbours(scene)
    said = scene.listen("worker")
    async with administrator(scene) as connection, connection.transaction():
        await connection.fetch("select from cursor where part = $1 for update", part)
        await until_it_waits(scene, "update cursor")
        await connection.fetch("select from wallet where wallet = any($1) for update", wallets)
    await scene.until(lambda: said("deadlock detected"), "the writer was told of a deadlock")


async def serialization(scene: Scene) -> None:
    """Where the server isolates more strictly by default, a row that changed meanwhile is one."""
    _, wallets = neighbours(scene)
    said = scene.listen("worker")
    async with (
        administrator(scene) as connection,
        setting(connection, "default_transaction_isolation", "repeatable read"),
    ):
        async with connection.transaction():
            await connection.execute(
                "update wallet set version = version where wallet = any($1)", wallets
            )
            await until_it_waits(scene, "update wallet w set balance_nanos")
        await scene.until(lambda: said("could not serialize access"), "the writer was told of it")


async def statement_timeout(scene: Scene) -> None:
    """A statement that waits for longer than the server allows."""
    part, _ = neighbours(scene)
    said = scene.listen("worker")
    async with (
        administrator(scene) as connection,
        setting(connection, "statement_timeout", f"{scene.chance.randint(100, 400)}ms"),
        connection.transaction(),
    ):
        await connection.fetch("select from cursor where part = $1 for update", part)
        await scene.until(lambda: said("due to statement timeout"), "the writer was cut off")


async def disk_full(scene: Scene) -> None:
    """No file may grow beyond what that of the events has, for any session: the writer's statements
    fail, or Postgres ends itself where it was the log's file, and recovers; as on a full disk."""
    worker, log = scene.listen("worker"), scene.listen("postgres")
    async with administrator(scene) as connection:
        await connection.fetchval("select pg_switch_wal()")  # the log's next file begins at zero
        size_bytes = await connection.fetchval("select pg_relation_size('event')")
    limited: dict[int, tuple[int, int]] = {}
    until_s = clock.monotonic_s() + scene.chance.uniform(1.0, 2.0)

    async def full_for_long_enough() -> bool:
        with contextlib.suppress(BooksUnavailable, asyncpg.PostgresError):
            async with scene.stack.stores.books.connection() as connection:
                limit({row["pid"] for row in await connection.fetch(SESSIONS)}, size_bytes, limited)
        told = worker("File too large") or worker("in recovery mode")
        return told and (clock.monotonic_s() > until_s or log("PANIC"))

    try:
        await scene.until(full_for_long_enough, "the writer was told that there is no space")
    finally:
        for pid, had in limited.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, had)
    scene.note("no space: " + ("Postgres recovered" if log("PANIC") else "statements failed"))


SESSIONS = """
select pid from pg_stat_activity where usename = 'corvus' and pid <> pg_backend_pid()
"""


def limit(pids: Iterable[int], size_bytes: int, limited: dict[int, tuple[int, int]]) -> None:
    """These processes may not write a file beyond that size; `limited` gets what they had."""
    for pid in set(pids) - set(limited):
        with contextlib.suppress(ProcessLookupError):
            had = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, had[1]))
            limited[pid] = had


# -- put back -----------------------------------------------------------------------------------


async def put_back(scene: Scene) -> None:
    """27"""
    stack, began_s = scene.stack, clock.monotonic_s()
    data = stack.postgres_server.folder / "postgres"
    copy = data.with_name("postgres-copy")
    await asyncio.to_thread(scene.postgres.stop)
    await asyncio.to_thread(take_copy, data, copy)
    await scene.start_postgres()
    told = await committed(scene)
    most = scene.chance.randint(100, 250)

    async def far_enough() -> bool:
        return await committed(scene) >= told + most

    await scene.until(far_enough, f"Redis was told of {most} more events that the books have")
    said = scene.listen("worker")
    before = await cursors(scene)
    scene.postgres.kill()
    await trim(scene)
    await asyncio.to_thread(shutil.rmtree, data)
    copy.rename(data)
    await scene.start_postgres()
    after = await cursors(scene)
    lost = sum(max(0, at.seq - after[part].seq) for part, at in before.items())
    scene.note(f"{lost} events were gone from the books")
    await scene.until(lambda: said("ledger_behind"), "the worker says LEDGER_BEHIND")
    scene.healed()
    await scene.until(lambda: said("ledger_caught_up"), "the worker says that it has caught up")
    scene.must_be_well(scene.asked(began_s), "the books are put back and brought forward")


async def committed(scene: Scene) -> int:
    """How many events Redis was told that the books have, over all partitions."""
    return sum(one.committed for one in await scene.stack.stores.till.partitions())


async def cursors(scene: Scene) -> dict[int, Any]:
    """Where the books stand."""
    async with scene.stack.stores.books.connection() as connection:
        return await entries.cursors(connection)


def take_copy(data: Path, copy: Path) -> None:
    """A copy of a database that stands still, with its owners."""
    subprocess.run(["cp", "-a", str(data), str(copy)], check=True)


async def trim(scene: Scene) -> None:
    """Redis trims all that it was told of: half of the partitions have the archive alone."""
    till = scene.stack.stores.till
    states = await till.partitions()
    for part in scene.chance.sample(range(len(states)), len(states) // 2):
        state = states[part]
        mark = f"{state.epoch}-{state.committed + 1}"
        await till.redis.xtrim(scripts.key(part, "l"), minid=mark, approximate=False)


FAULTS = (
    Fault(
        23,
        "postgres away",
        "Postgres is killed or stopped; one wallet's clients ask until its partition is"
        f" {LAG_LIMIT} events ahead of the books, and 1.5 to 2.5 s beyond",
        "all is served; then 503 in that partition alone, the lag stays at its limit; back, it"
        " drains to zero",
        away,
        back_s=5,
    ),
    Fault(
        26,
        "postgres in conflict, slow, full",
        "in any order: a deadlock, a serialization error, a statement timeout, and files that may"
        " not grow, each until the writer was told of it; between them its sessions are ended",
        "all is served; each is tried again; only the lag grows",
        conflicts,
        back_s=2,
    ),
    Fault(
        27,
        "postgres put back",
        "a copy of the database that is 100 to 250 events old is put back under load; in half of"
        " the partitions Redis has trimmed its stream to what the books had told it",
        "all is served; LEDGER_BEHIND; the books are brought forward from streams and archive;"
        " nothing is lost",
        put_back,
        back_s=2,
    ),
)
