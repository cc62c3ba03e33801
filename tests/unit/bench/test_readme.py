"""The README's measured part and what an installation costs: from the raw runs alone."""

import pytest

from bench.render import readme, resting
from bench.results import Attempt, Run

MACHINE = {"processor": "one", "cores": 2, "memory_mb": 4096, "kernel": "6"}
PLACE = f"before\n{readme.BEGIN}\nstale\n{readme.END}\nafter\n"


def attempt(*runs: Run, **options: object) -> Attempt:
    return Attempt(
        "2026-01-02T03:04:05Z", "abc1234567", True, MACHINE, {}, dict(options), list(runs)
    )


def quiet(number: int, gateway_us: int) -> Run:
    return Run(
        "quiet",
        "corvus",
        {},
        number,
        cpu_us={"redis": 60_000, "gateway": gateway_us},
        memory_kb={"redis": 4096.0, "gateway": 51_200.0},
        more={"seconds": 60.0, "data_kb": 43_008, "environment_kb": 102_400},
    )


def test_an_installation_at_rest() -> None:
    """Medians over the rounds, and their sum; a round of a minute in which 0.6 s of CPU went is 1 %
    of a core."""
    rows = resting.at_rest([attempt(*(quiet(n, 200_000 * n) for n in (1, 3, 9)))])
    assert "| | Redis | gateway | all |" in rows
    assert "| memory, MB | 4 | 50 | 54 |" in rows
    assert "| CPU, % of a core | 0.1 | 1.0 | 1.1 |" in rows
    assert "data of 42 MB, and an environment of 100 MB" in "\n".join(rows)


def test_what_a_core_serves() -> None:
    """A second of CPU by the microseconds of a request."""
    load = {"answers": 1000, "errors": {}}
    cpu_us = {"gateway": 400_000, "redis": 100_000}
    run = Run("plain", "corvus", {"till": "open"}, 1, load=load, cpu_us=cpu_us)
    (told, _) = resting.capacity([attempt(run)])
    assert "2,500 plain requests a second for the gateway alone, 2,000 with Redis" in told
    assert resting.capacity([]) == []


def test_others_stand_beside_it() -> None:
    """Only those that were measured, and only by a whole attempt."""
    runs = [
        Run("peers-plain", name, {}, 1, load={"answers": 10, "errors": {}}, cpu_us={"gateway": cpu})
        for name, cpu in (("corvus", 4000), ("nginx", 200), ("direct", 0))
    ]
    text = "\n".join(readme.lines([attempt(*runs, peers=True)]))
    assert "| | this gateway | nginx |" in text
    assert "| CPU a plain request, µs | 400 | 20 |" in text
    assert "this gateway" not in "\n".join(readme.lines([attempt(*runs, peers=True, quick=True)]))


def test_only_its_part_is_written_anew() -> None:
    """Twice it is the same; a page without the place for it is refused."""
    once = readme.text(PLACE, [])
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "stale" not in once
    assert "Nothing has been measured yet." in once
    assert readme.text(once, []) == once
    with pytest.raises(ValueError, match="no place"):
        readme.text("nothing", [])
