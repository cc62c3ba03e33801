"""The gate's own way of sharing its tests ends, whatever a test does."""

import subprocess
import sys
from pathlib import Path

from tests import spread

ROOT = Path(__file__).parents[2]
CONFTEST = """
import pytest
from tests import spread
spread.ALONE = ("test_alone.py",)

@pytest.hookimpl
def pytest_xdist_make_scheduler(config, log):
    return spread.Spread(config, log)

@pytest.fixture(scope="session")
def never_ends():
    yield
    import time
    time.sleep(1000)
"""
STUCK = """
import asyncio, time

def test_a_thread_that_is_waited_for():
    asyncio.run(asyncio.to_thread(time.sleep, 1000))

def test_behind_it():
    pass

def test_what_is_shared_does_not_end(never_ends):
    pass
"""
QUICK = "def test_one(): pass\ndef test_two(): pass\ndef test_three(): pass\n"


def test_what_is_stuck_fails_once_and_the_rest_is_run(tmp_path: Path) -> None:
    """Its process ends with its stacks shown; another takes what it had not begun."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_stuck.py").write_text(STUCK)
    for name in ("test_alone.py", "test_left.py", "test_right.py"):
        (tmp_path / name).write_text(QUICK)
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\npythonpath = {ROOT}\n"
        "faulthandler_timeout = 4\nfaulthandler_exit_on_timeout = true\n"
    )
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "-q", "-rA"]
    ran = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    told = ran.stdout
    assert ran.returncode == 1, told
    # What is shared ends behind the last test of its process, whichever that is.
    assert "2 failed, 11 passed" in told, told
    assert "running 'test_stuck.py::test_a_thread_that_is_waited_for'" in told, told
    assert "PASSED test_stuck.py::test_behind_it" in told
    assert 'test_stuck.py", line 5 in test_a_thread_that_is_waited_for' in ran.stderr


def test_what_is_named_exists() -> None:
    """A file that was renamed would be begun in its turn, or beside others."""
    for name in (*spread.LONG, *spread.ALONE):
        assert (ROOT / name.partition("::")[0]).exists(), name
