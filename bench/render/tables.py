"""The plain tables of the page: how it was measured, every scenario, and the history."""

from collections.abc import Sequence
from pathlib import Path

from bench.render.chosen import net, newest, rounds
from bench.results import STACK, Attempt, Run, figures, grouped, median, shown

COLUMNS = {
    "requests/s": "answers_per_s",
    "p50 ms": "p50_ms",
    "p99 ms": "p99_ms",
    "gateway µs/request": "cpu_us_per_request",
    "stack µs/request": "stack_cpu_us_per_request",
    "requests/s a core": "requests_per_core_s",
    "MB": "process_during_mb",
    "errors": "errors",
}
STREAM_COLUMNS = {
    "streams/s": "answers_per_s",
    "events/s": "events_per_s",
    "first p50 ms": "first_p50_ms",
    "first p99 ms": "first_p99_ms",
    "gap p99 ms": "gap_p99_ms",
    "gateway µs/event": "cpu_us_per_event",
    "net": "net_cpu_us_per_event",
    "MB": "process_during_mb",
    "errors": "errors",
}
MODE_MS = (36.0, 48.0)
"""Where answers would gather if either side waited for an acknowledgment."""


def method(attempts: list[Attempt], folder: Path) -> list[str]:
    """Machine, versions and method of the newest attempt."""
    lines = ["## How this was measured", ""]
    whole = [attempt for attempt in attempts if not attempt.options.get("quick")]
    if not whole:
        return [*lines, "Nothing has been measured yet.", ""]
    last = whole[-1]
    machine = last.machine
    versions = ", ".join(f"{name} {version}" for name, version in sorted(last.versions.items()))
    return [
        *lines,
        f"* Machine: {machine['processor']}, {machine['cores']} cores,"
        f" {machine['memory_mb'] / 1024:.0f} GB, Linux {machine['kernel']}.",
        f"* Versions: {versions}.",
        "* Everything runs on loopback of one machine. The gateway, or what stands in its place,"
        " has the first core; load, far end, Redis, worker and Postgres share the others.",
        "* CPU is user and system time of a process tree from `/proc`, over a whole run, divided by"
        " all that it sent; a run ends when the books have every event of it.",
        "* Subjects alternate: each round runs all of them, one after the other.",
        "* The till is open unless `till closed` is said: each request is reserved, settled and"
        " written to the books.",
        "* Figures are medians. How long and how often each attempt ran, and the raw runs of every"
        " attempt, shown or not, are the JSON files in `results/`.",
        "",
    ]


def scenarios(attempts: list[Attempt], folder: Path) -> list[str]:
    """A table for each scenario."""
    names = list(dict.fromkeys(run.scenario for one in attempts for run in one.runs))
    lines = ["## Scenarios", ""]
    for name in names:
        attempt = newest(attempts, name)
        runs = [run for run in attempt.runs if run.scenario == name] if attempt else []
        if attempt is not None and any(run.load or run.failed for run in runs):
            lines += _scenario(attempt, name, runs)
    return lines if len(lines) > 2 else []


def _scenario(attempt: Attempt, name: str, runs: Sequence[Run]) -> list[str]:
    streams = any(run.load.get("events") for run in runs)
    columns = STREAM_COLUMNS if streams else COLUMNS
    lines = [
        f"### {name}",
        "",
        f"`{attempt.commit}`{'' if attempt.clean else ', with changes'}, {attempt.at}.",
        "",
        f"| Subject | Runs | {' | '.join(columns)} |",
        f"|---|{'---|' * (len(columns) + 1)}",
    ]
    for (_, subject, words), some in grouped(runs).items():
        good = [{**figures(run), **net(attempt, run)} for run in some if not run.failed]
        cells = [shown(median(good, column)) for column in columns.values()]
        failed = len(some) - len(good)
        count = f"{len(good)}{f' + {failed} failed' if failed else ''}"
        lines.append(f"| {' '.join((subject, words)).strip()} | {count} | {' | '.join(cells)} |")
    if name == "plain":
        lines += ["", _parts(runs), "", _mode(runs)]
    if name == "killed":
        lines += ["", *(_killed(run) for run in runs if not run.failed)]
    return [*lines, ""]


def _parts(runs: Sequence[Run]) -> str:
    """Where the CPU of the whole stack goes."""
    told = []
    for part in STACK:
        values = [
            {"us": run.cpu_us[part] / run.load["answers"]}
            for run in runs
            if run.variant.get("till") == "open" and part in run.cpu_us and run.load.get("answers")
        ]
        if values:
            told.append(f"{part} {shown(median(values, 'us'))}")
    return f"CPU a request by process, till open, µs: {', '.join(told)}."


def _mode(runs: Sequence[Run]) -> str:
    """How many answers lie where a delayed acknowledgment would put them."""
    told = []
    for subject in dict.fromkeys(run.subject for run in runs):
        rows = [
            row
            for run in runs
            if run.subject == subject
            for row in run.load.get("histogram_us", ())
        ]
        total = sum(count for _, count in rows)
        within = sum(count for edge, count in rows if MODE_MS[0] < edge / 1000 <= MODE_MS[1])
        if total:
            told.append(f"{subject} {within / total * 100:.3f} %")
    return f"Answers that took {MODE_MS[0]:g} to {MODE_MS[1]:g} ms: {', '.join(told)}."


def _killed(run: Run) -> str:
    slots = run.load["per_100_ms"]
    at = int(run.more["killed_at_s"] * 10)
    rest = slots[at:]
    longest = now = 0
    for count in rest:
        now = 0 if count else now + 1
        longest = max(longest, now)
    verified = "ok" if run.more["ok"] else "not ok"
    return (
        f"* Run {run.round}: nobody was served for {longest / 10:.1f} s;"
        f" {run.load['answers']:,} answers, refused {run.load['errors'] or 'none'};"
        f" drift {run.more['drift_nanos']} nanos, `ledger verify` {verified}."
    )


def history(attempts: list[Attempt], folder: Path) -> list[str]:
    """Every attempt, with what the first figures were then."""
    lines = [
        "## All attempts",
        "",
        "| Attempt | Commit | Scenarios | Runs | Failed | Plain, × nginx | Stream event, × nginx |",
        "|---|---|---|---|---|---|---|",
    ]
    for attempt in attempts:
        names = ", ".join(dict.fromkeys(run.scenario for run in attempt.runs))
        failed = sum(bool(run.failed) for run in attempt.runs)
        cells = (
            attempt.at + (" quick" if attempt.options.get("quick") else ""),
            f"`{attempt.commit}`" + ("" if attempt.clean else " with changes"),
            names,
            str(len(attempt.runs)),
            str(failed),
            _ratio(attempt, "plain", "cpu_us_per_request"),
            _ratio(attempt, "streams", "net_cpu_us_per_event"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _ratio(attempt: Attempt, scenario: str, name: str) -> str:
    ours = rounds(attempt, scenario, "corvus", till="open", dialect="chat").values()
    base = rounds(attempt, scenario, "nginx").values()
    one, other = median(list(ours), name), median(list(base), name)
    return shown(one / other) if one and other else ""
