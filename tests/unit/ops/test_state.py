"""The state folder: what lies in it, who may read it, and what is written as TOML."""

import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.state import State, to_toml, write_private

NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
SCALARS = (
    st.integers(-(2**53), 2**53)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(codec="utf-8"), max_size=20)
)
VALUES = SCALARS | st.lists(st.text("ab\"\\'", max_size=5), max_size=3)
TABLES = st.dictionaries(NAMES, VALUES, max_size=4)
ROWS = st.dictionaries(
    NAMES, VALUES | st.lists(TABLES, min_size=1, max_size=2), min_size=1, max_size=4
)


@given(st.dictionaries(NAMES, VALUES | TABLES | st.lists(ROWS, min_size=1, max_size=3), max_size=5))
def test_what_is_written_is_what_is_read(tree: dict[str, Any]) -> None:
    """Any configuration comes back from TOML as it was."""
    assert tomllib.loads(to_toml(tree)) == tree


def test_secrets_are_ours_alone(tmp_path: Path) -> None:
    """Folders are 0700, the pepper 0600, and a file is never readable on its way there."""
    state = State(tmp_path / "state")
    state.prepare()
    assert stat.S_IMODE(state.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(state.pepper.stat().st_mode) == 0o600
    before = state.pepper.read_text()
    state.prepare()
    assert state.pepper.read_text() == before
    open_to_all = tmp_path / "open"
    open_to_all.touch(mode=0o644)
    write_private(open_to_all, "x")
    assert stat.S_IMODE(open_to_all.stat().st_mode) == 0o600


def test_one_launcher_a_folder(tmp_path: Path) -> None:
    """The second is told where the first serves; a broken `up.json` is no obstacle."""
    state = State(tmp_path / "state")
    state.prepare()
    state.lock()
    state.up.write_text('{"api": "http://127.0.0.1:9"}')
    with pytest.raises(ConfigurationError, match=r"already running at http://127\.0\.0\.1:9"):
        state.lock()
    state.up.write_text("{")
    with pytest.raises(ConfigurationError, match="already running"):
        state.lock()


def test_who_reads_a_private_file_meanwhile_has_the_old_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up.json` is written anew when a server was started again, and clients look into it."""
    target, write = tmp_path / "up.json", Path.write_text
    write_private(target, "old")
    seen = []

    def look(self: Path, text: str) -> int:
        self.open("w").close()  # as writing begins
        seen.append(target.read_text())
        return write(self, text)

    monkeypatch.setattr(Path, "write_text", look)
    write_private(target, "new")
    assert (seen, target.read_text()) == (["old"], "new")
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["up.json"]
