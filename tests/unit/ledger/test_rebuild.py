"""A Redis that lost something: rebuilt from books, journals and running requests, to the nano."""

import asyncio
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from corvus_proxy import clock, secret
from corvus_proxy.books import nodes, wallets
from corvus_proxy.books.db import Books
from corvus_proxy.ledger.coordinator import Coordinator
from corvus_proxy.ledger.verify import verify
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.event import CHARGEBACKS, Meta, encode_meta, partition_of
from corvus_proxy.ops import embedded
from corvus_proxy.service import keys
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.reply import Ask, Fenced, Granted, Look
from tests.world import META, PEPPER, Process, World

pytestmark = pytest.mark.anyio


async def test_a_flush_loses_nothing(world: World) -> None:
    """FLUSHALL: charges that the books did not have, holds of running requests, unsent credits."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    other = await keys.create(world.stores, credit_nanos=500)
    await world.one.charge(made, "booked", 100)
    await world.until(world.drained)
    await world.rest()
    await world.one.charge(made, "undrained", 200)
    await world.two.charge(made, "elsewhere", 50)
    await keys.credit(world.stores, made.key_id, 7_000, reason="paid, not booked")
    await world.one.charge(made, "of the credit", 9_000)
    running = await world.two.begin(made, "running", 300)
    await world.till._redis.flushall()
    world.work()
    await world.until(world.opened)
    state = await world.till.wallet(made.wallet)
    assert state is not None
    assert (state.balance_nanos, state.held_nanos) == (10_000 + 7_000 - 9_350, 300)
    assert await running.settle(250, "completed", META, wait_s=5)
    await world.one.charge(other, "next", 500)
    await world.settle_down()
    assert await world.booked(made.wallet) == {
        "booked": 100, "undrained": 200, "elsewhere": 50, "of the credit": 9_000, "running": 250,
    }  # fmt: skip
    state = await world.till.wallet(made.wallet)
    assert state is not None
    assert (state.balance_nanos, state.spent_nanos) == (17_000 - 9_600, 9_600)


async def test_a_flush_keeps_what_a_capped_key_has_spent(world: World) -> None:
    """Of the period, by the books; what they did not have is charged and let off the cap."""
    now = encode_meta(Meta(price_version="pv", source="upstream", ended_ms=clock.wall_ms()))
    made = await keys.create(world.stores, credit_nanos=10_000)
    sub = await keys.create_sub(
        world.stores, made.wallet, label="ci", cap_nanos=1_000, period="month", actor="cli"
    )
    await world.one.charge(made, "other key", 400)
    await world.one.charge(sub, "of another month", 7)
    await world.one.charge(sub, "booked", 300, meta=now)
    await world.until(world.drained)
    await world.rest()
    await world.one.charge(sub, "undrained", 50, meta=now)
    running = await world.two.begin(sub, "running", 120)
    _, before = await keys.list_of(world.stores, made.wallet)
    assert (before.period_spent_nanos, before.spent_nanos, before.held_nanos) == (357, 357, 120)
    await world.till._redis.flushall()
    world.work()
    await world.until(world.opened)
    look = await world.till.look(made.wallet, secret.digest(sub.secret, PEPPER))
    assert isinstance(look, Look)
    assert (look.main, look.label, look.cap_nanos, look.period) == (False, "ci", 1_000, "month")
    assert (look.period_spent_nanos, look.key_spent_nanos, look.key_held_nanos) == (300, 357, 120)
    assert await running.settle(120, "completed", now, wait_s=5)
    await world.settle_down()
    _, after = await keys.list_of(world.stores, made.wallet)
    assert (after.period_spent_nanos, after.spent_nanos, after.held_nanos) == (420, 477, 0)
    await world.till._redis.flushall()  # by now the books have all of it
    await world.until(world.opened)
    _, again = await keys.list_of(world.stores, made.wallet)
    assert (again.period_spent_nanos, again.spent_nanos) == (470, 477)


async def test_a_reversal_that_waited_takes_what_a_rebuild_leaves(world: World) -> None:
    """Charges and running requests come first; what is short is owed once."""
    made = await keys.create(world.stores, credit_nanos=1_000)
    await world.until(world.drained)
    await world.rest()
    await world.one.charge(made, "undrained", 400)
    running = await world.two.begin(made, "running", 500)
    row = wallets.OutboxRow(
        "pay:x:1:reversed", "reversal", made.wallet, 1_000, CHARGEBACKS, made.key_id, "disputed"
    )
    async with world.books.transaction() as connection:
        await wallets.insert_outbox(connection, row)
    await world.till._redis.flushall()
    world.work()

    async def taken() -> bool:
        """The rebuild takes it, or the outbox's own round that had the row at that moment."""
        state = await world.till.wallet(made.wallet)
        return state is not None and (state.balance_nanos, state.held_nanos) == (500, 500)

    await world.until(world.opened)
    await world.until(taken)
    assert await running.settle(500, "completed", META, wait_s=5)
    await world.settle_down()
    async with world.books.connection() as connection:
        owed = await connection.fetchval(
            "select receivable_nanos from wallet where wallet = $1", made.wallet
        )
    assert owed == 900


