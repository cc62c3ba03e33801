"""What only the coordinator asks, of partitions that serve nobody.

The scripts behind it run in REBUILD or REPLAY alone, and no other script runs there: what is
charged twice or lost here would be so with nobody looking.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from corvus_proxy.money.event import PARTITIONS, Event, Mark, Poison, partition_of
from corvus_proxy.money.period import parse_rates
from corvus_proxy.till import scripts
from corvus_proxy.till.client import Till
from corvus_proxy.till.events import read_event
from corvus_proxy.till.recovery.claims import Claim
from corvus_proxy.till.reply import KeyEntry, KeyRow

AT_ONCE = 200
"""Wallets a script call: it must stay short, other partitions wait for it."""
CALLS_AT_ONCE = 500
ANSWER_S = 10.0
"""Patience with a pipeline of calls; nobody is served meanwhile."""


class WalletRow(NamedTuple):
    """A wallet as the books have it."""

    row: KeyRow
    balance_nanos: int
    wallet_seq: int
    spent_nanos: int
    key_spent_nanos: dict[str, int]


async def close(till: Till, part: int, epoch: int) -> Any:
    """Stops a partition's scripts: `("OK", seq)` or `("MOVED", …)`."""
    return await till.call("close", [scripts.key(part, "m")], (epoch,))


async def rebuild(till: Till, part: int, epoch: int, *, base: Mark, replid: str) -> Any:
    """Empties a partition and begins it under `epoch` at the books' last event: `("OK", epoch)` or
    `("MOVED", …)`."""
    keys = [scripts.key(part, name) for name in ("m", "h", "d", "dz", "c", "l", "j")]
    return await till.call("rebuild", keys, (epoch, base.seq, base.epoch, replid, PARTITIONS))


async def load(till: Till, part: int, epoch: int, rows: Sequence[WalletRow]) -> None:
    """Puts wallets with their keys into the partition. Raises TillUnavailable, RuntimeError."""
    calls = []
    for at in range(0, len(rows), AT_ONCE):
        some = rows[at : at + AT_ONCE]
        keys = [scripts.key(part, "m")]
        keys += [scripts.key(part, f"w:{one.row.wallet}") for one in some]
        calls.append((keys, (epoch, msgspec.json.encode([_wallet(one) for one in some]))))
    for at in range(0, len(calls), 20):
        _expect_ok(await till.many("load", calls[at : at + 20], extra_s=ANSWER_S))


def _wallet(one: WalletRow) -> dict[str, Any]:
    return {
        "w": one.row.wallet,
        "b": str(one.balance_nanos),
        "ws": str(one.wallet_seq),
        "sp": str(one.spent_nanos),
        "st": one.row.status,
        "v": str(one.row.version),
        "k": [
            {**key.as_json(), "sp": str(one.key_spent_nanos.get(key.key_id, 0))}
            for key in one.row.keys
        ],
    }


async def recall(
    till: Till,
    part: int,
    epoch: int,
    *,
    moved: Sequence[tuple[str, str]] = (),
    ended: Sequence[tuple[str, str]] = (),
) -> None:
    """Tells the partition what was done before: ids with their tombstones. `moved`: credits and
    debits, `ended`: requests."""
    keys = [scripts.key(part, name) for name in ("m", "d", "dz", "c")]
    calls = [
        (keys, (epoch, msgspec.json.encode(moved[at : at + AT_ONCE]), b"[]"))
        for at in range(0, len(moved), AT_ONCE)
    ]
    calls += [
        (keys, (epoch, b"[]", msgspec.json.encode(ended[at : at + AT_ONCE])))
        for at in range(0, len(ended), AT_ONCE)
    ]
    for at in range(0, len(calls), 20):
        _expect_ok(await till.many("recall", calls[at : at + 20], extra_s=ANSWER_S))


async def direct(till: Till, part: int, epoch: int, found: Sequence[Claim]) -> list[Any]:
    """Charges what journals prove: Settled or Duplicate for each."""
    calls: list[tuple[list[str], Any]] = []
    for one in found:
        money = (one.kind, one.nanos, one.outcome, one.meta)
        args = (epoch, one.rid, one.wallet, one.key, one.slug, *money)
        calls.append((scripts.money_keys(part, one.wallet), args))
    return await _in_turns(till, "direct", calls)


