"""Blocks of a document that a test takes from it."""

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"


class Block(NamedTuple):
    """A fenced block. `kind`: what stands behind the fence, such as `sh paid`."""

    kind: str
    text: str


def document(name: str) -> str:
    """The text of one of `docs/`."""
    return (DOCS / name).read_text()


def blocks(name: str) -> list[Block]:
    """All of a document, in their order."""
    found = re.finditer(r"^```([^\n]+)\n(.*?)^```$", document(name), re.M | re.S)
    return [Block(one[1].strip(), one[2]) for one in found]


def joined(name: str, kind: str) -> str:
    """All blocks of one kind as one text."""
    return "\n".join(one.text for one in blocks(name) if one.kind == kind)
