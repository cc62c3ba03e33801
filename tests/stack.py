"""A running `corvus up`, driven as its user drives it: by the command line and over sockets."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from corvus_proxy import secret
from corvus_proxy.money.amount import parse_usd
from corvus_proxy.ops import children
from corvus_proxy.ops.state import State
from corvus_proxy.service import keys
from corvus_proxy.service.stores import Stores, open_stores
from corvus_proxy.settings import load
from corvus_proxy.wire.tenancy.names import Tenant

SHORT = """
[ledger]
journal_stall_ms = 10000
lease_s = 4
[relay]
cancel_drain_s = 0.3
keepalive_s = 1
[timeouts]
silence_s = 6
"""
"""Waits that a test can sit out; Redis has a quarter of a second, as always."""
CONFIG = f"""
[redis]
timeout_ms = 5000
{SHORT}"""
"""Redis may be as slow as the disk of a busy machine, whose fsync takes longer at times."""


def corvus(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the command line."""
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    done = subprocess.run(
        [sys.executable, "-m", "corvus_proxy.ops.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if check and done.returncode:
        raise AssertionError(f"corvus {' '.join(words)}: {done.stdout}{done.stderr}")
    return done


def command_in(environment: Mapping[str, str], *words: str) -> dict[str, Any]:
    """A command's JSON document, whatever it ended with; AssertionError where it has none."""
    done = subprocess.run(
        [sys.executable, "-m", "corvus_proxy.ops.cli", *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(environment),
    )
    assert done.stdout, f"corvus {' '.join(words)}: {done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class RunningStack:
    """One stack in a folder of its own."""

    def __init__(self, folder: Path, *, config: str = CONFIG) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.replay = folder / "replay"
        """What the simulated providers can replay: the recordings, and what a test puts there."""
        (folder / "config.toml").write_text(config)

    def up(self, *words: str) -> None:
        """Starts simulated providers that also replay recordings, and the stack on free ports."""
        self._start_providers()
        self.restart(*words)

    def restart(self, *words: str) -> None:
        """Starts the stack again on the same state."""
        corvus(
            "up",
            "--detach",
            "--state",
            str(self.state),
            "--config",
            str(self.folder / "config.toml"),
            "--api-port",
            "0",
            "--site-port",
            "0",
            "--console-port",
            "0",
            "--status-port",
            "0",
            *words,
        )

    def _start_providers(self) -> None:
        self.replay.mkdir(exist_ok=True)
        if "CORVUS_RECORDINGS" in os.environ:
            for path in Path(os.environ["CORVUS_RECORDINGS"]).iterdir():
                shutil.copyfile(path, self.replay / path.name)
        port_file = self.folder / "providers-port"
        self._providers = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "corvus_proxy.dev.providers",
                "--port-file",
                str(port_file),
                "--replay-root",
                str(self.replay),
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "providers.log").open("wb"),
        )
        deadline = time.monotonic() + 60
        while not port_file.exists() or not port_file.read_text().strip():
            assert time.monotonic() < deadline, (self.folder / "providers.log").read_text()
            time.sleep(0.02)
        self.providers = f"http://127.0.0.1:{port_file.read_text().strip()}"
        (self.folder / "secret").write_text("sim-key")
        with (self.folder / "config.toml").open("a") as config:
            for family, path in (("anthropic", ""), ("openai", ""), ("glm", "/api/paas/v4")):
                config.write(f"""
[[upstream]]
family = "{family}"
base_url = "{self.providers}{path}"
messages_base_url = "{f"{self.providers}/api/anthropic" if family == "glm" else ""}"
[[upstream.credential]]
name = "{family}-1"
secret_file = "{self.folder / "secret"}"
""")

    def down(self) -> None:
        """Stops all of it."""
        corvus("down", "--state", str(self.state))
        children.end(self._providers, signal.SIGTERM, timeout_s=15)

    @property
    def facts(self) -> dict[str, Any]:
        """`up.json`."""
        found: dict[str, Any] = json.loads((self.state / "up.json").read_text())
        return found

    @property
    def api(self) -> str:
        return str(self.facts["api"])

    @property
    def demo_key(self) -> str:
        return str(self.facts["demo_key"])

    def command(self, *words: str) -> dict[str, Any]:
        """A command's JSON document."""
        found: dict[str, Any] = json.loads(
            corvus(*words, "--json", "--state", str(self.state)).stdout
        )
        return found

    def on_stores(self, work: Callable[[Stores], Awaitable[Any]]) -> dict[str, Any]:
        """The document of what `work` finds: a command's own deed, without a process for it."""

        async def run() -> Any:
            stores = open_stores(load(State(self.state).config))
            try:
                return (await work(stores))._asdict()
            finally:
                await stores.close()

        # A thread of its own: the caller's may have a loop that runs.
        with ThreadPoolExecutor(1) as thread:
            found: dict[str, Any] = thread.submit(lambda: asyncio.run(run())).result()
        return found

    def new_key(self, usd: str) -> dict[str, Any]:
        """A key with so much money, as `corvus keys create` makes it."""
        return self.on_stores(lambda stores: keys.create(stores, credit_nanos=parse_usd(usd)))

    def standing(self, key_id: str) -> dict[str, Any]:
        """A key's figures, as `corvus keys show` has them."""
        return self.on_stores(lambda stores: keys.show(stores, key_id))

    def tenant(self, key: str | None = None) -> Tenant:
        """Whose names a key's requests are sent under."""
        found = secret.parse(key or self.demo_key)
        assert found is not None
        return Tenant((self.state / "pepper").read_text().strip().encode(), found.wallet)

    def ask(
        self, path: str, body: Any, *, key: str | None = None, **headers: str
    ) -> httpx.Response:
        """One request with a key, as plain HTTP."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(
            self.api + path,
            content=content,
            timeout=60,
            trust_env=False,
            headers={
                "authorization": f"Bearer {key or self.demo_key}",
                "content-type": "application/json",
                **headers,
            },
        )

    def ask_get(self, path: str, *, key: str | None = None) -> httpx.Response:
        """One GET with a key."""
        return httpx.get(
            self.api + path,
            timeout=20,
            trust_env=False,
            headers={"authorization": f"Bearer {key or self.demo_key}"},
        )

    def served(self) -> list[dict[str, Any]]:
        """The simulated providers' own log."""
        found: list[dict[str, Any]] = httpx.get(f"{self.providers}/__log", trust_env=False).json()
        return found

    def settled(self, key_id: str, *, timeout_s: float = 60) -> dict[str, Any]:
        """The key's figures once nothing is held any more."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.standing(key_id)
            if found["held_nanos"] == 0:
                return found
            time.sleep(0.1)
        raise AssertionError(f"still held: {found}")
