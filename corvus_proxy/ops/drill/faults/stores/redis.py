"""Faults of Redis: killed, cut, altered, emptied, frozen, full, busy."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from typing import NamedTuple

import redis.asyncio as aioredis

from corvus_proxy.books import entries
from corvus_proxy.money.event import PARTITIONS
from corvus_proxy.ops.drill.checkers import Bounds
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.faults.gateway import granted
from corvus_proxy.ops.drill.faults.stores import aof
from corvus_proxy.ops.drill.links import Link, Seen
from corvus_proxy.ops.drill.stack import GATEWAYS, RedisServer
from corvus_proxy.ops.drill.workload import Wallet
from corvus_proxy.secret import digest
from corvus_proxy.service import keys
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.reply import Denied, Look

OPEN_S = 120
BEHIND = 200
"""Charges that a promoted replica has not got."""
SPLIT_S = (4.0, 7.0)
FROZEN_S = (2.5, 4.0)
LATENCY_S = 0.2
FLUSH_S = 0.1
BUSY_S = 5
BUSY = """
redis.call('SET', KEYS[1], '1')
redis.call('DEL', KEYS[1])
local began = os.clock()
while os.clock() - began < tonumber(ARGV[1]) do end
"""


async def kill(scene: Scene) -> None:
    """9"""
    for _ in range(2):
        scene.redis.kill()
        await scene.wait(0.2, 1.0)
        await scene.start_redis()
        scene.healed()
        await scene.wait(1.5, 2.0)


class Replica(NamedTuple):
    """A second Redis that follows the stack's."""

    redis: RedisServer
    line: Link
    """Between the two."""
    client: aioredis.Redis

    async def promote(self) -> None:
        """It is a primary from now on, with what it has."""
        await self.line.close()
        await self.client.replicaof("NO", "ONE")


@contextlib.asynccontextmanager
async def following(scene: Scene) -> AsyncIterator[Replica]:
    """A replica in sync, while everything serves."""
    stack = scene.stack
    redis = stack.new_redis(f"redis-{scene.chance.getrandbits(32):08x}")
    line = Link("redis>replica", stack.ports["redis"])
    await line.open()
    redis.process.start()
    await asyncio.to_thread(redis.server.wait)
    client = aioredis.Redis(port=redis.server.port)
    try:
        await client.replicaof("127.0.0.1", line.port)

        async def in_sync() -> bool:
            return bool((await client.info("replication"))["master_link_status"] == "up")

        await scene.until(in_sync, "the replica is in sync")
        await scene.until(lambda: serves(scene), "the primary serves with its first replica")
        yield Replica(redis, line, client)
    finally:
        await client.aclose()
        await line.close()


async def promote_lagging(scene: Scene) -> None:
    """15"""
    async with following(scene) as replica:
        replica.line.hold()
        settled = scene.count("settle")
        frozen = await freeze_one(scene)
        await scene.until(lambda: settled() >= BEHIND, f"{BEHIND} settles were acknowledged")
        scene.redis.kill()
        await replica.promote()
    scene.note(f"{settled()} settles behind")
    scene.stack.take_redis(replica.redis)
    scene.healed()
    await still_frozen(scene, frozen)


async def split(scene: Scene) -> None:
    """16"""
    stack = scene.stack
    alone = scene.chance.choice(GATEWAYS)
    async with following(scene) as replica:
        settled = scene.count("settle")
        for name, link in stack.links.items():
            if name.endswith(">redis") and name != f"{alone}>redis":
                link.retarget(replica.redis.server.port)
        await replica.promote()
        await scene.wait(*SPLIT_S)
        if not settled():
            scene.violated("the old primary has served nobody, so there was no split")
        opened: list[int] = []

        async def counted() -> bool:
            with contextlib.suppress(TillUnavailable):  # connections were reset
                opened.append(await open_partitions(scene))
            return bool(opened)

        await scene.until(counted, "the new primary answers")
        if opened[0]:
            scene.violated(f"{opened[0]} partitions serve, and a process was not heard about them")
        scene.redis.kill()
    scene.note(f"{settled()} settles on the other side")
    stack.take_redis(replica.redis)
    scene.healed()
    await scene.until(lambda: serves(scene), "every partition is open", timeout_s=OPEN_S)


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
    try:
        return await open_partitions(scene) == PARTITIONS
    except TillUnavailable:
        return False


async def open_partitions(scene: Scene) -> int:
    """How many are open on the server that answers. Raises TillUnavailable."""
    return PARTITIONS - len(await scene.stack.stores.till.closed())


async def epochs(scene: Scene) -> list[int]:
    """Of every partition, as the books have it: it rises with each rebuild."""
    async with scene.stack.stores.books.connection() as connection:
        cursors = await entries.cursors(connection)
    return [cursors[part].epoch for part in sorted(cursors)]


async def flush(scene: Scene) -> None:
    """14"""
    await scene.stack.stores.till.redis.flushall()


