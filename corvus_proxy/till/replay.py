"""What a dead gateway process had journalled and not heard an answer to is settled by the living.

A SETTLE line without its DONE is settled by the ordinary script: the hold still exists, or it was
charged before the crash (DUP), or its lease ended it (UNKNOWN or DUP). An OPEN line without a
SETTLE is left to its lease, which charges the last checkpoint.
"""

from pathlib import Path
from typing import NamedTuple

import structlog

from corvus_proxy.money.event import partition_of
from corvus_proxy.till.client import Till
from corvus_proxy.till.holds import seq_of, settle_until_answered
from corvus_proxy.till.journal import Node, read_lines

_log = structlog.get_logger()


class Pending(NamedTuple):
    """A charge that Redis may not have heard of."""

    wallet: str
    actual_nanos: int
    outcome: str
    meta: bytes


def read_dead(paths: list[Path], key: bytes) -> tuple[dict[str, Pending], dict[int, int]]:
    """Unsettled charges by request id, and the highest seq answered per partition."""
    pending: dict[str, Pending] = {}
    done: dict[int, int] = {}
    for path in paths:
        for line in read_lines(path, key):
            if line.kind == "S":
                wallet, nanos, outcome, meta = line.fields
                pending[line.rid] = Pending(wallet, int(nanos), outcome, meta.encode())
            elif line.kind == "D":
                pending.pop(line.rid, None)
                partition, seq = int(line.fields[0]), int(line.fields[1])
                done[partition] = max(seq, done.get(partition, 0))
    return pending, done


class Replay:
    """The speaker's work for the dead processes of its node."""

    def __init__(self, node: Node, till: Till) -> None:
        self._node = node
        self._till = till
        self.done: dict[str, dict[int, int]] = {}
        """Highest seq per partition, by dead process; kept until the books have them."""
        self.read = False
        """All dead journals have been read: `done` is complete."""
        self.finished = False
        """All their charges have been answered."""

    async def run(self) -> int:
        """Settles what is unsettled in journals that died since the last run; how many charges.

        Waits for Redis as long as it takes.
        """
        count = 0
        waiting: dict[str, dict[str, Pending]] = {}
        for incarnation, paths in self._node.dead().items():
            if incarnation in self.done:
                continue
            waiting[incarnation], self.done[incarnation] = read_dead(paths, self._node.key)
        self.read = True
        self.finished = not waiting
        for incarnation, pending in waiting.items():
            done = self.done[incarnation]
            for rid, charge in pending.items():
                answer = await settle_until_answered(
                    self._till,
                    rid,
                    charge.wallet,
                    actual_nanos=charge.actual_nanos,
                    outcome=charge.outcome,
                    meta=charge.meta,
                )
                partition = partition_of(charge.wallet)
                done[partition] = max(seq_of(answer), done.get(partition, 0))
                count += 1
            _log.info("journal_replayed", process=incarnation, charges=len(pending))
        self.finished = True
        return count

    def highest_done(self) -> dict[int, int]:
        """Highest seq per partition over all dead processes."""
        highest: dict[int, int] = {}
        for done in self.done.values():
            for partition, seq in done.items():
                highest[partition] = max(seq, highest.get(partition, 0))
        return highest

    def prune(self, committed: dict[int, int]) -> None:
        """Deletes the files of dead processes whose every answer is in the books."""
        if not self.finished:
            return
        for incarnation, done in list(self.done.items()):
            if all(seq <= committed.get(partition, 0) for partition, seq in done.items()):
                self._node.bury(incarnation)
                del self.done[incarnation]
