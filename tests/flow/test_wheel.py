"""The wheel: built, installed where there is no repository, and it is the whole service."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

import corvus_proxy
from tests.release import PACKAGED, copy_of

ROOT = Path(__file__).parents[2]


def run(words: list[str], cwd: Path) -> str:
    """A program outside the repository, with nothing of it in the environment."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CORVUS_", "PYTHON", "VIRTUAL_ENV"))
    } | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_wheel_is_the_whole_service(tmp_path: Path) -> None:
    """`pip wheel`, an empty environment with the lock, `corvus up`: a key works, the ledger
    verifies, and every file of the package that is no Python is in it."""
    source, place, built = tmp_path / "source", tmp_path / "place", tmp_path / "built"
    copy_of(ROOT, source)
    place.mkdir()
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(built), "."], source)
    (wheel,) = built.glob("*.whl")
    assert wheel.name.startswith(f"corvus_proxy-{corvus_proxy.__version__}-")
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(source))
        for path in (source / "corvus_proxy").rglob("*")
        if path.is_file() and path.suffix in PACKAGED
    }
    assert wanted - inside == set()

    venv = tmp_path / "venv"
    run([sys.executable, "-m", "venv", str(venv)], place)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q"]
    lock = ["--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / "requirements.lock")]
    run([*pip, *lock], place)
    run([*pip, "--no-deps", str(wheel)], place)
    corvus = str(venv / "bin" / "corvus")
    assert run([corvus, "--version"], place).strip() == corvus_proxy.__version__
    where = run([str(venv / "bin" / "python"), "-c",
                 "import corvus_proxy; print(corvus_proxy.__file__)"], place)  # fmt: skip
    assert where.startswith(str(venv))
    state = ["--state", str(place / "state")]
    ports = [word for name in ("api", "site", "console", "status")
             for word in (f"--{name}-port", "0")]  # fmt: skip
    run([corvus, "up", "--detach", *state, *ports], place)
    try:
        up = json.loads((place / "state" / "up.json").read_text())
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
        headers = {"authorization": f"Bearer {up['demo_key']}"}
        answer = httpx.post(f"{up['api']}/v1/chat/completions", json=body, headers=headers,
                            timeout=30, trust_env=False)  # fmt: skip
        assert answer.status_code == 200, answer.text
        home = httpx.get(f"{up['site']}/", trust_env=False).text
        served = set(re.findall(r'"(/static/[^"]+)"', home))
        assert {path.partition("?")[0].rpartition(".")[2] for path in served} >= {"css", "svg"}
        for path in ("/docs", "/checkout", "/status", *served):
            assert httpx.get(up["site"] + path, trust_env=False).status_code == 200, path
        made = json.loads(run([corvus, "keys", "create", "--credit", "2", "--json", *state], place))
        assert made["balance_nanos"] == 2_000_000_000
        assert json.loads(run([corvus, "ledger", "verify", "--json", *state], place))["ok"]
        run([corvus, "backup", "run", "--to", str(place / "backups"), *state], place)
    finally:
        run([corvus, "down", *state], place)
