"""Which credential a session is pinned to, so that its growing history is read from that account's
cache.

A session without a pin is placed by its own digest (`rank`): every process comes to the same choice
without asking another.
"""

import hashlib
import math
from collections import OrderedDict
from typing import NamedTuple

PINS_MAX = 20_000
"""Sessions that a process remembers; the one that rested longest goes first."""


class Pin(NamedTuple):
    """Where a session was served last."""

    family: str
    name: str
    """Of the credential."""
    provider: str
    """Where its upstream listens: signatures in a history are of use there alone."""
    used_s: float


class Pins:
    """Sessions by their digest, the one used last at the end."""

    def __init__(self, pin_s: float) -> None:
        self._pin_s = pin_s
        self._found: OrderedDict[bytes, Pin] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, session: bytes) -> Pin | None:
        """Where the session was last, however long ago."""
        return self._found.get(session)

    def holds(self, pin: Pin, now_s: float) -> bool:
        """Whether the session is to stay with that credential."""
        return now_s - pin.used_s <= self._pin_s

    def set(self, session: bytes, pin: Pin) -> None:
        """The session is served there now."""
        self._found[session] = pin
        self._found.move_to_end(session)
        if len(self._found) > PINS_MAX:
            self._found.popitem(last=False)

    def count(self, family: str, name: str, now_s: float) -> int:
        """Sessions that are to stay with a credential."""
        return sum(
            (pin.family, pin.name) == (family, name) and self.holds(pin, now_s)
            for pin in self._found.values()
        )


def rank(session: bytes, name: str, weight: int) -> float:
    """A credential's rank for a session, the highest wins: each wins its share by weight, and one
    that goes or comes moves no session that is not its own."""
    digest = hashlib.blake2b(name.encode(), key=session, digest_size=8).digest()
    share = (int.from_bytes(digest, "big") + 0.5) / 2.0**64
    return -weight / math.log(share)
