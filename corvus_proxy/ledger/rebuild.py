"""Begins a partition anew: wallets from the books, then what outlived Redis elsewhere.

The order is money's own: what the books have, what was paid since (the outbox), what was charged
since (the journals' claims), what is held by requests that still run. So every charge finds the
money that was there when it was made, and nobody's hold is spent by another.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from corvus_proxy.books import entries, quarantine, recovery, wallets
from corvus_proxy.books.db import Books
from corvus_proxy.ledger import outbox
from corvus_proxy.money.event import Event, Mark
from corvus_proxy.till.client import Till
from corvus_proxy.till.recovery import door
from corvus_proxy.till.recovery.claims import Claim
from corvus_proxy.till.reply import Adopted, Duplicate, KeyRow, PartitionState, Settled

AT_ONCE = 2000
_log = structlog.get_logger()


class RefillFailed(Exception):
    """Redis answered what it must not answer while a partition is rebuilt; it is tried again."""


class Rebuilt(NamedTuple):
    """What a rebuild did. Amounts in nanos."""

    wallets: int
    charged: int
    """Claims that were charged again …"""
    known: int
    """… and those that the books had."""
    adopted: int
    shortfall_nanos: int
    """What the charged claims exceeded the balances by."""
    problem: str
    """Why the partition may not be opened; empty when it may."""


async def drained(till: Till, part: int, cursor: Mark) -> str | None:
    """Why the books may not be taken as they are yet: events of them stand in the stream."""
    last = await till.last_event(part)
    if last is None or last <= cursor:
        return None
    rows = await till.events({part: cursor}, count=1, block_ms=0)
    if rows and rows[0].seq == cursor.seq + 1:
        return f"p{part:02d}: its last events are being written to the books"
    return (
        f"p{part:02d}: the books end at {cursor} and the stream begins at"
        f" {rows[0].epoch}-{rows[0].seq}: LEDGER_BEHIND, the events between are in the archive"
    )


async def begin(
    till: Till, connection: Any, part: int, *, cursor: Mark, epoch: int, replid: str
) -> bool:
    """Raises the epoch in the books, then in Redis; False when either had moved on.

    The books first: from then on no writer can book an event of the old epoch.
    """
    if not await entries.begin_epoch(connection, part, cursor, epoch):
        return False
    answer = await door.rebuild(till, part, epoch, base=cursor, replid=replid)
    return bool(answer[0] == "OK")


async def fill(
    till: Till, books: Books, part: int, state: PartitionState, *, replid: str
) -> Rebuilt:
    """Fills a partition whose processes have all handed in their claims; the caller opens it.

    Repeating it does nothing twice: loading overwrites, everything else has its id. Raises
    TillUnavailable, BooksUnavailable, RefillFailed.
    """
    epoch = state.epoch
    async with books.connection() as connection:
        waiting = await wallets.waiting_of_partition(connection, part)
    loaded: dict[str, int] = {}
    if state.state == "REBUILD":
        async with books.connection() as connection:
            rows = [_row(one) for one in await recovery.wallets(connection, part)]
            moved = await recovery.recent_credits(connection, part)
        await door.load(till, part, epoch, rows)
        loaded = {one.row.wallet: one.row.version for one in rows}
        await door.recall(till, part, epoch, moved=moved)
        answer = await till.open_partition(part, state, replid=replid, to="REPLAY")
        if answer[0] != "OK":
            raise RefillFailed(f"p{part:02d} moved while it was filled: {answer!r}")
    await _push_newer(till, books, part, loaded)
    for row in waiting:
        if row.kind not in ("key", "reversal"):
            await outbox.send(till, books, row)
    claims = await door.claims(till, part)
    charged, known, short = await _charge(till, books, part, epoch, claims)
    adopted = await _adopt(till, books, part, epoch, [one for one in claims if one.kind == "A"])
    for row in (one for one in waiting if one.kind == "reversal"):
        await outbox.send(till, books, row)  # it takes what nobody else needs
    count, problem = await _compare(till, books, part)
    return Rebuilt(count, charged, known, adopted, short, problem)


async def _push_newer(till: Till, books: Books, part: int, loaded: Mapping[str, int]) -> None:
    """Keys that were changed while the wallets were loaded: the load may have been the later. With
    nothing loaded now, by whom it was loaded is gone: what Redis has is looked at."""
    async with books.connection() as connection:
        versions = await recovery.versions(connection, part)
    ids = [wallet for wallet, version in versions.items() if loaded.get(wallet, -1) < version]
    for at in range(0, len(ids), AT_ONCE):
        some = ids[at : at + AT_ONCE]
        for wallet, state in zip(some, await till.wallets(some), strict=True):
            if state is None or state.version < versions[wallet]:
                await outbox.push_wallet(till, books, wallet)


async def _adopt(till: Till, books: Books, part: int, epoch: int, living: Sequence[Claim]) -> int:
    """Gives running requests their holds again; how many."""
    async with books.connection() as connection:
        booked = await recovery.ended(connection, [claim.rid for claim in living])
    ended = [pair for rid, one in booked.items() for pair in one.tombstones(rid)]
    await door.recall(till, part, epoch, ended=ended)  # one that has ended is not held again
    adopted = 0
    for claim, answer in zip(living, await door.adopt(till, part, epoch, living), strict=True):
        if isinstance(answer, Adopted):
            adopted += 1
            if answer.held_nanos < claim.nanos:
                _log.warning("hold_adopted_in_part", request_id=claim.rid, reply=repr(answer))
        elif not isinstance(answer, Duplicate):
            raise RefillFailed(f"p{part:02d}: the hold of {claim.rid} was answered {answer!r}")
    return adopted


def _row(one: recovery.WalletBalance) -> door.WalletRow:
    keys = [outbox.entry_of(key) for key in one.keys]
    return door.WalletRow(
        KeyRow(one.wallet, one.version, str(one.status), keys),
        one.balance_nanos,
        one.wallet_seq,
        one.spent_nanos,
        {key.key_id: key.spent_nanos for key in one.keys},
    )


async def _charge(
    till: Till, books: Books, part: int, epoch: int, claims: list[Claim]
) -> tuple[int, int, int]:
    """Charges what journals prove and the books do not have: charged, known, shortfall."""
    proven = [claim for claim in claims if claim.kind != "A"]
    async with books.connection() as connection:
        bridged = await recovery.in_gaps(connection, part, [
            Mark(claim.epoch, claim.seq) for claim in proven
        ])  # fmt: skip
    proven = [claim for claim, known in zip(proven, bridged, strict=True) if not known]
    proven.sort(key=lambda claim: (not claim.epoch, claim.epoch, claim.seq))
    charged = known = short = 0
    for at in range(0, len(proven), AT_ONCE):
        some = proven[at : at + AT_ONCE]
        async with books.connection() as connection:
            booked = await recovery.ended(connection, [claim.rid for claim in some])
        ended = [pair for rid, one in booked.items() for pair in one.tombstones(rid)]
        await door.recall(till, part, epoch, ended=ended)
        known += len(booked)
        due = [one for claim in some if (one := _due(claim, booked.get(claim.rid))) is not None]
        for answer in await door.direct(till, part, epoch, due):
            if isinstance(answer, Settled):
                charged += 1
                short += answer.shortfall_nanos
            elif not isinstance(answer, Duplicate):
                raise RefillFailed(f"p{part:02d}: a claim was answered {answer!r}")
    return charged, known, short


def _due(claim: Claim, booked: recovery.EndedRequest | None) -> Claim | None:
    """What of a claim is still to be charged: all of it where the books do not have the request,
    what it cost beyond the checkpoint where its lease had ended it, else nothing."""
    if booked is None:
        return claim
    more = claim.nanos - booked.actual_nanos
    if booked.kind != "X" or claim.kind != "S" or booked.late or more <= 0:
        return None
    return Claim(
        "L",
        f"{claim.rid}:L",
        claim.wallet,
        claim.key,
        claim.slug,
        more,
        claim.outcome,
        claim.meta,
    )


async def _compare(till: Till, books: Books, part: int) -> tuple[int, str]:
    """How many wallets there are, and the first that is not the books' balance with the events
    since."""
    async with (
        books.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        cursor = (await entries.cursors(connection))[part]
        booked = await recovery.balances(connection, part)
        stopped = {(one.epoch, one.seq) for one in await quarantine.waiting(connection)
                   if one.part == part}  # fmt: skip
    for event in await door.stream(till, part):
        mark = Mark(event.epoch, event.seq)
        # A wallet in quarantine gets its money and its charges again, and the books take neither.
        if isinstance(event, Event) and (mark > cursor or mark in stopped):
            booked[event.wallet] = booked.get(event.wallet, 0) + event.delta_nanos
    ids = list(booked)
    for at in range(0, len(ids), AT_ONCE):
        some = ids[at : at + AT_ONCE]
        for wallet, state in zip(some, await till.wallets(some), strict=True):
            found = state.balance_nanos if state else None
            if found != booked[wallet]:
                why = f"p{part:02d}: {wallet} was rebuilt at {found}, not at {booked[wallet]}"
                return len(ids), why
            if state is not None and not 0 <= state.held_nanos <= state.balance_nanos:
                why = f"p{part:02d}: {wallet} holds {state.held_nanos} of {state.balance_nanos}"
                return len(ids), why
    return len(ids), ""
