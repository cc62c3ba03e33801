"""The release before: which one it was, and its program in a place of its own."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

HEADING = re.compile(r"^## (\d+\.\d+\.\d+) \(.*commit `([0-9a-f]{40})`\)$", re.MULTILINE)


class Release(NamedTuple):
    version: str
    commit: str


@cache
def previous(root: Path) -> Release | None:
    """The newest release that CHANGELOG.md names; None where the clone does not have it."""
    try:
        found = HEADING.search((root / "CHANGELOG.md").read_text())
    except OSError:  # a copy of package and tests alone
        return None
    if found is None:
        return None
    asked = ["git", "-C", str(root), "cat-file", "-e", f"{found[2]}^{{commit}}"]
    try:
        if subprocess.run(asked, capture_output=True, check=False).returncode:
            return None
    except OSError:
        return None
    return Release(found[1], found[2])


def unpack(root: Path, release: Release, folder: Path) -> Path:
    """Its source in a folder, and an environment of its own there; that environment's Python."""
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "-C", str(root), "archive", release.commit], capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CORVUS_", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [str(folder / "corvus"), "--version"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == release.version, done.stderr
    return folder / ".venv" / "bin" / "python"


PACKAGED = {".html", ".txt", ".md", ".css", ".js", ".svg", ".toml", ".sql", ".lua", ".json", ".png",
            ".pyi", ".py"}  # fmt: skip
"""Kinds of files that a running service reads."""


def copy_of(root: Path, folder: Path) -> None:
    """What a wheel is built from, without what was ever built in the repository."""
    folder.mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copyfile(root / name, folder / name)
    built = shutil.ignore_patterns("__pycache__", "*.so", "*.c")
    shutil.copytree(root / "corvus_proxy", folder / "corvus_proxy", ignore=built)
