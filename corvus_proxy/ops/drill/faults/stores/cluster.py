"""Faults of a Redis Cluster: a slot that moves, a first replica, a master that is lost."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence

from corvus_proxy.errors import CorvusError
from corvus_proxy.money.event import PARTITIONS, partition_of
from corvus_proxy.ops.drill.client import Answer
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.faults.stores.redis import epochs, serves
from corvus_proxy.ops.drill.stack.cluster import ClusterStack, Member
from corvus_proxy.ops.embedded import cluster
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.cluster.server import SLOTS

MOVES = 3
AIM_S, PAUSE_S = 2, 10
"""For which the partitions concerned are closed where nothing is lost: on a machine that has time
for it, and at most on one that has not."""
ELSEWHERE = 20
"""One in so many requests of others may be refused: where the machine is busy, a server may say
nothing for the 250 ms that a request waits."""
BEHIND = 60
"""Charges, of all masters, that were acknowledged while a replica copied nothing."""
FAILOVER_S = 60.0
"""Of patience with the servers' election, and with what comes after it."""


async def all_of_it(scene: Scene) -> None:
    """22"""
    elsewhere = await move_slots(scene)
    await scene.wait(0.5, 1.0)
    elsewhere += await attach(scene)
    await scene.wait(0.5, 1.0)
    elsewhere += await fail_over(scene)
    bad = [f"{one.status} {one.code or one.broken}" for one in elsewhere if not one.well]
    if not elsewhere or len(bad) * ELSEWHERE > len(elsewhere):
        scene.violated(f"{len(bad)} of {len(elsewhere)} not served elsewhere: {bad[:3]}")
    scene.note(f"{len(bad)} of {len(elsewhere)} refused elsewhere")


async def move_slots(scene: Scene) -> list[Answer]:
    """Slots in use go to other masters, one after the other. What all others were answered."""
    used = sorted({partition_of(one.wallet) for one in scene.load.wallets})
    pauses, elsewhere = [], []
    for part in scene.chance.sample(used, MOVES):
        masters = await _masters(scene)
        source = await _holder(scene, part)
        target, *others = scene.chance.sample([one for one in masters if one is not source], 2)
        move = functools.partial(
            cluster.move_slot, SLOTS[part], source.node, target.node, [one.node for one in others]
        )
        began_s = scene.now_s()
        pauses.append(await _quick(scene, [part], move, "a slot was moved"))
        elsewhere += _elsewhere(scene, [part], began_s)
        await scene.wait(0.2, 0.5)
    told = ", ".join(f"{pause_s:.2f} s" for pause_s in pauses)
    scene.note(f"moved slots open again {told} after the beginning of the move")
    return elsewhere


async def attach(scene: Scene) -> list[Answer]:
    """A master without a replica gets its first: its replication id is another one then."""
    (alone,) = [one for one in await _masters(scene) if not await _replicas_of(one)]
    parts = await _parts_of(scene, alone)
    others = [one.node for one in _cluster(scene).members if one is not alone]
    new = await _cluster(scene).new_member()
    new.process.start()
    await asyncio.to_thread(new.node.wait)
    await cluster.meet(alone.node, [new.node, *others])
    follow = functools.partial(cluster.follow, new.node, alone.node)
    began_s = scene.now_s()
    closed_s = await _quick(scene, parts, follow, "a first replica was attached")
    elsewhere = _elsewhere(scene, parts, began_s)
    scene.note(f"{len(parts)} partitions closed for {closed_s:.2f} s by a first replica")
    await scene.until(lambda: cluster.in_sync(new.node), "the replica is in sync")
    return elsewhere


