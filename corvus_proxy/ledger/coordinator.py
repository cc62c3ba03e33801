"""Opens partitions: new ones, those that a restart of Redis has fenced, those that lost something.

After a restart nothing may be lost silently. A partition is opened at once (the quick path) when no
answer that anybody got is ahead of its last event, the books are not ahead of it, and every living
process has found all its holds. Otherwise it is rebuilt under a higher epoch. While a process has
not spoken, or its claims are not in, the partition stays closed with a sentence that names it.

An open partition is rebuilt, too, where a process has a charge that Redis does not know: whether it
was made, the books know. It waits until everybody lives who would have to hand in claims.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec
import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.books import entries, nodes, recovery, wallets
from corvus_proxy.books.db import Books, BooksUnavailable
from corvus_proxy.ledger import outbox, rebuild
from corvus_proxy.ledger.verdict import Step, Verdict, judge
from corvus_proxy.money.event import Mark
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.journal import NOWHERE
from corvus_proxy.till.recovery import door
from corvus_proxy.till.recovery.report import Report, read_reports
from corvus_proxy.till.reply import PartitionState

POLL_S = 0.1
OPEN_AT_ONCE = 8
"""Partitions that are opened side by side; fewer than the till has connections."""
LOOK_EVERY = 10
"""With the replication id unchanged the partitions are still looked at once a second: a flush of
the data changes no id."""
_LOCK = (0x636F7276, 1000)
_log = structlog.get_logger()


class _Look(NamedTuple):
    """What is known of a partition that does not serve."""

    part: int
    state: PartitionState
    cursor: Mark
    reports: Sequence[Report]
    replid: str
    """Of the server that has it."""
    changed: Sequence[tuple[str, int]]
    """Its wallets whose keys have changed lately, with their versions."""


class Coordinator:
    """One of all workers coordinates at a time, by an advisory lock in Postgres.

    The lock is a transaction's, on a connection of its own: a worker that is frozen in the middle
    loses it when the server ends the idle transaction (`books.db`), and another goes on. Should the
    first wake up, or a step take longer than that, two coordinate: each step compares and sets.
    """

    def __init__(
        self,
        till: Till,
        books: Books,
        *,
        behind: Callable[[int], str | None] | None = None,
        in_hand: Mapping[int, Mark] | None = None,
    ) -> None:
        """`behind` and `in_hand` are the writer's: why the books may not be what a partition is
        rebuilt from, and what is about to be booked."""
        self._till = till
        self._books = books
        self._behind = behind or _nothing
        self._in_hand = in_hand if in_hand is not None else {}
        self.closed: dict[int, str] = {}
        """Why each closed partition is not opened."""
        self._told = ""
        self._opened_for: list[str] = []
        self._looks = 0
        self._heard: dict[str, int] = {}
        """Time of each process's report at the last look."""

    async def run(self) -> None:
        """Coordinates for ever; survives every absence of Redis or Postgres."""
        while True:
            try:
                await self.tick()
            except (TillUnavailable, BooksUnavailable, asyncpg.PostgresError) as error:
                _log.info("coordinator_waits", why=str(error))
            except Exception:  # without the coordinator nothing opens again
                _log.exception("coordinator_failed")
            await asyncio.sleep(POLL_S)

    async def tick(self) -> None:
        """Looks at every partition; opens those that may be opened."""
        replids = await self._till.replids()
        self._looks += 1
        if replids == self._opened_for and not self.closed and self._looks % LOOK_EVERY:
            return
        states = await self._till.partitions()
        waiting = [
            part
            for part, state in enumerate(states)
            if state.state != "OPEN" or state.stamp != replids[part]
        ]
        async with self._books.transaction() as lock:
            if not await lock.fetchval("select pg_try_advisory_xact_lock($1, $2)", *_LOCK):
                return
            async with self._books.connection() as connection:
                reports = await self._reports(connection)
                asked = self._unfound(states, reports)
                for part in await nodes.rebuilds_asked(connection):
                    asked[part] = "an operator wants it rebuilt"
                waiting += sorted(set(asked) - set(waiting))
                await self._open(waiting, states, replids, reports, asked, connection)
        metrics.PARTITIONS_CLOSED.set(len(self.closed))
        if not self.closed:
            self._opened_for = replids

    async def _reports(self, connection: Any) -> list[Report]:
        """The word of every process that has to be heard: what Redis has, and what only the books
        remember. Those that have left are taken off both lists."""
        cursors, left = await entries.cursors(connection), await nodes.left(connection)
        heard = await read_reports(self._till)
        gone = [
            report
            for report in heard
            if report.left
            or (report.retired and _has_all(cursors, report))
            or report.at_ms <= left.get(report.process, -1)  # an old Redis has old words
        ]
        await nodes.forget(
            connection, {one.process: one.at_ms for one in gone if one.process not in left}
        )
        for report in gone:
            await self._till.report(f"{report.node}:{report.process}", None)
        out = {report.process for report in gone}
        living = [report for report in heard if report.process not in out]
        await nodes.keep(
            connection,
            [(r.process, r.node, msgspec.to_builtins(r, str_keys=True)) for r in living],
        )
        known = {report.process for report in heard}
        silent = [
            msgspec.convert(row.report, Report, strict=False)
            for row in await nodes.known(connection)
            if row.process not in known
        ]
        # What this Redis does not have was not said about it, whatever its replication id is: a
        # flush changes no id.
        return living + [
            msgspec.structs.replace(report, replid="", replids={}) for report in silent
        ]

    def _unfound(
        self, states: Sequence[PartitionState], reports: Sequence[Report]
    ) -> dict[int, str]:
        """Open partitions in which a charge is not known, each with the reason for its rebuild.

        None while a process has not reported since the last look: a rebuild waits for everybody's
        claims, and a charge can wait longer than a partition's customers.
        """
        heard = {one.process: one.at_ms for one in reports if not one.retired}
        silent = any(self._heard.get(name, at_ms) == at_ms for name, at_ms in heard.items())
        self._heard = heard
        if silent:
            return {}
        return {
            part: f"process {report.process} has a charge that this Redis does not know"
            for report in reports
            for part, epoch in report.unfound.items()
            if states[part].state == "OPEN" and states[part].epoch == epoch
        }

    async def _open(
        self,
        waiting: list[int],
        states: list[PartitionState],
        replids: list[str],
        reports: list[Report],
        asked: Mapping[int, str],
        connection: Any,
    ) -> None:
        if not waiting:
            self.closed = {}
            return
        in_hand = dict(self._in_hand)  # before the cursors: what is booked in between is in those
        cursors = await entries.cursors(connection)
        changed = await recovery.changed_keys(connection)
        # Closed until each was looked at: a fault in between must not look like an open ledger.
        self.closed = {part: f"p{part:02d} waits for the coordinator" for part in waiting}
        opening: list[tuple[_Look, Verdict]] = []
        others: list[tuple[_Look, Verdict]] = []
        for part in waiting:
            state, replid = states[part], replids[part]
            look = _Look(part, state, cursors[part], reports, replid, changed.get(part, []))
            verdict = judge(part, state, look.cursor, reports, replid, clock.wall_ms())
            if in_hand.get(part, NOWHERE) > Mark(look.state.epoch, look.state.seq):
                verdict = Verdict(Step.WAIT, f"p{part:02d}: {in_hand[part]} is being booked")
            if part in asked and verdict.step is Step.OPEN:
                verdict = Verdict(Step.REBUILD, f"p{part:02d}: {asked[part]}")
            (opening if verdict.step is Step.OPEN else others).append((look, verdict))
        async with connection.transaction():
            keeps = await self._lock([look for look, _ in opening], connection)
            await self._open_all(opening, keeps, connection)
        for look, verdict in others:
            self._note(look.part, await self._take_safely(verdict, look, connection))
        told = next(iter(self.closed.values()), "")
        if told != self._told:
            self._told = told
            (_log.warning if told else _log.info)(
                "partitions", closed=len(self.closed), why=told, opened=len(waiting)
            )

    async def _open_all(
        self,
        opening: Sequence[tuple[_Look, Verdict]],
        keeps: Mapping[int, str],
        connection: Any,
    ) -> None:
        """Opens partitions that have lost nothing, many at a time: everybody's customers wait. All
        have been tried when this returns or raises, for the writers are kept out until then."""
        together, others = [], []
        for look, verdict in opening:
            if why := keeps.get(look.part):
                self._note(look.part, why)
            elif look.state.state == "REBUILD":  # it reads the books over the one connection
                others.append((look, verdict))
            else:
                together.append((look, verdict))
        failed: BaseException | None = None
        for at in range(0, len(together), OPEN_AT_ONCE):
            some = together[at : at + OPEN_AT_ONCE]
            answers = await asyncio.gather(
                *(self._take_safely(verdict, look, connection) for look, verdict in some),
                return_exceptions=True,
            )
            for (look, _), answer in zip(some, answers, strict=True):
                if isinstance(answer, BaseException):
                    failed = answer
                else:
                    self._note(look.part, answer)
            if failed is not None:
                raise failed
        for look, verdict in others:
            self._note(look.part, await self._take_safely(verdict, look, connection))

    def _note(self, part: int, why: str) -> None:
        if why:
            self.closed[part] = why
        else:
            del self.closed[part]

    async def _lock(self, looks: Sequence[_Look], connection: Any) -> dict[int, str]:
        """Keeps writers out of partitions that have lost nothing, until they are open; why some of
        them may not be opened yet.

        A writer may have read events from the Redis before, and be about to book them: it has done
        so by now, and the books are ahead, or it finds another stamp there, and does not.
        """
        free = await entries.try_lock(connection, [look.part for look in looks])
        cursors = await entries.cursors(connection)
        found = {}
        for part, state in ((look.part, look.state) for look in looks):
            if part not in free:
                found[part] = f"p{part:02d}: its last events are being written to the books"
            elif state.epoch and cursors[part] > Mark(state.epoch, state.seq):
                found[part] = f"p{part:02d} changed while it was checked"
        return found

    async def _take_safely(self, verdict: Verdict, look: _Look, connection: Any) -> str:
        """One partition's defect is its own: the others are opened all the same."""
        try:
            return await self._take(verdict, look, connection)
        except (TillUnavailable, BooksUnavailable, asyncpg.PostgresError):
            raise
        except Exception as error:
            _log.exception("partition_failed", partition=look.part)
            return f"p{look.part:02d}: {error}"

    async def _take(self, verdict: Verdict, look: _Look, connection: Any) -> str:
        """Takes one step with a partition; why it is still closed, or nothing."""
        part, state, replid = look.part, look.state, look.replid
        if verdict.step is Step.WAIT:
            return verdict.why
        if verdict.step is Step.REBUILD:
            return await self._rebuild(look, connection, verdict.why)
        if verdict.step is Step.INIT:
            await self._till.init(part)
            state = (await self._till.partitions())[part]
        if state.state == "REBUILD":
            for wallet in await wallets.wallets_of_partition(connection, part):
                await outbox.push_wallet(self._till, self._books, wallet)
        elif stale := await self._stale_keys(look.changed):
            # A key's row has no event: it may be missing where no money is. A state of its own: in
            # REPLAY the next to look would take it for a rebuild whose claims are in.
            reply = await self._till.open_partition(part, state, replid=replid, to="KEYS")
            if reply[0] != "OK":
                return f"p{part:02d} changed while it was checked"
            for wallet in stale:
                await outbox.push_wallet(self._till, self._books, wallet)
            _log.warning("keys_brought_back", partition=part, wallets=len(stale))
            state = (await self._till.partitions())[part]
        reply = await self._till.open_partition(part, state, replid=replid)
        return "" if reply[0] == "OK" else f"p{part:02d} changed while it was checked"

    async def _stale_keys(self, changed: Sequence[tuple[str, int]]) -> list[str]:
        """Wallets whose row in this Redis is older than the books'."""
        states = await self._till.wallets([wallet for wallet, _ in changed]) if changed else []
        return [
            wallet
            for (wallet, version), state in zip(changed, states, strict=True)
            if state is None or state.version < version
        ]

    async def _rebuild(self, look: _Look, connection: Any, why: str) -> str:
        """Begins a rebuild, waits for all claims, fills and opens; each call is one step.

        Whoever coordinates goes on where another stopped: every step may be repeated.
        """
        part, state = look.part, look.state
        began = state.state in ("REBUILD", "REPLAY") and state.base_epoch
        if not began or state.stamp != look.replid or state.epoch != look.cursor.epoch:
            return await self._begin(look, connection, why)
        for report in look.reports:
            needless = report.retired and report.done.get(part, NOWHERE).seq <= state.committed
            if report.claimed.get(part) != state.epoch and not needless:
                silent_s = (clock.wall_ms() - report.at_ms) // 1000
                return (
                    f"p{part:02d} is being rebuilt and waits for the claims of process"
                    f" {report.process} of node {report.node}, last heard {silent_s} s ago"
                )
        done = await rebuild.fill(self._till, self._books, part, state, replid=look.replid)
        if done.problem:
            return done.problem
        epoch = state.epoch
        state = (await self._till.partitions())[part]
        reply = await self._till.open_partition(part, state, replid=look.replid)
        if reply[0] != "OK":
            return f"p{part:02d} changed while it was rebuilt"
        await nodes.rebuild_done(connection, part)
        metrics.PARTITIONS_REBUILT.inc()
        _log.warning("partition_rebuilt", partition=part, epoch=epoch, why=why, **done._asdict())
        return ""

    async def _begin(self, look: _Look, connection: Any, why: str) -> str:
        part, state = look.part, look.state
        if state.epoch and state.state == "OPEN":
            await door.close(self._till, part, state.epoch)
        waits = self._behind(part) or await rebuild.drained(self._till, part, look.cursor)
        if waits:
            return waits
        told = [report.done[part].epoch for report in look.reports if part in report.done]
        epoch = max([state.epoch, look.cursor.epoch, *told]) + 1
        await rebuild.begin(
            self._till, connection, part, cursor=look.cursor, epoch=epoch, replid=look.replid
        )
        return f"{why}; it is being rebuilt"


def _nothing(_: int) -> str | None:
    return None


def _has_all(cursors: Mapping[int, Mark], report: Report) -> bool:
    """Whether the books have all that a process was told, as far as it can be told: an event of an
    epoch before a rebuild may not be among those that the books took over."""
    return all(
        at.epoch == cursors[part].epoch and at.seq <= cursors[part].seq
        for part, at in report.done.items()
        if at != NOWHERE
    )
