"""Recovery interrupted: a death, a second loss or a change between two of its steps."""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from corvus_proxy import secret
from corvus_proxy.books import entries, nodes, quarantine, release, wallets
from corvus_proxy.books.db import Books
from corvus_proxy.ledger import archive, outbox, rebuild
from corvus_proxy.ledger.archive import Archive
from corvus_proxy.ledger.coordinator import Coordinator
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.event import Event, Mark, partition_of
from corvus_proxy.service import keys, ledger
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.recovery import door
from corvus_proxy.till.recovery.claims import Claim
from corvus_proxy.till.recovery.report import Report
from corvus_proxy.till.reply import Adopted, Ask, Charge, Denied, Look, Settled
from tests.world import META, PEPPER, Process, World

pytestmark = pytest.mark.anyio


async def test_a_process_dies_before_it_has_claimed(world: World) -> None:
    """Its neighbour has claimed already, and still waits with the charge of another dead one: it
    claims again with both journals, or the acknowledged charge would be gone."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    first = Process(world.till, world.folder / "node1", "p0")
    other = Process(world.till, world.folder / "node1", "p9")
    await world.until(world.drained)
    await world.listed("p0", "p1", "p2", "p9")
    await world.rest()
    await other.charge(made, "acked", 100)
    unsettled = await first.begin(made, "unsettled", 70)
    assert other.reporter._task
    other.reporter._task.cancel()
    await world.till.redis.flushall()
    assert await unsettled.settle(70, "completed", META, wait_s=0.1) is None
    await first.kill()
    await other.reporter.tick()  # it has spoken about this Redis, and will not claim
    world.work()

    async def waits_for(name: str) -> bool:
        return any(f"claims of process {name}" in why for why in world.coordinator.closed.values())

    await world.until(lambda: waits_for("p9"))
    assert not await world.opened()
    await other.kill()
    await world.settle_down()
    assert await world.booked(made.wallet) == {"acked": 100, "unsettled": 70}


async def test_an_empty_partition_is_lost_after_a_rebuild(world: World) -> None:
    """It begins above the epoch that the books know, or nothing of it would ever be booked."""
    made = await keys.create(world.stores, credit_nanos=0)
    part = partition_of(made.wallet)
    async with world.books.connection() as connection:
        await nodes.ask_rebuild(connection, [part])

    async def rebuilt() -> bool:
        state = (await world.till.partitions())[part]
        return state.epoch == 2 and state.state == "OPEN"

    await world.until(rebuilt)
    await world.till.redis.flushall()
    await world.until(world.opened)
    await keys.credit(world.stores, made.key_id, 500, reason="at last")
    await world.one.charge(made, "r", 20)
    await world.settle_down()
    assert await world.booked(made.wallet) == {"r": 20}


async def test_one_partition_that_cannot_be_filled_stops_no_other(world: World) -> None:
    """A claim on a wallet that the books do not have: that partition stays closed and says so."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    other = await keys.create(world.stores, credit_nanos=10_000)
    while partition_of(other.wallet) == partition_of(made.wallet):
        other = await keys.create(world.stores, credit_nanos=10_000)
    ghost = next(
        name
        for n in range(10_000)
        if partition_of(name := f"w_ghost{n:07d}") == partition_of(other.wallet)
    )
    world.one.journal.settling(Charge("ghostly", ghost, "key_x", "slug", 5, "completed", META))
    await world.until(world.drained)
    await world.till.redis.flushall()

    part = partition_of(ghost)

    async def told() -> bool:
        closed = world.coordinator.closed
        return set(closed) == {part} and "NoKey" in closed[part]

    await world.until(told)
    states = await world.till.partitions()
    assert [n for n, state in enumerate(states) if state.state != "OPEN"] == [part]
    await world.one.charge(made, "r", 20)


async def test_an_old_redis_has_the_words_of_those_that_left(world: World) -> None:
    """A report that a backup brought back makes nobody wait for a process that ended cleanly."""
    gone = Process(world.till, world.folder / "node5", "p5")
    await world.listed("p5")
    old = (await world.till.reports())[gone.reporter._field]
    assert msgspec.json.decode(old, type=Report).process == "p5"
    assert await gone.reporter.stop(leave=True)

    async def off() -> bool:
        async with world.books.connection() as connection:
            return "p5" in await nodes.left(connection)

    await world.until(off)
    os.kill(world.server.child.pid, signal.SIGKILL)
    world.server.child.wait()
    world.server.start()
    await asyncio.to_thread(world.server.wait)
    await world.till.report(gone.reporter._field, old)
    await world.until(world.opened)
    async with world.books.connection() as connection:
        assert {row.process for row in await nodes.known(connection)} == {"p1", "p2"}


