"""What the scripts are asked and what they answer, as values.

Answers that carry nothing are no tuples: two empty tuples are equal whatever they are called.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from corvus_proxy.money.period import NO_RATES, Rates


class Ask(msgspec.Struct, frozen=True):
    """What `reserve` is asked for one request. Amounts in nanos."""

    rid: str
    wallet: str
    digest: str
    least_nanos: int
    most_nanos: int
    share_floor_nanos: int
    """0 for a stream."""
    price_version: str
    slug: str
    request_tokens: int


class Charge(msgspec.Struct, frozen=True):
    """What a request has cost, as it is journalled and settled."""

    rid: str
    wallet: str
    key: str
    slug: str
    actual_nanos: int
    outcome: str
    meta: bytes = b""
    minute: str = ""
    """Of a key with a limit of tokens: the minute that its request was admitted in …"""
    tokens: int = 0
    """… and what it has taken more (or less) than it was admitted with."""


class Pace(NamedTuple):
    """Where a key with a limit a minute stands, after a grant. None: no such limit."""

    requests: int | None
    requests_left: int | None
    tokens: int | None
    tokens_left: int | None
    minute: str
    """When its minute began, in Redis's milliseconds."""
    resets_ms: int
    """Until the minute ends."""


class Granted(NamedTuple):
    granted_nanos: int
    available_nanos: int
    """Left after the grant."""
    key_id: str
    pace: Pace | None = None


class Poor(NamedTuple):
    available_nanos: int
    held_nanos: int


class Limited(NamedTuple):
    """The key's cap is reached; `reason` is `cap`. Amounts in nanos."""

    reason: str
    retry_ms: int
    """0: there is no use in waiting."""
    cap_nanos: int = 0
    spent_nanos: int = 0
    """In the cap's period."""
    held_nanos: int = 0
    """By the key's other requests."""
    resets_ms: int = 0
    """Wall-clock millisecond at which the cap begins anew; 0: never."""


class Paced(NamedTuple):
    """The key goes too fast: `rate` (requests a minute), `tokens` (a minute) or `concurrency`."""

    reason: str
    retry_ms: int
    """0: there is no use in waiting."""
    limit: int
    used: int


class Denied(NamedTuple):
    """`secret`, `frozen`, `closed`, `revoked`, `expired` (a secret that was changed),
    `expired_key`, or `model`: one that the key may not use."""

    reason: str


class NoKey(msgspec.Struct, frozen=True):
    """There is no such wallet."""


class Backpressure(msgspec.Struct, frozen=True):
    """The books are too far behind."""


class Duplicate(NamedTuple):
    """It has been done before; `text` is the tombstone: kind|moved|short|seq, and of a request's
    end |epoch."""

    text: str


class Fenced(NamedTuple):
    """The partition is closed, or belongs to another server or epoch."""

    epoch: str
    state: str


class Extended(NamedTuple):
    granted_total_nanos: int
    final: bool
    """There is no more: this was the last slice."""
    reason: str = ""
    """Why it was the last: `frozen`, `closed`, `revoked` or `cap`; empty where the money is all."""


class NotOwner(msgspec.Struct, frozen=True):
    """The hold is another process's."""


class Unknown(msgspec.Struct, frozen=True):
    """There is no such hold."""


class Settled(NamedTuple):
    charged_nanos: int
    shortfall_nanos: int
    balance_nanos: int
    seq: int
    epoch: int


class Adopted(NamedTuple):
    """A running request has its hold again, or as much of it as is free."""

    held_nanos: int


class Live(NamedTuple):
    """The hold was renewed meanwhile."""

    renewals: int


class Look(NamedTuple):
    """A key and its wallet, of Redis alone. Amounts in nanos."""

    key_id: str
    status: str
    """`active`, `frozen`, `closed`, `revoked` or `expired`."""
    balance_nanos: int
    held_nanos: int
    wallet_spent_nanos: int
    key_spent_nanos: int
    main: bool = True
    label: str = ""
    cap_nanos: int | None = None
    period: str = "total"
    period_spent_nanos: int = 0
    """Of a key with a cap, in its present period."""
    resets_ms: int = 0
    """When the next period begins; 0: never."""
    expires_ms: int = 0
    key_held_nanos: int = 0
    rates: Rates = NO_RATES


