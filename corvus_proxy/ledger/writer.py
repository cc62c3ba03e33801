"""From each partition's stream into the books, exactly once.

The cursor stands in the same transaction as the rows: a crash anywhere repeats the batch or does
not, and never both. A second writer loses by lock or by cursor; the stream is trimmed only after
the commit. What was read from a Redis that has been replaced since is not booked: the partition may
have gone on from an earlier event, with others of the same numbers. An event that cannot be booked
goes into quarantine with its wallet, and the others go on.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.books import entries, nodes
from corvus_proxy.books.db import Books, BooksUnavailable
from corvus_proxy.ledger import behind
from corvus_proxy.ledger.archive import Archive
from corvus_proxy.money.event import Event, Mark, Poison, decode_meta
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.reply import Fenced

BATCH = 500
"""Events read at a time from each partition: bounds the memory, whatever the lag."""
TOGETHER_MAX = 2000
"""Events that are booked in one transaction over all partitions: so long are they all locked."""
BLOCK_MS = 500
GATHER_S = 0.25
"""A pause after a small batch lets the next one grow: every commit costs the disk a sync, and Redis
syncs on the same one before it answers a request."""
LOOK_AGAIN_S = 5.0
"""A partition with a gap is tried again so often: its archive may have been put back. So often too
the cursors are read anew: a database that was put back between two batches breaks no connection
that is in use, and a partition at rest has no next event that would tell."""
_REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.exceptions.DataError,
)
"""What Postgres says of a value that it will never take."""
_log = structlog.get_logger()


class _Replaced(Exception):
    """The partition serves on another Redis than the one that the batch was read from."""


class _Alone(Exception):
    """A partition has to be written by itself."""


class Writer:
    """Writes events until it is cancelled."""

    def __init__(
        self, till: Till, books: Books, *, keep: int, archive: Archive | None = None
    ) -> None:
        self._till = till
        self._books = books
        self._keep = keep
        self._archive = archive or Archive("", days=0)
        self._cursors: dict[int, Mark] = {}
        self._stale = True
        """The cursors have to be read again, all of them."""
        self._stamps: list[str] = []
        """Which Redis each partition served on when the cursors were read."""
        self._unacked: dict[int, Mark] = {}
        self.in_hand: dict[int, Mark] = {}
        """Last event of each partition that was read and is not booked yet. A server that has
        replaced the one it came from may lack it, and it is booked all the same."""
        self._gaps_seen_s = 0.0
        self._loaded_s = 0.0
        self.broken: dict[int, str] = {}
        """Partitions with a gap that neither stream nor archive fills, with what was found."""
        self.behind: dict[int, str] = {}
        """Partitions whose books are being brought forward after a restore."""
        self._targets: dict[int, int] = {}
        """How far each of those has to be brought."""

    async def run(self) -> None:
        """Writes for ever; survives every absence of Redis or Postgres."""
        while True:
            try:
                if 0 < await self.tick() < BATCH:
                    await asyncio.sleep(GATHER_S)
            except (TillUnavailable, BooksUnavailable, asyncpg.PostgresError) as error:
                _log.warning("writer_waits", why=str(error))
                self._stale = True
                await asyncio.sleep(0.5)
            except Exception:  # the writer must come back whatever one batch does to it
                _log.exception("writer_failed")
                self._stale = True
                await asyncio.sleep(1)

    async def tick(self, *, block_ms: int = BLOCK_MS) -> int:
        """One read over all partitions, and one transaction for all that have events, or, where
        there is something about one of them, for each."""
        if self._stale or clock.monotonic_s() - self._loaded_s > LOOK_AGAIN_S:
            await self._load()
        if self.broken and clock.monotonic_s() - self._gaps_seen_s > LOOK_AGAIN_S:
            await self._fill_gaps(list(self.broken))
        waiting = {part: at for part, at in self._cursors.items() if part not in self.broken}
        if not waiting:
            await asyncio.sleep(LOOK_AGAIN_S)
            return 0
        events = await self._till.events(waiting, count=BATCH, block_ms=block_ms)
        by_partition: dict[int, list[Event | Poison]] = {}
        for event in events:
            by_partition.setdefault(event.partition, []).append(event)
            self.in_hand[event.partition] = Mark(event.epoch, event.seq)
        if len(by_partition) > 1 and await self._write_together(by_partition):
            by_partition = {}
        gaps = []
        for part, batch in by_partition.items():
            try:
                await self._write(part, batch)
            except entries.ChainBroken as error:
                _log.error("gap", partition=part, what=str(error))
                gaps.append(part)
            except _Replaced:
                _log.warning("batch_left", partition=part, events=len(batch))
                self._stale = True
                self.in_hand.clear()
                return 0
        self.in_hand.clear()
        if gaps:
            await self._load()  # of another database than before every partition is behind
            await self._fill_gaps(gaps)
        await self._ack()
        self._note_caught_up()
        return len(events)

    def why_behind(self, part: int) -> str | None:
        """Why the books may not be what this partition is rebuilt from."""
        return self.broken.get(part) or self.behind.get(part)

    async def _load(self) -> None:
        """Where the books are, and whether they are behind what Redis was told of."""
        self.in_hand.clear()
        # In this order: what another writer commits in between must not look like a restore.
        states = await self._till.partitions()
        async with self._books.connection() as connection:
            cursors = await entries.cursors(connection)
        found = behind.parts_behind(states, cursors)
        for part, why in found.items():
            self._note_behind(part, why)
            self._targets[part] = max(self._targets.get(part, 0), states[part].committed)
        if self.behind:
            await behind.restore_wallets(self._till, self._books)
        self._cursors, self._stale = cursors, False
        self._loaded_s = clock.monotonic_s()
        self._stamps = [state.stamp for state in states]
        if found:
            await self._fill_gaps(list(found))

    def _note_caught_up(self) -> None:
        for part in list(self.behind):
            at = self._cursors.get(part)
            if at is not None and part not in self.broken and at.seq >= self._targets[part]:
                _log.info("ledger_caught_up", partition=part, at=str(at))
                del self.behind[part], self._targets[part]

    async def _write_together(self, batches: Mapping[int, Sequence[Event | Poison]]) -> bool:
        """Books all of them at once, which costs little more than one. False, and nothing is
        booked, where one of them needs care: `_write` gives it, one by one."""
        if self.behind or sum(map(len, batches.values())) > TOGETHER_MAX:
            return False
        try:
            async with self._books.transaction() as connection:
                found = await entries.write_all(connection, batches)
                await self._may_all_stand(batches, found)
        except (entries.ChainBroken, entries.WalletsUnknown, _Alone, *_REFUSED):
            return False
        for part, batch in batches.items():
            self._note_written(part, batch, found[part])
        return True

    async def _write(
        self, part: int, batch: Sequence[Event | Poison], *, from_redis: bool = True
    ) -> bool:
        """Books a batch; False when another writer was there first. Raises ChainBroken,
        _Replaced."""
        try:
            written = await self._book(part, batch, from_redis=from_redis)
        except _REFUSED:
            written = await self._one_by_one(part, batch, from_redis=from_redis)
        if written is None:
            # Another writer was there first: read again from where the books are now.
            self._stale = True
            await asyncio.sleep(0.05)
            return False
        self._note_written(part, batch, written)
        return True

    def _note_written(
        self, part: int, batch: Sequence[Event | Poison], written: entries.Written
    ) -> None:
        last = batch[-1]
        self._cursors[part] = self._unacked[part] = Mark(last.epoch, last.seq)
        for kind, count in Counter(event.type for event in written.sound).items():
            metrics.LEDGER_EVENTS.labels(kind).inc(count)
        for credential, nanos in _costs(written.sound).items():
            metrics.UPSTREAM_COST.labels(credential).inc(nanos)
        for bad in written.quarantined:
            metrics.QUARANTINED.inc()
            at = str(Mark(bad.epoch, bad.seq))
            _log.error("quarantined", wallet=bad.wallet, at=at, why=bad.why)

    async def _book(
        self,
        part: int,
        batch: Sequence[Event | Poison],
        poison: dict[int, str] | None = None,
        *,
        from_redis: bool,
    ) -> entries.Written | None:
        options: dict[str, Any] = {"poison": poison, "across_epochs": part in self.behind}
        try:
            async with self._books.transaction() as connection:
                written = await entries.write(connection, part, batch, **options)
                if written is not None:
                    await self._may_stand(part, batch, from_redis=from_redis)
                return written
        except entries.WalletsUnknown as error:
            await behind.restore_wallets(self._till, self._books, error.wallets)
        async with self._books.transaction() as connection:
            written = await entries.write(connection, part, batch, restored=True, **options)
            if written is not None:
                await self._may_stand(part, batch, from_redis=from_redis)
            return written

    async def _may_stand(
        self, part: int, batch: Sequence[Event | Poison], *, from_redis: bool
    ) -> None:
        """The last step before a commit: the coordinator, which opens a partition under the same
        lock, has not opened it on another Redis since the batch was read. Raises _Replaced."""
        if from_redis and await self._till.stamp(part) != self._stamps[part]:
            raise _Replaced
        self._archive.append(batch)

    async def _may_all_stand(
        self,
        batches: Mapping[int, Sequence[Event | Poison]],
        found: Mapping[int, entries.Written],
    ) -> None:
        """As `_may_stand`, of all; nor was another writer first in any. Raises _Alone."""
        states = await self._till.partitions()
        for part in batches:
            if part not in found or states[part].stamp != self._stamps[part]:
                raise _Alone
        self._archive.append([event for batch in batches.values() for event in batch])

    async def _one_by_one(
        self, part: int, batch: Sequence[Event | Poison], *, from_redis: bool
    ) -> entries.Written | None:
        """A batch in which Postgres refuses something: only that goes into quarantine."""
        all_of_it = entries.Written([], [])
        for event in batch:
            try:
                written = await self._book(part, [event], from_redis=from_redis)
            except _REFUSED as error:
                why = {event.seq: f"Postgres: {error}"}
                written = await self._book(part, [event], why, from_redis=from_redis)
            if written is None:
                return None
            all_of_it.sound.extend(written.sound)
            all_of_it.quarantined.extend(written.quarantined)
        return all_of_it

    async def _fill_gaps(self, parts: Sequence[int]) -> None:
        """Brings partitions forward from the archive, to where the stream goes on."""
        while parts:
            parts = await self._fill_some(parts)
        self._gaps_seen_s = clock.monotonic_s()

    async def _fill_some(self, parts: Sequence[int]) -> list[int]:
        """One reading of the archive; the partitions for which it has more."""
        more = []
        async with self._books.connection() as connection:
            cursors = await entries.cursors(connection)
        states = await self._till.partitions()
        found = await asyncio.to_thread(self._archive.read, {part: cursors[part] for part in parts})
        for part in parts:
            after = await self._till.events({part: cursors[part]}, count=1, block_ms=0)
            # From there on the archive may have what never was booked and was rebuilt otherwise.
            known = max(states[part].seq, self._targets.get(part, 0))
            upto = after[0].seq - 1 if after else known
            end = cursors[part]
            if end.seq < upto:
                self._note_behind(part, f"LEDGER_BEHIND p{part:02d}: the books end at {end}")
                self._targets[part] = max(self._targets.get(part, 0), upto + len(after))
            events = [event for event in found.get(part, []) if event.seq <= upto]
            try:
                for at in range(0, len(events), BATCH):
                    some = events[at : at + BATCH]
                    if not await self._write(part, some, from_redis=False):
                        return []
                    end = self._cursors[part]
            except entries.ChainBroken as error:  # this partition's trouble, and no other's
                _log.error("gap", partition=part, what=str(error))
            self._cursors[part] = end
            if cursors[part].seq < end.seq < upto:
                more.append(part)
            elif end.seq < upto:
                goes_on = f"{after[0].epoch}-{after[0].seq}" if after else "nothing"
                self.broken[part] = (
                    f"LEDGER_BEHIND p{part:02d}: the books end at {end}, the stream goes on at"
                    f" {goes_on}, and the archive has nothing between"
                )
                _log.error("ledger_behind", what=self.broken[part])
            else:
                self.broken.pop(part, None)
        return more

    def _note_behind(self, part: int, why: str) -> None:
        if part not in self.behind:
            _log.error("ledger_behind", what=why)
            self.behind[part] = why

    async def _ack(self) -> None:
        """Tells Redis what the books have; again and again while a partition is closed."""
        for part, at in list(self._unacked.items()):
            answer = await self._till.ack(part, at.seq, keep=self._keep)
            if isinstance(answer, Fenced):
                continue
            if answer[0] == "AHEAD":  # this server never had what another one's stream gave us
                _log.error("books_ahead", partition=part, books=str(at), redis_seq=answer[1])
                async with self._books.connection() as connection:
                    await nodes.ask_rebuild(connection, [part])
            del self._unacked[part]

    async def lag(self) -> int:
        """Events that the books do not have yet, over all partitions."""
        states = await self._till.partitions()
        return sum(max(0, state.seq - state.committed) for state in states)


def _costs(events: Sequence[Event]) -> Counter[str]:
    """What booked requests have cost the operator, in nanos, by credential."""
    found: Counter[str] = Counter()
    for event in events:
        if event.type in "SXL":
            meta = decode_meta(event.meta)
            found[meta.credential] += meta.cost_nanos
    return +found
