"""What a dead gateway process had journalled and not heard an answer to is settled by the living.

A SETTLE line without its DONE is settled by the ordinary script: the hold still exists, or it was
charged before the crash (DUP), or its lease ended it (`late` charges the rest). An OPEN line
without a SETTLE is left to its lease, which charges the last checkpoint.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from corvus_proxy import jobs
from corvus_proxy.money.event import Mark, partition_of
from corvus_proxy.till.client import Till
from corvus_proxy.till.holds import Unfound, mark_of, settle_until_answered
from corvus_proxy.till.journal import NOWHERE, Node, covers, is_foreign, read_lines
from corvus_proxy.till.reply import Charge

FOREIGN = (
    "it was signed under no pepper that is configured here, or altered: name that pepper in"
    " secrets.other_pepper_files and start again; the file stays"
)
_log = structlog.get_logger()


def read_dead(paths: list[Path], key: bytes) -> tuple[dict[str, Charge], dict[int, Mark]]:
    """Unsettled charges by request id, and the highest event answered per partition."""
    pending: dict[str, Charge] = {}
    done: dict[int, Mark] = {}
    for path in paths:
        for line in read_lines(path, key):
            if line.kind == "S":
                wallet, api_key, slug, nanos, outcome, meta = line.fields
                pending[line.rid] = Charge(
                    line.rid, wallet, api_key, slug, int(nanos), outcome, meta.encode()
                )
            elif line.kind in "DR":
                pending.pop(line.rid, None)
                partition, epoch, seq = map(int, line.fields)
                done[partition] = max(Mark(epoch, seq), done.get(partition, NOWHERE))
    return pending, done


def foreign(paths: list[Path], key: bytes) -> Path | None:
    """A segment that cannot be read under the peppers of this process; None: all can."""
    return next((path for path in paths if is_foreign(path, key)), None)


class Replay:
    """The speaker's work for the dead processes of its node."""

    def __init__(self, node: Node, till: Till) -> None:
        self._node = node
        self._till = till
        self.done: dict[str, dict[int, Mark]] = {}
        """Highest event per partition, by dead process; kept until the books have them."""
        self.charging: dict[str, Charge] = {}
        """Charges of theirs that Redis has not answered, by request …"""
        self.unfound: dict[str, Unfound] = {}
        """… and those of them that it does not know."""
        self.tasks: dict[str, asyncio.Task[None]] = {}
        """By dead process, what settles its charges. Each by itself: a partition that is closed
        keeps one waiting, and nobody else."""
        self._foreign: set[str] = set()
        """Dead processes that nobody here can speak for; their files stay."""

    async def look(self) -> bool:
        """Reads the journals of processes that died since the last look, and begins to settle what
        they left; whether there were any. Never waits for Redis: what they had is claimed where a
        partition is rebuilt."""
        found = False
        for incarnation, paths in self._node.dead().items():
            if incarnation in self.done or incarnation in self._foreign:
                continue
            try:
                path = await asyncio.to_thread(foreign, paths, self._node.key)
                if path is not None:
                    self._foreign.add(incarnation)
                    _log.error("journal_foreign", process=incarnation, file=str(path), why=FOREIGN)
                    continue
                pending, done = await asyncio.to_thread(read_dead, paths, self._node.key)
            except FileNotFoundError:
                continue  # it was not dead: it has just ended cleanly
            found = True
            self.done[incarnation] = done
            self.charging |= pending
            self.tasks[incarnation] = asyncio.create_task(self._settle(incarnation, pending))
        return found

    async def stop(self) -> None:
        """Leaves the rest to the next speaker."""
        await jobs.end(*self.tasks.values())

    async def _settle(self, incarnation: str, pending: Mapping[str, Charge]) -> None:
        """Waits for Redis as long as it takes."""
        await asyncio.gather(*(self._settle_one(incarnation, one) for one in pending.values()))
        _log.info("journal_replayed", process=incarnation, charges=len(pending))

    async def _settle_one(self, incarnation: str, charge: Charge) -> None:
        answer = await settle_until_answered(self._till, charge, self.unfound)
        self.charging.pop(charge.rid, None)
        done, partition = self.done[incarnation], partition_of(charge.wallet)
        done[partition] = max(mark_of(answer), done.get(partition, NOWHERE))

    def paths(self) -> list[Path]:
        """The files of the dead processes that it speaks for."""
        return [path for name in self.done for path in self._node.paths(name)]

    def rebuilt(self, partition: int, at: Mark) -> None:
        """A partition was rebuilt with the dead processes' claims in it."""
        for done in self.done.values():
            if partition in done:
                done[partition] = at

    def highest_done(self) -> dict[int, Mark]:
        """Highest event per partition over all dead processes."""
        highest: dict[int, Mark] = {}
        for done in self.done.values():
            for partition, at in done.items():
                highest[partition] = max(at, highest.get(partition, NOWHERE))
        return highest

    def prune(self, committed: Mapping[int, Mark]) -> None:
        """Deletes the files of dead processes whose every answer is in the books."""
        for incarnation, done in list(self.done.items()):
            task = self.tasks[incarnation]
            ended = task.done() and not task.cancelled() and task.exception() is None
            if ended and covers(committed, done):
                self._node.bury(incarnation)
                del self.done[incarnation], self.tasks[incarnation]
