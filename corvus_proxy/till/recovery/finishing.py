"""A node that will not come back: what its processes left in their journals is settled from
elsewhere, as the next process on its folder would do, without serving anything."""

import asyncio
from pathlib import Path
from typing import NamedTuple

from corvus_proxy import clock
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.holds import Holds
from corvus_proxy.till.journal import Node
from corvus_proxy.till.recovery.replay import FOREIGN, foreign, read_dead
from corvus_proxy.till.recovery.report import Reporter

LOOK_S = 0.1


class Finished(NamedTuple):
    """What was found in a folder, and what of it is not in the books yet."""

    processes: int
    charges: int
    """Of theirs that Redis had not answered."""
    waiting: int
    """Processes whose journals are still there."""


async def finish(till: Till, folder: Path, pepper: bytes, *, timeout_s: float) -> Finished:
    """Settles what dead processes left in a journal folder, and deletes it once the books have it.

    Raises ValueError where the folder holds no journal, one of a pepper that is not configured, or
    a living process does this by itself.
    """
    if not (folder / "node").exists():
        raise ValueError(f"{folder} is no journal folder: there is no file `node` in it")
    node = Node(folder, pepper)
    if not node.speaks():
        raise ValueError(f"a gateway runs on {folder}: it settles what the dead ones left")
    dead = node.dead()
    charges = 0
    for paths in dead.values():
        if (path := await asyncio.to_thread(foreign, paths, node.key)) is not None:
            node.leave()
            raise ValueError(f"{path}: {FOREIGN}")
        charges += len((await asyncio.to_thread(read_dead, paths, node.key))[0])
    journal = node.journal(clock.RequestIds().incarnation, sync_ms=20)
    holds = Holds(till, journal, lease_s=60, lag_limit=0, wait_s=0, waiters_max=0)  # none is made
    reporter = Reporter(till, holds, node)
    deadline_s = clock.monotonic_s() + timeout_s
    try:
        waiting = len(dead)
        while waiting and clock.monotonic_s() < deadline_s:
            waiting = await _look(reporter, waiting)
            await asyncio.sleep(LOOK_S if waiting else 0)
    finally:
        await reporter.stop(leave=True)
        journal.retire()
    return Finished(len(dead), charges, waiting)


async def _look(reporter: Reporter, waiting: int) -> int:
    """How many processes wait after another look."""
    try:
        await reporter.tick()
    except TillUnavailable:
        return waiting
    return len(reporter.replay.done)
