"""Each Lua script's header is what its body does."""

import re
from pathlib import Path

import pytest

from corvus_proxy.till import scripts

FOLDER = Path(scripts.__file__).parent / "scripts"
FILES = sorted(FOLDER.glob("*.lua"))


def header(text: str) -> dict[str, str]:
    """The tagged lines of a script's header, continuations joined."""
    found: dict[str, str] = {}
    tag = ""
    for line in text.splitlines():
        match = re.match(r"-- (KEYS|ARGV|REPLY)\s+(.*)", line)
        if match:
            tag = match[1]
            found[tag] = match[2]
        elif tag and line.startswith("--        "):
            found[tag] += " " + line[2:].strip()
        elif not line.startswith("--"):
            tag = ""
    return found


def test_every_script_is_loaded_and_every_name_is_a_script() -> None:
    """The list of names and the folder agree."""
    assert tuple(path.stem for path in FILES) == scripts.NAMES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_header_is_true(path: Path) -> None:
    """KEYS and ARGV are unpacked in order under the same names; each answered word is declared."""
    text = path.read_text()
    told = header(text)
    assert text.startswith("#!lua flags=")
    body = text[text.index("unpack(KEYS)") :]
    keys = re.search(r"local ([\w, ]+) = unpack\(KEYS\)", text)
    assert keys
    assert keys[1].split(", ") == told["KEYS"].split()
    arguments = re.search(r"local ([\w,\s]+) = unpack\(ARGV\)", text)
    assert arguments
    names = re.split(r",\s*", arguments[1].strip())
    assert names == told["ARGV"].split()
    after = body[body.index("unpack(ARGV)") + len("unpack(ARGV)") :]
    for name in names:
        assert re.search(rf"\b{name}\b", after), f"{name} is not used"
    words = set(re.findall(r"return \{\s*'([A-Z]+)'", body))
    words |= set(re.findall(r"'(FINAL)' or '(?:OK)'", body))
    declared = {part.split()[0] for part in told["REPLY"].split("|")}
    assert words <= declared
    assert all(len(line) <= 100 for line in text.splitlines())


def blocks(text: str) -> dict[str, str]:
    """Local functions by name, and the fence."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        start = re.match(r"local function (\w+)", line) or re.match(
            r"if (part)\[1\] ~= epoch", line
        )
        if start:
            name = start[1]
            found[name] = ""
        if name:
            found[name] += line + "\n"
            if line == "end" or (start and line.endswith(" end")):
                name = ""
    return found


FENCES = {
    "key": {"key"}, "open": {"open"}, "load": {"load"}, "recall": {"recall"},
    "replay": {"adopt", "direct"}, "moves": {"credit", "debit"},
}  # fmt: skip
"""Scripts that run in a partition that is not open; all others have one fence."""


def fence_of(stem: str) -> str:
    """The name of a script's fence."""
    return next((name for name, stems in FENCES.items() if stem in stems), "part")


def test_what_several_scripts_share_is_the_same_text() -> None:
    """There is no include: a function of one name has one text, and so has the fence."""
    seen: dict[str, tuple[str, str]] = {}
    for path in FILES:
        for found, block in blocks(path.read_text()).items():
            name = fence_of(path.stem) if found == "part" else found
            other = seen.setdefault(name, (path.name, block))
            assert block == other[1], f"{name} differs between {other[0]} and {path.name}"
    assert {"part", "amount_of", "hold_of", "finish", "key_of", "post"} <= set(seen)
