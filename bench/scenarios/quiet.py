"""An installation of which nobody asks anything: what it costs to be there."""

import sys
import time
from pathlib import Path

from bench import processes, results
from bench.results import Run
from bench.scenarios.base import Bench
from bench.stack import Stack

SETTLED_S, QUIET_S = 10.0, 60.0


def quiet(bench: Bench) -> None:
    """All roles without a request for a minute: memory and CPU of each process, and what lies on
    the disk. A fresh stack, on all cores, without simulated neighbours."""
    seconds = 1.0 if bench.plan.quick else QUIET_S
    with bench.own_stack(pinned=False) as stack:
        time.sleep(1.0 if bench.plan.quick else SETTLED_S)
        for number in range(1, bench.plan.rounds + 1):
            bench.keep(_watched(stack, number, seconds))


def _watched(stack: Stack, number: int, seconds: float) -> Run:
    run = Run("quiet", "corvus", stack.variant, number, began=results.now())
    before = _cpu_us(stack)
    began_s = time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began_s
    after = _cpu_us(stack)
    # Trees are read one after the other: what is left of the launcher's may come out below nothing.
    run.cpu_us = {name: max(0, value - before[name]) for name, value in after.items()}
    memory = {name: processes.memory_kb(pid)["tree"] for name, pid in stack.pids.items()}
    run.memory_kb = {name: float(value) for name, value in _alone(memory).items()}
    run.more = {
        "seconds": round(took_s, 3),
        "data_kb": disk_kb(stack.state),
        "environment_kb": disk_kb(Path(sys.prefix)),
    }
    return run


def _cpu_us(stack: Stack) -> dict[str, int]:
    return _alone({name: processes.cpu_us(pid) for name, pid in stack.pids.items()})


def _alone(trees: dict[str, int]) -> dict[str, int]:
    """The launcher's tree has all others in it: what is left of it is its own."""
    others = sum(value for name, value in trees.items() if name != "launcher")
    return {**trees, "launcher": max(0, trees["launcher"] - others)}


def disk_kb(folder: Path) -> int:
    """What the files of a folder take on the disk."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if not path.is_symlink():
                total += path.stat().st_blocks
        except OSError:
            continue  # it is gone meanwhile, or not ours to read
    return total // 2