async def test_keys_that_this_redis_has_not_heard_of_come_before_it_serves(world: World) -> None:
    """The quick path on a server that missed changes of keys: no money event is gone, so nothing is
    rebuilt; frozen stays frozen, a new secret works, and at no moment was it otherwise."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.until(world.drained)
    frozen = await keys.create(world.stores, credit_nanos=0)
    unknown = await keys.create(world.stores, credit_nanos=0)
    before = {
        name: await world.till._redis.dump(name)
        async for name in world.till._redis.scan_iter(match="{p??}:w:*")
    }
    await keys.set_frozen(world.stores, frozen.key_id, frozen=True)
    text = await keys.rotate(world.stores, made.key_id, grace_s=0)
    states = await world.till.partitions()
    await world.rest()
    for name, dumped in before.items():
        await world.till._redis.restore(name, 0, dumped, replace=True)
    gone = f"{{p{partition_of(unknown.wallet):02d}}}:w:{unknown.wallet}"
    await world.till._redis.delete(gone)
    world.server.stop()
    world.server.start()
    await asyncio.to_thread(world.server.wait)
    seen: set[str] = set()
    world.work()

    async def answered() -> bool:
        try:
            found = await world.till.look(frozen.wallet, secret.digest(frozen.secret, PEPPER))
            seen.add(repr(found) if isinstance(found, Fenced) else found.status)
            return await world.opened()
        except TillUnavailable:  # a connection to the server that was
            return False

    await world.until(answered)
    assert {one for one in seen if not one.startswith("Fenced")} <= {"frozen"}
    look = await world.till.look(frozen.wallet, secret.digest(frozen.secret, PEPPER))
    assert look.status == "frozen"
    look = await world.till.look(made.wallet, secret.digest(text, PEPPER))
    assert (look.status, look.balance_nanos) == ("active", 10_000)
    assert (await world.till.look(unknown.wallet, secret.digest(unknown.secret, PEPPER))).key_id
    after = await world.till.partitions()
    assert [one.epoch for one in after] == [one.epoch for one in states]  # none was rebuilt
    await world.settle_down()


async def test_a_replica_200_settles_behind_is_promoted(world: World, tmp_path: Path) -> None:
    """Every acknowledged charge is in the books once, wherever the writer stood."""
    made = [await keys.create(world.stores, credit_nanos=10**9) for _ in range(8)]
    replica = embedded.Redis(tmp_path / "replica", tmp_path / "r.log", port=embedded.free_port())
    replica.start()
    await asyncio.to_thread(replica.wait)
    follower = Till.open(replica.url, timeout_ms=2000)
    await follower._redis.replicaof("127.0.0.1", str(world.server.port))
    acked: dict[str, int] = {}
    source = random.Random(11)

    async def some(count: int) -> None:
        for _ in range(count):
            rid, nanos = f"r{len(acked)}", source.randrange(1, 10_000)
            await source.choice([world.one, world.two]).charge(source.choice(made), rid, nanos)
            acked[rid] = nanos

    try:

        async def synced() -> bool:
            info = await follower._redis.info("replication")
            return bool(info.get("master_link_status") == "up" and not info.get(
                "master_sync_in_progress")) and await level()  # fmt: skip

        async def level() -> bool:
            ours = [state.seq for state in await world.till.partitions()]
            return [state.seq for state in await follower.partitions()] == ours

        await world.until(synced)  # a first replica changes the primary's replication id …
        await world.until(world.opened)  # … so the fence was closed for a moment
        await some(100)
        await world.until(synced)
        await follower._redis.replicaof("NO", "ONE")
        await some(150)
        await world.until(world.drained)  # the books are ahead of the replica …
        await world.rest()
        await some(50)  # … and the journals are ahead of the books
        os.kill(world.server.child.pid, signal.SIGKILL)
        world.server.child.wait()
        pool = world.till._redis.connection_pool
        pool.connection_kwargs["port"] = replica.port
        pool.reset()  # as a name that leads elsewhere from now on
        world.work()
        await world.settle_down()
        await some(20)
        await world.settle_down()
        booked: dict[str, int] = {}
        for one in made:
            booked |= await world.booked(one.wallet)
        assert booked == acked
        total = sum([(await world.till.wallet(one.wallet)).balance_nanos for one in made])  # type: ignore[union-attr]
        assert total == 8 * 10**9 - sum(acked.values())
    finally:
        await follower.close()
        replica.stop()
        world.server.start()


async def test_an_old_backup_is_put_back_and_a_process_died(world: World, tmp_path: Path) -> None:
    """Redis's folder of an hour ago; one gateway process is dead, its node has a new one."""
    made = await keys.create(world.stores, credit_nanos=10**6)
    await world.one.charge(made, "early", 10)
    backup = tmp_path / "backup"
    shutil.copytree((tmp_path / "data"), backup)
    await world.until(world.drained)
    await world.one.charge(made, "booked", 20)
    await world.until(world.drained)
    await world.rest()
    await world.two.charge(made, "acked", 40)
    unsettled = await world.two.begin(made, "journalled", 80)
    half = await world.two.begin(made, "checkpointed", 1000)
    half.progress = lambda: (160, META)
    await half.extend(1000)
    silent = await world.two.begin(made, "silent", 320)
    assert silent
    os.kill(world.server.child.pid, signal.SIGKILL)
    world.server.child.wait()
    assert await unsettled.settle(80, "completed", META, wait_s=0.2) is None
    await world.two.kill()
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(backup, (tmp_path / "data"))
    world.server.start()
    await asyncio.to_thread(world.server.wait)
    world.work()

    async def told() -> bool:
        return any("process p2 " in why for why in world.coordinator.closed.values())

    await world.until(told)
    assert not await world.opened()
    world.two = Process(world.till, world.folder / "node2", "p3")
    await world.settle_down()
    assert await world.booked(made.wallet) == {
        "early": 10, "booked": 20, "acked": 40, "journalled": 80, "checkpointed": 160}  # fmt: skip
    async with world.books.connection() as connection:
        assert {row.process for row in await nodes.known(connection)} == {"p1", "p3"}
    await world.two.charge(made, "after", 5)
    await world.settle_down()


