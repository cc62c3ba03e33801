"""Expand, migrate, contract: the release before runs on beside the next one, on one schema."""

import re
from pathlib import Path

import pytest

from corvus_proxy.ops import migrate

ROOT = Path(__file__).parents[2]
FILES = sorted(migrate.folder().glob("*.sql"))
TAKES_AWAY = (
    r"\bdrop\s+(table|column|view|function|type|schema)\b",
    r"\brename\b",
    r"\balter\s+column\s+\w+\s+(set\s+data\s+)?type\b",
    r"\bset\s+not\s+null\b",
    r"\btruncate\s+(table\s+)?\w+\s*;",
    r"\brevoke\b(?!\s+execute\s+on\s+function)",
)
"""What code of the release before would trip over."""
CHECKED_SINCE = "0013"
"""The first that a running release can compare with what it knows."""
THIS_RELEASE = "0014"
"""Up to here nothing that is released knows some of them and not all."""


def up(path: Path) -> str:
    """What a migration does, without its comments and its way back."""
    text = path.read_text().split("-- migrate:down")[0]
    return re.sub(r"--.*", "", text).lower()


def releases() -> list[str]:
    """Versions that were released, the newest first."""
    return re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_migration_only_adds(path: Path) -> None:
    """Unless it says since which release nothing uses what it takes away: `-- Contract: X.Y.Z`. A
    constraint may be replaced by a wider one of its name."""
    contract = re.search(r"^-- Contract: (\S+)$", path.read_text(), re.MULTILINE)
    text = up(path)
    dropped = set(re.findall(r"\bdrop\s+constraint\s+(\w+)", text))
    assert dropped <= set(re.findall(r"\badd\s+constraint\s+(\w+)", text))
    if contract:
        assert contract[1] in releases(), "a release that stands in CHANGELOG.md"
        return
    found = [pattern for pattern in TAKES_AWAY if re.search(pattern, text)]
    assert not found, f"{path.name} takes away what the release before uses: {found}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_migration_says_why_what_it_locks_and_the_way_back(path: Path) -> None:
    """In its first comment; and, since releases look, which code may run beside it."""
    text = path.read_text()
    head = text.split("\n\n")[0]
    assert all(word in head for word in ("Why:", "Locks:", "Way back")), head
    assert "-- migrate:down" in text
    if path.stem[:4] > THIS_RELEASE:
        assert "insert into schema_support" in up(path) or "-- Contract:" in text


def test_the_numbers_grow() -> None:
    """dbmate goes by them, and so does the comparison with what a release knows."""
    numbers = [path.stem[:4] for path in FILES]
    assert numbers == sorted(set(numbers))
    assert list(migrate.known()) == numbers
    assert CHECKED_SINCE in numbers
