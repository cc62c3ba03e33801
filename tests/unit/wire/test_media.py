"""Images by their headers: every format, cut off, lying, hostile."""

import base64
import itertools
import json
import struct
import time
import tracemalloc
from typing import Any

import pytest

from corvus_proxy.wire import media, request
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.media import Size


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(60)


def gif(width: int, height: int, *, frame: tuple[int, int] | None = None) -> bytes:
    """With a table of 4 colours, a comment and a control block before the frame."""
    frame_width, frame_height = frame or (width, height)
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x81, 0, 0) + bytes(12)
    blocks = b"\x21\xfe\x03abc\x00" + b"\x21\xf9\x04\x00\x00\x00\x00\x00"
    return head + blocks + b"\x2c" + struct.pack("<HHHH", 0, 0, frame_width, frame_height)


def webp(kind: bytes, rest: bytes) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBP" + kind + b"\x00\x00\x00\x00" + rest


def segment(marker: int, rest: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(rest) + 2) + rest


def frame(width: int, height: int, marker: int = 0xC0) -> bytes:
    return segment(marker, struct.pack(">BHHB", 8, height, width, 3) + bytes(9))


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments)


THUMBNAIL = segment(0xE1, b"Exif\x00\x00" + jpeg(frame(16, 12)))
IMAGES: dict[str, tuple[bytes, Size | None]] = {
    "png": (png(800, 600), Size(800, 600)),
    "gif": (gif(320, 200), Size(320, 200)),
    "gif whose frame is larger than its screen": (gif(1, 1, frame=(900, 700)), Size(900, 700)),
    "webp lossy": (webp(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 16_640, 480)),
                   Size(256, 480)),
    "webp lossless": (webp(b"VP8L", b"\x2f" + struct.pack("<I", 99 | 49 << 14)), Size(100, 50)),
    "webp extended": (webp(b"VP8X", bytes(4) + b"\xff\x0f\x00\xff\x07\x00"), Size(4096, 2048)),
    "jpeg": (jpeg(segment(0xE0, b"JFIF\x00"), frame(1024, 768)), Size(1024, 768)),
    "jpeg, progressive, with a thumbnail": (jpeg(THUMBNAIL, segment(0xDB, bytes(65)),
                                                 frame(4000, 3000, 0xC2)), Size(4000, 3000)),
    "jpeg behind 640 KB of profiles": (jpeg(*[segment(0xE2, bytes(65_000))] * 10, frame(7, 5)),
                                       Size(7, 5)),
    "jpeg with fill bytes": (b"\xff\xd8\xff\xff\xff\x01" + frame(30, 20), Size(30, 20)),
    "jpeg whose height comes later": (jpeg(frame(1024, 0)), None),
    "jpeg whose data begin without a frame": (jpeg(segment(0xDA, bytes(8)), frame(9, 9)), None),
    "png of no size": (png(0, 5), None),
    "png too large to be": (png(1 << 31, 5), None),
    "png without its first chunk": (b"\x89PNG\r\n\x1a\n" + bytes(40), None),
    "gif that ends": (gif(9, 9)[:25] + b"\x3b" + bytes(30), None),
    "webp of another kind": (webp(b"ALPH", bytes(40)), None),
    "pdf": (b"%PDF-1.7 " + bytes(80), None),
    "nothing": (b"", None),
}  # fmt: skip


def in_body(data: bytes, *, escaped: bool = False, safe: bool = False) -> tuple[bytes, int, int]:
    text = (base64.urlsafe_b64encode if safe else base64.b64encode)(data)
    text = text.replace(b"/", b"\\/") if escaped else text
    return b'{"x":"' + text + b'"}', 6, 6 + len(text)


