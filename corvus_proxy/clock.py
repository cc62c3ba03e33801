"""The only source of time, ids and randomness.

Rule 1: no money decision reads a wall clock; `wall_*` is for people and records.
Rule 2: everything that must not be guessed comes from `secrets`.

`CORVUS_CLOCK_OFFSET_S` puts this process's wall clock off by so many whole seconds; it is read once
at start, and changes no timeout. The drill tests rule 1 with it.
"""

import os
import secrets
import time
from datetime import UTC, datetime, timedelta

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

OFFSET_S = int(os.environ.get("CORVUS_CLOCK_OFFSET_S") or "0")
"""What this process's wall clock is ahead of the machine's; never zero but in a drill."""

monotonic_s = time.monotonic
"""Seconds from an arbitrary start; never goes back. The clock of every timeout."""


def wall_ms() -> int:
    """Milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000 + OFFSET_S * 1000


def wall_s() -> int:
    """Seconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000_000 + OFFSET_S


def utc_day() -> str:
    """Today in UTC as `YYYY-MM-DD`."""
    return utc_now().strftime("%Y-%m-%d")


def utc_now() -> datetime:
    """This instant, aware, in UTC."""
    return datetime.now(UTC) + timedelta(seconds=OFFSET_S)


def iso_utc(instant: datetime) -> str:
    """An aware instant in UTC by ISO 8601: `2026-11-26T10:00:00.123Z`."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
