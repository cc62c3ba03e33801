"""Images inside a request: how large they are, by their header alone.

An image stands in the body as base64. Of it only the few bytes are decoded that say width and
height; a JPEG is walked from segment to segment, however long they are. What cannot be told, or
not within `SEGMENTS_MAX` steps, is None and counts as the largest there is.
"""

import binascii
import struct
from collections.abc import Callable
from typing import NamedTuple

SEGMENTS_MAX = 200
"""Segments of a JPEG, or blocks of a GIF, that may stand before the one that tells the size."""
ESCAPED_MAX = 128 * 1024
"""So much of base64 whose `/` is written `\\/` is read; plain base64 is read at any place."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG that begin a frame (ITU T.81, table B.1)."""
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers without a length behind them."""
_URL_SAFE = bytes.maketrans(b"-_", b"+/")

Read = Callable[[int, int], bytes]
"""`size` bytes from an offset on; struct.error where there are fewer."""


class Size(NamedTuple):
    """Pixels."""

    width: int
    height: int


def image_size(body: bytes, start: int, end: int) -> Size | None:
    """Width and height of the PNG, JPEG, GIF or WebP whose base64 is `body[start:end]`."""
    text = body
    if body.find(b"\\", start, min(end, start + ESCAPED_MAX)) >= 0:
        text = body[start : min(end, start + ESCAPED_MAX)].replace(b"\\/", b"/")
        start, end = 0, len(text)

    def read(offset: int, size: int) -> bytes:
        first = start + offset // 3 * 4
        last = min(end, start + -(-(offset + size) // 3) * 4)
        group = text[first:last].translate(_URL_SAFE).rstrip(b"=")
        group += b"=" * (-len(group) % 4)
        found = binascii.a2b_base64(group)[offset % 3 :][:size]
        if len(found) < size:
            raise struct.error
        return found

    try:
        return _size_of(read)
    except (struct.error, binascii.Error):
        return None


def _size_of(read: Read) -> Size | None:
    head = read(0, 12)
    if head[:8] == b"\x89PNG\r\n\x1a\n" and read(12, 4) == b"IHDR":
        return _size(*struct.unpack(">II", read(16, 8)))
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return _gif(read)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return _webp(read)
    return _jpeg(read) if head[:2] == b"\xff\xd8" else None


def _size(width: int, height: int) -> Size | None:
    return Size(width, height) if 0 < width < 1 << 17 and 0 < height < 1 << 17 else None


def _webp(read: Read) -> Size | None:
    """By the chunk that comes first (developers.google.com/speed/webp, RIFF container)."""
    kind = read(12, 4)
    if kind == b"VP8X":
        sides = read(24, 6)
        width = int.from_bytes(sides[:3], "little") + 1
        return _size(width, int.from_bytes(sides[3:], "little") + 1)
    if kind == b"VP8L" and read(20, 1) == b"\x2f":
        bits = int.from_bytes(read(21, 4), "little")
        return _size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and read(23, 3) == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", read(26, 4))
        return _size(width & 0x3FFF, height & 0x3FFF)
    return None


def _gif(read: Read) -> Size | None:
    """The screen, or what its first frame makes of it: a decoder widens a screen that is less."""
    width, height, flags = struct.unpack("<HHB", read(6, 5))
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in range(SEGMENTS_MAX):
        block = read(at, 1)[0]
        if block == 0x2C:
            left, top, frame_width, frame_height = struct.unpack("<HHHH", read(at + 1, 8))
            return _size(max(width, left + frame_width), max(height, top + frame_height))
        if block != 0x21:
            return None
        at = _behind_parts(read, at + 2)  # an extension: its label, then its parts
    return None


def _behind_parts(read: Read, at: int) -> int:
    """Each part stands behind its length; a length of 0 ends them."""
    for _ in range(SEGMENTS_MAX):
        length = read(at, 1)[0]
        at += 1 + length
        if not length:
            return at
    raise struct.error


def _jpeg(read: Read) -> Size | None:
    """The first frame's size; what stands inside a segment, such as a thumbnail, is passed over."""
    at = 2
    for _ in range(SEGMENTS_MAX):
        lead, marker = read(at, 2)
        if lead != 0xFF or marker in (0xD9, 0xDA):
            return None
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", read(at + 5, 4))
            return _size(width, height)
        if marker == 0xFF:
            at += 1
        elif marker in _BARE:
            at += 2
        else:
            at += 2 + int.from_bytes(read(at + 2, 2), "big")
    return None
