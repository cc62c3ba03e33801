"""Recorded answers served again, byte for byte, in pieces of any size."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

RANDOM_BYTES_MAX = 400
"""The largest piece of a body in random pieces."""


class Recording(NamedTuple):
    """A body as it goes over the wire."""

    body: bytes
    stream: bool


def load(root: Path | None, name: str, dialect: str) -> Recording:
    """A file below `root`: `.json` is one body, `.sse` a stream as it came, anything else a list of
    data payloads that gets the dialect's framing back. Raises FileNotFoundError, ValueError."""
    if root is None:
        raise ValueError("there is no --replay-root")
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"{name} is outside --replay-root")
    data = path.read_bytes()
    if path.suffix == ".json":
        return Recording(data, False)
    return Recording(data if path.suffix == ".sse" else _framed(data, dialect), True)


def _framed(data: bytes, dialect: str) -> bytes:
    framed = b""
    for line in filter(None, (line.strip() for line in data.splitlines())):
        if dialect != "chat":
            framed += b"event: " + str(json.loads(line)["type"]).encode() + b"\n"
        framed += b"data: " + line + b"\n\n"
    if dialect == "chat" and b"data: [DONE]" not in framed:
        framed += b"data: [DONE]\n\n"
    return framed


def pieces(body: bytes, chunk: str, source: random.Random) -> Iterator[bytes]:
    """The body whole (""), in pieces of so many bytes, or `random` ones. Raises ValueError."""
    at = 0
    while at < len(body):
        size = len(body)
        if chunk:
            size = source.randint(1, RANDOM_BYTES_MAX) if chunk == "random" else max(1, int(chunk))
        yield body[at : at + size]
        at += size
