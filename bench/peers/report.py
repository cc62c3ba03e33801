"""The peers' part of `RESULTS.md`, computed from the runs alone.

Rule 1: figures are medians over the rounds, with lowest and highest; ratios are made round by round
        and their median is shown. A round in which one of the two failed has no ratio.
Rule 2: an event's own CPU is what is left of a stream's when a plain request's of the same round is
        taken off once a stream.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import results
from bench.results import Attempt, Run

TITLES = {
    "peers-plain": "Plain requests, saturation: 16 connections, answers of 1 KB",
    "peers-rate": "Plain requests at a fixed rate",
    "peers-streams": "128 streams of 64 events, 10 ms apart",
    "peers-rig": "The public rig's shape: 256 streams of 64 events, 20 ms apart",
}
ORDER = ("direct", "nginx", "corvus", "portkey", "litellm")
Figures = dict[str, float]
Rounds = dict[int, Figures]


class Column(NamedTuple):
    """One figure of a table."""

    title: str
    figure: str
    digits: int = 1


class Demand(NamedTuple):
    """Our figure is at most a peer's by this divisor."""

    scenario: str
    figure: str
    peer: str
    divisor: int
    title: str


_LATENCY = (Column("p50 ms", "p50_ms", 2), Column("p99 ms", "p99_ms", 2))
_STREAM = (
    Column("CPU µs an event", "cpu_us_per_event"),
    Column("request taken off", "net_cpu_us_per_event"),
    Column("first event p50 ms", "first_p50_ms", 2),
    Column("p99 ms", "first_p99_ms", 1),
    Column("gap p99 ms", "gap_p99_ms", 1),
)
_END = (Column("errors", "errors", 0), Column("MB", "during_mb", 0))
COLUMNS = {
    "peers-plain": (
        Column("CPU µs a request", "cpu_us_per_request"),
        Column("with its stores", "stack_cpu_us_per_request"),
        Column("requests/s", "answers_per_s", 0),
        *_LATENCY,
        *_END,
    ),
    "peers-rate": (
        Column("requests/s", "rate", 0),
        *_LATENCY,
        Column("added p50 ms", "added_p50_ms", 2),
        Column("added p99 ms", "added_p99_ms", 2),
        Column("CPU µs a request", "cpu_us_per_request", 0),
        *_END,
    ),
    "peers-streams": (*_STREAM, *_END),
    "peers-rig": (*_STREAM, *_END),
}
RATIO = {
    "peers-plain": "cpu_us_per_request",
    "peers-rate": "cpu_us_per_request",
    "peers-streams": "net_cpu_us_per_event",
    "peers-rig": "net_cpu_us_per_event",
}
DEMANDS = (
    Demand("peers-plain", "cpu_us_per_request", "litellm", 70, "plain request, gateway CPU"),
    Demand("peers-plain", "cpu_us_per_request", "portkey", 7, "plain request, gateway CPU"),
    Demand("peers-streams", "net_cpu_us_per_event", "litellm", 25, "streamed event, gateway CPU"),
    Demand("peers-streams", "net_cpu_us_per_event", "portkey", 3, "streamed event, gateway CPU"),
)


def section(attempts: list[Attempt], _folder: Path) -> list[str]:
    """Lines of Markdown of the latest full attempt with peers, else of the latest quick one; none
    where there is none."""
    beside = [attempt for attempt in attempts if attempt.options.get("peers")]
    full = [attempt for attempt in beside if not attempt.options.get("quick")]
    chosen = (full or beside)[-1:]
    return _section(chosen[0]) if chosen else []


def _section(attempt: Attempt) -> list[str]:
    commit = attempt.commit if attempt.clean else f"{attempt.commit} with changes"
    lines = [
        "## Beside other gateways",
        "",
        f"One attempt, {attempt.at}, commit {commit}: one upstream, one load, one core for whoever "
        "is measured, in turn, the order reversed from round to round. Median (lowest–highest) of "
        "the rounds. *Times ours* is CPU beside ours of the same round. This gateway holds, "
        "settles and books every request; what the others do stands in the last table.",
    ]
    if attempt.options.get("quick"):
        lines += ["", "**A quick run: it shows that all works, not how fast anything is.**"]
    found = by_subject(attempt.runs)
    for scenario, title in TITLES.items():
        if scenario in found:
            lines += ["", f"### {title}", "", *_table(scenario, found[scenario])]
    lines += ["", "### What was asked for", "", *_demands(found), "", *_about(attempt), ""]
    return lines


