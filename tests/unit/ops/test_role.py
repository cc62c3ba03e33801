"""A role that is told to stop ends, at whatever moment of its start the word comes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

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
            role.wait(10)
        finally:
            if role.poll() is None:
                os.killpg(role.pid, signal.SIGKILL)
            role.wait()
