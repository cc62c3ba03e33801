"""A peer as this suite handles it, and one that runs."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from bench.far import Asked, Far
from bench.peers.install import Missing
from bench.stack import Subject, place

READY_S = 120.0
STOP_S = 10.0


class Peer(NamedTuple):
    """One row of `bench.peers.table`."""

    name: str
    versions: Callable[[], dict[str, str]]
    """Installs it when it is not there. Raises Missing."""
    running: Callable[[Far], AbstractContextManager[Subject | None]]
    """It in front of the far end, on the gateway's core; it ends with the block."""
    settings: str
    """What is set, in one sentence of the report."""
    missing: dict[str, str] = {}
    """What of it is not measured, and why."""


class Command(NamedTuple):
    """How it is started: words, and an environment beside PATH, HOME and the language."""

    words: list[str]
    environment: dict[str, str]


@contextmanager
def started(subject: Subject, command: Command, folder: Path, first: Asked) -> Iterator[Subject]:
    """A program of one's own session that answers `first` whole; its trees are in the subject.

    Raises Missing with the end of its log when it does not come.
    """
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_dying(), *command.words],
            cwd=folder,
            env={
                "PATH": os.environ.get("PATH", ""),
                "HOME": str(folder),
                "LANG": "C.UTF-8",
                **command.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await(process, subject, first, log)
        # After its start, so that all its threads are there.
        place({"gateway": process.pid})
        yield subject._replace(trees={"gateway": process.pid})
    finally:
        _stop(process)


@contextmanager
def home() -> Iterator[Path]:
    """A folder for configuration, log and whatever the peer writes."""
    with tempfile.TemporaryDirectory(prefix="corvus-peer-") as folder:
        yield Path(folder)


def _await(process: subprocess.Popen[bytes], subject: Subject, first: Asked, log: Path) -> None:
    """Waits for an answer of status 200."""
    url = f"http://127.0.0.1:{subject.port}{first.path}"
    assert not isinstance(subject.secrets, Path)
    (secret,) = subject.secrets
    headers = {"content-type": "application/json", "authorization": f"Bearer {secret}"}
    headers |= dict(line.split(": ", 1) for line in subject.headers)
    deadline_s, said = time.monotonic() + READY_S, "nothing"
    with httpx.Client(trust_env=False, timeout=READY_S) as client:
        while time.monotonic() < deadline_s and process.poll() is None:
            try:
                answer = client.post(url, content=first.body, headers=headers)
            except httpx.TransportError as error:
                said = str(error)
            else:
                if answer.status_code == 200:
                    return
                said = f"{answer.status_code} {answer.text[:200]}"
            time.sleep(0.2)
    told = log.read_text(errors="replace").strip()[-500:]
    raise Missing(f"{subject.name} did not answer: {said}; its log ends: {told}")


def _dying() -> list[str]:
    """Words before a command that end it with this process, however this one ends."""
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "KILL"] if program else []


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and all that it started in its session."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
