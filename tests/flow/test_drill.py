"""`corvus drill`: a few faults on the gate, all of them with `--all`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from corvus_proxy.ops.drill.faults.table import TABLE

SEED = "7"


def drill(*words: str) -> dict[str, Any]:
    """One drill's document; what was violated is in the failure's text."""
    done = subprocess.run(
        [sys.executable, "-m", "corvus_proxy.ops.cli", "drill", *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.stdout.startswith("{"), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["ok"] else 3)
    assert found["ok"], done.stderr
    return found


def test_a_few_faults_leave_no_money_wrong() -> None:
    """A gateway, Redis and the writer killed; Redis emptied."""
    numbers = [5, 9, 14, 24]
    found = drill(*map(str, numbers), "--seed", SEED)
    assert (found["ok"], found["seed"]) == (True, int(SEED))
    assert [row["fault"] for row in found["faults"]] == numbers
    for row in found["faults"]:
        assert set(row) >= {"fault", "requests", "refused", "shortfall_nanos", "drift_nanos",
                            "verdict", "reason"}  # fmt: skip
        assert (row["verdict"], row["drift_nanos"]) == ("ok", 0)
        assert row["requests"] > 100


@pytest.mark.slow
def test_the_whole_drill_leaves_no_money_wrong() -> None:
    """Every fault of the table, and none is left out."""
    found = drill("--seed", SEED)
    assert [row["fault"] for row in found["faults"]] == list(TABLE)
    assert {row["verdict"] for row in found["faults"]} == {"ok"}


@pytest.mark.slow
def test_a_cluster_loses_nothing_by_moved_slots_and_lost_masters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Three other choices of slots and of the master that is killed; the pauses are printed."""
    for seed in ("11", "12", "13"):
        (row,) = drill("22", "--seed", seed)["faults"]
        assert (row["verdict"], row["drift_nanos"]) == ("ok", 0)
        assert row["requests"] > 100
        with capsys.disabled():
            sys.stdout.write(f"\nF22, seed {seed}: {row['reason']}\n")


def test_a_drill_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    """kill -9 of the drill itself while its stack runs: every child ends within seconds."""
    command = [sys.executable, "-m", "corvus_proxy.ops.cli", "drill", "9"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with (tmp_path / "out").open("wb") as out:
        child = subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def living() -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                text = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(tmp_path).encode() in text and process.name != str(child.pid):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        return found

    deadline = time.monotonic() + 120
    while sum("corvus_proxy.ops.role" in line for line in living()) < 3:
        assert time.monotonic() < deadline, (tmp_path / "out").read_text()
        time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 60
    while living():
        assert time.monotonic() < deadline, living()
        time.sleep(0.1)