async def test_a_frozen_key_stays_frozen_where_no_money_was_lost(
    world: World, tmp_path: Path
) -> None:
    """A key's row has no event: a Redis from before the change looks complete. It is compared."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.until(world.drained)
    backup = tmp_path / "backup"
    shutil.copytree(tmp_path / "data", backup)
    await keys.set_frozen(world.stores, made.key_id, frozen=True)
    later = await keys.create(world.stores, credit_nanos=0)
    os.kill(world.server.child.pid, signal.SIGKILL)
    world.server.child.wait()
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(backup, tmp_path / "data")
    world.server.start()
    await asyncio.to_thread(world.server.wait)
    await world.until(world.opened)
    assert (await world.till.partitions())[partition_of(made.wallet)].epoch == 1
    look = await world.till.look(made.wallet, secret.digest(made.secret, PEPPER))
    assert isinstance(look, Denied) or look.status == "frozen"
    assert isinstance(
        await world.till.look(later.wallet, secret.digest(later.secret, PEPPER)), Look
    )
    await world.settle_down()


async def test_a_key_that_changes_while_its_wallet_is_loaded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load brings an older row than Redis had been told: the newer one is told again."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.until(world.drained)
    real = door.load

    async def load(till: Any, part: int, epoch: int, rows: Any) -> None:
        if part == partition_of(made.wallet):
            monkeypatch.setattr(door, "load", real)
            await keys.set_frozen(world.stores, made.key_id, frozen=True)
            waiting = await world.till.wallet(made.wallet)
            assert waiting
            assert waiting.version > 1
        await real(till, part, epoch, rows)

    monkeypatch.setattr(door, "load", load)
    await world.till.redis.flushall()
    await world.until(world.opened)
    assert door.load is real
    look = await world.till.look(made.wallet, secret.digest(made.secret, PEPPER))
    assert look.status == "frozen"


async def test_a_second_fill_finds_a_hold_and_then_its_charge(world: World) -> None:
    """A coordinator died after it had adopted; meanwhile the owner's journal claims a charge."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    part = partition_of(made.wallet)
    await world.until(world.drained)
    await world.rest()
    till = world.till
    state = (await till.partitions())[part]
    await till.open_partition(part, state, replid=await till.replid(), to="REPLAY")
    held = Claim("A", "r", made.wallet, made.key_id, "slug", 600, owner="p1", price="pv")
    charge = Claim("S", "r", made.wallet, made.key_id, "slug", 500, "completed", META.decode())
    (adopted,) = await door.adopt(till, part, state.epoch, [held])
    assert isinstance(adopted, Adopted)
    (settled,) = await door.direct(till, part, state.epoch, [charge])
    assert isinstance(settled, Settled)
    wallet = await till.wallet(made.wallet)
    assert wallet
    assert (wallet.balance_nanos, wallet.held_nanos) == (9_500, 0)
    assert not await till.holds(part)


async def test_a_request_that_ended_is_not_held_again(world: World) -> None:
    """A claim that was handed in before the books had the charge."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.one.charge(made, "r", 100)
    await world.until(world.drained)
    await world.rest()
    part = partition_of(made.wallet)
    state = (await world.till.partitions())[part]
    replid = await world.till.replid()
    await door.close(world.till, part, state.epoch)
    async with world.books.connection() as connection:
        cursor = Mark(state.epoch, state.seq)
        await rebuild.begin(world.till, connection, part, cursor=cursor, epoch=2, replid=replid)
    held = Claim("A", "r", made.wallet, made.key_id, "slug", 600, owner="p1", price="pv")
    await world.till.hand_in(f"{{p{part:02d}}}:j", {"r": msgspec.json.encode(held)})
    state = (await world.till.partitions())[part]
    done = await rebuild.fill(world.till, world.books, part, state, replid=replid)
    assert (done.adopted, done.problem) == (0, "")
    assert not await world.till.holds(part)


def an_event(epoch: int, seq: int) -> Event:
    return Event(
        partition=7, epoch=epoch, seq=seq, type="S", id=f"{epoch}-{seq}", wallet="w", key="k",
        slug="g", delta_nanos=0, balance_nanos=0, wallet_seq=0, actual_nanos=0, shortfall_nanos=0,
        outcome="completed",
    )  # fmt: skip


def test_what_a_rebuild_replaced_is_not_read_from_the_archive(tmp_path: Path) -> None:
    """Lines that never were booked, beyond the end of the epoch that replaced them."""
    kept = Archive(str(tmp_path), days=7)
    kept.append([an_event(1, seq) for seq in range(1, 8)])
    kept.append([an_event(2, 4), an_event(2, 5)])
    found = kept.read({7: Mark(1, 1)})[7]
    assert [event.id for event in found] == ["1-2", "1-3", "2-4", "2-5"]


def test_an_old_backup_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many events at a time, over all partitions; read again from there the rest comes."""
    monkeypatch.setattr(archive, "AT_ONCE", 8)
    kept = Archive(str(tmp_path), days=7)
    kept.append([an_event(1, seq) for seq in range(1, 21)])
    at, got = Mark(1, 0), []
    while events := kept.read({7: at, 8: Mark(1, 0)}).get(7):
        assert len(events) == 4
        got += [event.seq for event in events]
        at = Mark(1, got[-1])
    assert got == list(range(1, 21))


