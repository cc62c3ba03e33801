"""An old backup of Redis is put back while something is on its way: a charge, a batch for the
books. Old books are put back, and nobody is told."""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from corvus_proxy.books import entries
from corvus_proxy.books.db import Books
from corvus_proxy.ledger import outbox
from corvus_proxy.money.event import partition_of
from corvus_proxy.service import keys
from tests.world import META, Process, World

pytestmark = pytest.mark.anyio


def kill(world: World) -> None:
    os.kill(world.server.child.pid, signal.SIGKILL)
    world.server.child.wait()


async def put_back(world: World, folder: Path) -> None:
    """Redis starts on the backup in `folder`/backup."""
    shutil.rmtree(folder / "data")
    shutil.copytree(folder / "backup", folder / "data")
    world.server.start()
    await asyncio.to_thread(world.server.wait)


@pytest.mark.parametrize("dies", [False, True])
async def test_a_charge_whose_hold_is_gone_is_not_lost(
    world: World, tmp_path: Path, dies: bool
) -> None:
    """Nothing else has happened in its partition since the backup, so nothing but the charge itself
    tells that this Redis has lost something."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.until(world.drained)
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    hold = await world.two.begin(made, "on_its_way", 70)
    kill(world)
    assert await hold.settle(70, "completed", META, wait_s=0.1) is None
    if dies:
        await world.two.kill()
    await put_back(world, tmp_path)
    if dies:
        world.two = Process(world.till, world.folder / "node2", "p3")
    await world.settle_down()
    assert await world.booked(made.wallet) == {"on_its_way": 70}


async def test_a_plain_restart_rebuilds_nothing_for_a_charge_on_its_way(world: World) -> None:
    """Its hold, or its end, is there."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.until(world.drained)
    hold = await world.two.begin(made, "on_its_way", 70)
    kill(world)
    assert await hold.settle(70, "completed", META, wait_s=0.1) is None
    world.server.start()

    async def booked() -> bool:
        return await world.booked(made.wallet) == {"on_its_way": 70}

    await world.until(booked)
    await world.settle_down()
    async with world.books.connection() as connection:
        assert {at.epoch for at in (await entries.cursors(connection)).values()} == {1}


async def test_a_batch_of_the_redis_before_is_not_booked(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer has read an event, and is slow; an older Redis, which nobody misses anything in,
    serves meanwhile and gives its number to another."""
    made = await keys.create(world.stores, credit_nanos=1000)
    await world.until(world.drained)
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    await world.rest()
    world.coordinator._in_hand = {}  # it is another worker's, which cannot see this writer's hands
    world.work(writer=False)
    await keys.credit(world.stores, made.key_id, 20, reason="lost")
    read, go = asyncio.Event(), asyncio.Event()
    book = world.writer._book

    async def slowly(*args: Any, **options: Any) -> Any:
        read.set()
        await go.wait()
        return await book(*args, **options)

    monkeypatch.setattr(world.writer, "_book", slowly)
    world.jobs.append(asyncio.create_task(world.writer.run()))
    await read.wait()
    kill(world)
    await put_back(world, tmp_path)
    await world.until(world.opened)
    await keys.credit(world.stores, made.key_id, 300, reason="in its place")
    go.set()
    await world.settle_down()
    await outbox.tick(world.till, world.books)
    await world.settle_down()
    async with world.books.connection() as connection:
        rows = await connection.fetch(
            "select seq, reason, balance_nanos from event where wallet = $1 order by seq",
            made.wallet,
        )
        assert (await entries.cursors(connection))[partition_of(made.wallet)] == (1, 3)
    assert [tuple(row) for row in rows] == [
        (1, "operator grant", 1000), (2, "in its place", 1300), (3, "lost", 1320)]  # fmt: skip


async def test_the_books_are_looked_at_once_more_before_a_partition_opens(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same event is booked after this Redis was found to have all, and before it is opened: it
    is rebuilt instead."""
    made = await keys.create(world.stores, credit_nanos=1000)
    await world.until(world.drained)
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    await world.rest()
    await keys.credit(world.stores, made.key_id, 20, reason="read")
    part = partition_of(made.wallet)
    async with world.books.connection() as connection:
        cursors = await entries.cursors(connection)
    batch = await world.till.events({part: cursors[part]}, count=10, block_ms=0)
    kill(world)
    await put_back(world, tmp_path)
    lock = world.coordinator._lock

    async def after_a_commit(looks: Any, connection: Any) -> Any:
        if batch and part in {look.part for look in looks}:
            async with world.books.transaction() as other:
                assert await entries.write(other, part, batch)
            batch.clear()
        return await lock(looks, connection)

    monkeypatch.setattr(world.coordinator, "_lock", after_a_commit)
    world.work()
    await world.settle_down()
    assert not batch
    async with world.books.connection() as connection:
        assert (await entries.cursors(connection))[part] == (2, 2)
    shown = await keys.show(world.stores, made.key_id)
    assert shown.balance_nanos == 1020


async def test_books_put_back_between_two_batches_are_brought_forward(world: World) -> None:
    """No connection breaks, and only one of two wallets has a next event: the charge of the other,
    and a key that was made meanwhile, are in the old books too, to the nano."""
    resting = busy = await keys.create(world.stores, credit_nanos=10_000)
    while partition_of(busy.wallet) == partition_of(resting.wallet):
        busy = await keys.create(world.stores, credit_nanos=10_000)
    await world.until(world.drained)
    await world.rest()
    base, _, name = world.books._url.rpartition("/")
    await world.books.close()
    admin = await asyncpg.connect(f"{base}/postgres")
    await admin.execute(f"create database {name}_old template {name}")
    world.work()
    await world.one.charge(resting, "gone", 401)
    late = await keys.create(world.stores, credit_nanos=0)
    await world.until(world.drained)
    old = Books(f"{base}/{name}_old")
    world.writer._books = old
    await world.one.charge(busy, "next", 70)

    async def brought_forward() -> bool:
        async with old.connection() as connection:
            rows = await connection.fetch("select wallet, balance_nanos from wallet")
        found = {row["wallet"]: row["balance_nanos"] for row in rows}
        wanted = {resting.wallet: 9_599, busy.wallet: 9_930, late.wallet: 0}
        return wanted.items() <= found.items()

    try:
        await world.until(brought_forward)
        await world.rest()
    finally:
        await old.close()
        await admin.execute(f"drop database {name}_old with (force)")
        await admin.close()
