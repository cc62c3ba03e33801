"""The wall clock of a process may be put off; nothing else moves with it."""

import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

TOLD = """
import time
from corvus_proxy import clock
print(clock.wall_ms(), clock.wall_s(), clock.utc_now().timestamp(), clock.utc_day(),
      clock.monotonic_s() - time.monotonic())
"""


@pytest.mark.parametrize("offset_s", [0, 3600, -3600, 10 * 365 * 86_400])
def test_the_offset_moves_the_wall_clock_alone(offset_s: int) -> None:
    """Milliseconds, seconds, instant and day by the same offset; the clock of timeouts by none."""
    before_s = time.time()
    text = subprocess.run(
        [sys.executable, "-c", TOLD],
        capture_output=True,
        text=True,
        check=True,
        env={"CORVUS_CLOCK_OFFSET_S": str(offset_s)},
    ).stdout
    after_s = time.time()
    ms, seconds, instant, day, apart = text.split()
    for found_s in (int(ms) / 1000, int(seconds), float(instant)):
        assert before_s - 1 <= found_s - offset_s <= after_s
    days = {datetime.fromtimestamp(s + offset_s, UTC).date() for s in (before_s, after_s)}
    assert datetime.fromisoformat(day).date() in days
    assert abs(float(apart)) < 0.1


def test_an_offset_that_is_no_number_ends_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import corvus_proxy.clock"],
        capture_output=True,
        text=True,
        check=False,
        env={"CORVUS_CLOCK_OFFSET_S": "soon"},
    )
    assert done.returncode
    assert "soon" in done.stderr
