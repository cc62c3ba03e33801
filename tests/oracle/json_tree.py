"""JSON as a tree that remembers where everything stood: slow, obvious, for valid JSON only."""

import json
import re
from typing import Any, NamedTuple

SPACE = re.compile(rb"[ \t\r\n]*")
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
SCALAR = re.compile(rb"[^\s,\]}]+")


class Node(NamedTuple):
    """A value and its place; of an object every member, also those that stand twice."""

    start: int
    end: int
    raw: bytes
    members: list["Member"] | None = None
    items: list["Node"] | None = None

    @property
    def value(self) -> Any:
        """As `json.loads` reads it: of what stands twice the last."""
        return json.loads(self.raw)

    @property
    def is_text(self) -> bool:
        return self.raw.startswith(b'"')

    def last(self, name: str) -> "Node | None":
        """The last member of that name."""
        found = [member.node for member in self.members or () if member.name == name]
        return found[-1] if found else None


class Member(NamedTuple):
    """A name, where its opening quote stands, and its value."""

    name: str
    name_start: int
    node: Node


def parse(data: bytes, at: int = 0) -> Node:
    """The value that stands at or behind `at`."""
    start = _skip(data, at)
    first = data[start : start + 1]
    if first == b"{":
        return _object(data, start)
    if first == b"[":
        return _array(data, start)
    found = (STRING if first == b'"' else SCALAR).match(data, start)
    assert found is not None
    return Node(start, found.end(), found.group())


def _skip(data: bytes, at: int) -> int:
    found = SPACE.match(data, at)
    assert found is not None
    return found.end()


def _object(data: bytes, start: int) -> Node:
    members: list[Member] = []
    at = _skip(data, start + 1)
    while data[at : at + 1] != b"}":
        if members:
            at = _skip(data, at + 1)  # behind the comma
        name = parse(data, at)
        node = parse(data, _skip(data, name.end) + 1)  # behind the colon
        members.append(Member(name.value, name.start, node))
        at = _skip(data, node.end)
    return Node(start, at + 1, data[start : at + 1], members=members)


def _array(data: bytes, start: int) -> Node:
    items: list[Node] = []
    at = _skip(data, start + 1)
    while data[at : at + 1] != b"]":
        if items:
            at += 1
        items.append(parse(data, at))
        at = _skip(data, items[-1].end)
    return Node(start, at + 1, data[start : at + 1], items=items)


def classes(text: bytes) -> tuple[int, int, int]:
    """Letters, symbols and bytes beyond ASCII of a piece of UTF-8."""
    letters = sum(65 <= byte <= 90 or 97 <= byte <= 122 for byte in text)
    non_ascii = sum(byte >= 0x80 for byte in text)
    return letters, len(text) - letters - non_ascii, non_ascii


def plain(raw: bytes) -> bytes:
    """What a raw JSON string stands for, in UTF-8; half a surrogate pair has two bytes."""
    text: str = json.loads(raw)
    return b"".join(
        b"\x80\x80" if 0xD800 <= ord(character) < 0xE000 else character.encode()
        for character in text
    )
