"""What each gateway process tells the coordinator, through Redis alone and outside the fence.

After a restart of Redis a partition may be opened again only when nothing acknowledged is missing:
every living process has looked for its holds under the new replication id, and no answer that any
process ever got is ahead of the partition's last event.
"""

import asyncio
import contextlib

import msgspec
import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.money.event import partition_of
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.holds import Holds
from corvus_proxy.till.journal import Node
from corvus_proxy.till.replay import Replay

REPORT_S = 0.5
CLOSED_S = 0.1
SILENT_S = 30
_log = structlog.get_logger()


class Report(msgspec.Struct):
    """One process's word. `missing`: its holds that this server does not have, by partition."""

    node: str
    process: str
    replid: str
    done: dict[int, int]
    missing: dict[int, int]
    replayed: bool
    """Whether the node's dead processes have been read (their `done` is in the speaker's)."""
    living: int
    at_ms: int


class Reporter:
    """Writes this process's report every half second, and does the speaker's work."""

    def __init__(self, till: Till, holds: Holds, node: Node) -> None:
        self._till = till
        self._holds = holds
        self._node = node
        self.replay = Replay(node, till)
        self._replaying: asyncio.Task[int] | None = None
        self._replid = ""
        self._missing: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None
        self.open = False
        """Whether every partition was open at the last look."""

    @property
    def _field(self) -> str:
        return f"{self._node.id}:{self._holds.owner}"

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self, *, leave: bool) -> bool:
        """Stops reporting; `leave` takes this process off the list (after a clean drain).

        Whether it is off: while its report stands, its journal must stand too.
        """
        for task in (self._task, self._replaying):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._node.leave()
        if not leave:
            return False
        try:
            await self._till.report(self._field, None)
        except TillUnavailable:
            return False
        return True

    async def _run(self) -> None:
        while True:
            try:
                await self.tick()
            except TillUnavailable:
                self.open = False
            except Exception:  # reporting must survive; silence would close the service
                _log.exception("report_failed")
            # While the ledger is closed, it opens on our word, and we serve on its: no waiting.
            await asyncio.sleep(REPORT_S if self.open else CLOSED_S)

    async def tick(self) -> None:
        """One look at Redis and one report."""
        replid = await self._till.replid()
        if replid != self._replid:
            self._missing = await self._count_missing()
            self._replid = replid
        if self._node.speaks() and (self._replaying is None or self._replaying.done()):
            # Again and again: a process of this node may die at any time.
            self._replaying = asyncio.create_task(self.replay.run())
        done = dict(self._holds.journal.done)
        for partition, seq in self.replay.highest_done().items():
            done[partition] = max(seq, done.get(partition, 0))
        report = Report(
            node=self._node.id,
            process=self._holds.owner,
            replid=replid,
            done=done,
            missing=self._missing,
            replayed=self._replayed(),
            living=len(self._holds.living),
            at_ms=clock.wall_ms(),
        )
        await self._till.report(self._field, msgspec.json.encode(report))
        metrics.HOLDS.set(len(self._holds.living))
        metrics.JOURNALS_BROKEN.set(not self._holds.journal.healthy)
        await self._bury_absorbed()
        states = await self._till.partitions()
        self.open = all(state.state == "OPEN" and state.stamp == replid for state in states)
        committed = {number: state.committed for number, state in enumerate(states)}
        self._holds.journal.prune(committed)
        self.replay.prune(committed)

    def _replayed(self) -> bool:
        """A speaker has at least read all dead journals; settling them may have to wait for
        OPEN."""
        return self._replaying is None or self.replay.read

    async def _count_missing(self) -> dict[int, int]:
        """Living holds that this server does not know, by partition."""
        by_partition: dict[int, list[str]] = {}
        for rid, hold in list(self._holds.living.items()):
            by_partition.setdefault(partition_of(hold.wallet), []).append(rid)
        missing: dict[int, int] = {}
        for partition, rids in by_partition.items():
            found = await self._till.has_holds(partition, rids)
            lost = [rid for rid, there in zip(rids, found, strict=True) if not there]
            # One that ended between the look and its answer is not missing.
            count = sum(
                rid in self._holds.living and not self._holds.is_settling(rid) for rid in lost
            )
            if count:
                missing[partition] = count
        return missing

    async def _bury_absorbed(self) -> None:
        """Takes the reports of this node's dead processes off the list: the speaker has theirs."""
        for incarnation in self.replay.done:
            await self._till.report(f"{self._node.id}:{incarnation}", None)


async def read_reports(till: Till) -> list[Report]:
    """Every process's report; one that cannot be read raises msgspec.DecodeError."""
    return [msgspec.json.decode(text, type=Report) for text in (await till.reports()).values()]
