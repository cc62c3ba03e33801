"""`config/compose.yaml` without an engine: each command of our image as a process, with its own
variables, on a Redis with `config/redis.conf` and a Postgres."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from corvus_proxy.ops import children, embedded
from corvus_proxy.ops.embedded import Postgres, redis_binary
from tests import compose
from tests.readme import ROOT
from tests.stack import command_in

pytestmark = pytest.mark.slow
READY_S = 60
PORTS = {
    "gateway": "CORVUS_GATEWAY_PORT",
    "site": "CORVUS_SITE_PORT",
    "console": "CORVUS_CONSOLE_PORT",
    "worker": "CORVUS_WORKER_STATUS_PORT",
}
LOOPBACK = {
    f"CORVUS_{section}": "127.0.0.1"
    for section in ("GATEWAY_HOST", "SITE_HOST", "CONSOLE_HOST", "WORKER_HOST", "METRICS_LISTEN")
}
FAMILIES = (("anthropic", ""), ("openai", ""), ("glm", "/api/paas/v4"))
BRAND = """[brand]
support = "help@example.com"
independence = "Independent of every vendor."
refunds = "What is not spent is refunded."
"""


class Machine:
    """A folder as docs/container.md has it filled, and what runs from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(compose.CONFIG, folder, dirs_exist_ok=True)
        block = re.search(
            r"<!-- prepare -->\n```sh\n(.*?)```", (ROOT / "docs/container.md").read_text(), re.S
        )
        assert block is not None
        subprocess.run(["sh", "-e", "-c", block[1]], cwd=folder, check=True)
        self.services = {name: one for name, one in compose.services().items() if one.is_ours}
        self.ports: dict[str, int] = {}
        for name in (*self.services, "redis", "postgres", "providers"):
            self.ports[name] = embedded.free_port(self.ports.values())
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        state = folder / "postgres"
        state.mkdir()
        (state / "postgres-password").write_text((folder / "secrets/postgres_password").read_text())
        self._postgres = Postgres(state, folder / "postgres.log", port=self.ports["postgres"])

    def start_stores(self) -> None:
        """Redis as the file says but for addresses and paths of this machine; Postgres."""
        (self.folder / "redis").mkdir()
        self._start(
            "redis",
            [
                str(redis_binary()), str(self.folder / "redis.conf"),
                "--port", str(self.ports["redis"]), "--bind", "127.0.0.1",
                "--dir", str(self.folder / "redis"),
                "--aclfile", str(self.folder / "secrets/redis.acl"),
            ],
        )  # fmt: skip
        assert children.wait_for(self._redis_listens, self._processes["redis"], READY_S), self.log(
            "redis"
        )
        self._postgres.start()
        self._postgres.wait()
        providers = ["-m", "corvus_proxy.dev.providers", "--port", str(self.ports["providers"])]
        self._start("providers", [sys.executable, *providers])
        (self.folder / "secrets/upstream/key").write_text("sim-key")
        origin = f"http://127.0.0.1:{self.ports['providers']}"
        (self.folder / "corvus/corvus.toml").write_text(
            BRAND
            + "".join(
                f'[[upstream]]\nfamily = "{family}"\nbase_url = "{origin}{path}"\n'
                f'[[upstream.credential]]\nname = "{family}-1"\ncost_factor = 0.3\n'
                f'secret_file = "{self.folder}/secrets/upstream/key"\n'
                for family, path in FAMILIES
            )
        )

    def variables(self, name: str) -> dict[str, str]:
        """A service's own, with this machine's addresses and folders in place of an engine's."""
        service = self.services[name]
        role = service.command[0]
        places = {
            "redis:6379": f"127.0.0.1:{self.ports['redis']}",
            "postgres:5432": f"127.0.0.1:{self.ports['postgres']}",
            "/run/secrets": f"{self.folder}/secrets",
            "/etc/corvus": f"{self.folder}/corvus",
            "/var/lib/corvus-status": f"{self.folder}/status",
            "/var/lib/corvus": f"{self.folder}/volume-{name}",
            "/tmp/": f"{self.folder}/tmp-{name}/",
        }
        found = {}
        for variable, text in service.environment.items():
            ours = next((place for place in places if place in text), "")
            found[variable] = text.replace(ours, places[ours]) if ours else text
        found |= LOOPBACK
        if role in PORTS:
            found[PORTS[role]] = str(self.ports[name])
        return found

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """A service's command."""
        return self._start(
            name,
            [sys.executable, "-m", "corvus_proxy.ops.cli", *self.services[name].command],
            self.variables(name),
        )

    def health(self, name: str) -> str:
        """What the image's check says there."""
        words = [sys.executable, "-m", "corvus_proxy.ops.container.health"]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            env=self._environment(self.variables(name)),
        )
        return done.stdout.strip()

    def until_healthy(self, name: str) -> None:
        """Waits for it. AssertionError with what it said last."""
        deadline = time.monotonic() + READY_S
        while (said := self.health(name)) != "ok":
            assert time.monotonic() < deadline, f"{name}: {said}\n{self.log(name)}"
            time.sleep(0.2)

    def command(self, name: str, *words: str) -> dict[str, Any]:
        """A command in a service's container: its document."""
        return command_in(self._environment(self.variables(name)), *words)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-3000:]

    def end(self, name: str) -> int:
        """SIGTERM; how it ended."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def close(self) -> None:
        """Ends all."""
        for process in reversed(self._processes.values()):
            children.end(process, signal.SIGTERM, timeout_s=20)
        if hasattr(self._postgres, "child"):
            self._postgres.stop()

    def _redis_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.ports["redis"])) == 0

    def _start(
        self, name: str, words: list[str], variables: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        process = children.start(
            words, self.folder / f"{name}.log", environment=self._environment(variables or {})
        )
        self._processes[name] = process
        return process

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("CORVUS_")}
        return kept | variables


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    one = Machine(tmp_path / "deploy")
    try:
        one.start_stores()
        yield one
    finally:
        one.close()


def test_each_command_of_the_compose_file_runs(machine: Machine) -> None:
    """Migrations end; then every role is well, both gateways serve one key, the books agree, the
    doctor has nothing to say about the stores, and all end in order."""
    assert machine.start("migrate").wait(60) == 0, machine.log("migrate")
    roles = [name for name in machine.services if name not in ("migrate", "cli")]
    for name in roles:
        machine.start(name)
    for name in roles:
        machine.until_healthy(name)
    key = machine.command("cli", "keys", "create", "--credit", "5")["secret"]
    for name in ("gateway-1", "gateway-2"):
        answer = httpx.post(
            f"http://127.0.0.1:{machine.ports[name]}/v1/chat/completions",
            headers={"authorization": f"Bearer {key}"},
            json={"model": "gpt-5.5", "messages": [{"role": "user", "content": "Hello"}]},
            trust_env=False,
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        assert (machine.folder / f"volume-{name}" / "journal").is_dir()
    report = machine.command("cli", "ledger", "verify")
    assert (report["ok"], report["drift_nanos"]) == (True, 0)
    _strangers_stay_out(machine)
    found = machine.command("cli", *machine.services["cli"].command)["findings"]
    checks = {"redis", "partitions", "postgres", "upstream", "credential", "brand", "status"}
    errors = [one for one in found if one["check"] in checks and one["level"] == "error"]
    # What is left is what a machine without a domain and a real provider cannot have, and a disk
    # that is nearly full.
    told = {one["text"].partition(":")[0] for one in errors if "of the disk of" not in one["text"]}
    assert told <= {"brand.site_url", "brand.api_url", "upstream"}
    assert checks - {"brand", "upstream"} <= {one["check"] for one in found}
    for name in roles:
        assert machine.end(name) == 0, machine.log(name)


def _strangers_stay_out(machine: Machine) -> None:
    """Without the password nothing; with it no command that would empty or reconfigure it."""
    port = machine.ports["redis"]
    with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    password = (machine.folder / "secrets/redis_password").read_text()
    with redis.Redis(port=port, username="corvus", password=password) as ours:
        for words in (("FLUSHALL",), ("CONFIG", "SET", "appendfsync", "no"), ("SHUTDOWN",)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                ours.execute_command(*words)
