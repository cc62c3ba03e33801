"""Format, lint and types, with the tools that the lock pins."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy"],
        ["cython-lint", "--max-line-length=100", "corvus_proxy/_fast"],
    ],
    ids=["format", "lint", "types", "cython"],
)
def test_tool_is_content(command: list[str]) -> None:
    """The tool finds nothing."""
    import os

    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
