"""`corvus up` as its user meets it: prints, stops, leaves nothing behind."""

import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.stack import corvus

PORTS = ("--api-port", "0", "--site-port", "0", "--console-port", "0", "--status-port", "0")


def lives(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_pids(state: Path) -> list[int]:
    """Every process of the stack and their children."""
    pids = set(json.loads((state / "up.json").read_text())["pids"].values())
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" ", 1)
        except OSError:
            continue
        if int(rest.rpartition(")")[2].split()[1]) in pids:
            pids.add(int(pid))
    return sorted(pids)


def told(pid: int) -> str:
    """What a process is, for whoever reads that it was left behind."""
    process = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        state = re.search(r"State:.*|SigPnd:.*", (process / "status").read_text())
        words = (process / "cmdline").read_text().replace("\0", " ")
        return f"{pid} {words} {state and state[0]} {(process / 'wchan').read_text()}"
    return f"{pid} has gone"


def wait_until_gone(pids: list[int], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while left := [pid for pid in pids if lives(pid)]:
        assert time.monotonic() < deadline, [told(pid) for pid in left]
        time.sleep(0.05)


def foreground(state: Path) -> subprocess.Popen[str]:
    """`corvus up` in front, ready."""
    launcher = subprocess.Popen(
        [sys.executable, "-m", "corvus_proxy.ops.cli", "up", "--state", str(state), *PORTS],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (state / "up.json").exists():
        assert time.monotonic() < deadline
        assert launcher.poll() is None
        time.sleep(0.05)
    return launcher


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM, signal.SIGKILL]
)
def test_no_process_survives_the_launcher(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and kill -9 of the launcher each leave no process behind."""
    state = tmp_path / "state"
    launcher = foreground(state)
    try:
        pids = all_pids(state)
        assert len(pids) >= 9
        launcher.send_signal(number)
        launcher.wait(120)
        wait_until_gone(pids)
    finally:
        launcher.kill()
        assert launcher.stdout is not None
        launcher.stdout.close()


@pytest.mark.slow
def test_what_up_prints_runs_as_pasted(tmp_path: Path) -> None:
    """Addresses, the key, and one curl per dialect that stream; the second start has the same
    key."""
    if shutil.which("curl") is None:
        pytest.skip("apt-get install -y curl")
    state = tmp_path / "state"
    first = corvus("up", "--detach", "--state", str(state), *PORTS).stdout
    try:
        facts = json.loads((state / "up.json").read_text())
        assert set(facts) >= {
            "api",
            "site",
            "console",
            "status",
            "redis",
            "postgres",
            "demo_key",
            "state",
            "pids",
        }
        assert (state / "up.json").stat().st_mode & 0o777 == 0o600
        commands = [
            part
            for part in first.replace("\\\n", " ").splitlines()
            if part.strip().startswith("curl")
        ]
        assert len(commands) == 2
        for command in commands:
            answer = subprocess.run(
                ["sh", "-c", command.replace("curl", "curl -sS", 1)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            assert ": corvus {" in answer
        again = corvus("up", "--state", str(state), *PORTS, check=False)
        assert again.returncode == 1
        assert "already running at" in again.stderr
        for url, text in ((facts["site"], "Log in"), (facts["console"] + "/metrics", "corvus_")):
            page = httpx.get(url, follow_redirects=True, trust_env=False)
            assert page.status_code == 200
            assert text in page.text
    finally:
        pids = all_pids(state)
        corvus("down", "--state", str(state))
    wait_until_gone(pids, 1)
    starts = []
    for _ in range(3):
        began = time.monotonic()
        corvus("up", "--detach", "--state", str(state), *PORTS)
        starts.append(time.monotonic() - began)
        assert json.loads((state / "up.json").read_text())["demo_key"] == facts["demo_key"]
        corvus("down", "--state", str(state))
    print(f"second start, median of three: {statistics.median(starts):.2f} s")


def test_detach_holds_no_descriptor_of_its_caller(tmp_path: Path) -> None:
    """A pipe behind `up --detach` ends when it returns."""
    state = tmp_path / "state"
    began = time.monotonic()
    done = subprocess.run(
        [
            "sh",
            "-c",
            f'"{sys.executable}" -m corvus_proxy.ops.cli up --detach --state "{state}" '
            f"{' '.join(PORTS)} | head -3",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "corvus is up" in done.stdout
    assert time.monotonic() - began < 50
    corvus("down", "--state", str(state))


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """One sentence says which port and what to do."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = corvus(
            "up", "--detach", "--state", str(tmp_path / "state"), "--api-port", port, check=False
        )
    assert done.returncode == 1
    assert f"port {port} cannot be used" in done.stderr
    assert "--api-port" in done.stderr


def test_simulated_money_never_meets_a_real_upstream(tmp_path: Path) -> None:
    """A state folder with demo credit does not start beside a real upstream."""
    state = tmp_path / "state"
    corvus("up", "--detach", "--state", str(state), *PORTS)
    corvus("down", "--state", str(state))
    (tmp_path / "secret").write_text("k")
    real = tmp_path / "real.toml"
    real.write_text(f"""
[pricing]
sell_below_cost = true
[[upstream]]
family = "anthropic"
base_url = "https://192.0.2.1"
[[upstream.credential]]
name = "a1"
secret_file = "{tmp_path / "secret"}"
""")
    for words, sentence in (
        ((), "simulated money must not buy real answers"),
        (("--no-demo",), "this state folder holds simulated money"),
    ):
        done = corvus(
            "up",
            "--detach",
            "--state",
            str(state),
            *PORTS,
            "--config",
            str(real),
            *words,
            check=False,
        )
        assert done.returncode == 1, done.stdout
        assert sentence in done.stderr + done.stdout, done.stderr
    assert os.path.exists(state)


def test_a_second_ctrl_c_cuts_what_still_streams(tmp_path: Path) -> None:
    """The first lets a stream end; the second does not wait for it. Nothing is left behind."""
    state = tmp_path / "state"
    launcher = foreground(state)
    pids = all_pids(state)
    facts = json.loads((state / "up.json").read_text())
    body = {
        "model": "gpt-4o-mini",
        "stream": True,
        "messages": [{"role": "user", "content": "[[simulate: tokens=9000 delay_ms=20]]"}],
    }
    with (
        httpx.Client(trust_env=False, timeout=30) as client,
        client.stream(
            "POST",
            facts["api"] + "/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {facts['demo_key']}"},
        ) as answer,
    ):
        next(answer.iter_raw())
        launcher.send_signal(signal.SIGINT)
        time.sleep(1)
        assert launcher.poll() is None
        for _ in range(4):  # two signals at a stalled process are one
            launcher.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                launcher.wait(10)
                break
    assert launcher.poll() is not None
    wait_until_gone(pids)
    assert launcher.stdout is not None
    launcher.stdout.close()
