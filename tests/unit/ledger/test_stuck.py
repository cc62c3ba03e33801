"""A recovery that is cut off keeps no partition shut, and charges nothing twice."""

import asyncio
import os
import signal
from typing import Any

import pytest

from corvus_proxy.books import db, entries, nodes
from corvus_proxy.books.db import Books
from corvus_proxy.ledger import outbox, rebuild
from corvus_proxy.ledger.coordinator import Coordinator
from corvus_proxy.money.event import partition_of
from corvus_proxy.service import keys
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.reply import Duplicate
from tests.world import META, Process, World

pytestmark = pytest.mark.anyio


async def ask_rebuilt(world: World, part: int) -> None:
    """A partition once rebuilt by an operator's wish, and open again."""
    epoch = (await world.till.partitions())[part].epoch
    async with world.books.connection() as connection:
        await nodes.ask_rebuild(connection, [part])

    async def done() -> bool:
        state = (await world.till.partitions())[part]
        return state.epoch > epoch and state.state == "OPEN"

    await world.until(done)


async def restart(world: World) -> None:
    os.kill(world.server.child.pid, signal.SIGKILL)
    world.server.child.wait()
    world.server.start()
    await asyncio.to_thread(world.server.wait)


async def test_a_redis_that_stutters_while_keys_are_brought_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quick path of a partition that was rebuilt once: it is taken up where it stopped."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.until(world.drained)
    part = partition_of(made.wallet)
    await ask_rebuilt(world, part)
    old = await world.till.redis.dump(f"{{p{part:02d}}}:w:{made.wallet}")
    await keys.set_frozen(world.stores, made.key_id, frozen=True)
    await world.till.redis.restore(f"{{p{part:02d}}}:w:{made.wallet}", 0, old, replace=True)
    real, tries = outbox.push_wallet, []

    async def push(till: Any, books: Any, wallet: str) -> bool:
        tries.append(wallet)
        if len(tries) == 1:
            raise TillUnavailable("Redis: no answer in time")
        return await real(till, books, wallet)

    monkeypatch.setattr(outbox, "push_wallet", push)
    await restart(world)
    await world.until(world.opened)
    assert len(tries) > 1
    assert (await world.till.partitions())[part].epoch == 2  # not rebuilt for it
    await world.settle_down()


async def test_a_process_that_begins_while_a_rebuild_stands_half_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All claims were in, the worker died in REPLAY, and a new process has nothing to claim."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.one.charge(made, "r", 10)
    await world.until(world.drained)
    part = partition_of(made.wallet)
    real, fails = rebuild._compare, [True]

    async def compare(till: Any, books: Any, which: int) -> Any:
        if which == part and fails:
            raise TillUnavailable("Redis: no answer in time")
        return await real(till, books, which)

    monkeypatch.setattr(rebuild, "_compare", compare)
    async with world.books.connection() as connection:
        await nodes.ask_rebuild(connection, [part])

    async def replaying() -> bool:
        return (await world.till.partitions())[part].state == "REPLAY"

    await world.until(replaying)
    late = Process(world.till, world.folder / "node9", "p9")
    try:

        async def heard() -> bool:
            return any(b'"p9"' in text for text in (await world.till.reports()).values())

        await world.until(heard)
        fails.clear()
        await world.until(world.opened)
        await late.charge(made, "s", 5)
        await world.settle_down()
    finally:
        await late.reporter.stop(leave=False)


