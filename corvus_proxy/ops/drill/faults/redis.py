"""Faults of Redis: killed, cut, altered, emptied, frozen, full, busy."""

import asyncio

import redis.asyncio as aioredis

from corvus_proxy.books import entries
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.links import Link
from corvus_proxy.ops.drill.workload import Wallet
from corvus_proxy.secret import digest
from corvus_proxy.service import keys
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.reply import Denied, Look

OPEN_S = 120
BEHIND = 200
"""Charges that a promoted replica has not got."""


async def kill(scene: Scene) -> None:
    """9"""
    for _ in range(2):
        scene.redis.kill()
        await scene.wait(0.2, 1.0)
        await scene.start_redis()
        scene.healed()
        await scene.wait(1.5, 2.0)


async def promote_lagging(scene: Scene) -> None:
    """15"""
    stack = scene.stack
    replica = stack.new_redis(f"redis-{scene.chance.getrandbits(32):08x}")
    line = Link("redis>replica", stack.ports["redis"])
    await line.open()
    replica.process.start()
    await asyncio.to_thread(replica.server.wait)
    client = aioredis.Redis(port=replica.server.port)
    try:
        await client.replicaof("127.0.0.1", line.port)

        async def in_sync() -> bool:
            return bool((await client.info("replication"))["master_link_status"] == "up")

        await scene.until(in_sync, "the replica is in sync")
        await scene.until(lambda: serves(scene), "the primary serves with its first replica")
        line.hold()
        settled = scene.count("settle")
        frozen = await freeze_one(scene)
        await scene.until(lambda: settled() >= BEHIND, f"{BEHIND} settles were acknowledged")
        scene.redis.kill()
        await line.close()
        await client.replicaof("NO", "ONE")
    finally:
        await client.aclose()
    scene.note(f"{settled()} settles behind")
    stack.take_redis(replica)
    scene.healed()
    await still_frozen(scene, frozen)


async def freeze_one(scene: Scene) -> Wallet:
    """Freezes a key in a partition in which nothing else moves."""
    wallet = scene.chance.choice(scene.load.quiet)
    await keys.set_frozen(scene.stack.stores, wallet.key_id, frozen=True, reason="drill")
    return wallet


async def still_frozen(scene: Scene, wallet: Wallet) -> None:
    """What the books say of a key holds from the moment in which its partition serves again."""
    stores = scene.stack.stores
    await scene.until(lambda: serves(scene), "every partition is open", timeout_s=OPEN_S)
    found = await stores.till.look(wallet.wallet, digest(wallet.secret, stores.pepper))
    if getattr(found, "status", "") == "active" or not isinstance(found, Denied | Look):
        scene.violated(f"{wallet.key_id} was frozen, and Redis says {found!r}")
    await keys.set_frozen(stores, wallet.key_id, frozen=False, reason="drill")


async def serves(scene: Scene) -> bool:
    """Whether every partition is open on the server that answers."""
    till = scene.stack.stores.till
    try:
        replid = await till.replid()
        states = await till.partitions()
    except TillUnavailable:
        return False
    return all(one.state == "OPEN" and one.stamp == replid for one in states)


async def epochs(scene: Scene) -> list[int]:
    """Of every partition, as the books have it: it rises with each rebuild."""
    async with scene.stack.stores.books.connection() as connection:
        cursors = await entries.cursors(connection)
    return [cursors[part].epoch for part in sorted(cursors)]


async def flush(scene: Scene) -> None:
    """14"""
    await scene.stack.stores.till.redis.flushall()


FAULTS = (
    Fault(
        9,
        "redis killed",
        "kill -9 of Redis under load, twice; started again after 0.2 to 1 s",
        "503 meanwhile; every partition is opened again by the quick path; nothing is lost",
        kill,
        back_s=5,
    ),
    Fault(
        14,
        "redis emptied",
        "FLUSHALL by an administrator under load",
        "every partition is rebuilt from the books and the journals; nothing is lost",
        flush,
    ),
    Fault(
        15,
        "lagging replica promoted",
        f"a replica's line is held until {BEHIND} more charges were acknowledged and a key was"
        " frozen; then the primary is killed and the replica promoted",
        "every partition that lost an event is rebuilt; no charge is lost; a key that was frozen"
        " meanwhile stays frozen",
        promote_lagging,
    ),
)
