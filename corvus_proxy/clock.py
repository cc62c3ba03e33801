"""The only source of time, ids and randomness.

Rule 1: no money decision reads a wall clock; `wall_*` is for people and records.
Rule 2: everything that must not be guessed comes from `secrets`.
"""

import secrets
import time
from datetime import UTC, datetime

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

monotonic_s = time.monotonic
"""Seconds from an arbitrary start; never goes back. The clock of every timeout."""


def wall_ms() -> int:
    """Milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


def wall_s() -> int:
    """Seconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000_000


def utc_day() -> str:
    """Today in UTC as `YYYY-MM-DD`."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def utc_now() -> datetime:
    """This instant, aware, in UTC."""
    return datetime.now(UTC)


def random_text(characters: int) -> str:
    """Unguessable base-62 text of that many characters (5.95 bits each)."""
    return "".join(secrets.choice(BASE62) for _ in range(characters))


def random_hex(size_bytes: int) -> str:
    """Unguessable lower-case hexadecimal text, two characters a byte."""
    return secrets.token_hex(size_bytes)


class RequestIds:
    """Makes request ids `req_<16 hex of this process><counter>`: never reused, not
    client-chosen."""

    def __init__(self) -> None:
        self.incarnation = random_hex(8)
        self._next = 0

    def new(self) -> str:
        self._next += 1
        return f"req_{self.incarnation}{self._next:08x}"
