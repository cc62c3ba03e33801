"""What an installation costs to run: at rest, and how much a core serves."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.render.chosen import Found, alone, newest, rounds
from bench.results import Attempt, Run, shown

MB = 1024
NAMES = {"redis": "Redis", "postgres": "Postgres"}


def section(attempts: list[Attempt], folder: Path) -> list[str]:
    """The part of the page."""
    found = [*capacity(attempts), *at_rest(attempts)]
    return ["## What it costs to run", "", *found] if found else []


def capacity(attempts: Sequence[Attempt]) -> list[str]:
    """Requests and events that a core serves, by the CPU that each takes."""
    told = []
    plain, streams = newest(attempts, "plain"), newest(attempts, "streams")
    for attempt, scenario, figure, text in (
        (plain, "plain", "cpu_us_per_request", "{} plain requests a second for the gateway alone"),
        (plain, "plain", "stack_cpu_us_per_request", "{} with Redis, worker and Postgres"),
        (streams, "streams", "net_cpu_us_per_event", "{} streamed events a second"),
    ):
        found = _open(attempt, scenario, figure)
        if found is not None:
            told.append(text.format(shown(round(1e6 / found.median))))
    return [f"A core's whole time is worth {', '.join(told)}.", ""] if told else []


def _open(attempt: Attempt | None, scenario: str, figure: str) -> Found | None:
    """A figure of ours with the till open."""
    if attempt is None:
        return None
    ours = rounds(attempt, scenario, "corvus", till="open", dialect="chat")
    return alone(attempt, ours, lambda one: one[figure])


def at_rest(attempts: Sequence[Attempt]) -> list[str]:
    """Memory and CPU of each process of an installation that nobody asks anything of, and disk."""
    attempt = newest(attempts, "quiet")
    runs = [run for run in attempt.runs if run.scenario == "quiet"] if attempt else []
    if attempt is None or not runs:
        return []
    names = list(runs[0].memory_kb)
    memory = {name: _median(runs, name, lambda run, key: run.memory_kb[key] / MB) for name in names}
    load = {name: _median(runs, name, _cpu_percent) for name in names}
    disk = {
        name: _median(runs, name, lambda run, key: run.more[key] / MB)
        for name in ("data_kb", "environment_kb")
    }
    head = [*(NAMES.get(name, name) for name in names), "all"]
    return [
        f"At rest, nobody asking (`{attempt.commit}`):",
        "",
        f"| | {' | '.join(head)} |",
        f"|---|{'--:|' * len(head)}",
        f"| memory, MB | {' | '.join(f'{one:.0f}' for one in _with_sum(memory))} |",
        f"| CPU, % of a core | {' | '.join(f'{one:.1f}' for one in _with_sum(load))} |",
        "",
        "Memory counts pages that processes share once. On the disk: data of"
        f" {shown(round(disk['data_kb']))} MB, and an environment of"
        f" {shown(round(disk['environment_kb']))} MB, which has the tools of the tests in it.",
        "",
    ]


def _cpu_percent(run: Run, name: str) -> float:
    return float(run.cpu_us[name] / run.more["seconds"] / 10_000)


def _median(runs: Sequence[Run], name: str, make: Callable[[Run, str], float]) -> float:
    return statistics.median(make(run, name) for run in runs)


def _with_sum(found: dict[str, float]) -> list[float]:
    return [*found.values(), sum(found.values())]