class KeyFigures(NamedTuple):
    """What one key has spent and holds, in nanos."""

    spent_nanos: int
    held_nanos: int
    mark: tuple[int, int, int] | None
    """Of a cap's period: its end in seconds, the total when it was set, what was spent before."""

    def spent_in(self, ends_s: int) -> int:
        """What was spent in the period that ends then."""
        if self.mark is None or self.mark[0] != ends_s:
            return 0
        return self.spent_nanos - self.mark[1] + self.mark[2]


class Credited(NamedTuple):
    balance_nanos: int
    seq: int


class Cap(msgspec.Struct, frozen=True):
    """The wallet would hold more than 1,000,000 USD."""


class Debited(NamedTuple):
    taken_nanos: int
    shortfall_nanos: int
    balance_nanos: int
    seq: int


class Bad(msgspec.Struct, frozen=True):
    """An argument is not an amount; a defect of ours."""


class KeyEntry(msgspec.Struct, frozen=True):
    """One key of a wallet as the till knows it."""

    key_id: str
    status: str
    """`1` active, `0` frozen, `2` revoked."""
    digests: list[tuple[str, int]]
    """HMACs of its secrets, each with the wall-clock millisecond until which it is valid (0:
    ever)."""
    main: bool = True
    label: str = ""
    cap_nanos: int | None = None
    period: str = "total"
    expires_ms: int = 0
    period_ends_s: int = 0
    """Of a key with a cap: the end of its present period, 0 for none …"""
    period_nanos: int = 0
    """… and what it has spent in it, as the books have it."""
    rates: Rates = NO_RATES

    def as_json(self) -> dict[str, object]:
        """As the scripts `key` and `load` take it."""
        standing = self.status
        rates = self.rates.text()
        if self.cap_nanos is not None or self.expires_ms or rates:
            cap = "" if self.cap_nanos is None else self.cap_nanos
            standing += f"|{cap}|{self.period}|{self.expires_ms}{rates}"
        row: dict[str, object] = {"id": self.key_id, "st": standing, "ds": self.digests}
        row["n"] = f"{int(self.main)}|{self.label}"
        if self.period_ends_s:
            row["p"] = [str(self.period_ends_s), str(self.period_nanos)]
        return row


class KeyRow(msgspec.Struct, frozen=True):
    """A wallet and its keys at one version; a lower version never overwrites a higher one."""

    wallet: str
    version: int
    status: str
    keys: list[KeyEntry]


class PartitionState(NamedTuple):
    """`m` of a partition; epoch 0 where it does not exist."""

    epoch: int
    stamp: str
    state: str
    seq: int
    committed: int
    base_epoch: int = 0
    """The epoch of `committed` when the present epoch began."""


class HoldState(NamedTuple):
    wallet: str
    held_nanos: int
    checkpoint_nanos: int
    renewals: int
    owner: str


def hold_state(text: bytes) -> HoldState:
    """A hold as the partition's hash has it."""
    wallet, held, checkpoint, renewals, owner, *_ = text.decode().split("|")
    return HoldState(wallet, int(held), int(checkpoint), int(renewals), owner)


class WalletState(NamedTuple):
    balance_nanos: int
    held_nanos: int
    wallet_seq: int
    status: str
    spent_nanos: int
    version: int = 0


def wallet_state(row: Sequence[bytes | None]) -> WalletState | None:
    """A wallet's fields bal, hld, ws, st, spt and v; None where there is none."""
    balance, held, seq, status, spent, version = row
    if balance is None:
        return None
    figures = (int(balance), int(held or 0), int(seq or 0))
    return WalletState(*figures, (status or b"1").decode(), int(spent or 0), int(version or 0))
