"""What each gateway process tells the coordinator, through Redis alone and outside the fence.

After a restart of Redis a partition may be opened again only when nothing acknowledged is missing:
every living process has looked for its holds under the new replication id, and no answer that any
process ever got is ahead of the partition's last event. Where something is missing the partition is
rebuilt, and every process hands in its claims.
"""

import asyncio
import contextlib

import msgspec
import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.money.event import Mark, partition_of
from corvus_proxy.till import scripts
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.holds import Holds
from corvus_proxy.till.journal import NOWHERE, Node, covers
from corvus_proxy.till.recovery import claims
from corvus_proxy.till.recovery.replay import Replay
from corvus_proxy.till.reply import PartitionState

REPORT_S = 0.5
CLOSED_S = 0.1
SILENT_S = 30
LEAVE_S = 3.0
"""How long a clean drain waits for the books; then the journal stays until they have it."""
_log = structlog.get_logger()


class Report(msgspec.Struct):
    """One process's word. `missing`: its holds, and charges of dead processes that it speaks for,
    of which this server knows nothing, by partition."""

    node: str
    process: str
    replid: str
    done: dict[int, Mark]
    """Highest event that it was told of, by partition."""
    missing: dict[int, int]
    living: int
    at_ms: int
    claimed: dict[int, int] = {}
    """Epoch of each partition that is rebuilt for which its claims stand in Redis."""
    retired: bool = False
    """It has ended cleanly; nobody needs it once the books have its `done`."""
    left: bool = False
    """It has ended, and the books, or the speaker of its node, have all of it."""