@pytest.mark.parametrize("name", IMAGES)
def test_size_by_header(name: str) -> None:
    """Width and height, or None, wherever the base64 stands and in whichever alphabet."""
    data, size = IMAGES[name]
    assert media.image_size(*in_body(data)) == size
    assert media.image_size(*in_body(data, safe=True)) == size
    if len(data) < media.ESCAPED_MAX // 2:
        assert media.image_size(*in_body(data, escaped=True)) == size
    elif b"\\" in in_body(data, escaped=True)[0][: media.ESCAPED_MAX]:
        assert media.image_size(*in_body(data, escaped=True)) is None


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_cut_off_says_nothing_or_the_truth(name: str) -> None:
    """At every length up to 200 bytes, also where base64 is cut inside a group of four."""
    data, size = IMAGES[name]
    for length in range(min(len(data), 200)):
        assert media.image_size(*in_body(data[:length])) in (None, size)
    body, start, end = in_body(data[:200])
    for cut in range(start, end):
        assert media.image_size(body, start, cut) in (None, size)


def test_work_on_hostile_headers_is_bounded() -> None:
    """64 images of 60,000 tiny segments, parts or fill bytes each: no size, little time."""
    hostile = (
        jpeg(*[segment(0xE0, b"")] * 15_000),
        b"\xff\xd8" + b"\xff" * 60_000,
        b"GIF89a" + bytes(7) + b"\x21\xf9" + b"\x01\x00" * 30_000,
        b"GIF89a" + bytes(7) + b"\x21\xf9\x00" * 20_000,
    )
    for data in hostile:
        body, start, end = in_body(data)
        tracemalloc.start()
        began_s = time.perf_counter()
        sizes = [media.image_size(body, start, end) for _ in range(64)]
        took_s = time.perf_counter() - began_s
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sizes == [None] * 64
        assert took_s < 2  # 13,000 steps, traced; without a limit they would be a million
        assert peak < 100_000


def chat(*urls: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": url, "detail": detail}}
        for url, detail in zip(urls, itertools.cycle(("low", "high", "auto")), strict=False)]}],
    }  # fmt: skip


def test_every_way_in_which_a_dialect_nests_an_image() -> None:
    """Messages: in a turn, in a tool's result, in a document of blocks. Chat: data URLs."""
    pixels = [base64.b64encode(png(side, side)).decode() for side in (100, 200, 300)]
    image = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
        for data in pixels
    ]
    blocks = [
        image[0],
        {"type": "tool_result", "tool_use_id": "t", "content": [image[1]]},
        {"type": "document", "source": {"type": "content", "content": [image[2]]}},
    ]
    messages = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": blocks}]}
    expected = (Size(100, 100), Size(200, 200), Size(300, 300))
    asked = request.read(Dialect.MESSAGES, json.dumps(messages).encode())
    assert (asked.image_sizes, asked.scan.images, asked.scan.documents) == (expected, 3, 0)
    urls = [f"data:image/png;base64,{data}" for data in pixels]
    for body in (json.dumps(chat(*urls)), json.dumps(chat(*urls)).replace("/", "\\/")):
        assert request.read(Dialect.CHAT, body.encode()).image_sizes == expected
    remote = request.read(Dialect.CHAT, json.dumps(chat("https://x/a.png", urls[0])).encode())
    assert (remote.scan.images, remote.image_sizes) == (2, (Size(100, 100),))


def test_a_body_of_20_mb_is_read_quickly() -> None:
    """64 photographs behind half a megabyte of profiles each: their size, in a moment."""
    photo = jpeg(*[segment(0xE2, bytes(60_000))] * 4, frame(4000, 3000))
    body = json.dumps(chat(*[f"data:;base64,{base64.b64encode(photo).decode()}"] * 64)).encode()
    assert len(body) > 20_000_000
    asked = request.read(Dialect.CHAT, body)
    began_s = time.perf_counter()
    sizes = [media.image_size(body, *place) for place in asked.scan.image_places]
    took_s = time.perf_counter() - began_s
    assert sizes == list(asked.image_sizes) == [Size(4000, 3000)] * 64
    assert took_s < 0.2
