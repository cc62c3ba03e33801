"""Writes a partition's events into the books: once, in order, in one transaction with the
cursor."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from corvus_proxy.books import costs, quarantine
from corvus_proxy.money.event import CHARGEBACKS, Event, Mark, Meta, Poison, decode_meta


class ChainBroken(Exception):
    """Events that do not follow the last one that the books have."""

    def __init__(self, part: int, what: str) -> None:
        super().__init__(f"p{part:02d}: {what}")


class WalletsUnknown(Exception):
    """Events of wallets that the books do not have; they may have to be restored first."""

    def __init__(self, wallets: list[str]) -> None:
        super().__init__(f"the books do not have {', '.join(wallets)}")
        self.wallets = wallets


class Written(NamedTuple):
    """What became of a batch."""

    sound: list[Event]
    quarantined: list[Poison]


class Posting(NamedTuple):
    debit: str
    credit: str
    amount_nanos: int


EVENT_COLUMNS = (
    "part", "epoch", "seq", "type", "ext_id", "wallet", "key_id", "slug", "delta_nanos",
    "balance_nanos", "wallet_seq", "actual_nanos", "shortfall_nanos", "outcome", "counter",
    "reason", "wallet_spent_nanos", "key_spent_nanos", "meta",
)  # fmt: skip
POSTING_COLUMNS = ("part", "epoch", "seq", "line", "debit", "credit", "amount_nanos")
REQUEST_COLUMNS = (
    "request_id", "wallet", "key_id", "slug", "outcome", "charge_nanos", "shortfall_nanos",
    "cost_nanos", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens",
    "source", "credential", "upstream_request_id", "price_version", "first_byte_ms", "total_ms",
    "attempts", "ended_at", "flags",
)  # fmt: skip
# Absolute figures, and only onto the ones that must stand there: an upsert that adds would fail the
# check on its own proposed row, and would hide a lost event.
MOVE_WALLETS = """
update wallet w set balance_nanos = m.balance_nanos, wallet_seq = m.wallet_seq,
    spent_nanos = m.spent_nanos
from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    as m (wallet, balance_nanos, wallet_seq, spent_nanos, from_nanos, from_seq)
where w.wallet = m.wallet and w.balance_nanos = m.from_nanos and w.wallet_seq = m.from_seq
"""
SPEND_KEYS = """
update key k set spent_nanos = m.spent_nanos
from unnest($1::text[], $2::bigint[]) as m (key_id, spent_nanos) where k.key_id = m.key_id
"""
SELECT_WALLETS = """
select w.wallet, w.balance_nanos, w.wallet_seq, exists (
    select from quarantine q where q.wallet = w.wallet and q.released_at is null) as stopped
from wallet w where w.wallet = any($1)
"""
UPDATE_RECEIVABLE = "update wallet set receivable_nanos = receivable_nanos + $2 where wallet = $1"
UPDATE_CURSOR = """
update cursor set epoch = $2, seq = $3 where part = $1 and epoch = $4 and seq = $5
"""
MOVE_CURSORS = """
update cursor c set epoch = m.epoch, seq = m.seq
from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
    as m (part, epoch, seq, from_epoch, from_seq)
where c.part = m.part and c.epoch = m.from_epoch and c.seq = m.from_seq
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
        if event.counter == CHARGEBACKS:  # who reversed it owes the rest
            owed = f"receivable:{event.wallet}"
            found.append(Posting(owed, CHARGEBACKS, event.shortfall_nanos))
    else:
        found.append(Posting(wallet, f"revenue:{operator}", -event.delta_nanos))
        # What the balance could not pay is earned all the same, and lost by the operator.
        found.append(Posting(f"loss:{operator}", f"revenue:{operator}", event.shortfall_nanos))
    return [posting for posting in found if posting.amount_nanos > 0]


