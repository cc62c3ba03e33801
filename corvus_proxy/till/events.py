"""A stream entry of a partition as `money.event.Event`."""

from collections.abc import Mapping
from typing import Any

from corvus_proxy.money.event import Event


def event_of(partition: int, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event:
    """The event in one entry. Raises KeyError or ValueError when it is not one of ours."""
    epoch, _, seq = entry_id.partition(b"-")
    text: dict[str, Any] = {name.decode(): value for name, value in fields.items()}

    def word(name: str) -> str:
        value: bytes = text.get(name, b"")
        return value.decode()

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
