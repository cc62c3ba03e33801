"""A role that is told to stop ends, at whatever moment of its start the word comes."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from corvus_proxy.ops import embedded

ROUNDS = 12


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """The gateway role alone: it starts without Redis, and waits for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "corvus_proxy.ops.role", "gateway"],
        env={
            **os.environ,
            "CORVUS_PEPPER": "p" * 32,
            "CORVUS_LEDGER_JOURNAL_DIR": str(folder),
            "CORVUS_GATEWAY_PORT": str(embedded.free_port()),
            "CORVUS_REDIS_URL": f"redis://127.0.0.1:{embedded.free_port()}/0",
            "PROMETHEUS_MULTIPROC_DIR": str(folder),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def children_of(pid: int) -> list[int]:
    """Its living children."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_gateway_told_to_stop_while_it_starts_ends(tmp_path: Path, number: int) -> None:
    """Its process may not have its own handlers yet, and must not keep its master's."""
    chance = random.Random(number)
    for _ in range(ROUNDS // 2):
        role = start(tmp_path)
        deadline = time.monotonic() + 20
        while not children_of(role.pid):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.3))
        role.send_signal(number)
        try:
            role.wait(60)
        finally:
            if role.poll() is None:
                os.killpg(role.pid, signal.SIGKILL)
            role.wait()


AS_IF_PRIVATE = """
from corvus_proxy import exposing
exposing.is_loopback = lambda address: False
from corvus_proxy.ops import role
role.main("gateway")
"""


@pytest.mark.slow
def test_a_gateway_on_a_host_of_its_own_serves_the_figures_of_its_processes(
    tmp_path: Path,
) -> None:
    """By its master: a private address is all that differs from this one."""
    port, folder = embedded.free_port(), tmp_path / "metrics"
    role = subprocess.Popen(
        [sys.executable, "-c", AS_IF_PRIVATE],
        env={
            **os.environ,
            "CORVUS_PEPPER": "p" * 32,
            "CORVUS_LEDGER_JOURNAL_DIR": str(tmp_path),
            "CORVUS_GATEWAY_PORT": str(embedded.free_port()),
            "CORVUS_GATEWAY_PROCESSES": "2",
            "CORVUS_REDIS_URL": f"redis://127.0.0.1:{embedded.free_port()}/0",
            "CORVUS_METRICS_DIR": str(folder),
            "CORVUS_METRICS_LISTEN": "127.0.0.1",
            "CORVUS_METRICS_PORT": str(port),
            "PROMETHEUS_MULTIPROC_DIR": str(folder),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        text = ""
        deadline = time.monotonic() + 30
        while 'corvus_disk_used_ratio{folder="journal"}' not in text:
            assert time.monotonic() < deadline, text[-2000:]
            time.sleep(0.1)
            try:
                text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
            except httpx.TransportError:
                text = ""
        assert len({path.stem.rpartition("_")[2] for path in folder.glob("gauge_livemax_*")}) >= 2
        # A process that is left over while it drains does not keep the port.
        os.kill(role.pid, signal.SIGKILL)
        role.wait(60)
        with socket.create_server(("127.0.0.1", port)):
            pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(role.pid, signal.SIGKILL)
        role.wait()
