"""The figures of docs/security.md are those of the tables, and what it points at is there."""

import re
from pathlib import Path

from tests.fuzz.targets import TARGETS
from tests.security.__main__ import figures

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()


def test_the_counts_are_the_tables() -> None:
    """`python -m tests.security` prints them."""
    found = figures()
    assert [
        line for line in TEXT.splitlines() if line.startswith(tuple(f"| {n} |" for n in found))
    ] == [f"| {name} | {count:,} |" for name, count in found.items()]
    assert found["malformed and smuggling requests"] >= 120


def test_each_target_was_fuzzed_without_a_crash() -> None:
    """A row for each: inputs, outcomes, crashes, hangs."""
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| (\d+) \| (\d+) \|$", TEXT, re.MULTILINE
    )
    assert [name for name, *_ in rows] == list(TARGETS)
    assert all((crashes, hangs) == ("0", "0") for *_, crashes, hangs in rows)


def test_every_file_that_it_names_is_there() -> None:
    for name in re.findall(r"`((?:tests|gateway)/[\w/.]+)`", TEXT):
        path = ROOT / name if name.startswith("tests") else ROOT / "corvus_proxy" / name
        assert path.exists(), name