class Reporter:
    """Writes this process's report every half second, and does the speaker's work."""

    def __init__(self, till: Till, holds: Holds, node: Node) -> None:
        self._till = till
        self._holds = holds
        self._node = node
        self.replay = Replay(node, till)
        self._replid = ""
        self._missing: dict[int, int] = {}
        self._claimed: dict[int, int] = {}
        self._spoken_for: set[str] = set()
        """The dead processes whose journals are in those claims."""
        self._committed: dict[int, Mark] = {}
        self._absorbed: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self.open = False
        """Whether every partition was open at the last look."""

    @property
    def _field(self) -> str:
        return f"{self._node.id}:{self._holds.owner}"

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self, *, leave: bool) -> bool:
        """Stops reporting; `leave` hands over (after a clean drain).

        Whether the books have all that this process was told: only then may its journal go.
        """
        if leave:
            await self._wait_for_books()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.replay.stop()
        self._node.leave()
        if not leave:
            return False
        left = covers(self._committed, self._done())
        report = self._report(self._replid)
        report.retired, report.left = True, left
        with contextlib.suppress(TillUnavailable):
            await self._till.report(self._field, msgspec.json.encode(report))
            return left
        return False

    async def _wait_for_books(self) -> None:
        deadline_s = clock.monotonic_s() + LEAVE_S
        while not covers(self._committed, self._done()) and clock.monotonic_s() < deadline_s:
            await asyncio.sleep(0.05)
            with contextlib.suppress(TillUnavailable):
                self._note(await self._till.partitions())

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
        replid, spoken_for = await self._till.replid(), set(self.replay.done)
        if self._node.speaks():
            await self.replay.look()  # again and again: a process of this node may die at any time
        if replid != self._replid or set(self.replay.done) - spoken_for:
            if self._replid not in ("", replid):
                # Another server: nothing may go on talking to the one before.
                await self._till.reconnect()
                replid = await self._till.replid()
            self._missing = await self._count_missing()
            self._absorbed.clear()
            self._replid = replid
        states = await self._till.partitions()
        self._note(states)
        self._take_over(states)
        await self._claim(states, replid)
        await self._till.report(self._field, msgspec.json.encode(self._report(replid)))
        metrics.HOLDS.set(len(self._holds.living))
        metrics.JOURNALS_BROKEN.set(not self._holds.journal.healthy)
        await self._bury_absorbed()
        self.open = all(state.state == "OPEN" and state.stamp == replid for state in states)
        self._holds.journal.prune(self._committed)
        self.replay.prune(self._committed)

    def _report(self, replid: str) -> Report:
        return Report(
            node=self._node.id,
            process=self._holds.owner,
            replid=replid,
            done=self._done(),
            missing=self._missing,
            living=len(self._holds.living),
            at_ms=clock.wall_ms(),
            claimed=self._claimed,
        )

    def _done(self) -> dict[int, Mark]:
        done = dict(self._holds.journal.done)
        for partition, at in self.replay.highest_done().items():
            done[partition] = max(at, done.get(partition, NOWHERE))
        return done

    def _note(self, states: list[PartitionState]) -> None:
        """What the books have, and which partitions have come back rebuilt."""
        for part, state in enumerate(states):
            if state.state != "OPEN":
                continue  # what is rebuilt names another epoch than our marks do
            at = Mark(state.epoch, state.seq)
            if self._claimed.get(part) == state.epoch:
                del self._claimed[part]
                self._holds.journal.rebuilt(part, at)
                self.replay.rebuilt(part, at)
            self._committed[part] = Mark(state.epoch, state.committed)

    def _take_over(self, states: list[PartitionState]) -> None:
        """Where this process now speaks for one that died without claiming, it claims again: until
        then nobody is told that the dead one need not be waited for."""
        dead = set(self.replay.done)
        if dead - self._spoken_for:
            self._claimed = {
                part: epoch
                for part, epoch in self._claimed.items()
                if states[part].state != "REBUILD"
            }
        self._spoken_for = dead

    async def _claim(self, states: list[PartitionState], replid: str) -> None:
        """Hands in the claims for every partition that is rebuilt."""
        parts = {
            part: Mark(state.base_epoch, state.committed)
            for part, state in enumerate(states)
            if state.state == "REBUILD"
            and state.stamp == replid
            and state.base_epoch
            and self._claimed.get(part) != state.epoch
        }
        if not parts:
            return
        living = [
            hold for rid, hold in self._holds.living.items() if not self._holds.is_settling(rid)
        ]
        found = dict(self._keyed(claims.of_living(living, parts)))
        own, dead = self._holds.journal.paths(), self.replay.paths()
        key = self._node.key
        found |= self._keyed(
            await asyncio.to_thread(claims.of_journals, dead, key, parts, dead=True)
        )
        found |= self._keyed(
            await asyncio.to_thread(claims.of_journals, own, key, parts, dead=False)
        )
        by_part: dict[int, dict[str, bytes]] = {}
        for (part, rid), claim in found.items():
            by_part.setdefault(part, {})[rid] = msgspec.json.encode(claim)
        for part, rows in by_part.items():
            await self._till.hand_in(scripts.key(part, "j"), rows)
        for part in parts:
            self._claimed[part] = states[part].epoch
        _log.info("claims_handed_in", partitions=len(parts), claims=len(found))

    @staticmethod
    def _keyed(found: list[tuple[int, claims.Claim]]) -> dict[tuple[int, str], claims.Claim]:
        return {(part, claim.rid): claim for part, claim in found}

    async def _count_missing(self) -> dict[int, int]:
        """Requests of which this server knows nothing, by partition: it has neither their hold nor
        their end. Those that run, those whose charge is on its way, and those that a dead process
        has left uncharged: without the hold no charge would find anything."""
        wallets = {rid: hold.wallet for rid, hold in self._holds.living.items()}
        wallets |= {rid: one.wallet for rid, one in self.replay.pending.items() if one.actual_nanos}
        by_partition: dict[int, list[str]] = {}
        for rid, wallet in wallets.items():
            by_partition.setdefault(partition_of(wallet), []).append(rid)
        missing: dict[int, int] = {}
        for partition, rids in by_partition.items():
            held = await self._till.has_holds(partition, rids)
            lost = [rid for rid, there in zip(rids, held, strict=True) if not there]
            ended = await self._till.has_ended(partition, lost) if lost else []
            # One that was answered between the look and its answer is not missing.
            count = sum(
                not there and (rid in self._holds.living or rid in self.replay.pending)
                for rid, there in zip(lost, ended, strict=True)
            )
            if count:
                missing[partition] = count
        return missing

    async def _bury_absorbed(self) -> None:
        """This node's dead processes have left: the speaker has all of theirs."""
        for incarnation in self.replay.done:
            field = f"{self._node.id}:{incarnation}"
            gone = Report(self._node.id, incarnation, "", {}, {}, 0, clock.wall_ms(), left=True)
            if field in self._absorbed:
                continue
            await self._till.report(field, msgspec.json.encode(gone))
            self._absorbed.add(field)


async def read_reports(till: Till) -> list[Report]:
    """Every process's report; one that cannot be read raises msgspec.DecodeError."""
    return [msgspec.json.decode(text, type=Report) for text in (await till.reports()).values()]
