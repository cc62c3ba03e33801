"""Opens partitions: new ones, and those that a restart of Redis has fenced.

After a restart nothing may be lost silently. A partition is opened at once (the quick path) when no
answer that anybody got is ahead of its last event, the books are not ahead of it, and every living
process has found all its holds. Otherwise it stays closed, with a sentence that says what is
missing.
"""

import asyncio
import json
from typing import Any

import asyncpg
import msgspec
import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.books import entries, wallets
from corvus_proxy.books.db import Books, BooksUnavailable
from corvus_proxy.ledger import outbox
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.reply import PartitionState
from corvus_proxy.till.report import SILENT_S, Report, read_reports

POLL_S = 0.1
LOOK_EVERY = 10
"""With the replication id unchanged the partitions are still looked at once a second: a flush of
the data changes no id."""
_LOCK = (0x636F7276, 1000)
_log = structlog.get_logger()


class Coordinator:
    """One of all workers coordinates at a time, by an advisory lock in Postgres."""

    def __init__(self, till: Till, books: Books) -> None:
        self._till = till
        self._books = books
        self.closed: dict[int, str] = {}
        """Why each closed partition is not opened."""
        self._told = ""
        self._opened_for = ""
        self._looks = 0

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
        replid = await self._till.replid()
        self._looks += 1
        if replid == self._opened_for and not self.closed and self._looks % LOOK_EVERY:
            return
        states = await self._till.partitions()
        waiting = [
            part
            for part, state in enumerate(states)
            if state.state != "OPEN" or state.stamp != replid
        ]
        if waiting:
            async with self._books.connection() as connection:
                if not await connection.fetchval("select pg_try_advisory_lock($1, $2)", *_LOCK):
                    return
                try:
                    await self._open(waiting, states, replid, connection)
                finally:
                    await connection.fetchval("select pg_advisory_unlock($1, $2)", *_LOCK)
        else:
            self.closed.clear()
        metrics.PARTITIONS_CLOSED.set(len(self.closed))
        if not self.closed:
            self._opened_for = replid

    async def _open(
        self, waiting: list[int], states: list[PartitionState], replid: str, connection: Any
    ) -> None:
        cursors = await entries.cursors(connection)
        reports = await read_reports(self._till)
        await self._copy_registry(connection, reports)
        self.closed = {}
        for part in waiting:
            why = await self._open_one(part, states[part], cursors[part], reports, replid)
            if why is not None:
                self.closed[part] = why
        told = next(iter(self.closed.values()), "")
        if told != self._told:
            self._told = told
            (_log.warning if told else _log.info)(
                "partitions", closed=len(self.closed), why=told, opened=len(waiting)
            )

    async def _open_one(
        self,
        part: int,
        state: PartitionState,
        cursor: tuple[int, int],
        reports: list[Report],
        replid: str,
    ) -> str | None:
        """Opens one partition, or says why it stays closed."""
        epoch, seq = cursor
        if state.epoch == 0:
            if seq or any(report.done.get(part) for report in reports):
                return (
                    f"p{part:02d} is gone from Redis, and the books or a journal have events of"
                    " it; it must be rebuilt from them"
                )
            await self._till.init(part)
            state = (await self._till.partitions())[part]
        if state.state == "REBUILD":
            for wallet in await self._wallets(part):
                await outbox.push_wallet(self._till, self._books, wallet)
        elif (why := missing(part, state, (epoch, seq), reports, replid)) is not None:
            return why
        reply = await self._till.open_partition(part, state)
        if reply[0] != "OK":
            return f"p{part:02d} changed while it was checked"
        return None

    async def _wallets(self, part: int) -> list[str]:
        async with self._books.connection() as connection:
            return await wallets.wallets_of_partition(connection, part)

    async def _copy_registry(self, connection: Any, reports: list[Report]) -> None:
        """Keeps the last word of every process where it outlives Redis."""
        await connection.executemany(
            """insert into node (process, node, report) values ($1, $2, $3::jsonb)
               on conflict (process) do update set report = $3::jsonb, seen_at = now()""",
            [
                (r.process, r.node, json.dumps(msgspec.to_builtins(r, str_keys=True)))
                for r in reports
            ],
        )


def missing(
    part: int, state: PartitionState, cursor: tuple[int, int], reports: list[Report], replid: str
) -> str | None:
    """Why the quick path is not open for a partition: what was acknowledged and is not there."""
    epoch, seq = cursor
    if epoch > state.epoch or (epoch == state.epoch and seq > state.seq):
        return (
            f"p{part:02d}: the books have event {epoch}-{seq}, this Redis ends at"
            f" {state.epoch}-{state.seq}; it must be rebuilt from the books"
        )
    now_ms = clock.wall_ms()
    for report in reports:
        name = f"process {report.process} of node {report.node}"
        if report.done.get(part, 0) > state.seq:
            return (
                f"p{part:02d}: {name} was told of event {report.done[part]}, this Redis ends at"
                f" {state.seq}; it must be rebuilt"
            )
        if report.replid != replid or not report.replayed:
            silent_s = (now_ms - report.at_ms) // 1000
            if silent_s > SILENT_S:
                return (
                    f"p{part:02d}: {name} has been silent for {silent_s} s; bring it back, or"
                    " remove it once its journal is known to be lost"
                )
            return f"p{part:02d}: waiting for {name}"
        if report.missing.get(part):
            return (
                f"p{part:02d}: {name} misses {report.missing[part]} holds in this Redis; it"
                " must be rebuilt"
            )
    return None
