"""Figures and the page: all of it follows from the raw runs."""

from pathlib import Path
from typing import Any

import pytest

from bench import render, results
from bench.render.budgets import Budget, all_budgets
from bench.render.chosen import Found, newest
from bench.results import Attempt, Run

OPEN, CLOSED = {"till": "open", "processes": 1}, {"till": "closed", "processes": 1}


def attempt(*runs: Run, at: str = "2026-01-02T03:04:05Z", quick: bool = False) -> Attempt:
    machine = {"processor": "one", "cores": 2, "memory_mb": 4096, "kernel": "6"}
    options = {"seconds": 8.0, "quick": quick}
    return Attempt(at, "abc1234567", True, machine, {"nginx": "1"}, options, list(runs))


def plain(subject: str, number: int, gateway: int, variant: dict[str, Any] | None = None) -> Run:
    cpu_us = {"gateway": gateway} | ({"redis": 50_000} if subject == "corvus" else {})
    load = {"answers": 990, "errors": {"503": 10}, "p50_ms": 2.0, "answers_per_s": 990.0}
    load["histogram_us"] = [[1000.0, 900], [40_000.0, 90]]
    return Run("plain", subject, variant or {}, number, load=load, cpu_us=cpu_us)


def stream(subject: str, number: int, gateway: int, variant: dict[str, Any] | None = None) -> Run:
    load = {"answers": 10, "errors": {}, "events": 1000, "first_p50_ms": 3.0, "gap_p99_ms": 12.5}
    cpu_us = {} if subject == "direct" else {"gateway": gateway}
    return Run("streams", subject, variant or {}, number, load=load, cpu_us=cpu_us)


def rows(*attempts: Attempt) -> dict[str, Budget]:
    return {row.what: row for row in all_budgets(attempts)}


def test_figures_of_one_run() -> None:
    """CPU is divided by all that was sent, errors too; a failed run has none."""
    found = results.figures(plain("corvus", 1, 200_000, OPEN))
    assert found["cpu_us_per_request"] == 200
    assert found["stack_cpu_us_per_request"] == 250
    assert found["requests_per_core_s"] == 5000
    assert found["errors"] == 10
    assert results.figures(Run("plain", "corvus", failed="it broke")) == {}


def test_ratios_are_made_within_a_round() -> None:
    """The median of ratios, not the ratio of medians; a round that lacks one side is no pair."""
    runs = []
    for number, (ours, base) in enumerate([(100, 10), (400, 50), (900, 100), (900, 0)], start=1):
        runs.append(plain("corvus", number, ours * 1000, OPEN))
        runs.append(plain("corvus", number, ours * 500, CLOSED))
        if base:
            runs.append(plain("nginx", number, base * 1000))
    found = rows(attempt(*runs))["plain request, gateway CPU"].found
    assert found is not None
    assert found.values == (10, 8, 9)
    assert (found.median, found.spread) == (9, "8 to 10")
    till = rows(attempt(*runs))["till open against closed, gateway CPU"].found
    assert till is not None
    assert till.values == (100, 100, 100, 100)


def test_an_event_costs_what_its_request_does_not() -> None:
    """Ten streams of 100 events: a plain request's CPU is taken off for each."""
    runs = [plain("corvus", 1, 200_000, OPEN), plain("nginx", 1, 20_000)]
    runs += [stream("corvus", 1, 32_000, OPEN), stream("nginx", 1, 10_200)]
    runs += [stream("corvus", 1, 99_000, {**OPEN, "dialect": "messages"}), stream("direct", 1, 0)]
    found = rows(attempt(*runs))
    event = found["streamed event, 128 streams, gateway CPU"].found
    assert event is not None
    assert event.values == (3.0,)  # (32,000 - 10 x 200) / (10,200 - 10 x 20)
    gap = found["gap between events, p99 less 10 ms, 128 streams"]
    assert gap.found is not None
    assert (gap.found.median, gap.verdict) == (2.5, "met")


