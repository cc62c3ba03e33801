"""One change of a balance: what the till writes and the books keep. The only place where both meet.

An event is self-contained: the request row and the postings are made from it alone, and its charge
can be recomputed from `Meta` for ever.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

PARTITIONS = 64
"""Immutable for the life of an installation; stored with the data and checked at start."""

CHARGEBACKS = "chargebacks"
"""Counter account of reversed payments: what the balance could not give back is receivable."""

EventType = Literal["S", "X", "L", "C", "D"]
"""Settle, expire, late, credit, debit."""


class Meta(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "price_version": "pv",
        "upstream_model": "um",
        "upstream_request_id": "ur",
        "credential": "cr",
        "cost_nanos": "co",
        "first_byte_ms": "fb",
        "total_ms": "ms",
        "attempts": "at",
        "ended_ms": "ts",
        "source": "src",
        "picos": "p",
        "usage": "t",
        "dialect": "dl",
        "flags": "fl",
        "input_bound": "ib",
        "terms": "tm",
        "unbilled": "ub",
        "hold_nanos": "hn",
    },
):
    """The compact JSON `u` of an event: everything the charge was made from."""

    price_version: str = ""
    picos: dict[str, int] = {}
    """Price of each line of the bill, in picos per token (`searches`: picos per call)."""
    usage: dict[str, int] = {}
    """Tokens of each line, named as `pricing.Line` names it, plus `reasoning` (of which). Tokens
    times picos over all lines, rounded once, are the charge."""
    source: str = ""
    """`upstream`, `counted` (our meter), `estimated` (input estimated too) or `checkpoint`."""
    credential: str = ""
    upstream_model: str = ""
    upstream_request_id: str = ""
    cost_nanos: int = 0
    first_byte_ms: int = 0
    total_ms: int = 0
    attempts: int = 0
    ended_ms: int = 0
    dialect: str = ""
    input_bound: int = 0
    flags: list[str] = []
    """Of `money.flags`."""
    terms: dict[str, str] = {}
    """`mode` and `geo` that the charge was made by, where not ordinary; `…_served` where something
    else served."""
    unbilled: dict[str, int | float] = {}
    """Reported counts that no line bills, by their path in the report."""
    hold_nanos: int = 0
    """What was set aside for the request in the end."""
    gone: bool = False
    """All of this was deleted from the books, being older than the settings keep it."""


class Mark(NamedTuple):
    """The place of an event in its partition: `<epoch>-<seq>`."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


class Poison(NamedTuple):
    """A stream entry that cannot be booked as it stands, verbatim."""

    partition: int
    epoch: int
    seq: int
    wallet: str
    raw: dict[str, str]
    why: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a partition's stream `{pNN}:l`, id `<epoch>-<seq>`. Amounts in nanos."""

    partition: int
    epoch: int
    seq: int
    type: EventType
    id: str
    """Request id (S, X), request id + `:L` (L), or the credit's or debit's own id (C, D)."""
    wallet: str
    key: str = ""
    slug: str = ""
    delta_nanos: int
    balance_nanos: int
    """Balance after this event."""
    wallet_seq: int
    actual_nanos: int
    shortfall_nanos: int
    outcome: str
    counter: str = ""
    """Counter account of a credit or debit: `grants`, `clearing:stripe`, `refunds` …"""
    reason: str = ""
    wallet_spent_nanos: int = 0
    key_spent_nanos: int = 0
    meta: bytes = b""
    """`Meta` as compact JSON, verbatim."""


_ENCODER = msgspec.json.Encoder()
_META_DECODER = msgspec.json.Decoder(Meta)


def encode_meta(meta: Meta) -> bytes:
    """Compact JSON of `meta`."""
    return _ENCODER.encode(meta)


def decode_meta(raw: bytes) -> Meta:
    """`Meta` of an event; empty input is an empty `Meta`. Raises msgspec.ValidationError."""
    return _META_DECODER.decode(raw) if raw else Meta()


def _crc16_table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
        rows.append(crc)
    return tuple(rows)


_CRC16 = _crc16_table()


@lru_cache(maxsize=100_000)
def partition_of(wallet: str) -> int:
    """Partition of a wallet: CRC-16/XMODEM (the one of Redis Cluster) of its id, modulo 64."""
    crc = 0
    for byte in wallet.encode():
        crc = ((crc << 8) & 0xFFFF) ^ _CRC16[((crc >> 8) ^ byte) & 0xFF]
    return crc % PARTITIONS