async def cursors(connection: Any, parts: Sequence[int] | None = None) -> dict[int, Mark]:
    """The last event that the books have, by partition, of all or of some."""
    rows = await connection.fetch(
        "select part, epoch, seq from cursor where $1::int[] is null or part = any($1)", parts
    )
    return {row["part"]: Mark(row["epoch"], row["seq"]) for row in rows}


async def begin_epoch(connection: Any, part: int, cursor: Mark, epoch: int) -> bool:
    """Moves a partition's cursor to a new epoch at the same seq: events of the old one are refused
    from now on. False when the cursor is not `cursor` any more."""
    async with connection.transaction():
        await lock(connection, part)
        done = await connection.execute(
            UPDATE_CURSOR, part, epoch, cursor.seq, cursor.epoch, cursor.seq
        )
    return bool(done == "UPDATE 1")


async def skip(connection: Any, part: int, cursor: Mark, upto: Mark) -> None:
    """Takes the cursor over events that nobody has, in the caller's transaction, and remembers
    which: a journal may still prove one of them. Raises ChainBroken when the cursor has moved."""
    done = await connection.execute(
        UPDATE_CURSOR, part, upto.epoch, upto.seq, cursor.epoch, cursor.seq
    )
    if done != "UPDATE 1":
        raise ChainBroken(part, "the cursor moved meanwhile")
    await connection.execute("insert into gap values ($1, $2, $3, $4, $5)", part, *cursor, *upto)


async def set_wallet(
    connection: Any,
    wallet: str,
    balance_nanos: int,
    wallet_seq: int,
    spent_nanos: int,
    *,
    by_key: Mapping[str, int],
) -> None:
    """Brings a wallet to figures whose events the caller books in the same transaction."""
    await connection.execute(
        "update wallet set balance_nanos = $2, wallet_seq = $3, spent_nanos = $4 where wallet = $1",
        wallet,
        balance_nanos,
        wallet_seq,
        spent_nanos,
    )
    await connection.executemany(
        "update key set spent_nanos = $2 where key_id = $1", list(by_key.items())
    )


async def write(
    connection: Any,
    part: int,
    events: Sequence[Event | Poison],
    *,
    poison: Mapping[int, str] | None = None,
    across_epochs: bool = False,
    restored: bool = False,
) -> Written | None:
    """Writes consecutive events of one partition; None when another writer was there first.

    What does not follow from its wallet's books goes into quarantine, and so does all that comes
    after it for that wallet; other wallets go on. `poison` names, by seq, events that the database
    refused. `across_epochs`: the books are being brought forward, and an epoch may end among the
    events. Runs in the caller's transaction. Raises ChainBroken at an unchanged cursor only: then
    the gap is real; WalletsUnknown unless `restored`, that is, Redis does not know them either.
    """
    found = await write_all(
        connection,
        {part: events},
        poison=poison,
        across_epochs=across_epochs,
        restored=restored,
    )
    return found.get(part)


async def write_all(
    connection: Any,
    batches: Mapping[int, Sequence[Event | Poison]],
    *,
    poison: Mapping[int, str] | None = None,
    across_epochs: bool = False,
    restored: bool = False,
) -> dict[int, Written]:
    """As `write`, of several partitions by as many statements as of one: all of them, but for
    those in which another writer was first, or none."""
    free = await try_lock(connection, list(batches))
    marks = await cursors(connection, list(free))
    batches = {
        part: events
        for part, events in batches.items()
        if part in free and not _had(events[0], marks[part])
    }
    for part, events in batches.items():
        _check_chain(part, marks[part], events, across_epochs=across_epochs)
    wallets = await _wallets(connection, [one for events in batches.values() for one in events])
    unknown = {
        one.wallet for events in batches.values() for one in events if isinstance(one, Event)
    } - set(wallets)
    if unknown and not restored:
        raise WalletsUnknown(sorted(unknown))
    found = _judged(batches, wallets, poison or {})
    sound = [event for written in found.values() for event in written.sound]
    bad = [event for written in found.values() for event in written.quarantined]
    await _move_wallets(connection, sound, wallets)
    await insert(connection, sound)
    if bad:
        await quarantine.insert(connection, bad)
    rows = [(part, *_mark(events[-1]), *marks[part]) for part, events in batches.items()]
    await _moved(connection, MOVE_CURSORS, rows, next(iter(batches), 0), "the cursor")
    return found


