"""All faults by number. `python -m corvus_proxy.ops.drill.faults.table` prints the document's
rows."""

import sys

from corvus_proxy.ops.drill.faults import (
    Fault,
    books,
    clocks,
    gateway,
    journals,
    network,
    postgres,
    shop,
)
from corvus_proxy.ops.drill.faults.stores import cluster, redis, redis_files
from corvus_proxy.ops.drill.faults.wire import clients, deploy, upstream

ROOMS = (
    gateway,
    journals,
    redis,
    redis_files,
    cluster,
    books,
    postgres,
    network,
    upstream,
    clients,
    clocks,
    deploy,
    shop,
)
TABLE: dict[int, Fault] = {
    fault.number: fault
    for fault in sorted((one for room in ROOMS for one in room.FAULTS), key=lambda one: one.number)
}


def rows() -> list[str]:
    """A line of Markdown for each."""
    found = []
    for fault in TABLE.values():
        skipped = f" (skipped: {fault.needs})" if fault.needs else ""
        cells = (f"F{fault.number}", fault.name, fault.done, fault.expected + skipped)
        found.append(f"| {' | '.join(cells)} |")
    return found


if __name__ == "__main__":
    sys.stdout.write("\n".join(rows()) + "\n")
