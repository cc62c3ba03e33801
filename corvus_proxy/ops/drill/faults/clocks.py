"""A fault of clocks: every process has another time, and none the right one."""

import asyncio

from corvus_proxy import clock
from corvus_proxy.ops.drill.checkers import Bounds
from corvus_proxy.ops.drill.client import Answer
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.faults.stores.redis import serves
from corvus_proxy.ops.drill.stack import GATEWAYS, LEASE_S
from corvus_proxy.ops.drill.workload import POOR, SHARED

STOP_S = 15.0
READY_S = 15.0
HOUR_S = 3600
OFFSETS_S = (HOUR_S, -HOUR_S, 10 * 365 * 24 * HOUR_S)
LONG_TOKENS, LONG_DELAY_MS = 48, 100
LONG = 6
OPEN_S = 5.0
EXPIRED = "select count(*) from event where type = 'X'"
OFF = "select count(*) from request where abs(extract(epoch from ended_at - now())) > 1800"


async def wrong_clocks(scene: Scene) -> None:
    """29"""
    names = [*(f"gateway-{name}" for name in GATEWAYS), "worker"]
    offsets = dict(zip(names, scene.chance.sample(OFFSETS_S, len(OFFSETS_S)), strict=True))
    scene.note(", ".join(f"{name} {offset_s:+} s" for name, offset_s in offsets.items()))
    for name, offset_s in offsets.items():
        scene.stack.environment[name] = {"CORVUS_CLOCK_OFFSET_S": str(offset_s)}
    try:
        await start_anew(scene)
        await under_wrong_clocks(scene)
    finally:
        for name in names:
            del scene.stack.environment[name]
    await start_anew(scene)
    scene.healed()


async def under_wrong_clocks(scene: Scene) -> None:
    """Streams that outlive two leases, then a restart of Redis, which opens on the word of every
    process; each word bears that process's own time."""
    expired, off, began_s = await count(scene, EXPIRED), await count(scene, OFF), now_s()
    answers = await long_streams(scene)
    scene.redis.kill()
    killed_s = now_s()
    await scene.wait(0.1, 0.5)
    await scene.start_redis()
    started_s = now_s()
    await scene.until(lambda: serves(scene), "every partition is open")
    opened_s = now_s()
    await scene.wait(2.0, 2.5)
    scene.must_be_well(scene.asked(began_s, killed_s - 1), "clocks are wrong")
    scene.must_be_well(scene.asked(opened_s + 1), "clocks are wrong, after a restart of Redis")
    if bad := [one for one in answers if not one.ok]:
        scene.violated(f"{len(bad)} of {len(answers)} long streams were ended: {bad[0].code}")
    if more := await count(scene, EXPIRED) - expired:
        scene.violated(f"{more} leases expired, and their owners lived")
    if opened_s - started_s > OPEN_S:
        scene.violated(f"the ledger was open again after {opened_s - started_s:.1f} s")
    if await count(scene, OFF) == off:
        scene.violated("no record bears a wrong time: nothing was shown")


now_s = clock.monotonic_s


async def start_anew(scene: Scene) -> None:
    """Every process ends in order and starts under its own clock."""
    processes = [*scene.stack.gateways.values(), scene.worker]
    for process in processes:
        process.ask_to_stop()
    for process in processes:
        if not await process.ended(STOP_S):
            scene.violated(f"{process.name} did not stop within {STOP_S:.0f} s")
            process.kill()
        process.start()
    for name in GATEWAYS:
        await scene.stack.until_ready(name, timeout_s=READY_S)


async def long_streams(scene: Scene) -> list[Answer]:
    """Some streams, each longer than two leases."""
    wallets = scene.chance.sample(scene.load.wallets[POOR:-SHARED], LONG)
    directive = f"tokens={LONG_TOKENS}; delay_ms={LONG_DELAY_MS}"
    sends = []
    for number, wallet in enumerate(wallets):
        wish = scene.load.wish(scene.chance, wallet)
        wish.stream, wish.leave_after, wish.directive = True, -1, directive
        sends.append(scene.load.send(wish, GATEWAYS[number % len(GATEWAYS)]))
    answers = await asyncio.gather(*sends)
    short = [one for one in answers if one.ended_s - one.began_s < 2 * LEASE_S]
    if short:
        scene.violated(f"{len(short)} of {LONG} streams were shorter than two leases")
    return answers


async def count(scene: Scene, query: str) -> int:
    """A number from the books."""
    async with scene.stack.stores.books.connection() as connection:
        return int(await connection.fetchval(query))


FAULTS = (
    Fault(
        29,
        "clocks wrong",
        "one process is an hour ahead, one an hour behind, one ten years ahead; streams outlive two"
        " leases; then Redis is killed and started again; then all clocks are right again",
        "all is served, no lease expires, Redis's restart takes the quick path within 5 s; prices"
        " and money stay, only the records' times are wrong",
        wrong_clocks,
        Bounds(broken=True),
        back_s=5,
    ),
)