async def test_what_was_charged_late_is_not_charged_late_again(world: World) -> None:
    """The lease had ended the hold; `late` was made and booked, its answer and then Redis lost."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    hold = await world.one.begin(made, "slow", 1000)
    hold.progress = lambda: (100, META)
    await hold.extend(1000)
    await world.till.expire("slow", made.wallet, renewals=1)
    real = world.till.late
    answered: list[Any] = []

    async def late(charge: Any) -> Any:
        answered.append(await real(charge))
        if len(answered) == 1:
            await world.until(world.drained)
            await world.till.redis.flushall()
            raise TillUnavailable("Redis: no answer in time")
        return answered[-1]

    world.till.late = late  # type: ignore[method-assign]
    settled = await hold.settle(700, "completed", META, wait_s=10)
    assert settled is None  # it had been charged: a duplicate
    assert [type(one) for one in answered][-1] is Duplicate
    await world.settle_down()
    assert await world.booked(made.wallet) == {"slow": 100, "slow:L": 600}


async def test_a_server_that_was_put_back_while_it_was_open(world: World) -> None:
    """Nothing closed it, and its stamp is its own: the next acknowledgment is ahead of it."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.until(world.drained)
    part = partition_of(made.wallet)
    names = [name async for name in world.till.redis.scan_iter(match=f"{{p{part:02d}}}:*")]
    before = {name: await world.till.redis.dump(name) for name in names}
    await keys.credit(world.stores, made.key_id, 500, reason="paid")
    await world.until(world.drained)
    async with world.books.connection() as connection:
        booked = (await entries.cursors(connection))[part]
    for name in [one async for one in world.till.redis.scan_iter(match=f"{{p{part:02d}}}:*")]:
        await world.till.redis.delete(name)
    for name, text in before.items():
        await world.till.redis.restore(name, 0, text)
    assert (await world.till.partitions())[part].seq < booked.seq
    world.writer._unacked[part] = booked

    async def rebuilt() -> bool:
        state = (await world.till.partitions())[part]
        return state.epoch > booked.epoch and state.state == "OPEN"

    await world.until(rebuilt)
    state = await world.till.wallet(made.wallet)
    assert state is not None
    assert state.balance_nanos == 10_500
    await world.settle_down()


async def test_books_that_are_about_to_get_ahead_of_a_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but the worker was told of a credit that its writer has read: it waits for it."""
    assert not await opened_before_a_credit_is_booked(world, monkeypatch)


async def test_books_that_got_ahead_of_an_open_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where another worker coordinates: it is noticed by the ack, and rebuilt."""
    await world.rest()
    world.coordinator = Coordinator(world.till, world.books)
    world.work()
    assert await opened_before_a_credit_is_booked(world, monkeypatch)


async def opened_before_a_credit_is_booked(world: World, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The writer has read a credit that the promoted server lacks, and books it seconds later;
    whether that server was open by then. In the end all of it agrees."""
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.until(world.drained)
    part = partition_of(made.wallet)
    names = [name async for name in world.till.redis.scan_iter(match=f"{{p{part:02d}}}:*")]
    before = {name: await world.till.redis.dump(name) for name in names}
    entered, go, real = asyncio.Event(), asyncio.Event(), world.writer._book

    async def book(which: int, *rest: Any, **options: Any) -> Any:
        if which == part:
            entered.set()
            await go.wait()
        return await real(which, *rest, **options)

    monkeypatch.setattr(world.writer, "_book", book)
    await keys.credit(world.stores, made.key_id, 500, reason="paid")
    await asyncio.wait_for(entered.wait(), 30)
    for name in [one async for one in world.till.redis.scan_iter(match=f"{{p{part:02d}}}:*")]:
        await world.till.redis.delete(name)
    for name, text in before.items():
        await world.till.redis.restore(name, 0, text)
    await restart(world)
    if world.coordinator._in_hand is world.writer.in_hand:
        await asyncio.sleep(1.5)  # it waits for that writer
    else:
        await world.until(world.opened)
    was_open = await world.opened()
    go.set()

    async def credited() -> bool:
        await outbox.tick(world.till, world.books)  # what was not booked is sent once more
        state = await world.till.wallet(made.wallet)
        return state is not None and state.balance_nanos == 10_500

    await world.until(credited)
    await world.until(world.opened)
    await world.one.charge(made, "next", 20)
    await world.settle_down()
    assert await world.booked(made.wallet) == {"next": 20}
    return was_open


async def test_a_worker_that_is_frozen_while_it_coordinates(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection lives on, in the kernel; the server ends its transaction, and another worker
    opens the ledger."""
    await world.rest()
    short = db._SESSION.replace("session_timeout = '30s'", "session_timeout = '4s'")
    assert short != db._SESSION
    monkeypatch.setattr(db, "_SESSION", short)
    frozen_books = Books(world.books._url)
    frozen = Coordinator(world.till, frozen_books)
    began = asyncio.Event()

    async def reports(connection: Any) -> Any:
        began.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(frozen, "_reports", reports)
    ticking = asyncio.create_task(frozen.tick())
    await began.wait()
    await restart(world)
    world.work()
    await asyncio.sleep(0.5)
    assert not await world.opened()
    await world.until(world.opened)
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)
    await frozen_books.close()
