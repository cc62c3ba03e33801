"""What a rebuild reads from the books: wallets with their keys, and what was done before."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from corvus_proxy import clock
from corvus_proxy.books.wallets import KEY_COLUMNS, WalletKey, key_of
from corvus_proxy.money.event import Mark

CREDITS_DAYS = 35
"""How long the ids of credits and debits are known: longer than any payment service repeats. For as
long changes of keys are looked at again."""

WALLETS = """
select wallet, version, status, balance_nanos, wallet_seq, spent_nanos from wallet
where part = $1 order by wallet
"""
KEYS = f"""
select {KEY_COLUMNS} from key k join wallet w using (wallet) left join key_secret s using (key_id)
where w.part = $1 group by k.key_id
"""  # noqa: S608 - a text of ours
CREDITS = """
select ext_id, type || '|' || abs(delta_nanos) || '|' || shortfall_nanos || '|' || seq as tombstone
from event where part = $1 and type in ('C', 'D') and written_at > now() - make_interval(days => $2)
order by epoch, seq
"""
ENDED = """
select e.ext_id, e.type, e.actual_nanos,
       e.type || '|' || -e.delta_nanos || '|' || e.shortfall_nanos || '|' || e.seq || '|' || e.epoch
           as tombstone
from event e where e.type in ('S', 'X') and e.ext_id = any($1)
   or e.type = 'L' and e.ext_id = any($2)
"""


GAPS = "select after_epoch, after_seq, upto_epoch, upto_seq from gap where part = $1"
CHANGED = """
select distinct w.part, w.wallet, w.version from outbox o join wallet w using (wallet)
where o.kind = 'key' and o.created_at > now() - make_interval(days => $1)
"""


class WalletBalance(NamedTuple):
    wallet: str
    version: int
    status: int
    balance_nanos: int
    wallet_seq: int
    spent_nanos: int
    keys: list[WalletKey]


class EndedRequest(NamedTuple):
    """A request whose end the books have."""

    kind: str
    actual_nanos: int
    tombstone: str
    late: str = ""
    """Tombstone of the rest that was charged after its lease had ended it."""

    def tombstones(self, rid: str) -> list[tuple[str, str]]:
        """By id, all that Redis has to know of its end: whoever asks again is told."""
        late = [(f"{rid}:L", self.late)] if self.late else []
        return [(rid, self.tombstone), *late]


async def wallets(connection: Any, part: int) -> list[WalletBalance]:
    """Every wallet of a partition with its keys."""
    keys: dict[str, list[WalletKey]] = {}
    for row in await connection.fetch(KEYS, part, clock.utc_now()):
        keys.setdefault(row["wallet"], []).append(key_of(row))
    return [
        WalletBalance(
            row["wallet"],
            row["version"],
            row["status"],
            row["balance_nanos"],
            row["wallet_seq"],
            row["spent_nanos"],
            keys.get(row["wallet"], []),
        )
        for row in await connection.fetch(WALLETS, part)
    ]


async def balances(connection: Any, part: int) -> dict[str, int]:
    """Balance of every wallet of a partition."""
    rows = await connection.fetch("select wallet, balance_nanos from wallet where part = $1", part)
    return {row["wallet"]: row["balance_nanos"] for row in rows}


async def changed_keys(connection: Any) -> dict[int, list[tuple[str, int]]]:
    """Wallets whose row of keys has changed in the last weeks, with its version, by partition."""
    found: dict[int, list[tuple[str, int]]] = {}
    for row in await connection.fetch(CHANGED, CREDITS_DAYS):
        found.setdefault(row["part"], []).append((row["wallet"], row["version"]))
    return found


async def versions(connection: Any, part: int) -> dict[str, int]:
    """Version of every wallet's row of keys in a partition."""
    rows = await connection.fetch("select wallet, version from wallet where part = $1", part)
    return {row["wallet"]: row["version"] for row in rows}


async def recent_credits(connection: Any, part: int) -> list[tuple[str, str]]:
    """Ids and tombstones of the credits and debits of the last weeks."""
    rows = await connection.fetch(CREDITS, part, CREDITS_DAYS)
    return [(row["ext_id"], row["tombstone"]) for row in rows]


async def in_gaps(connection: Any, part: int, marks: Sequence[Mark]) -> list[bool]:
    """Which events fell into a gap that was bridged: they are in the balances, though not in the
    books."""
    rows = await connection.fetch(GAPS, part)
    found = [(Mark(row[0], row[1]), Mark(row[2], row[3])) for row in rows]
    return [any(after < mark <= upto for after, upto in found) for mark in marks]


async def ended(connection: Any, rids: Sequence[str]) -> dict[str, EndedRequest]:
    """Those of some requests whose end is booked."""
    rows = await connection.fetch(ENDED, list(rids), [f"{rid}:L" for rid in rids])
    late = {row["ext_id"]: row["tombstone"] for row in rows if row["type"] == "L"}
    return {
        row["ext_id"]: EndedRequest(
            row["type"],
            row["actual_nanos"],
            row["tombstone"],
            late.get(f"{row['ext_id']}:L", ""),
        )
        for row in rows
        if row["type"] != "L"
    }