async def test_a_lost_node_waits_for_the_operator(world: World, tmp_path: Path) -> None:
    """A process that never returns is named; forgotten, the rest is rebuilt without its journal."""
    made = await keys.create(world.stores, credit_nanos=10**6)
    await world.two.charge(made, "booked", 20)
    await world.until(world.drained)
    await world.listed("p1", "p2")
    await world.two.kill()
    shutil.rmtree(world.folder / "node2")
    await world.till._redis.flushall()
    await asyncio.sleep(1.5)
    assert not await world.opened()
    async with world.books.connection() as connection:
        last = {row.process: row.report["at_ms"] for row in await nodes.known(connection)}
        await nodes.forget(connection, {"p2": last["p2"]})
    await world.settle_down()
    assert await world.booked(made.wallet) == {"booked": 20}
    world.two = Process(world.till, world.folder / "node3", "p3")


async def test_a_hold_that_expired_is_charged_the_rest_late(world: World) -> None:
    """The owner was cut off, not dead: what it delivered beyond the checkpoint is charged once."""
    made = await keys.create(world.stores, credit_nanos=10**6)
    hold = await world.one.begin(made, "slow", 1000)
    hold.progress = lambda: (100, META)
    await hold.extend(1000)
    answer = await world.till.expire("slow", made.wallet, renewals=1)
    assert answer.charged_nanos == 100
    settled = await hold.settle(700, "completed", META, wait_s=5)
    assert settled is not None
    assert settled.charged_nanos == 600
    await world.settle_down()
    assert await world.booked(made.wallet) == {"slow": 100, "slow:L": 600}