async def slow(scene: Scene) -> None:
    """18"""
    scene.redis.freeze()
    await scene.wait(*FROZEN_S)
    scene.redis.thaw()
    await scene.until(lambda: serves(scene), "Redis serves again")
    links = [scene.link(f"{name}>redis") for name in GATEWAYS]
    for link in links:
        link.delay_s = LATENCY_S / 2  # once each way
    await scene.wait(1.5, 2.0)
    for link in links:
        link.heal()
    for script in ("reserve", "settle"):
        await reset_at_each_byte(scene, links, script)
    scene.healed()


async def reset_at_each_byte(scene: Scene, links: list[Link], script: str) -> None:
    """Every other OK to a script comes a byte further than the one before, and is reset there;
    until one has come whole."""
    size = turn = 0
    whole, says_ok = False, granted(script)

    def cut(seen: Seen) -> int | None:
        nonlocal size, turn, whole
        if whole or not says_ok(seen):
            return None
        turn += 1
        if turn % 2:
            return None
        size += 1
        whole = size > len(seen.data)
        return size - 1

    for link in links:
        link.cut(cut)
    await scene.until(lambda: whole, f"a reply to {script} was cut at each byte")
    scene.note(f"{size} replies to {script} cut")
    for link in links:
        link.heal()


async def fill(scene: Scene) -> None:
    """19"""
    client, config = scene.stack.stores.till.redis, "maxmemory"
    before = str((await client.config_get(config))[config])
    await client.config_set(config, 1)
    await asyncio.sleep(0.1)  # what was answered before has arrived
    reserved, settled = scene.count("reserve"), scene.count("settle")
    await scene.wait(1.0, 2.0)
    if reserved():
        scene.violated(f"{reserved()} holds were granted by a Redis that is full")
    if not settled():
        scene.violated("a Redis that is full has taken no charge")
    await client.config_set(config, before)
    scene.healed()
    await scene.wait(1.0, 1.5)
    await fill_disk(scene)
    await scene.wait(0.2, 1.0)
    await scene.start_redis()
    scene.healed()


async def fill_disk(scene: Scene) -> None:
    """No file of Redis may grow further, somewhere inside one of the next writes; it ends."""
    log = aof.newest(scene.stack.redis_folder)
    size_bytes = log.stat().st_size + scene.chance.randint(1, 4000)
    resource.prlimit(scene.redis.pid, resource.RLIMIT_FSIZE, (size_bytes, size_bytes))
    await scene.until(lambda: not scene.redis.alive, "Redis has ended at the full disk")
    scene.redis.kill()  # it has ended, and is forgotten


async def flush_scripts(scene: Scene) -> None:
    """20"""
    first = len(scene.load.answers)
    for _ in range(scene.chance.randint(30, 50)):
        await scene.stack.stores.till.redis.script_flush()
        await asyncio.sleep(FLUSH_S)
    refused = [one for one in scene.load.answers[first:] if one.status >= 500]
    if refused:
        seen = sorted({f"{one.status} {one.code}" for one in refused})
        scene.violated(f"{len(refused)} requests were refused: {seen}")


async def busy(scene: Scene) -> None:
    """21"""
    client, config = scene.stack.stores.till.redis, "busy-reply-threshold"
    before = str((await client.config_get(config))[config])
    await client.config_set(config, scene.chance.randint(50, 400))
    await client.eval(BUSY, 1, "corvus:drill", BUSY_S)
    await client.config_set(config, before)
    scene.healed()


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
    Fault(
        16,
        "split brain",
        f"a replica is promoted while one gateway goes on with the old primary, for {SPLIT_S[0]:g}"
        f" to {SPLIT_S[1]:g} s; everybody else is led to the replica; then that gateway is, too",
        "the new primary opens nothing before that gateway was heard, so no money is spent twice;"
        " what the old one acknowledged is charged, at most what is there",
        split,
        Bounds(recharged=True),
    ),
    Fault(
        18,
        "redis slow",
        f"SIGSTOP of Redis for {FROZEN_S[0]:g} to {FROZEN_S[1]:g} s, longer than a lease;"
        f" {LATENCY_S * 1000:.0f} ms of latency; the connection is reset at each byte of a reply"
        " to `reserve`, then to `settle`",
        "503 once the patience of 250 ms is over; no lease ends because of it; nothing is held or"
        " charged twice",
        slow,
    ),
    Fault(
        19,
        "redis full",
        "Redis may use no more memory for 1 to 2 s; then its log's disk is full, in the middle of a"
        " write, and it is started again with room",
        "memory: no hold is granted and charges are taken; disk: it ends, as F9",
        fill,
        back_s=5,
    ),
    Fault(
        20,
        "scripts forgotten",
        f"SCRIPT FLUSH every {FLUSH_S * 1000:.0f} ms, 30 to 50 times",
        "nobody notices",
        flush_scripts,
    ),
    Fault(
        21,
        "redis busy",
        f"a script that has written runs for {BUSY_S} s; Redis answers BUSY after 50 to 400 ms",
        "503 meanwhile, then well",
        busy,
    ),
)