def by_subject(runs: Sequence[Run]) -> dict[str, dict[str, Rounds]]:
    """Figures by scenario, subject and round; what needs two runs of a round is made here."""
    found: dict[str, dict[str, Rounds]] = {}
    direct: dict[tuple[int, int], Figures] = {}
    for run in runs:
        figures = results.figures(run)
        if run.scenario not in TITLES or not figures:
            continue
        if "rate" in run.variant:
            figures["rate"] = run.variant["rate"]
        if run.subject == "direct" and run.scenario == "peers-rate":
            direct[run.round, run.variant["rate"]] = figures
            continue
        found.setdefault(run.scenario, {}).setdefault(run.subject, {})[run.round] = figures
        plain = found.get("peers-plain", {}).get(run.subject, {}).get(run.round, {})
        if run.load.get("events") and "cpu_us_per_request" in plain:
            answers = figures["cpu_us_per_event"] * run.load["events"]
            sent = run.load["answers"] + figures["errors"]
            net = answers - sent * plain["cpu_us_per_request"]
            figures["net_cpu_us_per_event"] = net / run.load["events"]
    for rounds in found.get("peers-rate", {}).values():
        for number, figures in rounds.items():
            floor = direct.get((number, int(figures["rate"])))
            if floor is not None:
                for name in ("p50_ms", "p99_ms"):
                    figures[f"added_{name}"] = figures[name] - floor[name]
    return found


def ratios(one: Rounds, other: Rounds, figure: str) -> list[float]:
    """`one` by `other`, of each round that has both above nothing, at the same rate."""
    return [
        one[number][figure] / other[number][figure]
        for number in sorted(one.keys() & other.keys())
        if min(one[number].get(figure, 0), other[number].get(figure, 0)) > 0
        and one[number].get("rate") == other[number].get("rate")
    ]


def spread(values: Sequence[float], digits: int) -> str:
    """`median (lowest–highest)`, `–` without any."""
    if not values:
        return "–"
    middle = f"{statistics.median(values):,.{digits}f}"
    low, high = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    return middle if low == high else f"{middle} ({low}–{high})"


def _table(scenario: str, subjects: dict[str, Rounds]) -> list[str]:
    columns = COLUMNS[scenario]
    figure = RATIO[scenario]
    ours = subjects.get("corvus", {})
    rows = [_row(["", *(column.title for column in columns), "times ours"])]
    rows.append("|---|" + "--:|" * (len(columns) + 1))
    for name in sorted(subjects, key=_place):
        rounds = subjects[name]
        cells = [spread(_values(rounds, column.figure), column.digits) for column in columns]
        rows.append(_row([name, *cells, spread(ratios(rounds, ours, figure), 2)]))
    return rows


def _demands(found: dict[str, dict[str, Rounds]]) -> list[str]:
    rows = [_row(["", "at most", "is", ""]), "|---|--:|--:|---|"]
    for demand in DEMANDS:
        subjects = found.get(demand.scenario, {})
        values = ratios(subjects.get(demand.peer, {}), subjects.get("corvus", {}), demand.figure)
        told = "not measured"
        if values:
            told = "met" if statistics.median(values) >= demand.divisor else "missed"
        title = f"{demand.title}, of {demand.peer}'s"
        rows.append(_row([title, f"1/{demand.divisor}", _part(values), told]))
    return rows


def _part(values: Sequence[float]) -> str:
    """A ratio as a part of one: `1/83 (1/79–1/90)`, `1/1.9 (1/1.6–1/2.1)`."""
    if not values:
        return "–"
    middle = statistics.median(values)
    digits = 0 if middle >= 10 else 1
    low, high = min(values), max(values)
    return f"1/{middle:.{digits}f} (1/{low:.{digits}f}–1/{high:.{digits}f})"


def _about(attempt: Attempt) -> list[str]:
    versions, options = attempt.versions, attempt.options
    rows = [_row(["", "version", "as it runs"]), "|---|---|---|"]
    for name, settings in options.get("settings", {}).items():
        rows.append(_row([name, versions.get(name, "–"), settings]))
    rows += [
        _row([name, "–", f"not supported: {reason}"])
        for name, reason in options.get("missing", {}).items()
    ]
    return rows


def _values(rounds: Rounds, figure: str) -> list[float]:
    return [figures[figure] for figures in rounds.values() if figure in figures]


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
