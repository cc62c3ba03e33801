"""Compressed request bodies, and those that pretend to be."""

import gzip
import json
import random
import tracemalloc
import zlib

import brotli
import pytest
import zstandard

from corvus_proxy import errors
from corvus_proxy.wire import encoding

BOUND = encoding.Bound(32 * 1024 * 1024, 100)
MB = 1024 * 1024


def packed(name: str, body: bytes) -> bytes:
    """`body` in an encoding."""
    match name:
        case "gzip" | "x-gzip":
            return gzip.compress(body)
        case "deflate":
            return zlib.compress(body)
        case "br":
            return brotli.compress(body, quality=5)
        case _:
            return zstandard.ZstdCompressor().compress(body)


def prompt(size: int) -> bytes:
    """JSON of about `size` bytes that compresses as text does."""
    chance = random.Random(7)
    words = [f"{chance.randrange(10**9):x}" for _ in range(2_000)]
    text = " ".join(chance.choice(words) for _ in range(size // 9))
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()


NAMES = list(encoding.ENCODINGS)


@pytest.mark.parametrize("size", [1, 60_000, 70_000, MB])
@pytest.mark.parametrize("name", NAMES)
def test_a_body_is_what_its_client_meant(name: str, size: int) -> None:
    """Smaller than a piece, just beyond one, many of them."""
    body = prompt(size)
    assert encoding.decode(name, packed(name, body), BOUND) == body


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [encoding.PIECE_BYTES, 2 * encoding.PIECE_BYTES])
def test_a_body_of_exactly_so_many_pieces_is_whole(name: str, size: int) -> None:
    """Where a piece ends the body ends, compressed or not."""
    body = random.Random(1).randbytes(size)
    assert encoding.decode(name, packed(name, body), BOUND) == body


def test_bare_deflate_and_frames_of_zstd_are_served() -> None:
    """What some clients send, and what parallel compressors make."""
    body = prompt(100_000)
    bare = zlib.compressobj(wbits=-15)
    assert encoding.decode("deflate", bare.compress(body) + bare.flush(), BOUND) == body
    frames = b"".join(packed("zstd", body[at : at + 30_000]) for at in range(0, len(body), 30_000))
    assert encoding.decode("zstd", frames, BOUND) == body


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_goes_off_nowhere(name: str) -> None:
    """A few bytes for 48 MB: 413 by the factor, and no more than the bound is ever in memory."""
    bomb = packed(name, bytes(48 * MB))
    assert len(bomb) < MB
    tracemalloc.start()
    try:
        with pytest.raises(errors.BodyTooLarge, match="100 times"):
            encoding.decode(name, bomb, BOUND)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * max(encoding.FREE_BYTES, 100 * len(bomb)) + MB


@pytest.mark.parametrize("name", NAMES)
def test_the_absolute_bound_is_of_the_decoded_body(name: str) -> None:
    """Exactly the bound passes, one byte more does not, however little it grew."""
    body = random.Random(3).randbytes(300_000)
    compressed = packed(name, body)
    assert encoding.decode(name, compressed, encoding.Bound(300_000, 100)) == body
    with pytest.raises(errors.BodyTooLarge, match="299,999 bytes"):
        encoding.decode(name, compressed, encoding.Bound(299_999, 100))


@pytest.mark.parametrize("name", NAMES)
def test_the_factor_does_not_bind_small_bodies(name: str) -> None:
    """A short body of one letter grows by hundreds, and harms nobody."""
    body = b"a" * encoding.FREE_BYTES
    assert encoding.decode(name, packed(name, body), encoding.Bound(MB, 2)) == body
    with pytest.raises(errors.BodyTooLarge, match="2 times"):
        encoding.decode(name, packed(name, body + b"a"), encoding.Bound(MB, 2))


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_told(name: str) -> None:
    """Rubbish, a flipped byte in the head, something behind the end."""
    compressed = packed(name, prompt(5_000))
    for wrong in (b"\x00\xff" * 50, b"}" + compressed[1:], compressed + b"more", b"{}"):
        with pytest.raises(errors.InvalidRequest, match=f"no whole {name}"):
            encoding.decode(name, wrong, BOUND)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "zstd"])
def test_a_cut_body_is_told(name: str) -> None:
    """At every one of many places, the empty body with them."""
    compressed = packed(name, prompt(2_000))
    for cut in [*range(0, len(compressed) - 1, 97), len(compressed) - 1]:
        with pytest.raises(errors.InvalidRequest):
            encoding.decode(name, compressed[:cut], BOUND)


def test_a_cut_zstd_gives_less_than_the_whole() -> None:
    """Its reader does not tell; the scanner does, because no part of an object is one."""
    body = prompt(200_000)
    compressed = packed("zstd", body)
    found = encoding.decode("zstd", compressed[: len(compressed) // 2], BOUND)
    assert body.startswith(found)
    assert len(found) < len(body)


def test_many_empty_members_cost_nothing() -> None:
    """A gzip file may have any number of members; a request's body has one."""
    with pytest.raises(errors.InvalidRequest):
        encoding.decode("gzip", gzip.compress(b"") * 50_000, BOUND)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([], ""), ([b"identity"], ""), ([b"gzip"], "gzip"), ([b" GZIP "], "gzip"),
        ([b"x-gzip"], "x-gzip"), ([b"identity, br"], "br"), ([b"zstd"], "zstd"), ([b""], ""),
        ([b"deflate", b"identity"], "deflate"),
    ],
)  # fmt: skip
def test_the_encoding_is_read_from_its_header(values: list[bytes], name: str) -> None:
    """Upper or lower case, once or in several lines, identity beside it."""
    assert encoding.of([(b"content-encoding", value) for value in values]) == name


@pytest.mark.parametrize("value", [b"compress", b"gzip, gzip", b"br, zstd", b"gzip;q=1", b"aws"])
def test_what_is_not_served_is_named(value: bytes) -> None:
    """415 lists what is."""
    with pytest.raises(errors.UnsupportedEncoding, match="gzip, x-gzip, deflate, br, zstd"):
        encoding.of([(b"content-encoding", value)])