async def fail_over(scene: Scene) -> list[Answer]:
    """A master is killed whose replica had stopped copying; the others promote that, and the master
    comes back as its replica."""
    lost = scene.chance.choice(await _masters(scene))
    heir = await _replica_of(scene, lost)
    parts = await _parts_of(scene, lost)
    before = await epochs(scene)
    settled = scene.count("settle")
    lost.link.hold_copies()
    await scene.until(lambda: settled() >= BEHIND, f"{BEHIND} settles were acknowledged")
    began_s = scene.now_s()
    lost.process.kill()
    lost.link.reset()  # and what it held back is lost with it
    lost.link.heal()

    async def promoted() -> bool:
        return await cluster.is_master(heir.node)

    await scene.until(promoted, "a replica is promoted", timeout_s=FAILOVER_S)
    promoted_s = scene.now_s()
    await scene.until(lambda: serves(scene), "every partition is open", timeout_s=FAILOVER_S)
    open_s = scene.now_s() - promoted_s
    elsewhere = _elsewhere(scene, parts, began_s)
    rebuilt = sum(a != b for a, b in zip(before, await epochs(scene), strict=True))
    scene.note(
        f"{promoted_s - began_s:.2f} s until a replica was promoted, {open_s:.2f} s until its"
        f" {len(parts)} partitions were open, {rebuilt} rebuilt"
    )
    if not rebuilt:
        scene.violated("the replica lacked charges, and no partition was rebuilt")
    await scene.wait(0.5, 1.0)
    lost.process.start()
    await asyncio.to_thread(lost.node.wait)

    async def back() -> bool:
        return not await cluster.is_master(lost.node) and await cluster.in_sync(lost.node)

    await scene.until(back, "the lost master is a replica")
    await scene.until(lambda: serves(scene), "every partition is open")
    scene.healed()
    return elsewhere


def _elsewhere(scene: Scene, parts: Sequence[int], since_s: float) -> list[Answer]:
    """What customers in other partitions were answered."""
    return [one for one in scene.asked(since_s) if partition_of(one.wish.wallet) not in parts]


async def _quick(
    scene: Scene, parts: Sequence[int], change: Callable[[], Awaitable[None]], what: str
) -> float:
    """Makes a change that loses nothing: these partitions are open again soon, without a rebuild.
    For how many seconds they did not serve: from the first
    look that found them closed, and where the change itself closes them, from its beginning."""
    till = scene.stack.stores.till
    before, began_s = await epochs(scene), scene.now_s()
    stamps = [await till.stamp(part) for part in parts]
    closed: list[float] = []

    async def opened() -> bool:
        try:
            if not await till.closed():
                return [await till.stamp(part) for part in parts] != stamps
        except TillUnavailable:
            pass
        closed.append(scene.now_s())
        return False

    if len(parts) == 1:  # from here on its keys are in two places
        closed.append(began_s)
    await change()
    await scene.until(opened, f"every partition is open after {what}")
    open_s = scene.now_s()
    pause_s = open_s - closed[0] if closed else 0.0
    if pause_s > PAUSE_S:
        scene.violated(f"{pause_s:.2f} s until all was open after {what}")
    if await epochs(scene) != before:
        scene.violated(f"a partition was rebuilt after {what}, and nothing was lost")
    return pause_s


def _cluster(scene: Scene) -> ClusterStack:
    if not isinstance(scene.stack, ClusterStack):
        raise CorvusError("this fault needs a stack on a cluster")
    return scene.stack


async def _masters(scene: Scene) -> list[Member]:
    return [one for one in _cluster(scene).members if await cluster.is_master(one.node)]


async def _holder(scene: Scene, part: int) -> Member:
    """The server that has a partition."""
    for one in await _masters(scene):
        if part in await _parts_of(scene, one):
            return one
    raise CorvusError(f"no server has p{part:02d}")


async def _parts_of(scene: Scene, member: Member) -> list[int]:
    """The partitions that a server has."""
    async with member.node.client() as client:
        replid = (await client.info("replication"))["master_replid"]
    replids = await scene.stack.stores.till.replids()
    return [part for part in range(PARTITIONS) if replids[part] == replid]


async def _replicas_of(member: Member) -> int:
    async with member.node.client() as client:
        return int((await client.info("replication"))["connected_slaves"])


async def _replica_of(scene: Scene, master: Member) -> Member:
    """The server that copies a master."""
    for one in _cluster(scene).members:
        async with one.node.client() as client:
            info = await client.info("replication")
        if info.get("master_port") == master.node.announced:
            return one
    raise CorvusError(f"{master.process.name} has no replica")


FAULTS = (
    Fault(
        22,
        "slot moved to another node",
        f"a cluster of three masters: {MOVES} slots in use are moved to other masters under load;"
        " the master without a replica gets its first; a replica's line is held until"
        f" {BEHIND} more charges were acknowledged, its master is killed, and it is promoted; the"
        " master comes back as a replica",
        f"a slot that moves and a first replica: a pause of {AIM_S} s (on a machine that others"
        f" use {PAUSE_S} s) at most in the partitions concerned, and no rebuild; the failover:"
        " what the replica lacks is rebuilt, and nothing is lost; all others are served meanwhile",
        all_of_it,
        cluster=True,
        destroys=True,
    ),
)
