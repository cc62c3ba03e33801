"""What is measured: whole stacks of ours (`corvus up` on free ports in a temporary folder).

Rule 1: the far end, the load and everything but the gateway stay off the gateway's core.
Rule 2: whatever was started ends with its block.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import processes
from bench.far import Far
from bench.results import STACK
from corvus_proxy.errors import CorvusError
from corvus_proxy.ops import children
from corvus_proxy.service.stores import open_stores
from corvus_proxy.settings import load

ROOT = Path(__file__).parents[2]
CREDIT_USD = "100000"
START_S, STOP_S, DRAIN_S = 90.0, 60.0, 20.0
_CONFIG = """
[gateway]
drain_s = 5
"""
_UPSTREAM = """
[[upstream]]
family = "{family}"
base_url = "http://127.0.0.1:{port}"
allow_private = true
[[upstream.credential]]
name = "bench-{family}"
secret_file = "{secret}"
"""


class Subject(NamedTuple):
    """Something that answers requests, and the process trees that it costs."""

    name: str
    """As `results.Run.subject`."""
    port: int
    trees: dict[str, int]
    """`gateway`: the root of its own tree; the rest of the stack by name. Empty: not measured."""
    secrets: Sequence[str] | Path = ()
    headers: tuple[str, ...] = ()
    variant: dict[str, Any] = {}
    state: Path | None = None
    """The folder of a stack of ours."""


class Stack(NamedTuple):
    """A running stack of ours."""

    state: Path
    api_port: int
    key_id: str
    secret: str
    pids: dict[str, int]
    variant: dict[str, Any]

    def command(self, *words: str) -> dict[str, Any]:
        """A `corvus` command's JSON document, also that of a command that reports a drift."""
        return dict(json.loads(_corvus(*words, "--json", "--state", str(self.state))))

    def now(self) -> "Stack":
        """The same stack with the processes that run now: one that ended has a successor."""
        facts = json.loads((self.state / "up.json").read_text())
        return self._replace(pids=facts["pids"])

    def subject(self, secrets: Sequence[str] | Path = (), **variant: Any) -> Subject:
        """This stack as something to measure; by its own key where none are given."""
        trees = {name: self.pids[name] for name in STACK if name in self.pids}
        return Subject(
            "corvus",
            self.api_port,
            trees,
            secrets or [self.secret],
            variant={**self.variant, **variant},
            state=self.state,
        )

    def settled(self) -> dict[str, Any]:
        """`ledger verify`, once nothing is held and the books have every event; after `DRAIN_S` as
        it is."""
        deadline = time.monotonic() + DRAIN_S
        while True:
            report = self.command("ledger", "verify")
            quiet = not report["held_nanos"] and not report["undrained"]
            if quiet or time.monotonic() > deadline:
                return report
            time.sleep(0.5)


def server_versions(state: Path) -> dict[str, str]:
    """Redis's and Postgres's, of a running stack."""

    async def ask() -> dict[str, str]:
        stores = open_stores(load(state / "up.toml", {}))
        try:
            name, version = await stores.till.version()
            async with stores.books.connection() as connection:
                return {
                    f"{name}-server": version,
                    "postgres": await connection.fetchval("show server_version"),
                }
        finally:
            await stores.close()

    return asyncio.run(ask())


def direct(far: Far) -> Subject:
    """Straight to the far end."""
    return Subject("direct", far.port, {})


@contextmanager
def running(
    far: Far, *, till: str = "open", workers: int = 1, pinned: bool = True, options: str = ""
) -> Iterator[Stack]:
    """A stack with one funded key. `till="closed"`: its gateway asks no Redis and keeps no journal
    (`bench/stack/closed.py`). Pinned: the gateway on core 0, everything else on the others.
    `options` are more sections of its configuration."""
    with tempfile.TemporaryDirectory(prefix="corvus-bench-") as folder:
        secret, config = Path(folder, "secret"), Path(folder, "config.toml")
        secret.write_text("bench-secret")
        families = ("anthropic", "openai")
        config.write_text(
            _CONFIG
            + options
            + "".join(
                _UPSTREAM.format(family=name, port=far.port, secret=secret) for name in families
            )
        )
        state, log = Path(folder, "state"), Path(folder, "log")
        words = ("bench.stack.up", till, str(state), str(config), str(workers))
        child = children.start([sys.executable, "-m", *words], log, cwd=ROOT)
        try:
            if not children.wait_for((state / "up.json").exists, child, START_S):
                raise CorvusError(f"the stack did not start:\n{children.tail(log)}")
            facts = json.loads((state / "up.json").read_text())
            made = json.loads(
                _corvus("keys", "create", "--credit", CREDIT_USD, "--json", "--state", str(state))
            )
            stack = Stack(
                state,
                int(facts["api"].rpartition(":")[2]),
                made["key_id"],
                made["secret"],
                facts["pids"],
                {"till": till, "processes": workers},
            )
            if pinned:
                place({name: pid for name, pid in stack.pids.items() if name != "launcher"})
            yield stack
        finally:
            children.end(child, signal.SIGTERM, timeout_s=STOP_S)


def place(trees: dict[str, int]) -> None:
    """The tree `gateway` on the first core, the others on the rest; nothing on one core alone."""
    first, *others = sorted(os.sched_getaffinity(0))
    if others:
        for name, pid in trees.items():
            processes.pin(pid, {first} if name == "gateway" else set(others))


def _corvus(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "corvus_proxy.ops.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode and not done.stdout.startswith("{"):
        raise CorvusError(f"corvus {words[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
