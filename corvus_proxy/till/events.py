"""A stream entry of a partition as `money.event.Event`."""

from collections.abc import Mapping

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
    word = fields.get
    kind = word(b"t", b"").decode()
    if kind not in TYPES:
        raise ValueError(f"there is no event type {kind!r}")
    meta = fields[b"u"]
    decode_meta(meta)  # what cannot be read later is not booked now
    return Event(
        partition=partition,
        epoch=int(epoch),
        seq=int(seq),
        type=kind,  # type: ignore[arg-type]
        id=word(b"id", b"").decode(),
        wallet=word(b"w", b"").decode(),
        key=word(b"k", b"").decode(),
        slug=word(b"g", b"").decode(),
        delta_nanos=int(fields[b"d"]),
        balance_nanos=int(fields[b"b"]),
        wallet_seq=int(fields[b"ws"]),
        actual_nanos=int(fields[b"a"]),
        shortfall_nanos=int(fields[b"s"]),
        outcome=word(b"o", b"").decode(),
        counter=word(b"n", b"").decode(),
        reason=word(b"r", b"").decode(),
        wallet_spent_nanos=int(fields[b"sw"]),
        key_spent_nanos=int(fields[b"sk"]),
        meta=meta,
    )