async def adopt(till: Till, part: int, epoch: int, found: Sequence[Claim]) -> list[Any]:
    """Gives running requests their holds again: Adopted or Duplicate for each."""
    calls: list[tuple[list[str], Any]] = []
    for one in found:
        money = (one.nanos, one.checkpoint_nanos)
        who = (one.owner, one.price, one.key, one.slug, one.meta)
        args = (epoch, one.rid, one.wallet, *money, *who)
        calls.append((scripts.money_keys(part, one.wallet), args))
    return await _in_turns(till, "adopt", calls)


async def claims(till: Till, part: int) -> list[Claim]:
    """What processes have handed in for a partition."""
    rows = await till.wait(till.redis.hvals(scripts.key(part, "j")), extra_s=ANSWER_S)
    return [msgspec.json.decode(row, type=Claim) for row in rows]


async def stream(till: Till, part: int) -> list[Event | Poison]:
    """Every event of the partition's stream: of a rebuilt one, those since it began anew."""
    rows = await till.wait(till.redis.xrange(scripts.key(part, "l")), extra_s=ANSWER_S)
    return [read_event(part, entry_id, fields) for entry_id, fields in rows]


async def moves(till: Till, part: int) -> dict[str, str]:
    """Ids of the credits and debits that Redis has made, each with its tombstone
    (kind|moved|short|seq)."""
    rows = await till.wait(till.redis.hgetall(scripts.key(part, "c")), extra_s=ANSWER_S)
    return {name.decode(): text.decode() for name, text in rows.items()}


async def spent(till: Till, wallet: str) -> dict[str, int]:
    """What each key of a wallet has spent, in nanos."""
    name = scripts.key(partition_of(wallet), f"w:{wallet}")
    fields = await till.wait(till.redis.hgetall(name))
    return {field.decode()[2:]: int(value) for field, value in fields.items() if field[:2] == b"s:"}


async def wallet_row(till: Till, wallet: str) -> KeyRow | None:
    """A wallet's status and keys as Redis has them, for books that do not."""
    name = scripts.key(partition_of(wallet), f"w:{wallet}")
    fields = {
        field.decode(): value.decode()
        for field, value in (await till.wait(till.redis.hgetall(name))).items()
    }
    if "bal" not in fields or "v" not in fields:
        return None
    digests: dict[str, list[tuple[str, int]]] = {}
    for field, value in fields.items():
        if field.startswith("d:"):
            key_id, _, until_ms = value.partition("|")
            digests.setdefault(key_id, []).append((field[2:], int(until_ms)))
    keys = [
        _entry(field[2:], text, fields.get(f"n:{field[2:]}", "1|"), digests.get(field[2:], []))
        for field, text in fields.items()
        if field.startswith("k:")
    ]
    return KeyRow(wallet, int(fields["v"]), fields["st"], keys)


def _entry(key_id: str, text: str, name: str, digests: list[tuple[str, int]]) -> KeyEntry:
    limits = f"{text}|||" if "|" not in text else text
    status, cap, period, expires_ms, *rates = limits.split("|", 4)
    main, _, label = name.partition("|")
    return KeyEntry(
        key_id,
        status,
        digests,
        main == "1",
        label,
        int(cap) if cap else None,
        period or "total",
        int(expires_ms or 0),
        rates=parse_rates(f"|{rates[0]}" if rates else ""),
    )


async def _in_turns(till: Till, name: str, calls: list[tuple[list[str], Any]]) -> list[Any]:
    found: list[Any] = []
    for at in range(0, len(calls), CALLS_AT_ONCE):
        found += await till.many(name, calls[at : at + CALLS_AT_ONCE], extra_s=ANSWER_S)
    for answer in found:
        if isinstance(answer, Exception):
            raise answer
    return found


def _expect_ok(answers: Sequence[Any]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
        if not (isinstance(answer, tuple) and answer and answer[0] == "OK"):
            raise RuntimeError(f"the partition moved while it was filled: {answer!r}")