async def test_books_of_a_backup_are_brought_forward(world: World, books: Books) -> None:
    """Postgres as it was before a wallet was made: stream, archive and Redis's own keys."""
    import asyncpg

    made = await keys.create(world.stores, credit_nanos=10**6)
    for n in range(20):
        await world.one.charge(made, f"early{n}", 1)
    await world.until(world.drained)
    await world.rest()
    admin_url, _, name = books._url.rpartition("/")
    await books.close()
    admin = await asyncpg.connect(f"{admin_url}/postgres")
    await admin.execute(f"create database {name}_backup template {name}")
    world.work()
    later = await keys.create(world.stores, credit_nanos=10**6)
    for n in range(60):  # far more than the stream keeps
        await world.two.charge(later if n % 2 else made, f"late{n}", 2)
    await keys.rotate(world.stores, made.key_id, grace_s=60)
    await world.until(world.drained)
    await world.rest()
    await books.close()
    await admin.execute(f"drop database {name} with (force)")
    await admin.execute(f"alter database {name}_backup rename to {name}")
    await admin.close()
    world.writer = Writer(world.till, books, keep=5, archive=world.archive)
    world.coordinator = Coordinator(world.till, books, behind=world.writer.why_behind)
    world.work()
    await world.two.charge(later, "now", 3)

    async def caught_up() -> bool:
        return len(await world.booked(later.wallet)) == 31

    await world.until(caught_up)
    await world.settle_down()
    assert len(await world.booked(made.wallet)) == 50
    assert not world.writer.broken
    assert (await keys.show(world.stores, later.key_id)).balance_nanos == 10**6 - 63
    await keys.set_frozen(world.stores, later.key_id, frozen=True)
    digest = secret.digest(later.secret, PEPPER)
    ask = Ask("x", later.wallet, digest, 1, 1, 0, "pv", "s", 1)
    assert not isinstance(await world.till.reserve(ask, owner="o", lag_limit=9), Granted)


async def test_a_hole_that_nothing_fills_is_named(world: World, books: Books) -> None:
    """Without an archive the writer says which events are gone, and goes on with the others."""
    made = await keys.create(world.stores, credit_nanos=10**6)
    await world.until(world.drained)
    part = partition_of(made.wallet)
    for n in range(3):
        await world.one.charge(made, f"r{n}", 1)
    await world.until(world.drained)
    await world.rest()
    world.writer = Writer(world.till, books, keep=5)
    await world.till._redis.hset(f"{{p{part:02d}}}:m", "sq", "40")
    await world.one.charge(made, "behind the hole", 1)
    for _ in range(3):
        await world.writer.tick(block_ms=1)
    assert set(world.writer.broken) == {part}
    assert "LEDGER_BEHIND" in world.writer.broken[part]


@pytest.mark.slow
async def test_a_hundred_thousand_wallets_come_back(world: World, books: Books) -> None:
    """An empty Redis and a full set of books: the seconds are printed, the target is 30."""
    count = 100_000
    await world.rest()
    ids = [f"w_{n:012d}" for n in range(count)]
    seqs: dict[int, int] = {}
    wallets, postings, events = [], [], []
    for n, wallet in enumerate(ids):
        part = partition_of(wallet)
        seq = seqs[part] = seqs.get(part, 0) + 1
        wallets.append((wallet, part, 10**9, 1))
        postings.append((part, 1, seq, 0, "grants", f"wallet:{wallet}", 10**9))
        events.append((part, 1, seq, "C", f"g{n}", wallet, f"key_{n}", "", 10**9, 10**9, 1, 10**9,
                       0, "credit", "grants", "", 0, 0, "{}"))  # fmt: skip
    async with books.connection() as connection:
        await connection.execute("reset role")
        for table, rows, columns in (
            ("wallet", wallets, "wallet part balance_nanos wallet_seq"),
            ("key", [(f"key_{n}", one, "") for n, one in enumerate(ids)], "key_id wallet label"),
            ("key_secret", [(f"d{n}", f"key_{n}", "") for n in range(count)],
             "digest key_id masked"),
            ("event", events,
             "part epoch seq type ext_id wallet key_id slug delta_nanos balance_nanos wallet_seq"
             " actual_nanos shortfall_nanos outcome counter reason wallet_spent_nanos"
             " key_spent_nanos meta"),
            ("posting", postings, "part epoch seq line debit credit amount_nanos"),
        ):  # fmt: skip
            await connection.copy_records_to_table(table, records=rows, columns=columns.split())
        for part, seq in seqs.items():
            await connection.execute("update cursor set seq = $1 where part = $2", seq, part)
        await connection.execute("set role corvus_app")
    await world.till._redis.flushall()
    began = asyncio.get_running_loop().time()
    world.work()
    await world.until(world.opened, timeout_s=120)
    took_s = asyncio.get_running_loop().time() - began
    report = await verify(world.till, books)
    assert (report.ok, report.drift_nanos, report.wallets) == (True, 0, count)
    print(f"{count} wallets rebuilt and opened in {took_s:.1f} s")