def _mark(event: Event | Poison) -> Mark:
    return Mark(event.epoch, event.seq)


def _had(first: Event | Poison, cursor: Mark) -> bool:
    """Whether the books have an event already."""
    return first.seq <= cursor.seq and first.epoch <= cursor.epoch


def _check_chain(
    part: int, cursor: Mark, events: Sequence[Event | Poison], *, across_epochs: bool
) -> None:
    """Raises ChainBroken where an event does not follow the one before it."""
    epoch = cursor.epoch
    for at, event in enumerate(events):
        same = event.epoch == epoch or (across_epochs and event.epoch > epoch)
        if not same or event.seq != cursor.seq + 1 + at:
            raise ChainBroken(part, f"event {event.epoch}-{event.seq} follows {cursor} + {at}")
        epoch = event.epoch


async def _moved(
    connection: Any, statement: str, rows: Sequence[tuple[Any, ...]], part: int, what: str
) -> None:
    """Updates a row for each of `rows`, given by column. Raises ChainBroken where fewer stand as
    they were found."""
    if rows and await connection.execute(statement, *zip(*rows, strict=True)) != (
        f"UPDATE {len(rows)}"
    ):
        raise ChainBroken(part, f"{what} moved inside the transaction")


async def lock(connection: Any, part: int) -> None:
    """Keeps every writer out of a partition until the transaction ends."""
    await connection.fetchval("select pg_advisory_xact_lock($1, $2)", _LOCK, part)


async def try_lock(connection: Any, parts: Sequence[int]) -> set[int]:
    """As `lock`, of many partitions at once; those in which no writer is at work."""
    rows = await connection.fetch(
        "select part from unnest($2::int[]) as part where pg_try_advisory_xact_lock($1, part)",
        _LOCK,
        parts,
    )
    return {row["part"] for row in rows}


async def insert(connection: Any, events: Sequence[Event]) -> None:
    """Rows, postings, requests and receivables of sound events; moves neither balances nor the
    cursor."""
    await _add(connection, "event", EVENT_COLUMNS, [_event_row(event) for event in events])
    moves = [
        (event.partition, event.epoch, event.seq, line, *posting)
        for event in events
        for line, posting in enumerate(postings(event))
    ]
    await _add(connection, "posting", POSTING_COLUMNS, moves)
    rows = [_request_row(event) for event in events if event.type in "SXL"]
    await _add(connection, "request", REQUEST_COLUMNS, rows)
    await costs.add(connection, map(_cost, rows))
    applied = [event.id for event in events if event.type in "CD"]
    if applied:
        await connection.execute(
            "update outbox set applied_at = now() where id = any($1) and applied_at is null",
            applied,
        )
    # Here and nowhere else, in the transaction that books the event: an event is booked once.
    await connection.executemany(UPDATE_RECEIVABLE, [
        (event.wallet, event.shortfall_nanos) for event in events
        if event.type == "D" and event.counter == CHARGEBACKS and event.shortfall_nanos
    ])  # fmt: skip


