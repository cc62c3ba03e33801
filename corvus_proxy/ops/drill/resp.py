"""Redis's protocol as it passes a link: where values end, and which script a call names.

A command is an array of bulk strings and a reply any value, so one reader serves both ways.
"""

import hashlib
from typing import Any, NamedTuple

from corvus_proxy.till.scripts import SCRIPTS

SCRIPT_OF_SHA = {script.sha.encode(): name for name, script in SCRIPTS.items()}
"""Names of the scripts by their content; a fault that runs another version adds its own."""


class Value(NamedTuple):
    """A value and where the next one begins."""

    value: Any
    end: int


def read(data: bytes | bytearray, at: int = 0) -> Value | None:
    """The RESP2 value at `at`, or None while it is not whole. Errors come as their text."""
    line_end = data.find(b"\r\n", at)
    if line_end < 0:
        return None
    kind, text, at = data[at : at + 1], bytes(data[at + 1 : line_end]), line_end + 2
    if kind == b"$":
        size = int(text)
        if size < 0:
            return Value(None, at)
        return (
            Value(bytes(data[at : at + size]), at + size + 2)
            if len(data) >= at + size + 2
            else (None)
        )
    if kind != b"*":
        return Value(text, at)
    items = []
    for _ in range(int(text)):
        item = read(data, at)
        if item is None:
            return None
        items.append(item.value)
        at = item.end
    return Value(items, at)


def split(data: bytearray) -> list[tuple[bytes, Any]]:
    """Takes every whole value out of `data`: its bytes and what it says."""
    found, at = [], 0
    while at < len(data):
        one = read(data, at)
        if one is None:
            break
        found.append((bytes(data[at : one.end]), one.value))
        at = one.end
    del data[:at]
    return found


class Call(NamedTuple):
    """A command: its name, or `settle`, `reserve` … where it calls one of our scripts."""

    name: str
    args: list[bytes]
    """A script's ARGV without the epoch; else all words after the command."""


def call_of(words: list[bytes]) -> Call:
    """What a command asks for."""
    name = words[0].upper()
    sha = words[1] if name == b"EVALSHA" else b""
    if name == b"EVAL":  # a server that does not have the script yet gets its text
        sha = hashlib.sha1(words[1], usedforsecurity=False).hexdigest().encode()
    if sha in SCRIPT_OF_SHA:
        keys = int(words[2])
        return Call(SCRIPT_OF_SHA[sha], words[3 + keys + 1 :])
    return Call(name.decode(), words[1:])