async def restored(world: World, books: Books, name: str) -> None:
    """The database as it was when it was copied."""
    import asyncpg

    admin_url, _, database = books._url.rpartition("/")
    await books.close()
    admin = await asyncpg.connect(f"{admin_url}/postgres")
    if name == "copy":
        await admin.execute(f"create database {database}_backup template {database}")
    else:
        await admin.execute(f"drop database {database} with (force)")
        await admin.execute(f"alter database {database}_backup rename to {database}")
        world.writer = Writer(world.till, books, keep=5, archive=world.archive)
        world.coordinator = Coordinator(world.till, books, behind=world.writer.why_behind)
    await admin.close()


@pytest.mark.parametrize("flushed", [False, True])
async def test_old_books_are_brought_forward_by_themselves(
    world: World, books: Books, monkeypatch: pytest.MonkeyPatch, flushed: bool
) -> None:
    """Without a further event; and where Redis is lost too, nothing is rebuilt from them before."""
    monkeypatch.setattr(archive, "AT_ONCE", 7)  # of which it takes several readings
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.one.charge(made, "early", 1)
    await world.until(world.drained)
    await world.rest()
    await restored(world, books, "copy")
    world.work()
    for n in range(30):  # far more than the stream keeps
        await world.one.charge(made, f"late{n}", 2)
    await world.until(world.drained)
    await world.rest()
    await restored(world, books, "back")
    if flushed:
        # The books' state is noticed while Redis still knows how far they had been.
        for _ in range(2):
            states = await world.till.partitions()
            assert states[partition_of(made.wallet)].committed == 32
        world.writer._archive = Archive("", days=0)
        await world.writer.tick(block_ms=1)
        assert world.writer.why_behind(partition_of(made.wallet))
        await world.till.redis.flushall()
        world.work(writer=False)

        async def noticed() -> bool:
            why = world.coordinator.closed.get(partition_of(made.wallet), "")
            return "LEDGER_BEHIND" in why

        await world.until(noticed)
        await world.rest()
        world.writer._archive = world.archive
        world.writer._gaps_seen_s = -1000.0
    world.work()

    async def caught_up() -> bool:
        return len(await world.booked(made.wallet)) == 31

    await world.until(caught_up)
    await world.settle_down()
    assert not world.writer.behind
    assert (await keys.show(world.stores, made.key_id)).balance_nanos == 10_000 - 61


async def test_what_was_charged_again_meanwhile_is_released_once(
    world: World,
) -> None:
    """A wallet in quarantine, then Redis is lost: its journals and its outbox repeat everything."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.one.charge(made, "booked", 10)
    await world.until(world.drained)
    part = partition_of(made.wallet)
    await world.till.redis.hset(f"{{p{part:02d}}}:w:{made.wallet}", "bal", "9000000")
    ask = Ask("odd", made.wallet, secret.digest(made.secret, PEPPER), 7, 7, 0, "pv", "slug", 1)
    await world.till.reserve(ask, owner="p1", lag_limit=99)
    charge = Charge("odd", made.wallet, made.key_id, "slug", 7, "completed", META)
    await world.till.settle(charge)
    world.one.journal.settling(charge)  # and the answer was lost
    await keys.credit(world.stores, made.key_id, 1_000, reason="while it is stopped")
    await world.until(world.opened)
    await world.until(world.drained)
    await world.till.redis.flushall()
    await world.until(world.opened)
    await world.until(world.drained)
    async with world.books.connection() as connection:
        stopped = await quarantine.waiting(connection, made.wallet)
        assert sum(row.raw.get("id") == "odd" for row in stopped) == 2
    async with world.books.transaction() as connection:
        done = await release.release(connection, made.wallet)
        await nodes.ask_rebuild(connection, [part])
    assert (done.balance_nanos, done.booked) == (10_000 - 10 - 7 + 1_000, 2)
    await world.until(lambda: _epoch(world, part, 3))
    await world.settle_down()
    assert await world.booked(made.wallet) == {"booked": 10, "odd": 7}


async def _epoch(world: World, part: int, epoch: int) -> bool:
    return (await world.till.partitions())[part].epoch >= epoch and await world.opened()


async def test_a_drain_while_the_books_are_away_is_handed_over(world: World) -> None:
    """Its journal stays until the books have all of it; nobody waits for it, nobody is asked."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.until(world.drained)
    await world.rest()
    folder = world.folder / "node6"
    leaving = Process(world.till, folder, "p6")
    await leaving.charge(made, "r", 40)
    assert not await leaving.reporter.stop(leave=True)  # as the role does: the journal is kept
    os.close(leaving.journal._lock)
    assert list(folder.glob("p6.*.journal"))
    os.kill(world.server.child.pid, signal.SIGKILL)
    world.server.child.wait()
    world.server.start()
    await asyncio.to_thread(world.server.wait)
    world.work()
    await world.settle_down()
    assert await world.booked(made.wallet) == {"r": 40}
    async with world.books.connection() as connection:
        assert {row.process for row in await nodes.known(connection)} == {"p1", "p2"}
    after = Process(world.till, folder, "p7")

    async def buried() -> bool:
        return not list(folder.glob("p6.*"))

    await world.until(buried)
    assert await after.reporter.stop(leave=True)