async def _add(
    connection: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Adds rows by COPY, a third of what as many INSERTs cost. Raises asyncpg.DataError for a value
    that the column cannot have, whether the driver or the server finds it."""
    if not rows:
        return
    try:
        await connection.copy_records_to_table(table, records=rows, columns=columns)
    except (TypeError, ValueError, OverflowError) as error:
        raise asyncpg.DataError(f"{table}: {error}") from error


class _Wallet(NamedTuple):
    balance_nanos: int
    wallet_seq: int
    stopped: bool
    """An event of it is in quarantine."""


async def _wallets(connection: Any, events: Sequence[Event | Poison]) -> dict[str, _Wallet]:
    rows = await connection.fetch(SELECT_WALLETS, list({event.wallet for event in events}))
    return {row["wallet"]: _Wallet(*row[1:]) for row in rows}


def _judged(
    batches: Mapping[int, Sequence[Event | Poison]],
    wallets: Mapping[str, _Wallet],
    poison: Mapping[int, str],
) -> dict[int, Written]:
    """Follows each wallet's chain: what may be booked, and what may not."""
    now = {wallet: one[:2] for wallet, one in wallets.items()}
    stopped = {wallet for wallet, one in wallets.items() if one.stopped}
    found = {part: Written([], []) for part in batches}
    for part, events in batches.items():
        sound, bad = found[part]
        for event in events:
            why = _unsound(event, now, stopped, poison)
            if why is None and isinstance(event, Event):
                now[event.wallet] = (event.balance_nanos, event.wallet_seq)
                sound.append(event)
            else:
                stopped.add(event.wallet)
                raw = event.raw if isinstance(event, Poison) else as_raw(event)
                bad.append(Poison(part, event.epoch, event.seq, event.wallet, raw, why or ""))
    return found


async def _move_wallets(
    connection: Any, sound: Sequence[Event], wallets: Mapping[str, _Wallet]
) -> None:
    """Moves each wallet from where it stood to its last event's figures. Raises ChainBroken."""
    last = {event.wallet: event for event in sound}
    rows = [
        (wallet, one.balance_nanos, one.wallet_seq, one.wallet_spent_nanos, *wallets[wallet][:2])
        for wallet, one in last.items()
    ]
    await _moved(connection, MOVE_WALLETS, rows, sound[0].partition if sound else 0, "a wallet")
    by_key = {event.key: event.key_spent_nanos for event in sound if event.key}
    if by_key:
        await connection.execute(SPEND_KEYS, list(by_key), list(by_key.values()))


def _unsound(
    event: Event | Poison,
    now: Mapping[str, tuple[int, int]],
    stopped: Collection[str],
    poison: Mapping[int, str],
) -> str | None:
    """Why an event may not be booked."""
    if isinstance(event, Poison):
        return event.why
    if event.seq in poison:
        return poison[event.seq]
    if event.wallet in stopped:
        return "an event of this wallet before it is in quarantine"
    if event.wallet not in now:
        return "the books have no such wallet"
    moved = event.delta_nanos if event.type == "C" else -event.delta_nanos
    if moved != event.actual_nanos - event.shortfall_nanos:
        return (
            f"it moves {moved} nanos, of {event.actual_nanos} of which {event.shortfall_nanos} are"
            " not paid"
        )
    balance, wallet_seq = now[event.wallet]
    if (balance + event.delta_nanos, wallet_seq + 1) != (event.balance_nanos, event.wallet_seq):
        return (
            f"it leaves the wallet at {event.balance_nanos} nanos and {event.wallet_seq}, the books"
            f" reckon {balance + event.delta_nanos} and {wallet_seq + 1}"
        )
    return None


def as_raw(event: Event) -> dict[str, str]:
    """An event's fields as text, for the quarantine."""
    found = msgspec.structs.asdict(event)
    found["meta"] = event.meta.decode("utf-8", "replace")
    return {name: str(value) for name, value in found.items()}


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
    usage: dict[str, int] = {}
    for line, count in meta.usage.items():
        # Lines of samplings by other models have names like `claude-opus-4-8/output`.
        name = line.rpartition("/")[2]
        usage[name] = usage.get(name, 0) + count
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
        meta.flags,
    )


def _cost(row: tuple[Any, ...]) -> costs.Cost:
    """What a request's row says that it cost the operator."""
    return costs.Cost(row[19], row[13], row[7])


_LOCK = 0x636F7276
"""First half of the advisory locks: ours, whatever else uses this database."""
