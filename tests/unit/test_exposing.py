"""Where a role's own figures are served."""

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy import exposing
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops import embedded, role
from corvus_proxy.settings import MetricsSettings, Settings


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "8.8.8.8", "::ffff:0.0.0.0", "no.such.name.invalid"]
)
def test_what_everybody_could_read_is_refused(host: str) -> None:
    """Public, unspecified or unknown: one sentence that names the option."""
    with pytest.raises(ConfigurationError, match=r"metrics\.listen"):
        exposing.private_address(host)


def test_private_addresses_and_names_of_them_are_taken() -> None:
    """A name is looked up once, at start."""
    assert exposing.private_address("10.1.2.3") == "10.1.2.3"
    assert exposing.is_loopback(exposing.private_address("localhost"))
    assert not exposing.is_loopback("10.1.2.3")


def test_a_taken_port_is_asked_for_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the gateway before this one, which still drains."""
    monkeypatch.setattr(exposing, "AGAIN_S", 0.05)
    port = embedded.free_port()
    with socket.create_server(("127.0.0.1", port)):
        exposing.serve("127.0.0.1", port, str(tmp_path))
        time.sleep(0.1)
    deadline = time.monotonic() + 30
    while True:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_process_that_is_forked_while_the_port_opens_does_not_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It outlives the one that had the port, and the next one gets it."""
    opening, servers, real = threading.Event(), [], exposing.start_http_server

    def slow(*given: Any) -> Any:
        found = real(*given)
        servers.append(found[0])
        opening.set()
        time.sleep(0.2)  # the fork is due
        return found

    monkeypatch.setattr(exposing, "start_http_server", slow)
    port = embedded.free_port()
    exposing.serve("127.0.0.1", port, str(tmp_path))
    assert opening.wait(30)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.read(reading, 1)
        os._exit(0)
    try:
        servers[0].shutdown()
        servers[0].server_close()
        with socket.create_server(("127.0.0.1", port)):
            pass
    finally:
        os.write(writing, b"x")
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def test_a_role_serves_its_own_figures_only_where_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On loopback the console collects; elsewhere a folder is needed, and the port follows."""
    served: list[tuple[str, int, str]] = []
    monkeypatch.setattr(exposing, "serve", lambda *where: served.append(where))
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "unchanged")
    folder = str(tmp_path / "metrics")
    role._expose("site", Settings(metrics=MetricsSettings(dir=folder)))
    assert served == []
    assert (tmp_path / "metrics").is_dir()
    with pytest.raises(ConfigurationError, match=r"metrics\.dir"):
        role._expose("gateway", Settings(metrics=MetricsSettings(listen="10.0.0.5")))
    chosen = Settings(metrics=MetricsSettings(dir=folder, listen="10.0.0.5"))
    for name in ("gateway", "site", "console", "worker"):
        role._expose(name, chosen)
    role._expose("worker", Settings(metrics=MetricsSettings(dir=folder, listen="fd00::5", port=7)))
    assert served == [
        *(("10.0.0.5", port, folder) for port in (9080, 9081, 9082, 9083)),
        ("fd00::5", 7, folder),
    ]
