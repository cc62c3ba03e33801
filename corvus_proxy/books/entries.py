"""Writes a partition's events into the books: once, in order, in one transaction with the
cursor."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from corvus_proxy.money.event import Event, Meta, decode_meta


class ChainBroken(Exception):
    """Events that do not follow from what the books have: a gap or an altered amount."""


class Posting(NamedTuple):
    debit: str
    credit: str
    amount_nanos: int


INSERT_EVENTS = """
insert into event (part, epoch, seq, type, ext_id, wallet, key_id, slug, delta_nanos,
    balance_nanos, wallet_seq, actual_nanos, shortfall_nanos, outcome, counter, reason,
    wallet_spent_nanos, key_spent_nanos, meta)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19::jsonb)
"""
INSERT_POSTINGS = """
insert into posting (part, epoch, seq, line, debit, credit, amount_nanos)
values ($1, $2, $3, $4, $5, $6, $7)
"""
INSERT_REQUESTS = """
insert into request (request_id, wallet, key_id, slug, outcome, charge_nanos, shortfall_nanos,
    cost_nanos, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, source,
    credential, upstream_request_id, price_version, first_byte_ms, total_ms, attempts, ended_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
"""
# Absolute figures, and only onto the ones that must stand there: an upsert that adds would fail the
# check on its own proposed row, and would hide a lost event.
UPDATE_WALLET = """
update wallet set balance_nanos = $2, wallet_seq = $3, spent_nanos = $4
where wallet = $1 and balance_nanos = $5 and wallet_seq = $6
"""
UPDATE_CURSOR = """
update cursor set epoch = $2, seq = $3 where part = $1 and epoch = $4 and seq = $5
"""


def postings(event: Event) -> list[Posting]:
    """The double entry of one event; a settle at zero has none."""
    wallet = f"wallet:{event.wallet}"
    operator = f"p{event.partition:02d}"
    found = []
    if event.type == "C":
        found.append(Posting(event.counter or "grants", wallet, event.delta_nanos))
    elif event.type == "D":
        found.append(Posting(wallet, event.counter or "refunds", -event.delta_nanos))
    else:
        found.append(Posting(wallet, f"revenue:{operator}", -event.delta_nanos))
        # What the balance could not pay is earned all the same, and lost by the operator.
        found.append(Posting(f"loss:{operator}", f"revenue:{operator}", event.shortfall_nanos))
    return [posting for posting in found if posting.amount_nanos > 0]


async def cursors(connection: Any) -> dict[int, tuple[int, int]]:
    """Epoch and seq that the books have, by partition."""
    rows = await connection.fetch("select part, epoch, seq from cursor")
    return {row["part"]: (row["epoch"], row["seq"]) for row in rows}


async def write(connection: Any, part: int, events: Sequence[Event]) -> bool:
    """Writes consecutive events of one partition; False when another writer was there first.

    Runs in the caller's transaction. Raises ChainBroken at an unchanged cursor only: then it is
    real.
    """
    if not await connection.fetchval("select pg_try_advisory_xact_lock($1, $2)", _LOCK, part):
        return False
    cursor = await connection.fetchrow("select epoch, seq from cursor where part = $1", part)
    epoch, seq = cursor["epoch"], cursor["seq"]
    if events[0].seq <= seq and events[0].epoch == epoch:
        return False
    for at, event in enumerate(events):
        if event.epoch != epoch or event.seq != seq + 1 + at:
            raise ChainBroken(
                f"p{part:02d}: event {event.epoch}-{event.seq} follows {epoch}-{seq + at}"
            )
    await _move_wallets(connection, part, events)
    last = events[-1]
    await connection.executemany(INSERT_EVENTS, [_event_row(event) for event in events])
    await connection.executemany(
        INSERT_POSTINGS,
        [
            (part, event.epoch, event.seq, line, *posting)
            for event in events
            for line, posting in enumerate(postings(event))
        ],
    )
    await connection.executemany(
        INSERT_REQUESTS, [_request_row(event) for event in events if event.type in "SXL"]
    )
    applied = [event.id for event in events if event.type == "C"]
    if applied:
        await connection.execute(
            "update outbox set applied_at = now() where id = any($1) and applied_at is null",
            applied,
        )
    done = await connection.execute(UPDATE_CURSOR, part, last.epoch, last.seq, epoch, seq)
    if done != "UPDATE 1":
        raise ChainBroken(f"p{part:02d}: the cursor moved inside the transaction")
    return True


async def _move_wallets(connection: Any, part: int, events: Sequence[Event]) -> None:
    """Checks each wallet's chain and moves it to the last event's figures."""
    by_wallet: dict[str, list[Event]] = {}
    for event in events:
        by_wallet.setdefault(event.wallet, []).append(event)
    rows = await connection.fetch(
        "select wallet, balance_nanos, wallet_seq from wallet where wallet = any($1)",
        list(by_wallet),
    )
    known = {row["wallet"]: (row["balance_nanos"], row["wallet_seq"]) for row in rows}
    moves = []
    for wallet, chain in by_wallet.items():
        if wallet not in known:
            raise ChainBroken(f"p{part:02d}: the books have no wallet {wallet}")
        balance, wallet_seq = before = known[wallet]
        for event in chain:
            balance, wallet_seq = balance + event.delta_nanos, wallet_seq + 1
            if (balance, wallet_seq) != (event.balance_nanos, event.wallet_seq):
                raise ChainBroken(
                    f"p{part:02d}: event {event.epoch}-{event.seq} leaves {wallet} at"
                    f" {event.balance_nanos} nanos, the books reckon {balance}"
                )
        moves.append((wallet, balance, wallet_seq, chain[-1].wallet_spent_nanos, *before))
    for move in moves:
        if await connection.execute(UPDATE_WALLET, *move) != "UPDATE 1":
            raise ChainBroken(f"p{part:02d}: wallet {move[0]} moved inside the transaction")
    await connection.executemany(
        "update key set spent_nanos = $2 where key_id = $1",
        [(event.key, event.key_spent_nanos) for event in events if event.key],
    )


def _event_row(event: Event) -> tuple[Any, ...]:
    return (
        event.partition,
        event.epoch,
        event.seq,
        event.type,
        event.id,
        event.wallet,
        event.key,
        event.slug,
        event.delta_nanos,
        event.balance_nanos,
        event.wallet_seq,
        event.actual_nanos,
        event.shortfall_nanos,
        event.outcome,
        event.counter,
        event.reason,
        event.wallet_spent_nanos,
        event.key_spent_nanos,
        event.meta.decode() if event.meta else json.dumps({}),
    )


def _request_row(event: Event) -> tuple[Any, ...]:
    meta: Meta = decode_meta(event.meta)
    usage = meta.usage
    written = sum(count for name, count in usage.items() if name.startswith("cache_write"))
    ended = (
        datetime.fromtimestamp(meta.ended_ms / 1000, UTC) if meta.ended_ms else (datetime.now(UTC))
    )
    return (
        event.id,
        event.wallet,
        event.key,
        event.slug,
        event.outcome,
        -event.delta_nanos,
        event.shortfall_nanos,
        meta.cost_nanos,
        usage.get("input", 0),
        usage.get("cache_read", 0),
        written,
        usage.get("output", 0),
        meta.source,
        meta.credential,
        meta.upstream_request_id,
        meta.price_version,
        meta.first_byte_ms,
        meta.total_ms,
        meta.attempts,
        ended,
    )


_LOCK = 0x636F7276
"""First half of the advisory locks: ours, whatever else uses this database."""
