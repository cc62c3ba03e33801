"""Books that are behind, and nobody has the events between any more: neither Redis's stream nor the
archive. Redis has the balances all the same, so each wallet is brought to its own in one step.

Customers keep what they have, to the nano. What the requests between were is lost; what they cost
stands in the account `unknown:pNN`, together with credits that nobody remembers.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from corvus_proxy.books import entries, recovery, wallets
from corvus_proxy.books.db import Books
from corvus_proxy.ledger import behind
from corvus_proxy.money.event import Event, Mark, Poison, partition_of
from corvus_proxy.till.client import Till
from corvus_proxy.till.recovery import door

AT_ONCE = 1000


class Bridged(NamedTuple):
    """What was booked in place of a gap's events. Amounts in nanos."""

    lost: int
    """Events that nobody has."""
    booked: int
    """Events that stand in their place."""
    wallets: int
    """Wallets that had moved."""
    unknown_nanos: int
    """What they have gained, less what they have lost, beyond the credits and debits of the
    outbox."""


class _Figures(NamedTuple):
    balance_nanos: int
    wallet_seq: int
    spent_nanos: int


class _Move(NamedTuple):
    delta_nanos: int
    id: str
    counter: str
    key: str = ""
    reason: str = ""
    short_nanos: int = 0
    """What a reversal could not take."""


async def bridge(till: Till, books: Books, part: int) -> Bridged:
    """Takes the books over the gap in front of a partition's stream. Raises LookupError when there
    is none, ValueError when Redis has less than the books; TillUnavailable, BooksUnavailable."""
    ids = [wallet async for wallet in till.wallet_ids() if partition_of(wallet) == part]
    await behind.restore_wallets(till, books, ids)
    async with books.transaction() as connection:
        await entries.lock(connection, part)
        before = (await entries.cursors(connection))[part]
        # In this order: what moves from now on stands in the stream.
        figures = await _present(till, ids)
        state = (await till.partitions())[part]
        stream = await _stream(till, part, before)
        upto = Mark(stream[0].epoch, stream[0].seq - 1) if stream else Mark(state.epoch, state.seq)
        if upto.seq <= before.seq:
            raise LookupError(f"p{part:02d}: the stream goes on where the books end, at {before}")
        figures |= _begins(stream)
        known = await _known_moves(till, connection, part, before, upto)
        booked: list[Event] = []
        for wallet in await recovery.wallets(connection, part):
            to = figures.get(wallet.wallet)
            if to is not None and to.wallet_seq != wallet.wallet_seq:
                moves = _moves(part, upto, wallet, to, known.get(wallet.wallet, []))
                first = Mark(upto.epoch, before.seq + 1 + len(booked))
                booked += _events(part, first, wallet, to, moves)
                by_key = await door.spent(till, wallet.wallet)
                await entries.set_wallet(connection, wallet.wallet, *to, by_key=by_key)
        if booked and booked[-1].seq > upto.seq:
            raise ValueError(f"p{part:02d}: more has moved than {upto.seq - before.seq} events do")
        await entries.insert(connection, booked)
        await entries.skip(connection, part, before, upto)
    return Bridged(
        upto.seq - before.seq,
        len(booked),
        len({event.wallet for event in booked}),
        sum(event.delta_nanos for event in booked if event.counter == _unknown(part)),
    )


async def _present(till: Till, ids: Sequence[str]) -> dict[str, _Figures]:
    found = {}
    for at in range(0, len(ids), AT_ONCE):
        some = ids[at : at + AT_ONCE]
        for wallet, state in zip(some, await till.wallets(some), strict=True):
            if state is not None:
                found[wallet] = _Figures(state.balance_nanos, state.wallet_seq, state.spent_nanos)
    return found


async def _stream(till: Till, part: int, cursor: Mark) -> list[Event | Poison]:
    """All events behind the gap; the lag limit bounds them."""
    found: list[Event | Poison] = []
    while batch := await till.events({part: cursor}, count=AT_ONCE, block_ms=0):
        found += batch
        cursor = Mark(batch[-1].epoch, batch[-1].seq)
    return found


def _begins(stream: Sequence[Event | Poison]) -> dict[str, _Figures]:
    """Each wallet as it was before its first of these events."""
    found: dict[str, _Figures] = {}
    for event in stream:
        if isinstance(event, Event):
            before = (
                event.balance_nanos - event.delta_nanos,
                event.wallet_seq - 1,
                event.wallet_spent_nanos + (event.delta_nanos if event.type in "SXL" else 0),
            )
            found.setdefault(event.wallet, _Figures(*before))
    return found


async def _known_moves(
    till: Till, connection: Any, part: int, before: Mark, upto: Mark
) -> dict[str, list[_Move]]:
    """Credits and debits of the outbox that Redis made inside the gap, by wallet: under their own
    ids, or a rebuild would make them again."""
    done = await door.moves(till, part)
    found: dict[str, list[_Move]] = {}
    for row in await wallets.waiting_of_partition(connection, part):
        if row.id not in done:
            continue
        kind, moved, short, seq = done[row.id].split("|")
        if before.seq < int(seq) <= upto.seq:
            delta = int(moved) if kind == "C" else -int(moved)
            move = _Move(delta, row.id, row.counter, row.key_id, row.reason, int(short))
            found.setdefault(row.wallet, []).append(move)
    return found


def _moves(
    part: int, upto: Mark, wallet: recovery.WalletBalance, to: _Figures, known: list[_Move]
) -> list[_Move]:
    """What brings a wallet to its figures, gains first: no balance may fall below zero."""
    if to.wallet_seq < wallet.wallet_seq:
        raise ValueError(f"Redis has less of {wallet.wallet} than the books")
    rest = to.balance_nanos - wallet.balance_nanos - sum(move.delta_nanos for move in known)
    moves = list(known)
    if rest or not known or to.spent_nanos != wallet.spent_nanos:
        moves.append(_Move(rest, f"gap:{upto}:{wallet.wallet}", _unknown(part), reason="gap"))
    return sorted(moves, reverse=True)


def _events(
    part: int, first: Mark, wallet: recovery.WalletBalance, to: _Figures, moves: Sequence[_Move]
) -> list[Event]:
    balance, found = wallet.balance_nanos, []
    for at, move in enumerate(moves):
        balance += move.delta_nanos
        last = at == len(moves) - 1
        event = Event(
            partition=part,
            epoch=first.epoch,
            seq=first.seq + at,
            type="C" if move.delta_nanos > 0 else "D",
            id=move.id,
            wallet=wallet.wallet,
            key=move.key,
            delta_nanos=move.delta_nanos,
            balance_nanos=balance,
            wallet_seq=to.wallet_seq if last else wallet.wallet_seq + 1 + at,
            actual_nanos=abs(move.delta_nanos) + move.short_nanos,
            shortfall_nanos=move.short_nanos,
            outcome="credit" if move.delta_nanos > 0 else "debit",
            counter=move.counter,
            reason=move.reason,
            wallet_spent_nanos=to.spent_nanos if last else wallet.spent_nanos,
        )
        found.append(event)
    return found


def _unknown(part: int) -> str:
    return f"unknown:p{part:02d}"
