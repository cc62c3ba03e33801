"""The image's health check: the whole service, or the one role that listens."""

import contextlib
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from corvus_proxy.ops import embedded
from corvus_proxy.ops.container import health
from corvus_proxy.ops.state import State, to_toml

OPTIONS = {
    "gateway": "CORVUS_GATEWAY_PORT",
    "site": "CORVUS_SITE_PORT",
    "console": "CORVUS_CONSOLE_PORT",
    "worker": "CORVUS_WORKER_STATUS_PORT",
}


@contextlib.contextmanager
def answering(port: int, status: int, text: str = "") -> Iterator[None]:
    """Somebody who answers so at a port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Where each role would be."""
    found: dict[str, int] = {}
    for role, variable in OPTIONS.items():
        found[role] = embedded.free_port(found.values())
        monkeypatch.setenv(variable, str(found[role]))
    monkeypatch.setenv("CORVUS_GATEWAY_HOST", "0.0.0.0")
    monkeypatch.delenv("CORVUS_CONFIG", raising=False)
    return found


def test_one_role_is_the_one_that_listens(tmp_path: Path, ports: dict[str, int]) -> None:
    """None at all is a problem; one that is well is well; one that says no is quoted."""
    alone = State(tmp_path)
    assert health.problems(alone) == [
        "no role listens: a port of its own has to be in CORVUS_CONFIG or a variable"
    ]
    for role, port in ports.items():
        with answering(port, 200):
            assert health.problems(alone) == [], role
    with answering(ports["gateway"], 503, "Redis is away\n"):
        assert health.problems(alone) == ["gateway: 503 Redis is away"]


def test_the_whole_service_is_all_roles(tmp_path: Path, ports: dict[str, int]) -> None:
    """Beside an `up.json` each has to be there, at the ports of that stack's configuration."""
    state = State(tmp_path)
    state.up.write_text("{}")
    sections = {role: {"port": port} for role, port in ports.items() if role != "worker"}
    state.config.write_text(to_toml({**sections, "worker": {"status_port": ports["worker"]}}))
    with contextlib.ExitStack() as opened:
        for role in ("gateway", "site", "console"):
            opened.enter_context(answering(ports[role], 200))
        assert health.problems(state) == ["worker: nobody listens"]
        opened.enter_context(answering(ports["worker"], 200))
        assert health.problems(state) == []


def test_it_ends_with_what_it_found(tmp_path: Path, ports: dict[str, int]) -> None:
    """As an engine runs it: 1 and a sentence, also where the configuration cannot be read."""
    (tmp_path / "up.json").write_text(json.dumps({}))
    done = subprocess.run(
        [sys.executable, "-m", "corvus_proxy.ops.container.health"],
        capture_output=True,
        text=True,
        check=False,
        env={"CORVUS_STATE": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "up.toml" in done.stdout
