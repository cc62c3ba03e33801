"""Faults of the gateways' disks: full, cut, lost; and lost together with Redis."""

import asyncio
import shutil
import signal
from pathlib import Path

from corvus_proxy.books import entries
from corvus_proxy.money.event import PARTITIONS, Event
from corvus_proxy.ops.drill.checkers import Bounds
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.faults.gateway import KILLED, READY_S, asks
from corvus_proxy.ops.drill.faults.stores.redis import OPEN_S, serves
from corvus_proxy.ops.drill.stack import GATEWAYS, LEASE_S, answers
from corvus_proxy.service import ledger
from corvus_proxy.till.recovery.report import read_reports
from corvus_proxy.till.reply import HoldState

CLOSED_S = 1.0
"""For so long a partition is watched that may not open."""
BEHIND = 60
"""Charges that the books have not got when everything else is lost."""


# -- 34 ---------------------------------------------------------------------------------------


async def journal_troubles(scene: Scene) -> None:
    """34"""
    name = scene.chance.choice(GATEWAYS)
    await disk_full(scene, name)
    await cut_line(scene, name)
    await lose_journal(scene, name)


async def disk_full(scene: Scene, name: str) -> None:
    """The gateway's disk takes nothing more: it serves nobody until it does again."""
    newest = newest_journal(scene, name)
    scene.gateway(name).limit_files(newest.stat().st_size + scene.chance.randint(0, 2000))
    port = scene.stack.ports[name]

    async def refuses() -> bool:
        return not await answers(port, "/readyz")

    await scene.until(refuses, f"gateway {name} is not ready")
    began = len(scene.load.answers)
    asked_s = scene.now_s() + 0.1
    await scene.wait(1.0, 1.5)
    freed_s = scene.now_s()
    scene.gateway(name).limit_files()
    await scene.stack.until_ready(name, timeout_s=READY_S)
    await scene.wait(0.5, 0.7)
    found = [
        one
        for one in scene.load.answers[began:]
        if one.gateway == name and asked_s <= one.began_s and one.head_s < freed_s
    ]
    for answer in found:
        if answer.status not in (0, 429, 503):
            scene.violated(
                f"{answer.request_id}: {answer.status} while the journal could not be written"
            )
    if not any(answer.status == 503 for answer in found):
        scene.violated("nobody was refused while the journal could not be written")


async def cut_line(scene: Scene, name: str) -> None:
    """kill -9 as a `settle` leaves, and the last line of the journal is cut at a byte of it."""
    await scene.kill_when(scene.gateway(name), scene.link(f"{name}>redis"), asks("settle"))
    newest = newest_journal(scene, name)
    data = newest.read_bytes()
    begin = data.rfind(b"\n", 0, -1) + 1
    with newest.open("rb+") as file:
        file.truncate(scene.chance.randrange(begin + 1, len(data)))
    await scene.wait(0.1, 0.4)
    scene.gateway(name).start()
    await scene.stack.until_ready(name, timeout_s=READY_S)
    await scene.wait(0.5, 0.8)


async def lose_journal(scene: Scene, name: str) -> None:
    """kill -9, and the folder of the journals is gone. While Redis is there nobody needs it; after
    a restart of Redis the ledger stays closed until an operator confirms the loss."""
    node = node_of(scene, name)
    dead = {one.process for one in await read_reports(scene.stack.stores.till)
               if one.node == node and not (one.left or one.retired)}  # fmt: skip

    async def listed() -> bool:
        rows = await ledger.processes(scene.stack.stores)
        return dead <= {one.process for one in rows}

    await scene.until(listed, "the books know every process of the node")
    scene.gateway(name).kill()
    lose(scene, name)
    scene.gateway(name).start()
    await scene.stack.until_ready(name, timeout_s=READY_S)
    await scene.until(lambda: no_holds_of(scene, dead), "the dead process's leases have ended",
                      timeout_s=LEASE_S * 10)  # fmt: skip
    scene.redis.kill()
    await scene.start_redis()
    log = scene.stack.log("worker")
    await scene.until(
        lambda: any(f"process {one}".encode() in log.read_bytes() for one in dead),
        "the worker names the process that it waits for",
    )
    deadline_s = scene.now_s() + CLOSED_S
    while scene.now_s() < deadline_s:
        if await any_open(scene):
            scene.violated("a partition opened before the loss of a journal was confirmed")
        await asyncio.sleep(0.05)
    await ledger.forget(scene.stack.stores, node, reason="drill: its disk is lost")
    scene.healed()
    await scene.until(lambda: serves(scene), "every partition is open", timeout_s=OPEN_S)


def newest_journal(scene: Scene, name: str) -> Path:
    """The file that a gateway writes, or wrote last."""
    files = scene.stack.journal(name).glob("*.journal")
    return max(files, key=lambda path: path.stat().st_mtime_ns)


