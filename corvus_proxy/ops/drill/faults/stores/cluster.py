"""Faults of a Redis Cluster: a slot that moves, a first replica, a master that is lost."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence

from corvus_proxy.errors import CorvusError
from corvus_proxy.money.event import PARTITIONS, partition_of
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.faults.stores.redis import epochs, serves
from corvus_proxy.ops.drill.stack.cluster import ClusterStack, Member
from corvus_proxy.ops.embedded import cluster
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.cluster.server import SLOTS

MOVES = 3
AIM_S, PAUSE_S = 2, 5
"""For which the partitions concerned are closed where nothing is lost: on a machine that has time
for it, and at most on one that has not."""
FAILOVER_S = 20.0
"""Of patience with the servers' election, and with what comes after it."""


async def all_of_it(scene: Scene) -> None:
    """22"""
    await move_slots(scene)
    await scene.wait(0.5, 1.0)
    await attach(scene)
    await scene.wait(0.5, 1.0)
    await fail_over(scene)


async def move_slots(scene: Scene) -> None:
    """Slots in use go to other masters, one after the other."""
    used = sorted({partition_of(one.wallet) for one in scene.load.wallets})
    pauses = []
    for part in scene.chance.sample(used, MOVES):
        masters = await _masters(scene)
        source = await _holder(scene, part)
        target, *others = scene.chance.sample([one for one in masters if one is not source], 2)
        move = functools.partial(
            cluster.move_slot, SLOTS[part], source.node, target.node, [one.node for one in others]
        )
        pauses.append(await _quick(scene, [part], move, "a slot was moved"))
        await scene.wait(0.2, 0.5)
    told = ", ".join(f"{pause_s:.2f} s" for pause_s in pauses)
    scene.note(f"moved slots open again {told} after the beginning of the move")


async def attach(scene: Scene) -> None:
    """A master without a replica gets its first: its replication id is another one then."""
    (alone,) = [one for one in await _masters(scene) if not await _replicas_of(one)]
    parts = await _parts_of(scene, alone)
    others = [one.node for one in _cluster(scene).members if one is not alone]
    new = await _cluster(scene).new_member()
    new.process.start()
    await asyncio.to_thread(new.node.wait)
    await cluster.meet(alone.node, [new.node, *others])
    follow = functools.partial(cluster.follow, new.node, alone.node)
    closed_s = await _quick(scene, parts, follow, "a first replica was attached")
    scene.note(f"{len(parts)} partitions closed for {closed_s:.2f} s by a first replica")
    await scene.until(lambda: cluster.in_sync(new.node), "the replica is in sync")


async def fail_over(scene: Scene) -> None:
    """A master is killed; its replica is promoted by the others, and it comes back as one."""
    members = _cluster(scene).members
    lost = scene.chance.choice(await _masters(scene))
    replicas = [one for one in members if not await cluster.is_master(one.node)]
    parts = await _parts_of(scene, lost)
    before, began_s = await epochs(scene), scene.now_s()
    lost.process.kill()

    async def promoted() -> bool:
        return any([await cluster.is_master(one.node) for one in replicas])

    await scene.until(promoted, "a replica is promoted", timeout_s=FAILOVER_S)
    promoted_s = scene.now_s()
    await scene.until(lambda: serves(scene), "every partition is open", timeout_s=FAILOVER_S)
    open_s = scene.now_s() - promoted_s
    _nobody_else(scene, parts, began_s, "a master was lost")
    rebuilt = sum(a != b for a, b in zip(before, await epochs(scene), strict=True))
    scene.note(
        f"{promoted_s - began_s:.2f} s until a replica was promoted, {open_s:.2f} s until its"
        f" {len(parts)} partitions were open, {rebuilt} rebuilt"
    )
    await scene.wait(0.5, 1.0)
    lost.process.start()
    await asyncio.to_thread(lost.node.wait)

    async def back() -> bool:
        return not await cluster.is_master(lost.node) and await cluster.in_sync(lost.node)

    await scene.until(back, "the lost master is a replica")
    await scene.until(lambda: serves(scene), "every partition is open")
    scene.healed()


async def _quick(
    scene: Scene, parts: Sequence[int], change: Callable[[], Awaitable[None]], what: str
) -> float:
    """Makes a change that loses nothing: these partitions are open again soon, without a rebuild,
    and meanwhile nobody else has noticed. For how many seconds they did not serve: from the first
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
    _nobody_else(scene, parts, began_s, what)
    return pause_s


def _nobody_else(scene: Scene, parts: Sequence[int], since_s: float, what: str) -> None:
    """Customers in other partitions have been served."""
    elsewhere = [one for one in scene.asked(since_s) if partition_of(one.wish.wallet) not in parts]
    if elsewhere:
        scene.must_be_well(elsewhere, f"{what} elsewhere")


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


FAULTS = (
    Fault(
        22,
        "slot moved to another node",
        f"a cluster of three masters: {MOVES} slots in use are moved to other masters under load;"
        " the master without a replica gets its first; a master is killed, its replica is promoted,"
        " and it comes back as a replica",
        f"a slot that moves and a first replica: a pause of {AIM_S} s (on a machine that others"
        f" use {PAUSE_S} s) at most in the partitions concerned, and no rebuild; the failover:"
        " nothing is lost; nobody else notices any of it",
        all_of_it,
        cluster=True,
        destroys=True,
    ),
)
