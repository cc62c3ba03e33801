"""The pictures of the page, each from the newest attempt that has its scenario."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.render import svg
from bench.render.budgets import all_budgets
from bench.render.chosen import newest, rounds
from bench.results import Attempt, Run, shown


def section(attempts: list[Attempt], folder: Path) -> list[str]:
    """Writes the pictures into the folder; lines that show them."""
    made = {
        "budgets": ("Figures as shares of their gates", _budgets(attempts)),
        "latency": ("Latency at 200 requests/s", _latency(attempts)),
        "gaps": ("Gaps between events of 128 streams", _gaps(attempts)),
        "held": ("Memory by open streams", _held(attempts)),
        "killed": ("Redis is killed", _killed(attempts)),
        "million": ("Memory through a million requests", _million(attempts)),
    }
    shown_now = {name: both for name, both in made.items() if both[1]}
    if not shown_now:
        return []
    lines = ["## Pictures", ""]
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, text) in shown_now.items():
        (folder / f"{name}.svg").write_text(text)
        lines += [f"![{title}]({folder.name}/{name}.svg)", ""]
    return lines


def _budgets(attempts: Sequence[Attempt]) -> str:
    rows = []
    for row in all_budgets(attempts):
        if row.found is None:
            continue
        value = row.found.median
        share = row.gate / max(value, 1e-9) if row.more else value / row.gate
        rows.append((row.what[:52], share, f"{shown(value)} {row.unit}".strip()))
    title = "Figures as shares of their gates (the line); shorter is better"
    return svg.bars(title, rows, bound=1.0) if rows else ""


def _distribution(runs: Sequence[Run], name: str) -> list[tuple[float, float]]:
    """(ms, share of all that took longer, in %) over some runs."""
    counts: dict[float, int] = {}
    for run in runs:
        for edge_us, count in run.load.get(name, ()):
            counts[edge_us] = counts.get(edge_us, 0) + count
    left = total = sum(counts.values())
    points = []
    for edge_us in sorted(counts):
        left -= counts[edge_us]
        points.append((edge_us / 1000, left / total * 100))
    return points


def _by_subject(attempt: Attempt, scenario: str, **variant: Any) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in attempt.runs:
        told = {"till": "open", "dialect": "chat", **run.variant}
        same = all(told.get(name) == value for name, value in variant.items())
        if run.scenario == scenario and same and not run.failed:
            found.setdefault(run.subject, []).append(run)
    return found


def _tails(attempts: Sequence[Attempt], scenario: str, name: str, title: str) -> str:
    attempt = newest(attempts, scenario)
    if attempt is None:
        return ""
    series = {
        subject: points
        for subject, runs in _by_subject(attempt, scenario, till="open", dialect="chat").items()
        if (points := _distribution(runs, name))
    }
    return svg.lines(title, "ms", "%", series, log_x=True) if series else ""


def _latency(attempts: Sequence[Attempt]) -> str:
    title = "200 requests/s: share of answers that took longer"
    return _tails(attempts, "rate", "histogram_us", title)


def _gaps(attempts: Sequence[Attempt]) -> str:
    title = "128 streams, events 10 ms apart: share of gaps that were longer"
    return _tails(attempts, "streams", "gap_histogram_us", title)


def _held(attempts: Sequence[Attempt]) -> str:
    attempt = newest(attempts, "held")
    if attempt is None:
        return ""
    sizes = sorted({run.variant["streams"] for run in attempt.runs if run.scenario == "held"})
    points = []
    for size in sizes:
        found = rounds(attempt, "held", "corvus", streams=size).values()
        values = [one["process_during_mb"] for one in found if "process_during_mb" in one]
        if values:
            points.append((float(size), sum(values) / len(values)))
    title = "Memory of the gateway's process by open streams"
    return svg.lines(title, "streams", "MB", {"corvus": points}) if points else ""


def _killed(attempts: Sequence[Attempt]) -> str:
    attempt = newest(attempts, "killed")
    runs = [run for run in attempt.runs if run.scenario == "killed"] if attempt else []
    series = {
        f"run {run.round}": [
            (at / 10, float(count * 10)) for at, count in enumerate(run.load["per_100_ms"])
        ]
        for run in runs
        if not run.failed
    }
    if not series:
        return ""
    at_s = runs[0].more["killed_at_s"]
    return svg.lines(f"Redis is killed at {at_s:g} s", "s", "answers/s", series)


def _million(attempts: Sequence[Attempt]) -> str:
    attempt = newest(attempts, "million")
    if attempt is None:
        return ""
    points, answers = [], 0
    for run in attempt.runs:
        if run.scenario == "million" and not run.failed:
            answers += run.load["answers"]
            points.append((answers / 1000, run.memory_kb["process_after"] / 1024))
    title = "Memory of the gateway's process through the long run"
    return svg.lines(title, "thousand requests", "MB", {"corvus": points}) if points else ""
