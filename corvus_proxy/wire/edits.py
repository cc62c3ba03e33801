"""Edits of a request body: splices of bytes at known offsets, never a re-serialisation.

What is not named in a splice reaches the upstream as the client wrote it, white space, key order
and number formats included: prompt caches and signatures hang on the exact bytes.
"""

from typing import NamedTuple


class Splice(NamedTuple):
    """Put `new` in place of `body[start:end]`; `start == end` inserts."""

    start: int
    end: int
    new: bytes


def apply(body: bytes, splices: list[Splice]) -> bytes:
    """The edited body; the very same object when there is nothing to edit.

    Splices must not overlap; several insertions at one offset keep their order.
    """
    if not splices:
        return body
    parts: list[bytes] = []
    position = 0
    for start, end, new in sorted(splices, key=lambda splice: splice[:2]):
        parts += (body[position:start], new)
        position = end
    parts.append(body[position:])
    return b"".join(parts)


def first_member(body: bytes, start: int = 0) -> int:
    """Offset just inside the object that opens at or after `start`, where a member may be
    inserted."""
    return body.index(b"{", start) + 1
