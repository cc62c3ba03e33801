"""From each partition's stream into the books, exactly once.

The cursor stands in the same transaction as the rows: a crash anywhere repeats the batch or does
not, and never both. A second writer loses by lock or by cursor; the stream is trimmed only after
the commit.
"""

import asyncio

import asyncpg
import structlog

from corvus_proxy import metrics
from corvus_proxy.books import entries
from corvus_proxy.books.db import Books, BooksUnavailable
from corvus_proxy.money.event import Event
from corvus_proxy.till.client import Till, TillUnavailable

BATCH = 500
"""Events read at a time from each partition: bounds the memory, whatever the lag."""
BLOCK_MS = 500
GATHER_S = 0.1
"""A pause after a small batch lets the next one grow: every commit costs the disk a sync, and Redis
syncs on the same one before it answers a request."""
_log = structlog.get_logger()


class Writer:
    """Writes events until it is cancelled."""

    def __init__(self, till: Till, books: Books, *, keep: int) -> None:
        self._till = till
        self._books = books
        self._keep = keep
        self._cursors: dict[int, tuple[int, int]] = {}
        self.broken: dict[int, str] = {}
        """Partitions whose chain does not hold, with what was found; they wait for an operator."""

    async def run(self) -> None:
        """Writes for ever; survives every absence of Redis or Postgres."""
        while True:
            try:
                if 0 < await self.tick() < BATCH:
                    await asyncio.sleep(GATHER_S)
            except (TillUnavailable, BooksUnavailable, asyncpg.PostgresError) as error:
                _log.warning("writer_waits", why=str(error))
                self._cursors.clear()
                await asyncio.sleep(0.5)
            except Exception:  # the writer must come back whatever one batch does to it
                _log.exception("writer_failed")
                self._cursors.clear()
                await asyncio.sleep(1)

    async def tick(self, *, block_ms: int = BLOCK_MS) -> int:
        """One read over all partitions and one transaction for each that has events."""
        if not self._cursors:
            async with self._books.connection() as connection:
                self._cursors = await entries.cursors(connection)
        waiting = {part: at for part, at in self._cursors.items() if part not in self.broken}
        events = await self._till.events(waiting, count=BATCH, block_ms=block_ms)
        by_partition: dict[int, list[Event]] = {}
        for event in events:
            by_partition.setdefault(event.partition, []).append(event)
        for part, batch in by_partition.items():
            await self._write(part, batch)
        return len(events)

    async def _write(self, part: int, batch: list[Event]) -> None:
        try:
            async with self._books.transaction() as connection:
                written = await entries.write(connection, part, batch)
        except entries.ChainBroken as error:
            self.broken[part] = str(error)
            _log.error("chain_broken", partition=part, what=str(error))
            return
        if not written:
            # Another writer was there first: read again from where the books are now.
            self._cursors.clear()
            await asyncio.sleep(0.05)
            return
        last = batch[-1]
        self._cursors[part] = (last.epoch, last.seq)
        for event in batch:
            metrics.LEDGER_EVENTS.labels(event.type).inc()
        await self._till.ack(part, last.seq, keep=self._keep)

    async def lag(self) -> int:
        """Events that the books do not have yet, over all partitions."""
        states = await self._till.partitions()
        return sum(max(0, state.seq - state.committed) for state in states)
