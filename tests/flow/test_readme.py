"""The README's blocks, pasted in their order into a shell in a fresh clone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from corvus_proxy.ops import embedded
from tests.readme import ROOT, Fence, fences, missing

PORTS = {8080: "api", 8081: "site", 8082: "console", 8083: "status"}
ROLE_PORTS = ("GATEWAY_PORT", "SITE_PORT", "CONSOLE_PORT", "WORKER_STATUS_PORT")
START_S = 900
REAL = "https://api.anthropic.com"
pytestmark = pytest.mark.slow


class Clone:
    """A copy of every file that git knows, on ports of its own; `up` gets its first words."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
        )
        for name in listed.stdout.decode().split("\0"):
            if name and (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        ports: list[int] = []
        for _ in PORTS:
            ports.append(embedded.free_port(ports))
        self.ports = dict(zip(PORTS, ports, strict=True))

    def pasted(self, text: str, **more: str) -> str:
        """A block as it is pasted, but for the ports; what it printed. Raises AssertionError."""
        words = [f"--{name}-port {self.ports[port]}" for port, name in PORTS.items()]
        text = re.sub(r"(\./corvus up)(?!.*--detach)", r"\1 --detach", text)
        text = text.replace("./corvus up", f"./corvus up {' '.join(words)}")
        for port, ours in self.ports.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ours}")
        log = self.folder / "pasted.log"
        with log.open("wb") as out:
            done = subprocess.run(
                ["sh", "-e", "-c", text],
                cwd=self.folder,
                env=self._environment(more),
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=START_S,
                check=False,
                start_new_session=True,
            )
        assert done.returncode == 0, f"{text}\n{log.read_text()}"
        return log.read_text()

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CORVUS_")}
        kept.pop("PYTHONPATH", None)
        return kept | {"no_proxy": "*"} | more

    def down(self) -> None:
        """Stops the demonstration, if it runs."""
        if (self.folder / ".corvus" / "up.json").exists():
            self.pasted("./corvus down")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """One for all: its environment is made once."""
    if shutil.which("curl") is None:
        pytest.skip("apt-get install -y curl")
    made = Clone(tmp_path_factory.mktemp("clone"))
    yield made
    made.down()


def blocks(section: str) -> list[Fence]:
    """Those of a section. Raises AssertionError where there are none."""
    found = [fence for fence in fences() if fence.section == section]
    assert found, section
    return found


def test_every_block_is_run_here() -> None:
    """A block under another heading needs a test of its own."""
    sections = {"Two commands", "You use a key", "You sell keys", "You deploy it"}
    assert {fence.section for fence in fences()} == sections
    assert {fence.kind for fence in fences()} == {"sh", "text"}


def test_two_commands_print_what_is_shown(clone: Clone) -> None:
    """Also what the answer costs. The state stays for a client."""
    up, shown_up, ask, shown_answer = blocks("Two commands")
    printed = clone.pasted(up.text) + "Ctrl-C stops everything."
    assert missing(shown_up.text, printed) == []
    assert missing(shown_answer.text, clone.pasted(ask.text)) == []


def test_a_client_starts(clone: Clone) -> None:
    """Both SDKs answer; what is left and what it cost is told."""
    talk, look = blocks("You use a key")
    assert len(clone.pasted(talk.text).split()) > 20
    printed = clone.pasted(look.text)
    assert '"balance_nanos":' in printed
    assert printed.count('"charge_nanos":') >= 2
    clone.down()


def test_an_operator_starts(clone: Clone, tmp_path: Path) -> None:
    """The provider is a simulated one; all else is as pasted."""
    (block,) = blocks("You sell keys")
    port_file = tmp_path / "port"
    provider = subprocess.Popen(
        [sys.executable, "-m", "corvus_proxy.dev.providers", "--port-file", str(port_file)]
    )
    try:
        while not port_file.exists() or not port_file.read_text().strip():
            assert provider.poll() is None
        here = f"http://127.0.0.1:{port_file.read_text().strip()}"
        assert REAL in block.text
        text = block.text.replace(f'"{REAL}"', f'"{here}"\nallow_private = true')
        printed = clone.pasted(text, ANTHROPIC_API_KEY="sim-key")
        assert "sk-corvus_" in printed
        assert "corvus has stopped." in printed
        assert not re.search(r"(?m)^error ", printed)
        deployed(clone, tmp_path)
    finally:
        provider.terminate()
        provider.wait()


def deployed(clone: Clone, folder: Path) -> None:
    """The roles by themselves, over a Redis and a Postgres that were there before; with the
    configuration that the operator has written."""
    (block,) = blocks("You deploy it")
    redis = embedded.Redis(folder / "redis", folder / "redis.log", port=embedded.free_port())
    postgres = embedded.Postgres(folder, folder / "pg.log", port=embedded.free_port([redis.port]))
    redis.start()
    postgres.start()
    redis.wait()
    postgres.wait()
    text = block.text.replace("redis://127.0.0.1:6379/0", redis.url)
    text = text.replace("postgres://corvus@127.0.0.1:5432/corvus", postgres.url)
    text += "echo; echo GROUP $(ps -o pgid= -p $$)\n"
    ports = dict(zip(ROLE_PORTS, map(str, clone.ports.values()), strict=True))
    more = {f"CORVUS_{name}": port for name, port in ports.items()}
    printed = ""
    try:
        printed = clone.pasted(text, ANTHROPIC_API_KEY="sim-key", **more)
        found = re.search(r"sk-corvus_\w+", printed)
        assert found is not None, printed
        answer = httpx.get(
            f"http://127.0.0.1:{ports['GATEWAY_PORT']}/v1/key",
            headers={"authorization": f"Bearer {found[0]}"},
            trust_env=False,
        )
        assert json.loads(answer.content)["balance_nanos"] == 5_000_000_000
        site = httpx.get(f"http://127.0.0.1:{ports['SITE_PORT']}/checkout", trust_env=False)
        assert site.status_code < 500, site.text
    finally:
        if group := re.search(r"GROUP +(\d+)", printed):
            os.killpg(int(group[1]), signal.SIGTERM)
        redis.stop()
        postgres.stop()
