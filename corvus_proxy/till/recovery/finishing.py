"""A node that will not come back: what its processes left in their journals is settled from
elsewhere, as the next process on its folder would do, without serving anything."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from corvus_proxy import clock
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.holds import Holds
from corvus_proxy.till.journal import Node, is_foreign
from corvus_proxy.till.recovery.replay import FOREIGN, read_dead
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

    Raises ValueError where the folder holds no journal, a living process does this by itself, or
    what is there cannot be read with this pepper.
    """
    if not (folder / "node").exists():
        raise ValueError(f"{folder} is no journal folder: there is no file `node` in it")
    node = Node(folder, pepper)
    try:
        dead, charges = await _left(node)
    except ValueError:
        node.leave()
        raise
    journal = node.journal(clock.RequestIds().incarnation, sync_ms=20)
    holds = Holds(till, journal, lease_s=60, lag_limit=0, wait_s=0, waiters_max=0)  # none is made
    reporter = Reporter(till, holds, node)
    deadline_s = clock.monotonic_s() + timeout_s
    try:
        waiting = dead
        while waiting and clock.monotonic_s() < deadline_s:
            waiting = await _look(reporter, waiting)
            await asyncio.sleep(LOOK_S if waiting else 0)
    finally:
        await reporter.stop(leave=True)
        journal.retire()
    return Finished(dead, charges, waiting)


async def _left(node: Node) -> tuple[int, int]:
    """How many dead processes there are, and how many charges of theirs. Raises ValueError."""
    living = f"a gateway runs on {node.folder}: it settles what the dead ones left"
    if not node.speaks():
        raise ValueError(living)
    dead = node.dead()
    if node.processes() - dead.keys():  # it is about to speak, or has just ended to
        raise ValueError(living)
    charges = 0
    try:
        for paths in dead.values():
            charges += await asyncio.to_thread(_charges, paths, node.key)
    except FileNotFoundError:  # it was not dead: it has just ended cleanly
        raise ValueError(living) from None
    return len(dead), charges


def _charges(paths: Sequence[Path], key: bytes) -> int:
    for path in paths:
        if is_foreign(path, key):
            raise ValueError(f"{path}: {FOREIGN}")
    return len(read_dead(list(paths), key)[0])


async def _look(reporter: Reporter, waiting: int) -> int:
    """How many processes wait after another look."""
    try:
        await reporter.tick()
    except TillUnavailable:
        return waiting
    return len(reporter.replay.done)
