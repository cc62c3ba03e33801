"""Books what lies in quarantine, once an operator has looked at it.

An event tells its amount in several ways: where they differ, because a digit was altered, what
most of them say is taken. Balance and sequence are reckoned from the books, and no charge takes
more than the wallet has. What cannot be read is dropped: the customer wins.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from corvus_proxy.books import entries, quarantine
from corvus_proxy.books.published import days
from corvus_proxy.money.amount import WALLET_NANOS_MAX
from corvus_proxy.money.event import Event, decode_meta, partition_of


class Released(NamedTuple):
    """What became of a wallet's events in quarantine."""

    booked: int
    dropped: int
    """Those that cannot be read, and those that another one of them repeats."""
    balance_nanos: int


async def release(connection: Any, wallet: str) -> Released:
    """Books or drops all of a wallet's events in quarantine, in the caller's transaction. Raises
    LookupError when the books have no such wallet or nothing of it is in quarantine."""
    # First: what a writer puts there meanwhile would be marked as decided, and never be booked.
    await entries.lock(connection, partition_of(wallet))
    rows = await quarantine.waiting(connection, wallet)
    if not rows:
        raise LookupError(f"nothing of {wallet} is in quarantine")
    found = await connection.fetchrow(
        "select balance_nanos, wallet_seq, spent_nanos from wallet where wallet = $1", wallet
    )
    if found is None:
        raise LookupError(f"the books have no wallet {wallet}")
    balance, wallet_seq, spent = found
    keys = {row["key_id"]: row["spent_nanos"] for row in await connection.fetch(
        "select key_id, spent_nanos from key where wallet = $1", wallet)}  # fmt: skip
    booked = []
    for event in await _standing(connection, rows):
        wallet_seq += 1
        delta, short = _amount(event, balance, spent)
        balance += delta
        if event.type in "SXL":
            spent -= delta
            keys[event.key] = keys.get(event.key, 0) - delta
        booked.append(
            msgspec.structs.replace(
                event,
                delta_nanos=delta,
                actual_nanos=abs(delta) + short,
                shortfall_nanos=short,
                balance_nanos=balance,
                wallet_seq=wallet_seq,
                wallet_spent_nanos=spent,
                key_spent_nanos=keys.get(event.key, 0),
            )
        )
    await entries.insert(connection, booked)
    await days.count_released(connection, rows[0].part, booked)
    await entries.set_wallet(connection, wallet, balance, wallet_seq, spent, by_key=keys)
    await connection.execute(
        "update wallet set status = 1, version = version + 1 where wallet = $1 and status = 0"
        " and frozen_by = ''",
        wallet,
    )
    await quarantine.release(connection, rows)
    return Released(len(booked), len(rows) - len(booked), balance)


async def _standing(connection: Any, rows: Sequence[quarantine.Quarantined]) -> list[Event]:
    """What can be read and is not told by another: where a partition was rebuilt meanwhile, its
    journals have charged the same request again, and its outbox has moved the same credit again."""
    found = [event for row in rows if (event := _event(row)) is not None]
    last: dict[str, int] = {}
    for event in found:
        name = event.id.removesuffix(":L")
        last[name] = max(event.epoch, last.get(name, 0))
    known = {
        (row["type"], row["ext_id"])
        for row in await connection.fetch(
            "select type, ext_id from event where ext_id = any($1)", [event.id for event in found]
        )
    }
    return [
        event
        for event in found
        if event.epoch == last[event.id.removesuffix(":L")] and (event.type, event.id) not in known
    ]


def _amount(event: Event, balance: int, spent: int) -> tuple[int, int]:
    """Change of the balance, and what it could not pay."""
    moved, short = _told(event, balance, spent)
    if event.type == "C":
        return moved, 0
    taken = min(moved + short, balance)
    return -taken, moved + short - taken


def _told(event: Event, balance: int, spent: int) -> tuple[int, int]:
    """What an event has moved, and what was not paid, by most of its fields; `balance` and `spent`
    are the wallet's before it. Between equals the customer wins."""
    sign = 1 if event.type == "C" else -1
    told = [
        event.actual_nanos - event.shortfall_nanos,
        sign * event.delta_nanos,
        sign * (event.balance_nanos - balance),
    ]
    if event.type in "SXL":
        told.append(event.wallet_spent_nanos - spent)
    votes = Counter(nanos for nanos in told if 0 <= nanos <= WALLET_NANOS_MAX)
    if not votes:
        return 0, 0
    moved = max(votes, key=lambda nanos: (votes[nanos], sign * nanos))
    short = event.shortfall_nanos
    if event.actual_nanos >= moved:
        short = min(short, event.actual_nanos - moved)
    return moved, short


def _event(row: quarantine.Quarantined) -> Event | None:
    """The event in a row, where its amounts can be read."""
    raw = row.raw
    try:
        meta = str(raw.get("meta", raw.get("u", ""))).encode()
        decode_meta(meta)
        event = Event(
            partition=row.part,
            epoch=row.epoch,
            seq=row.seq,
            type=raw.get("type") or raw["t"],  # type: ignore[arg-type]
            id=raw["id"],
            wallet=row.wallet,
            key=raw.get("key", raw.get("k", "")),
            slug=raw.get("slug", raw.get("g", "")),
            delta_nanos=_number(raw, "delta_nanos", "d"),
            balance_nanos=_number(raw, "balance_nanos", "b"),
            wallet_seq=0,
            actual_nanos=int(raw.get("actual_nanos") or raw["a"]),
            shortfall_nanos=max(0, _number(raw, "shortfall_nanos", "s")),
            wallet_spent_nanos=_number(raw, "wallet_spent_nanos", "sw"),
            outcome=raw.get("outcome", raw.get("o", "")),
            counter=raw.get("counter", raw.get("n", "")),
            reason=raw.get("reason", raw.get("r", "")),
            meta=meta,
        )
    except (KeyError, ValueError, msgspec.DecodeError):
        return None
    return (
        event
        if event.type in tuple("SXLCD") and 0 <= event.actual_nanos <= WALLET_NANOS_MAX
        else None
    )


def _number(raw: Mapping[str, str], name: str, short_name: str) -> int:
    """An amount that others tell, too; where it cannot be read, one that nobody can have moved."""
    try:
        return int(raw.get(name) or raw[short_name])
    except (KeyError, ValueError):
        return -(10**18)
