"""Compressed request bodies: decoded piece by piece, and given up once they grow too far.

Rule 1: memory holds the compressed body, the decoded one up to its bound, and one piece: a few
        bytes that stand for gigabytes are refused as soon as the bound is passed.
Rule 2: one encoding at a time. What is not known, or is put into another, is 415 by its name.
Rule 3: what is sent on is what was decoded, so it is priced as it is sent; a body that is damaged
        or followed by anything is 400.
"""

import io
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import brotli
import zstandard

from corvus_proxy.errors import BodyTooLarge, InvalidRequest, UnsupportedEncoding

Headers = list[tuple[bytes, bytes]]

PIECE_BYTES = 65_536
"""Decoded at a time."""
FREE_BYTES = 262_144
"""A body that is not larger than this when decoded may have grown by any factor."""
ZSTD_WINDOW_BYTES = 8_388_608
"""The largest window that a sender may use (RFC 9659)."""
_GZIP, _ZLIB, _RAW = 31, 15, -15


class Bound(NamedTuple):
    """How large a body may become when decoded."""

    bytes_max: int
    expansion_max: int
    """Times its compressed size."""


class _Damaged(Exception):
    """The body is not what its encoding says."""


def of(headers: Headers) -> str:
    """The encoding of a body, a name of `ENCODINGS`; empty where it is plain. Raises
    UnsupportedEncoding."""
    if not any(name == b"content-encoding" for name, _ in headers):
        return ""
    named = b",".join(value for name, value in headers if name == b"content-encoding")
    names = [part.strip().lower() for part in named.decode("latin-1").split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if not names:
        return ""
    if len(names) > 1 or names[0] not in ENCODINGS:
        raise UnsupportedEncoding(
            f"content-encoding {', '.join(names)!r} is not served; send one of"
            f" {', '.join(ENCODINGS)}, or the body as it is.",
            param="content-encoding",
        )
    return names[0]


def decode(name: str, body: bytes, bound: Bound) -> bytes:
    """The decoded body. Raises BodyTooLarge past the bound, InvalidRequest where it is damaged."""
    most = min(bound.bytes_max, max(FREE_BYTES, len(body) * bound.expansion_max))
    found = bytearray()
    try:
        for piece in ENCODINGS[name](body):
            found += piece
            if len(found) > most:
                raise _too_large(bound, len(found))
    except (_Damaged, zlib.error, brotli.error, zstandard.ZstdError):
        raise InvalidRequest(
            f"The request body is no whole {name}.", param="content-encoding"
        ) from None
    return bytes(found)


def _too_large(bound: Bound, size: int) -> BodyTooLarge:
    if size > bound.bytes_max:
        return BodyTooLarge(f"The decoded request body is larger than {bound.bytes_max:,} bytes.")
    return BodyTooLarge(
        f"The decoded request body is more than {bound.expansion_max} times as large as it was"
        " sent; send it plain."
    )


def _gzip(body: bytes) -> Iterator[bytes]:
    return _inflate(body, _GZIP)


def _deflate(body: bytes) -> Iterator[bytes]:
    """In zlib's frame as RFC 9110 says, or bare as some clients send it."""
    framed = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return _inflate(body, _ZLIB if framed else _RAW)


def _inflate(body: bytes, window_bits: int) -> Iterator[bytes]:
    """One member: many of them, each with nothing in it, would cost more than they are worth."""
    decoder = zlib.decompressobj(window_bits)
    for at in range(0, len(body), PIECE_BYTES):
        # What is left over is copied each time: of a piece, never of the whole body.
        left = body[at : at + PIECE_BYTES]
        while left and not decoder.eof:
            yield decoder.decompress(left, PIECE_BYTES)
            left = decoder.unconsumed_tail
        if decoder.unused_data or (decoder.eof and at + PIECE_BYTES < len(body)):
            raise _Damaged
    while not decoder.eof:  # the last piece was full: there is more of it inside
        piece = decoder.decompress(b"", PIECE_BYTES)
        if not piece and not decoder.eof:
            raise _Damaged
        yield piece


def _brotli(body: bytes) -> Iterator[bytes]:
    decoder = brotli.Decompressor()
    piece = decoder.process(body, output_buffer_limit=PIECE_BYTES)
    while piece or not decoder.is_finished():
        if not piece and decoder.can_accept_more_data():
            raise _Damaged
        yield piece
        piece = b"" if decoder.is_finished() else decoder.process(
            b"", output_buffer_limit=PIECE_BYTES
        )  # fmt: skip


def _zstd(body: bytes) -> Iterator[bytes]:
    """Frames one behind the other are one body. The reader does not tell a cut from an end: what
    is cut is no whole JSON, either."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    with decompressor.stream_reader(io.BytesIO(body), read_across_frames=True) as reader:
        while piece := reader.read(PIECE_BYTES):
            yield piece


ENCODINGS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
"""By their names in `content-encoding`."""