async def test_what_waits_for_a_closed_partition_keeps_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More unsent credits than are looked at in one piece, and one of another partition."""
    monkeypatch.setattr(outbox, "PAGE", 10)
    made = await keys.create(world.stores, credit_nanos=0)
    other = await keys.create(world.stores, credit_nanos=0)
    while partition_of(other.wallet) == partition_of(made.wallet):
        other = await keys.create(world.stores, credit_nanos=0)
    await world.rest()
    part = partition_of(made.wallet)
    await door.close(world.till, part, 1)
    async with world.books.transaction() as connection:
        for n in range(25):
            row = wallets.OutboxRow(f"c{n}", "credit", made.wallet, 1, "grants", "", "")
            await wallets.insert_outbox(connection, row)
    async with world.books.transaction() as connection:
        row = wallets.OutboxRow("late", "credit", other.wallet, 5, "grants", "", "")
        await wallets.insert_outbox(connection, row)
    assert await outbox.tick(world.till, world.books) == 1
    known = await world.till.wallet(other.wallet)
    assert known
    assert known.balance_nanos == 5


async def test_every_step_of_a_rebuild_fails_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once before it was done and once after, as with a worker that dies there: nothing is charged
    twice, nothing is left out."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.one.charge(made, "booked", 10)
    await world.until(world.drained)
    await world.rest()
    await world.one.charge(made, "acked", 20)
    await keys.credit(world.stores, made.key_id, 500, reason="on its way")
    running = await world.two.begin(made, "running", 300)
    failed: list[str] = []

    def unsteady(module: Any, name: str) -> None:
        real = getattr(module, name)

        async def step(*words: Any, **more: Any) -> Any:
            turn = failed.count(name)
            if turn == 0:
                failed.append(name)
                raise TillUnavailable(f"{name} was not reached")
            found = await real(*words, **more)
            if turn == 1:
                failed.append(name)
                raise TillUnavailable(f"{name} was not answered")
            return found

        monkeypatch.setattr(module, name, step)

    steps = ("rebuild", "load", "recall", "claims", "direct", "adopt", "stream")
    for name in steps:
        unsteady(door, name)
    unsteady(entries, "begin_epoch")
    unsteady(outbox, "send")
    await world.till.redis.flushall()
    world.work()
    await world.until(world.opened, timeout_s=30)
    assert {name: failed.count(name) for name in steps} == dict.fromkeys(steps, 2)
    wallet = await world.till.wallet(made.wallet)
    assert wallet
    assert (wallet.balance_nanos, wallet.held_nanos) == (10_470, 300)
    assert await running.settle(250, "completed", META, wait_s=5)
    await world.settle_down()
    assert await world.booked(made.wallet) == {"booked": 10, "acked": 20, "running": 250}


async def test_a_node_that_never_comes_back_is_forgotten_for_good(world: World) -> None:
    """Although Redis still has its last word, and the coordinator has just read it."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.two.charge(made, "booked", 20)
    await world.until(world.drained)
    await world.two.kill()
    shutil.rmtree(world.folder / "node2")
    word = (await world.till.reports())[world.two.reporter._field]
    assert await ledger.forget(world.stores, "p2", reason="its disk is gone") == ["p2"]
    await world.till.report(world.two.reporter._field, word)  # as if a look had been under way
    os.kill(world.server.child.pid, signal.SIGKILL)
    world.server.child.wait()
    world.server.start()
    await asyncio.to_thread(world.server.wait)
    await world.until(world.opened)
    await world.settle_down()
    assert [row.process for row in await ledger.processes(world.stores)] == ["p1"]
    world.two = Process(world.till, world.folder / "node2", "p3")
