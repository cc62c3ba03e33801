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

from corvus_proxy import clock, jobs, metrics
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
    """One process's word. `missing`: its holds, and the charges it waits for, that this server does
    not have, by partition."""

    node: str
    process: str
    replid: str
    """The server that it has looked at; empty where the partitions are on several: `replids`."""
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
    unfound: dict[int, int] = {}
    """Epoch of each partition in which a charge has neither hold nor tombstone: only the books know
    whether it was made, and a rebuild asks them."""
    replids: dict[str, list[int]] = {}
    """Of a cluster: the partitions that it has looked at on each server, by replication id."""

    def has_seen(self, part: int, replid: str) -> bool:
        """Whether it has looked for its holds in this partition on the server of that id."""
        return replid == self.replid or part in self.replids.get(replid, ())


class Reporter:
    """Writes this process's report every half second, and does the speaker's work."""

    def __init__(self, till: Till, holds: Holds, node: Node) -> None:
        self._till = till
        self._holds = holds
        self._node = node
        self.replay = Replay(node, till)
        self._replids: list[str] = []
        """The server that each partition was looked at on."""
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
        await jobs.end(self._task)
        await self.replay.stop()
        self._node.leave()
        if not leave:
            return False
        left = covers(self._committed, self._done())
        report = self._report(self._replids)
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
            if self.open:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REPORT_S):
                        await self._till.fenced.wait()
            else:
                await asyncio.sleep(CLOSED_S)

    async def tick(self) -> None:
        """One look at Redis and one report."""
        self._till.fenced.clear()
        replids = await self._till.replids()
        if replids != self._replids:
            if self._replids:  # another server: nothing may go on talking to the one before
                await self._till.reconnect()
                replids = await self._till.replids()
            self._absorbed.clear()
        # Again and again: a process of this node may die at any time.
        more = self._node.speaks() and await self.replay.look()
        if more or replids != self._replids:
            self._missing = await self._count_missing()
            self._replids = replids
        states = await self._till.partitions()
        self._note(states)
        self._take_over(states)
        await self._claim(states, replids)
        await self._till.report(self._field, msgspec.json.encode(self._report(replids)))
        metrics.HOLDS.set(len(self._holds.living))
        metrics.JOURNALS_BROKEN.set(not self._holds.journal.healthy)
        await self._bury_absorbed()
        self.open = all(
            state.state == "OPEN" and state.stamp == replid
            for state, replid in zip(states, replids, strict=True)
        )
        self._holds.journal.prune(self._committed)
        self.replay.prune(self._committed)

    def _report(self, replids: list[str]) -> Report:
        parts_of: dict[str, list[int]] = {}
        for part, replid in enumerate(replids):
            parts_of.setdefault(replid, []).append(part)
        alone = len(parts_of) == 1
        return Report(
            node=self._node.id,
            process=self._holds.owner,
            replid=replids[0] if alone else "",
            replids={} if alone else parts_of,
            done=self._done(),
            missing=self._missing,
            living=len(self._holds.living),
            at_ms=clock.wall_ms(),
            claimed=self._claimed,
            unfound=self._unfound(),
        )

    def _done(self) -> dict[int, Mark]:
        done = dict(self._holds.journal.done)
        for partition, at in self.replay.highest_done().items():
            done[partition] = max(at, done.get(partition, NOWHERE))
        return done

    def _unfound(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for one in (*self._holds.unfound.values(), *self.replay.unfound.values()):
            found[one.partition] = max(one.epoch, found.get(one.partition, 0))
        return found

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

    async def _claim(self, states: list[PartitionState], replids: list[str]) -> None:
        """Hands in the claims for every partition that is rebuilt."""
        parts = {
            part: Mark(state.base_epoch, state.committed)
            for part, state in enumerate(states)
            if state.state in ("REBUILD", "REPLAY")  # the coordinator waits for new processes, too
            and state.stamp == replids[part]
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
        """How many running requests and waiting charges this server knows nothing of, by
        partition: neither a hold nor a tombstone."""
        by_partition: dict[int, list[str]] = {}
        for rid, wallet in self._owed().items():
            by_partition.setdefault(partition_of(wallet), []).append(rid)
        missing: dict[int, int] = {}
        for partition, rids in by_partition.items():
            found = await self._till.knows(partition, rids)
            owed = self._owed()  # what ended between the look and its answer is not missing
            count = sum(rid in owed for rid, there in zip(rids, found, strict=True) if not there)
            if count:
                missing[partition] = count
        return missing

    def _owed(self) -> dict[str, str]:
        """Wallets of what money may still come from, by request: running, or with its charge, also
        a dead process's, on its way."""
        found = {
            rid: hold.wallet
            for rid, hold in self._holds.living.items()
            if not self._holds.is_settling(rid)
        }
        for charge in (*self._holds.charging.values(), *self.replay.charging.values()):
            if charge.actual_nanos:
                found[charge.rid] = charge.wallet
        return found

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
