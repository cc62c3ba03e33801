"""A whole `corvus up` of the measurement's own, in front of `bench.upstream`."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import processes
from corvus_proxy.errors import CorvusError

CREDIT_USD = "10000"
_CONFIG = """
[[upstream]]
family = "{family}"
base_url = "http://127.0.0.1:{port}"
allow_private = true
[[upstream.credential]]
name = "bench-{family}"
secret_file = "{secret}"
"""


class Stack(NamedTuple):
    """What is measured, and how to reach it."""

    state: Path
    upstream_port: int
    api_port: int
    key_id: str
    secret: str
    pids: dict[str, int]

    def command(self, *words: str) -> dict[str, Any]:
        """A `corvus` command's JSON document, also that of a command that reports a drift."""
        done = _corvus(*words, "--json", "--state", str(self.state))
        return dict(json.loads(done))

    def load(self, body: str, *words: str, direct: bool = False) -> dict[str, Any]:
        """One run of the load generator, through the gateway or straight to the upstream."""
        port = self.upstream_port if direct else self.api_port
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "bench.load",
                "--port",
                str(port),
                "--key",
                self.secret,
                "--body",
                body,
                *words,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CorvusError(f"the load generator failed: {done.stderr.strip()[-2000:]}")
        return dict(json.loads(done.stdout))


def _corvus(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "corvus_proxy.ops.cli", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and not done.stdout.startswith("{"):
        raise CorvusError(f"corvus {words[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextmanager
def running(*, pinned: bool) -> Iterator[Stack]:
    """A stack on free ports with one funded key; everything ends with the block.

    Pinned: the gateway on core 0, everything else on the others.
    """
    with tempfile.TemporaryDirectory(prefix="corvus-bench-") as folder:
        upstream = subprocess.Popen(
            [sys.executable, "-m", "bench.upstream"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert upstream.stdout is not None
            port = int(upstream.stdout.readline())
            with _up(Path(folder), port) as stack:
                if pinned:
                    cores = _cores()
                    for name, pid in {**stack.pids, "upstream": upstream.pid}.items():
                        if name != "launcher":
                            processes.pin(pid, cores[name != "gateway"])
                yield stack
        finally:
            upstream.terminate()
            upstream.wait()


@contextmanager
def _up(folder: Path, port: int) -> Iterator[Stack]:
    state, secret, config = folder / "state", folder / "secret", folder / "config.toml"
    secret.write_text("bench-secret")
    config.write_text(
        "".join(
            _CONFIG.format(family=family, port=port, secret=secret)
            for family in ("anthropic", "openai")
        )
    )
    _corvus(
        "up",
        "--detach",
        "--no-demo",
        "--state",
        str(state),
        "--config",
        str(config),
        "--api-port",
        "0",
        "--site-port",
        "0",
        "--console-port",
        "0",
        "--status-port",
        "0",
    )
    try:
        facts = json.loads((state / "up.json").read_text())
        made = json.loads(
            _corvus("keys", "create", "--credit", CREDIT_USD, "--json", "--state", str(state))
        )
        yield Stack(
            state,
            port,
            int(facts["api"].rpartition(":")[2]),
            made["key_id"],
            made["secret"],
            facts["pids"],
        )
    finally:
        _corvus("down", "--state", str(state))


def _cores() -> tuple[set[int], set[int]]:
    """The gateway's core, and the others'."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others)
