"""Processes under measurement: their tree, CPU time and cores, from Linux's /proc."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_us(root: int) -> int:
    """User and system time of a process tree so far, ended and awaited children included."""
    ticks = 0
    for pid in tree(root):
        fields = _stat(pid)
        if fields:
            ticks += sum(int(fields[at]) for at in (11, 12, 13, 14))
    return ticks * 1_000_000 // TICKS_PER_S


def memory_kb(root: int) -> dict[str, int]:
    """Of a tree: `tree`, its proportional memory (shared pages once), and `process`, the resident
    memory of its largest process."""
    total = largest = 0
    for pid in tree(root):
        try:
            rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue  # it ended meanwhile
        sizes = {row.split(":")[0]: int(row.split()[1]) for row in rows}
        total += sizes.get("Pss", 0)
        largest = max(largest, sizes.get("Rss", 0))
    return {"tree": total, "process": largest}


def pin(root: int, cores: set[int]) -> None:
    """Keeps a process tree, and every thread of it, on these cores."""
    for pid in tree(root):
        try:
            threads = [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
            for thread in threads:
                os.sched_setaffinity(thread, cores)
        except OSError:
            continue  # it ended meanwhile


def processor() -> str:
    """The processor's name: figures of different machines do not compare."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name; empty for a process that has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


@contextmanager
def off_the_first_core() -> Iterator[None]:
    """What starts inside stays off the core of whoever is measured, where there is another."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[1:]) or cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
