"""README.md as its readers take it: what they paste, and what it says that they will see."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
LEFT_OUT = "…"


class Fence(NamedTuple):
    """A block of code. `kind`: `sh` is pasted, `text` is what that printed."""

    section: str
    kind: str
    text: str


def fences() -> list[Fence]:
    """All of them, in order, each with the heading above it."""
    found, section = [], ""
    pattern = r"^#+ (?P<title>[^\n]+)$|^```(?P<kind>\w+)\n(?P<text>.*?)^```$"
    for match in re.finditer(pattern, README.read_text(), re.MULTILINE | re.DOTALL):
        if match["title"]:
            section = match["title"]
        else:
            found.append(Fence(section, match["kind"], match["text"]))
    return found


def alike(text: str) -> str:
    """Without what differs from one run to the next: keys, names, ports, folders, white space."""
    for pattern, instead in (
        (r"sk-corvus_\w+", "KEY"),
        (r"127\.0\.0\.1:\d+", "HOST"),
        (r"req_\w+", "REQUEST"),
        (r"chatcmpl-\w+", "ANSWER"),
        (r"(?m)^  state .*$", "  state FOLDER"),
        (r"\s+", " "),
    ):
        text = re.sub(pattern, instead, text)
    return text.strip()


def missing(shown: str, real: str) -> list[str]:
    """The pieces of what is shown that are not in what was really printed, in this order; between
    two pieces something may be left out."""
    real, at, wrong = alike(real), 0, []
    for piece in (alike(one) for one in shown.split(LEFT_OUT)):
        place = real.find(piece, at)
        if place < 0:
            wrong.append(piece)
        else:
            at = place + len(piece)
    return wrong
