"""What the scripts are asked and what they answer, as values.

Answers that carry nothing are no tuples: two empty tuples are equal whatever they are called.
"""

from typing import NamedTuple

import msgspec


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


class Granted(NamedTuple):
    granted_nanos: int
    available_nanos: int
    """Left after the grant."""
    key_id: str


class Poor(NamedTuple):
    available_nanos: int
    held_nanos: int


class Limited(NamedTuple):
    """A cap or rate of the key is reached; `reason` names it."""

    reason: str
    retry_ms: int


class Denied(NamedTuple):
    """`secret`, `frozen`, `closed`, `revoked` or `expired`."""

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
    """Why it was the last: `frozen`, `closed` or `revoked`; empty where the money is all."""


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
    key_id: str
    status: str
    balance_nanos: int
    held_nanos: int
    wallet_spent_nanos: int
    key_spent_nanos: int


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


class WalletState(NamedTuple):
    balance_nanos: int
    held_nanos: int
    wallet_seq: int
    status: str
    spent_nanos: int
    version: int = 0
