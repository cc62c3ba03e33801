"""`corvus bench --target` against a running stack: it works, agrees, and stays within its money."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import RunningStack

ROOT = Path(__file__).parents[2]


def bench(
    stack: RunningStack, folder: Path, key: str, max_usd: str
) -> "subprocess.CompletedProcess[str]":
    """The command, for a fraction of a second of each form."""
    words = ["--target", stack.api, "--key", key, "--model", "gpt-4.1", "--max-usd", max_usd]
    words += ["--seconds", "0.3", "--connections", "2", "--folder", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "corvus_proxy.ops.cli", "bench", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.slow
def test_a_running_gateway_is_measured_and_its_books_agree(
    stack: RunningStack, tmp_path: Path
) -> None:
    """Percentiles of both forms, every check true, the key nowhere in the file."""
    key = stack.new_key("1.00")
    done = bench(stack, tmp_path, key["secret"], "0.50")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "local").glob("target-*.json")
    assert key["secret"] not in path.read_text()
    document = json.loads(path.read_text())
    for form in ("plain", "stream"):
        found = document["forms"][form]
        assert found["answers"], form
        assert not found["errors"], form
        assert 0 < found["first_p50_ms"] <= found["p50_ms"] <= found["p99_ms"], form
    assert {one["name"]: one["told"] for one in document["verdicts"] if not one["good"]} == {}
    assert stack.standing(key["key_id"])["spent_nanos"] == document["spent_nanos"]


def test_no_more_is_spent_than_was_allowed(stack: RunningStack, tmp_path: Path) -> None:
    """It ends when the next request might cost more than is left."""
    key = stack.new_key("1.00")
    done = bench(stack, tmp_path, key["secret"], "0.006")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "local").glob("target-*.json")
    document = json.loads(path.read_text())
    assert document["max_reached"]
    assert 0 < stack.settled(key["key_id"])["spent_nanos"] <= 6_000_000


def test_what_stands_in_the_way_is_one_sentence(stack: RunningStack, tmp_path: Path) -> None:
    """A key that is none, before anything is spent."""
    done = bench(stack, tmp_path, "sk-corvus_x", "1")
    assert done.returncode
    assert done.stderr.startswith("corvus: GET /v1/key: 401")
    assert "Traceback" not in done.stderr
