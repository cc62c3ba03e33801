"""Proves that Redis and the books agree, wallet by wallet, to the nano-dollar; also under load.

Each partition is compared at one cut: its cursor in the books, plus the events behind it in the
stream, must give what Redis says. A wallet that moves while it is read is read again.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from corvus_proxy.books import entries, quarantine, views
from corvus_proxy.books.db import Books
from corvus_proxy.books.shop import proof
from corvus_proxy.money.event import PARTITIONS, Event, Mark, partition_of
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import WalletState

ATTEMPTS = 20
AT_ONCE = 1000

Told = Callable[[int, int], None]
"""Hears how much is done, and of how much."""


def untold(done: int, total: int) -> None:
    """Nobody wants to know."""


class VerifyReport(NamedTuple):
    """What `corvus ledger verify` says. Amounts in nanos."""

    ok: bool
    wallets: int
    events: int
    drift_nanos: int
    """Sum of the absolute differences over all wallets."""
    undrained: int
    """Events that the books do not have yet; no fault, they are part of the comparison."""
    held_nanos: int
    problems: list[str]


class PartitionDrift(NamedTuple):
    """Redis against the books with the stream, for one partition."""

    wallets: int
    undrained: int
    drift_nanos: int


class _Wallet(NamedTuple):
    """One wallet compared."""

    wallet: str
    part: int
    drift_nanos: int
    undrained: int
    held_nanos: int
    problems: list[str]


async def verify(till: Till, books: Books, *, told: Told = untold) -> VerifyReport:
    """Compares every wallet, and orders with payments and cash; `told` hears how many wallets are
    done, and of how many. Raises TillUnavailable, BooksUnavailable."""
    found, events = await _compare_all(till, books, told)
    problems = [problem for one in found for problem in one.problems]
    async with books.connection() as connection:
        stopped = await quarantine.waiting(connection)
        problems += await proof.problems(connection)
    problems += [
        f"{wallet}: its events are in quarantine since {one.epoch}-{one.seq}: {one.why}"
        for wallet, one in {one.wallet: one for one in reversed(stopped)}.items()
    ]
    problems += await _check_holds(till, [one for one in found if one.held_nanos])
    return VerifyReport(
        not problems,
        len(found),
        events,
        sum(one.drift_nanos for one in found),
        sum(one.undrained for one in found),
        sum(one.held_nanos for one in found),
        problems,
    )


async def drift_by_partition(till: Till, books: Books) -> list[PartitionDrift]:
    """The comparison, summed by partition. Raises TillUnavailable, BooksUnavailable."""
    found, _ = await _compare_all(till, books, untold)
    by_part: list[list[_Wallet]] = [[] for _ in range(PARTITIONS)]
    for one in found:
        by_part[one.part].append(one)
    return [
        PartitionDrift(
            len(some), sum(one.undrained for one in some), sum(one.drift_nanos for one in some)
        )
        for some in by_part
    ]


async def _compare_all(till: Till, books: Books, told: Told) -> tuple[list[_Wallet], int]:
    """Every wallet of either store, and how many events the books have."""
    # One snapshot: a batch that the writer commits between the two reads would be counted twice.
    async with (
        books.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        at = await entries.cursors(connection)
        totals = {
            row.wallet: row for row in await views.totals(connection, list(range(PARTITIONS)))
        }
    by_part: dict[int, list[str]] = {}
    for wallet in {wallet async for wallet in till.wallet_ids()} | set(totals):
        by_part.setdefault(partition_of(wallet), []).append(wallet)
    found: list[_Wallet] = []
    total = sum(map(len, by_part.values()))
    for part, wallets in sorted(by_part.items()):
        for start in range(0, len(wallets), AT_ONCE):
            some = sorted(wallets[start : start + AT_ONCE])
            for wallet, cut in (await _cut_many(till, part, some, at)).items():
                found.append(_compare(wallet, totals.get(wallet), *cut))
            told(len(found), total)
    return found, sum(row.events for row in totals.values())


async def _cut_many(
    till: Till, part: int, wallets: list[str], at: dict[int, Mark]
) -> dict[str, tuple[WalletState | None, list[Event]]]:
    """Each wallet's state and its events behind the cursor; those that moved meanwhile are read
    again one by one."""
    before = await till.wallets(wallets)
    behind: dict[str, list[Event]] = {}
    for event in await _events_behind(till, part, at):
        behind.setdefault(event.wallet, []).append(event)
    after = await till.wallets(wallets)
    found = {}
    for wallet, old, new in zip(wallets, before, after, strict=True):
        if _stood(old, new):
            found[wallet] = (new, behind.get(wallet, []))
        else:
            found[wallet] = await redis_cut(till, wallet, at)
    return found


async def _events_behind(till: Till, part: int, at: dict[int, Mark]) -> list[Event]:
    """Events of a partition that the books do not have yet."""
    found: list[Event] = []
    cursor = at.get(part, Mark(1, 0))
    while batch := await till.events({part: cursor}, count=1000, block_ms=0):
        found += [event for event in batch if isinstance(event, Event)]
        cursor = Mark(batch[-1].epoch, batch[-1].seq)
    return found


def _compare(
    wallet: str, row: views.WalletTotals | None, state: WalletState | None, behind: list[Event]
) -> _Wallet:
    problems: list[str] = []
    drift = 0
    if row is not None and not row.balance_nanos == row.events_nanos == row.postings_nanos:
        problems.append(
            f"{wallet}: balance {row.balance_nanos}, events {row.events_nanos},"
            f" postings {row.postings_nanos} in the books"
        )
        drift += abs(row.balance_nanos - row.events_nanos)
        drift += abs(row.balance_nanos - row.postings_nanos)
    folded = (row.balance_nanos if row else 0) + sum(event.delta_nanos for event in behind)
    spent = behind[-1].wallet_spent_nanos if behind else (row.spent_nanos if row else 0)
    actual, held = (state.balance_nanos, state.held_nanos) if state else (0, 0)
    if folded != actual:
        drift += abs(folded - actual)
        problems.append(f"{wallet}: the books and the stream give {folded}, Redis has {actual}")
    if state is not None:
        if spent != state.spent_nanos:
            problems.append(f"{wallet}: {spent} spent in the books, {state.spent_nanos} in Redis")
        if not 0 <= held <= actual:
            problems.append(f"{wallet}: {held} held of {actual}")
    return _Wallet(wallet, partition_of(wallet), drift, len(behind), held, problems)


def _stood(before: WalletState | None, after: WalletState | None) -> bool:
    """Whether a wallet had no event between two readings: one that was made meanwhile had."""
    if before is None or after is None:
        return before is after
    return before.wallet_seq == after.wallet_seq


async def redis_cut(
    till: Till, wallet: str, at: dict[int, Mark]
) -> tuple[WalletState | None, list[Event]]:
    """A wallet's state and its events behind the cursor, taken while it stood still."""
    part = partition_of(wallet)
    for _ in range(ATTEMPTS):
        before = await till.wallet(wallet)
        behind = [one for one in await _events_behind(till, part, at) if one.wallet == wallet]
        after = await till.wallet(wallet)
        if _stood(before, after):
            return after, behind
        await asyncio.sleep(0.01)
    raise TimeoutError(f"{wallet} moves too fast to be compared")


async def _check_holds(till: Till, holding: Sequence[_Wallet]) -> list[str]:
    """Held of each wallet is the sum of its holds (read again while they move); of one that has
    no hold it is nothing."""
    by_part: list[dict[str, int]] = [{} for _ in range(PARTITIONS)]
    for one in holding:
        by_part[one.part][one.wallet] = 0
    problems = []
    for part, sums in enumerate(by_part):
        for hold in (await till.holds(part)).values():
            sums[hold.wallet] = sums.get(hold.wallet, 0) + hold.held_nanos
        for wallet, total in sums.items():
            if not await _holds_agree(till, part, wallet, total):
                problems.append(f"{wallet}: its holds sum to {total}, not to what is held")
    return problems


async def _holds_agree(till: Till, part: int, wallet: str, total: int) -> bool:
    for _ in range(ATTEMPTS):
        before = await till.wallet(wallet)
        total = sum(
            hold.held_nanos for hold in (await till.holds(part)).values() if hold.wallet == wallet
        )
        after = await till.wallet(wallet)
        if before == after:
            return after is not None and after.held_nanos == total
    return True  # it moves faster than it can be read; the next run looks again