@pytest.mark.parametrize(
    ("value", "more", "verdict"),
    [
        (1.0, False, "met"),
        (1.5, False, "within the gate"),
        (2.1, False, "**missed**"),
        (2.5, True, "met"),
        (0.4, True, "**missed**"),
    ],
)
def test_verdicts(value: float, more: bool, verdict: str) -> None:
    """At the aim it is met, at the gate it still passes."""
    aim, gate = (2.0, 1.0) if more else (1.0, 2.0)
    assert Budget("w", "", aim, gate, Found((value,), "c"), more).verdict == verdict
    assert Budget("w", "", aim, gate, None, more).verdict == "not measured"


def test_only_the_newest_whole_attempt_is_shown() -> None:
    """A quick one shows that things work; an older one stays in the history."""
    old = attempt(plain("nginx", 1, 10), at="2026-01-01T00:00:00Z")
    new = attempt(plain("nginx", 1, 20), at="2026-01-02T00:00:00Z")
    quick = attempt(plain("nginx", 1, 30), at="2026-01-03T00:00:00Z", quick=True)
    assert newest([old, new, quick], "plain") is new
    assert newest([quick], "plain") is None


def test_the_page_follows_from_the_files(tmp_path: Path) -> None:
    """Written twice it is the same; every budget has its row; failures are counted."""
    folder = tmp_path / "results"
    held = {"answers": 5000, "errors": {}, "events": 5, "p50_ms": 1.0}
    memory = {"before": 50.0, "process_before": 51_200.0, "during": 60.0, "after": 60.0}
    memory |= {"process_during": 151_200.0, "process_after": 60_000.0}
    killed = {"answers": 9, "errors": {"503": 4}, "per_100_ms": [3] * 3 + [0] * 2 + [3] * 4}
    proof = {"ok": True, "drift_nanos": 0, "killed_at_s": 0.3}
    end = {"answers": 9, "errors": 0, "drift_nanos": 0, "spent_nanos": 7, "expected_nanos": 7}
    runs = [
        plain("direct", 1, 0),
        plain("nginx", 1, 10_000),
        plain("corvus", 1, 60_000, OPEN),
        Run("plain", "corvus", CLOSED, failed="it did not start"),
        Run("held", "corvus", {**OPEN, "streams": 5000}, load=held, memory_kb=memory),
        Run("killed", "corvus", OPEN, load=killed, more=proof),
        Run("million", "corvus", OPEN, load={"answers": 9, "errors": {}}, memory_kb=memory),
        Run("million_end", "corvus", {"wallets": 3}, more=end),
    ]
    runs += [
        plain("corvus", 1, cost, {**OPEN, "wallets": count})
        for count, cost in ((10, 100_000), (1000, 120_000))
    ]
    for run in runs[-2:]:
        run.scenario = "wallets"
    results.write(attempt(*runs), folder)
    page = render.write(folder)
    text = page.read_text()
    for name in rows():
        assert f"| {name} |" in text
    assert "| plain request, gateway CPU | 6.5 × nginx | 9 × nginx | 6 | 6 to 6 | 1 |" in text
    assert "| memory an open stream | 20 KB | 40 KB | 20 |" in text
    assert "| 5,000 | 5,000 to 5,000 | 1 | `abc1234567` | within the gate |" in text
    assert "0 + 1 failed" in text
    assert "nobody was served for 0.2 s" in text
    assert "charged +0 nanos" in text
    assert "10: 100 µs, 1,000: 120 µs. Medians lie within ± 9 %" in text
    assert "Answers that took 36 to 48 ms: direct 9.091 %" in text
    pictures = sorted(path.name for path in folder.glob("*.svg"))
    assert pictures == ["budgets.svg", "held.svg", "killed.svg", "million.svg"]
    assert all(f"(results/{name})" in text for name in pictures)
    assert render.write(folder).read_text() == text


def test_a_page_of_nothing_says_so(tmp_path: Path) -> None:
    """Before the first measurement."""
    assert "Nothing has been measured yet" in render.write(tmp_path / "none").read_text()
