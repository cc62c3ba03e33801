"""A peer as this suite handles it, and one that runs."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

from bench.peers.install import Missing

READY_S = 120.0
STOP_S = 10.0


class Place(NamedTuple):
    """Where one peer is to run."""

    folder: Path
    """Its own, empty: configuration, log, home."""
    port: int
    far_port: int


class Command(NamedTuple):
    """How it is started there: words, and an environment beside PATH, HOME and the language."""

    words: list[str]
    environment: dict[str, str] = {}


class Peer(NamedTuple):
    """One row of `bench.peers.table`."""

    name: str
    versions: Callable[[], dict[str, str]]
    """Installs it when it is not there. Raises Missing."""
    command: Callable[[Place], Command]
    headers: Callable[[Place], dict[str, str]]
    """What a client sends beside `content-type`; the key with it."""
    settings: str
    """What is set, in one sentence of the report."""
    missing: dict[str, str] = {}
    """What of it is not measured, and why."""


class Subject(NamedTuple):
    """A gateway that answers, ours or a peer's."""

    name: str
    port: int
    headers: dict[str, str]
    pids: dict[str, int]
    """Roots of its process trees; `gateway` is what a request passes through."""


@contextlib.contextmanager
def running(peer: Peer, place: Place, cores: set[int], body: str) -> Iterator[Subject]:
    """The peer on these cores, answering 200 to this body; it ends with the block.

    Raises Missing with the end of its log when it does not come.
    """
    command = peer.command(place)
    log = place.folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.words,
            cwd=place.folder,
            env={
                "PATH": os.environ.get("PATH", ""),
                "HOME": str(place.folder),
                "LANG": "C.UTF-8",
                **command.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    try:
        headers = peer.headers(place)
        _await(peer.name, process, place, headers, body)
        yield Subject(peer.name, place.port, headers, {"gateway": process.pid})
    finally:
        _stop(process)


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _await(
    name: str, process: subprocess.Popen[bytes], place: Place, headers: dict[str, str], body: str
) -> None:
    """Waits for a whole answer of status 200."""
    url = f"http://127.0.0.1:{place.port}/v1/chat/completions"
    deadline_s = time.monotonic() + READY_S
    said = "nothing"
    with httpx.Client(trust_env=False, timeout=READY_S) as client:
        while time.monotonic() < deadline_s and process.poll() is None:
            try:
                answer = client.post(
                    url, content=body, headers={"content-type": "application/json", **headers}
                )
            except httpx.TransportError as error:
                said = str(error)
            else:
                if answer.status_code == 200:
                    return
                said = f"{answer.status_code} {answer.text[:200]}"
            time.sleep(0.2)
    log = (place.folder / "log").read_text(errors="replace").strip()[-500:]
    raise Missing(f"{name} did not answer: {said}; its log ends: {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and all that it started in its session."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
