"""Faults of Postgres: away beyond the lag limit, in conflict, slow, full, put back."""

import asyncio
import contextlib
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from corvus_proxy import clock
from corvus_proxy.books import entries
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
    (scene.postgres.kill if scene.chance.random() < 0.5 else scene.postgres.stop)()
    began_s = clock.monotonic_s()
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
    await scene.until(lambda: behind(scene, part), "the books have everything", timeout_s=30)
    here = [one for one in scene.asked(began_s, upto_s) if partition_of(one.wish.wallet) == part]
    others = [one for one in scene.asked(began_s, upto_s) if partition_of(one.wish.wallet) != part]
    scene.must_be_well(others, "Postgres is away, in a partition below its limit")
    early = [one for one in here if one.ended_s < full_s]
    scene.must_be_well(early, "Postgres is away, before the limit")
    late = [one for one in here if one.began_s > full_s + 0.5 and one.status == 200]
    if late:
        scene.violated(f"{late[0].request_id}: served beyond the limit")


async def behind(scene: Scene, part: int) -> bool:
    """Whether the books have all of a partition."""
    state = (await scene.stack.stores.till.partitions())[part]
    return state.seq == state.committed


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
        async with control(scene) as connection:
            await kind(scene, connection)
        await scene.wait(0.2, 0.4)
    scene.must_be_well(scene.asked(began_s), "Postgres refuses the writer")


@asynccontextmanager
async def control(scene: Scene) -> AsyncIterator[Any]:
    """A connection of the administrator's; what it has set for others is taken back."""
    connection = await asyncpg.connect(scene.stack.postgres_server.url)
    try:
        yield connection
        await connection.execute("alter role corvus reset all")
        await end_sessions(connection)
    finally:
        await connection.close()


async def end_sessions(connection: Any) -> None:
    """Ends everybody else's: a role's settings hold from the next one on."""
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where usename = 'corvus' and pid <> pg_backend_pid()"
    )


WAITS = """
select count(*) from pg_stat_activity
where wait_event_type = 'Lock' and query like '%' || $1 || '%' and pid <> pg_backend_pid()
"""


async def until_it_waits(scene: Scene, what: str) -> None:
    """Until a session waits for a lock at a statement with these words."""
    connection = await asyncpg.connect(scene.stack.postgres_server.url)
    try:

        async def waits() -> bool:
            return bool(await connection.fetchval(WAITS, what))

        await scene.until(waits, f"the writer waits at `{what}`")
    finally:
        await connection.close()


def neighbours(scene: Scene) -> tuple[int, list[str]]:
    """A partition in which much happens, and its wallets."""
    part = partition_of(scene.chance.choice(scene.load.wallets[-SHARED:]).wallet)
    ids = [one.wallet for one in scene.load.wallets]
    return part, [one for one in ids if partition_of(one) == part]


async def deadlock(scene: Scene, connection: Any) -> None:
    """Ours has the cursor and wants a wallet, the writer's has the wallet and wants the cursor: it
    has waited longer, so it is the one that Postgres ends."""
    part, wallets = neighbours(scene)
    said = scene.listen("worker")
    async with connection.transaction():
        await connection.fetch("select from cursor where part = $1 for update", part)
        await until_it_waits(scene, "update cursor")
        with contextlib.suppress(asyncpg.DeadlockDetectedError):
            await connection.fetch("select from wallet where wallet = any($1) for update", wallets)
    await scene.until(lambda: said("deadlock detected"), "the writer was told of a deadlock")


async def serialization(scene: Scene, connection: Any) -> None:
    """Where the server isolates more strictly by default, a row that changed meanwhile is one."""
    _, wallets = neighbours(scene)
    said = scene.listen("worker")
    await connection.execute(
        "alter role corvus set default_transaction_isolation = 'repeatable read'"
    )
    await end_sessions(connection)
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(
            "update wallet set version = version where wallet = any($1)", wallets
        )
        await until_it_waits(scene, "update wallet")
    await scene.until(lambda: said("could not serialize access"), "the writer was told of it")


async def statement_timeout(scene: Scene, connection: Any) -> None:
    """A statement that waits for longer than the server allows."""
    part, _ = neighbours(scene)
    said = scene.listen("worker")
    limit_ms = scene.chance.randint(100, 400)
    await connection.execute(f"alter role corvus set statement_timeout = {limit_ms}")
    await end_sessions(connection)
    async with connection.transaction():
        await connection.fetch("select from cursor where part = $1 for update", part)
        await scene.until(lambda: said("due to statement timeout"), "the writer was cut off")


async def disk_full(scene: Scene, connection: Any) -> None:
    """No file of Postgres may grow beyond what the events' has: for every session that comes."""
    said, log = scene.listen("worker"), scene.listen("postgres")
    await connection.execute("checkpoint")
    await connection.fetchval("select pg_switch_wal()")
    size = await connection.fetchval("select pg_relation_size('event')")
    limited: dict[int, tuple[int, int]] = {}
    until_s = clock.monotonic_s() + scene.chance.uniform(1.0, 2.0)
    try:
        while clock.monotonic_s() < until_s or not said("could not"):
            rows = await connection.fetch(
                "select pid from pg_stat_activity where usename = 'corvus'"
                " and pid <> pg_backend_pid()"
            )
            for pid in {row["pid"] for row in rows} - set(limited):
                with contextlib.suppress(ProcessLookupError):
                    had = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, had[1]))
                    limited[pid] = had
            await asyncio.sleep(0.01)
    finally:
        for pid, had in limited.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, had)
    if not log("File too large"):
        scene.violated("Postgres could write all it wanted: nothing was shown")


# -- put back -----------------------------------------------------------------------------------


async def put_back(scene: Scene) -> None:
    """27"""
    stack, began_s = scene.stack, clock.monotonic_s()
    data = stack.postgres_server.folder / "postgres"
    copy = data.with_name("postgres-copy")
    await asyncio.to_thread(scene.postgres.stop)
    await asyncio.to_thread(take_copy, data, copy)
    await scene.start_postgres()
    await scene.wait(2.5, 4.0)
    said = scene.listen("worker")
    before = await cursors(scene)
    scene.postgres.kill()
    await trim(scene, before)
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


async def cursors(scene: Scene) -> dict[int, Any]:
    """Where the books stand."""
    async with scene.stack.stores.books.connection() as connection:
        return await entries.cursors(connection)


def take_copy(data: Path, copy: Path) -> None:
    """A copy of a database that stands still, with its owners."""
    subprocess.run(["cp", "-a", str(data), str(copy)], check=True)


async def trim(scene: Scene, at: dict[int, Any]) -> None:
    """Redis trims what the books had: half of the partitions have the archive alone."""
    redis = scene.stack.stores.till.redis
    for part in sorted(scene.chance.sample(sorted(at), len(at) // 2)):
        mark = f"{at[part].epoch}-{at[part].seq + 1}"
        await redis.xtrim(scripts.key(part, "l"), minid=mark, approximate=False)


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
        "a copy of the database of 2.5 to 4 s ago is put back under load; in half of the partitions"
        " Redis has trimmed its stream meanwhile",
        "all is served; LEDGER_BEHIND; the books are brought forward from streams and archive;"
        " nothing is lost",
        put_back,
        back_s=2,
    ),
)
