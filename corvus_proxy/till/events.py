"""A stream entry of a partition as `money.event.Event`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from corvus_proxy.money.event import Event, Poison, decode_meta

TYPES = frozenset("SXLCD")


def read_event(partition: int, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event | Poison:
    """The event in one entry, or what stands there in its place."""
    try:
        return event_of(partition, entry_id, fields)
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        epoch, _, seq = entry_id.partition(b"-")
        raw = {
            name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for name, value in fields.items()
        }
        why = f"{type(error).__name__}: {error}"
        return Poison(partition, int(epoch), int(seq), raw.get("w", ""), raw, why)


def event_of(partition: int, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event:
    """The event in one entry. Raises KeyError or ValueError when it is not one of ours."""
    epoch, _, seq = entry_id.partition(b"-")
    text: dict[str, Any] = {name.decode(): value for name, value in fields.items()}

    def word(name: str) -> str:
        value: bytes = text.get(name, b"")
        return value.decode()

    if word("t") not in TYPES:
        raise ValueError(f"there is no event type {word('t')!r}")
    decode_meta(text["u"])  # what cannot be read later is not booked now
    return Event(
        partition=partition,
        epoch=int(epoch),
        seq=int(seq),
        type=word("t"),  # type: ignore[arg-type]
        id=word("id"),
        wallet=word("w"),
        key=word("k"),
        slug=word("g"),
        delta_nanos=int(text["d"]),
        balance_nanos=int(text["b"]),
        wallet_seq=int(text["ws"]),
        actual_nanos=int(text["a"]),
        shortfall_nanos=int(text["s"]),
        outcome=word("o"),
        counter=word("n"),
        reason=word("r"),
        wallet_spent_nanos=int(text["sw"]),
        key_spent_nanos=int(text["sk"]),
        meta=text["u"],
    )
