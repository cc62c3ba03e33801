"""A charge that Redis does not know is neither dropped nor made twice: the books are asked."""

import asyncio
import os
import signal

import msgspec
import pytest
from structlog.testing import capture_logs

from corvus_proxy.money.event import partition_of
from corvus_proxy.service import keys
from corvus_proxy.till import scripts
from corvus_proxy.till.recovery.report import Report
from corvus_proxy.till.reply import Charge
from tests.world import META, Process, World

pytestmark = pytest.mark.anyio


async def forget(world: World, wallet: str, rid: str, held_nanos: int) -> None:
    """Redis as a replica would have it that had never heard of the hold."""
    part = partition_of(wallet)
    assert await world.till.redis.hdel(scripts.key(part, "h"), rid) == 1
    await world.till.redis.hincrby(scripts.key(part, f"w:{wallet}"), "hld", -held_nanos)


async def restart(world: World) -> None:
    world.server.start()
    await asyncio.to_thread(world.server.wait)


def kill(world: World) -> None:
    os.kill(world.server.child.pid, signal.SIGKILL)
    world.server.child.wait()


async def epoch(world: World, wallet: str) -> int:
    return (await world.till.partitions())[partition_of(wallet)].epoch


async def begun(world: World) -> keys.Created:
    made = await keys.create(world.stores, credit_nanos=10_000)
    await world.until(world.drained)
    await world.listed("p1", "p2")
    return made


async def test_a_settle_under_way_misses_its_hold_after_a_failover(world: World) -> None:
    """No event is lost, only the hold is: the partition is rebuilt all the same, and charged."""
    made = await begun(world)
    hold = await world.one.begin(made, "a", 100)
    await forget(world, made.wallet, "a", 100)
    kill(world)
    assert await hold.settle(70, "completed", META, wait_s=0.1) is None
    await restart(world)
    with capture_logs() as logs:
        await world.settle_down()
        assert await world.one.holds.drain(60)
    await world.settle_down()
    assert await world.booked(made.wallet) == {"a": 70}
    assert "charge_not_found" not in {line["event"] for line in logs}  # it had not opened before
    assert await epoch(world, made.wallet) == 2


async def test_a_dead_process_s_charge_misses_its_hold_after_a_failover(world: World) -> None:
    """The same, where only the journal of a dead process has the charge."""
    made = await begun(world)
    hold = await world.one.begin(made, "a", 100)
    await forget(world, made.wallet, "a", 100)
    kill(world)
    assert await hold.settle(70, "completed", META, wait_s=0.1) is None
    await world.one.kill()
    await restart(world)
    heir = Process(world.till, world.folder / "node1", "p3")
    try:
        with capture_logs() as logs:
            await world.settle_down()
            await world.until(lambda: _answered(heir))
        await world.settle_down()
        assert await world.booked(made.wallet) == {"a": 70}
        assert "charge_not_found" not in {line["event"] for line in logs}
    finally:
        await heir.kill()


async def _answered(process: Process) -> bool:
    return not process.reporter.replay.charging


async def test_a_charge_that_an_open_partition_does_not_know_is_made(world: World) -> None:
    """Whatever took its hold: it waits, and a rebuild charges it. Its neighbours go on."""
    made = await begun(world)
    hold = await world.one.begin(made, "a", 100)
    other = await world.two.begin(made, "b", 200)
    await forget(world, made.wallet, "a", 100)
    assert await hold.settle(70, "completed", META, wait_s=0.2) is None
    async with asyncio.timeout(30):
        while "a" not in world.one.holds.unfound:  # noqa: ASYNC110 -- Redis has yet to say so
            await asyncio.sleep(0.01)
    assert world.one.holds.unfound["a"].epoch == 1
    assert await world.one.holds.drain(60)
    await other.settle(30, "completed", META, wait_s=30)
    await world.settle_down()
    assert await world.booked(made.wallet) == {"a": 70, "b": 30}
    assert await epoch(world, made.wallet) == 2  # once, and not again
    assert world.one.holds.unfound == {}


async def test_a_charge_that_the_books_have_is_not_made_again(world: World) -> None:
    """Its tombstone was trimmed long ago; the process that replays it learns from the books."""
    made = await begun(world)
    await world.one.charge(made, "a", 70)
    for number in range(8):  # the writer keeps 5
        await world.one.charge(made, f"later{number}", 1)
    await world.until(world.drained)
    part = partition_of(made.wallet)

    async def trimmed() -> bool:
        return await world.till.knows(part, ["a"]) == [False]

    await world.until(trimmed)
    again = Charge("a", made.wallet, made.key_id, "slug", 70, "completed", META)
    assert await world.two.holds.settle(again, 0.2) is None
    assert await world.two.holds.drain(60)
    await world.settle_down()
    assert (await world.booked(made.wallet))["a"] == 70
    state = await world.till.wallet(made.wallet)
    assert state is not None
    assert state.balance_nanos == 10_000 - 70 - 8


async def test_what_a_lease_had_ended_is_charged_the_rest(world: World) -> None:
    """Expired at its checkpoint, its tombstone trimmed: only what is beyond it is charged."""
    made = await begun(world)
    hold = await world.one.begin(made, "a", 100)
    hold.progress = lambda: (40, META)
    await hold.extend(100)
    await world.till.expire("a", made.wallet, renewals=1)
    for number in range(8):
        await world.two.charge(made, f"later{number}", 1)
    part = partition_of(made.wallet)

    async def trimmed() -> bool:
        return await world.till.knows(part, ["a"]) == [False]

    await world.until(trimmed)
    assert await hold.settle(70, "completed", META, wait_s=0.2) is None
    assert await world.one.holds.drain(60)
    await world.settle_down()
    booked = await world.booked(made.wallet)
    assert (booked["a"], booked["a:L"]) == (40, 30)


async def test_no_open_partition_closes_while_a_process_is_away(world: World) -> None:
    """It would wait for the claims of one that may never come: the charge waits in its place."""
    made = await begun(world)
    hold = await world.one.begin(made, "a", 100)
    await world.two.kill()
    word = (await world.till.reports())[world.two.reporter._field]
    last_ms = msgspec.json.decode(word, type=Report).at_ms

    async def missed() -> bool:
        return world.coordinator._heard.get("p2") == last_ms

    await world.until(missed)
    await asyncio.sleep(1.2)
    await forget(world, made.wallet, "a", 100)
    assert await hold.settle(70, "completed", META, wait_s=0.1) is None
    await asyncio.sleep(3)
    assert await world.opened()
    assert await epoch(world, made.wallet) == 1
    assert world.one.holds.is_settling("a")
    heir = Process(world.till, world.folder / "node2", "p3")
    try:
        assert await world.one.holds.drain(60)
        await world.settle_down()
        assert await world.booked(made.wallet) == {"a": 70}
    finally:
        await heir.kill()