def node_of(scene: Scene, name: str) -> str:
    """The id of a gateway's node."""
    return (scene.stack.journal(name) / "node").read_text()


def lose(scene: Scene, name: str) -> None:
    """The folder of a gateway's journals is as on a new disk."""
    shutil.rmtree(scene.stack.journal(name))
    scene.stack.journal(name).mkdir(mode=0o700)


async def no_holds_of(scene: Scene, processes: set[str]) -> bool:
    """Whether none of these processes holds money in Redis."""
    till = scene.stack.stores.till
    for part in range(64):
        held: dict[str, HoldState] = await till.holds(part)
        if any(one.owner in processes for one in held.values()):
            return False
    return True


async def any_open(scene: Scene) -> bool:
    """Whether a partition serves on this Redis."""
    return len(await scene.stack.stores.till.closed()) < PARTITIONS


# -- 35, 36 -----------------------------------------------------------------------------------


async def lose_gateways_and_redis(scene: Scene) -> None:
    """35"""
    kill_together(scene)
    empty_redis(scene)
    await scene.wait(0.1, 0.8)
    await start_together(scene)


def kill_together(scene: Scene) -> None:
    """All gateways and Redis die in one moment."""
    processes = [*(scene.gateway(name) for name in GATEWAYS), scene.redis]
    for process in processes:
        process.signal(signal.SIGKILL)
    for process in processes:
        process.kill()


def empty_redis(scene: Scene) -> None:
    """Redis's disk is a new one."""
    for path in scene.stack.redis_folder.glob("*"):
        if path.name == "appendonlydir":
            shutil.rmtree(path)
        elif path.suffix == ".rdb":
            path.unlink()


async def start_together(scene: Scene) -> None:
    """Redis and all gateways start."""
    await scene.start_redis()
    for name in GATEWAYS:
        scene.gateway(name).start()


async def lose_both_disks(scene: Scene) -> None:
    """36"""
    settled = scene.count("settle")
    scene.worker.freeze()
    await scene.until(lambda: settled() >= BEHIND, f"the books are {BEHIND} charges behind")
    for name in GATEWAYS:
        scene.gateway(name).kill()
    behind = await charges_behind(scene)
    kill_together(scene)
    empty_redis(scene)
    nodes = [node_of(scene, name) for name in GATEWAYS]
    for name in GATEWAYS:
        lose(scene, name)
    scene.worker.thaw()
    await start_together(scene)
    for node in nodes:
        await ledger.forget(scene.stack.stores, node, reason="drill: both disks are lost")
    scene.healed()
    await scene.until(lambda: serves(scene), "every partition is open", timeout_s=OPEN_S)
    scene.bounds = KILLED._replace(lost_max=len(behind))
    lost = behind - await booked(scene, behind)
    scene.note(f"{len(lost)} of {len(behind)} charges that the books had not got are lost")
    if not lost:
        scene.violated("nothing was lost: the disks cannot have been")


async def charges_behind(scene: Scene) -> set[str]:
    """Requests whose charges are in Redis and not in the books; nothing moves while it looks."""
    stores = scene.stack.stores
    async with stores.books.connection() as connection:
        cursors = await entries.cursors(connection)
    found = await stores.till.events(cursors, count=10_000, block_ms=0)
    return {
        one.id.removesuffix(":L")
        for one in found
        if isinstance(one, Event) and one.type in "SXL" and one.actual_nanos
    }


async def booked(scene: Scene, rids: set[str]) -> set[str]:
    """Those of these requests that have an event in the books."""
    async with scene.stack.stores.books.connection() as connection:
        rows = await connection.fetch("select ext_id from event where ext_id = any($1)", list(rids))
    return {row["ext_id"] for row in rows}


FAULTS = (
    Fault(
        34,
        "journal full, cut, lost",
        "a gateway's disk takes nothing more for a second; then kill -9 as a `settle` leaves and"
        " its journal's last line is cut at a byte; then kill -9 and its folder is gone, and Redis"
        " restarts",
        "not ready and 503 while the disk is full; half a line is left out; after the restart"
        " nothing opens before the loss is confirmed by `corvus ledger forget`",
        journal_troubles,
        KILLED,
    ),
    Fault(
        35,
        "gateways and Redis lost",
        "kill -9 of all gateways and Redis in one moment; Redis's disk is a new one",
        "every partition is rebuilt from the books and the journals; nothing is lost",
        lose_gateways_and_redis,
        KILLED,
        back_s=15,
    ),
    Fault(
        36,
        "both disks lost",
        f"the books are {BEHIND} charges behind; gateways and Redis die, and both disks are new",
        "at most the charges that the books had not got are lost, to the customers' good; no credit"
        " is",
        lose_both_disks,
        Bounds(broken=True),
        back_s=15,
        destroys=True,
    ),
)
