"""The budgets: each with its aim, its gate, the figure and whether it is met; then what must not
grow."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.render.chosen import Found, Rounds, alone, newest, paired, rounds
from bench.results import Attempt, shown

GAP_MS, ADDED_MS = 10.0, 20.0
KB = 1024.0
STEADY_PERCENT = 25
READERS = 20
"""That stall at once, where what one costs is told."""


class Budget(NamedTuple):
    """One row. Lower is better unless `more`."""

    what: str
    unit: str
    aim: float
    gate: float
    found: Found | None
    more: bool = False

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "not measured"
        value = self.found.median
        sign = -1 if self.more else 1
        if sign * value <= sign * self.aim:
            return "met"
        return "within the gate" if sign * value <= sign * self.gate else "**missed**"


def all_budgets(attempts: Sequence[Attempt]) -> list[Budget]:
    """Every row, measured or not."""
    return [*_cpu(attempts), *_latency(attempts), *_memory(attempts)]


def _subjects(
    attempts: Sequence[Attempt], scenario: str
) -> tuple[Attempt | None, dict[str, Rounds]]:
    """Ours with the till open and closed, nginx and direct, from the newest attempt."""
    attempt = newest(attempts, scenario)
    if attempt is None:
        return None, {}
    return attempt, {
        "open": rounds(attempt, scenario, "corvus", till="open", dialect="chat"),
        "closed": rounds(attempt, scenario, "corvus", till="closed", dialect="chat"),
        "nginx": rounds(attempt, scenario, "nginx"),
        "direct": rounds(attempt, scenario, "direct"),
    }


def _ratio(one: float, other: float) -> float:
    return one / other


def _difference(one: float, other: float) -> float:
    return one - other


def _more_percent(one: float, other: float) -> float:
    return (one / other - 1) * 100


def _cpu(attempts: Sequence[Attempt]) -> list[Budget]:
    found: dict[str, Found | None] = dict.fromkeys(("plain", "stack", "event", "till"))
    attempt, of = _subjects(attempts, "plain")
    if attempt is not None:
        name = "cpu_us_per_request"
        found["plain"] = paired(attempt, of["open"], of["nginx"], _ratio, name)
        found["stack"] = paired(attempt, of["open"], of["nginx"], _ratio, f"stack_{name}")
        found["till"] = paired(attempt, of["open"], of["closed"], _more_percent, name)
    attempt, of = _subjects(attempts, "streams")
    if attempt is not None:
        name = "net_cpu_us_per_event"
        found["event"] = paired(attempt, of["open"], of["nginx"], _ratio, name)
    return [
        Budget("plain request, gateway CPU", "× nginx", 6.5, 9, found["plain"]),
        Budget(
            "plain request, whole stack: gateway, Redis, worker, Postgres",
            "× nginx", 10, 14, found["stack"],
        ),
        Budget("streamed event, 128 streams, gateway CPU", "× nginx", 1.6, 2.1, found["event"]),
        Budget("till open against closed, gateway CPU", "% more", 60, 90, found["till"]),
    ]  # fmt: skip


def _latency(attempts: Sequence[Attempt]) -> list[Budget]:
    rate, of_rate = _subjects(attempts, "rate")
    streams, of_streams = _subjects(attempts, "streams")

    def added(name: str, attempt: Attempt | None, of: dict[str, Rounds]) -> Found | None:
        if attempt is None:
            return None
        return paired(attempt, of["open"], of["direct"], _difference, name)

    gap = None
    if streams is not None:
        gap = alone(streams, of_streams["open"], lambda one: one["gap_p99_ms"] - GAP_MS)
    at_rate = "added at 200 requests/s over direct"
    first = "added time to first token, 128 streams"
    return [
        Budget(f"{at_rate}, p50", "ms", 0.4, 0.8, added("p50_ms", rate, of_rate)),
        Budget(f"{at_rate}, p99", "ms", 1, 3, added("p99_ms", rate, of_rate)),
        Budget(f"{first}, p50", "ms", 1, 3, added("first_p50_ms", streams, of_streams)),
        Budget(f"{first}, p99", "ms", 5, 15, added("first_p99_ms", streams, of_streams)),
        Budget("gap between events, p99 less 10 ms, 128 streams", "ms", 3, 8, gap),
    ]


def _memory(attempts: Sequence[Attempt]) -> list[Budget]:
    rest = stream = lost = stalled = None
    attempt = newest(attempts, "held")
    if attempt is not None:
        sizes = sorted({run.variant["streams"] for run in attempt.runs if run.scenario == "held"})
        by_size = {size: rounds(attempt, "held", "corvus", streams=size) for size in sizes}
        rest = alone(attempt, by_size[sizes[0]], lambda one: one["process_before_mb"])
        whole = [
            size
            for size, found in by_size.items()
            if found
            and all(one["errors"] == 0 and one["answers"] >= size for one in found.values())
        ]
        lost = Found((float(max(whole, default=0)),), attempt.commit)
        if whole:
            stream = alone(
                attempt,
                by_size[max(whole)],
                lambda one: (one["process_during_mb"] - one["process_before_mb"]) * KB / max(whole),
            )
    reader = newest(attempts, "stalled")
    if reader is not None:
        stalled = alone(
            reader,
            rounds(reader, "stalled", "corvus", kind="stalled", readers=READERS),
            lambda one: (one["process_during_mb"] - one["process_before_mb"]) / READERS,
        )
    return [
        Budget("memory of one gateway process at rest", "MB", 50, 80, rest),
        Budget("memory an open stream", "KB", 20, 40, stream),
        Budget("memory for a stalled reader of 200 MB, of 20", "MB", 1, 4, stalled),
        Budget("streams held on one process, no lost frame", "", 10_000, 5_000, lost, more=True),
    ]


def section(attempts: list[Attempt], folder: Path) -> list[str]:
    """The table of budgets."""
    lines = [
        "## Budgets",
        "",
        "Ratios are to nginx's runs of the same rounds; *net* of the request where events are"
        " meant: its CPU is taken off at a plain request's price.",
        "",
        "| What | Aim | Gate | Median | Lowest to highest | Runs | Commit | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in all_budgets(attempts):
        found = row.found
        told = (
            ("", "", "", "")
            if found is None
            else (shown(found.median), found.spread, str(len(found.values)), f"`{found.commit}`")
        )
        bounds = (f"{shown(row.aim)} {row.unit}".strip(), f"{shown(row.gate)} {row.unit}".strip())
        lines.append(f"| {' | '.join((row.what, *bounds, *told, row.verdict))} |")
    return [*lines, ""]


def trends(attempts: list[Attempt], folder: Path) -> list[str]:
    """What must not grow with wallets or processes, what must stay flat, and stalls."""
    lines = ["## What must not grow", ""]
    for scenario, name in (("wallets", "wallets"), ("processes", "gateway processes")):
        attempt = newest(attempts, scenario)
        if attempt is not None:
            lines += [_trend(attempt, scenario, name), ""]
    lines += _beside(attempts)
    attempt = newest(attempts, "million_end")
    if attempt is not None:
        lines += [*_million(attempt), ""]
    return lines if len(lines) > 2 else []


def _trend(attempt: Attempt, scenario: str, name: str) -> str:
    """CPU a request by size: medians, how far they lie apart, and the slope over a doubling."""
    sizes = sorted({run.variant[scenario] for run in attempt.runs if run.scenario == scenario})
    found = {
        size: alone(
            attempt,
            rounds(attempt, scenario, "corvus", **{scenario: size}),
            lambda one: one["cpu_us_per_request"],
        )
        for size in sizes
    }
    medians = {size: one.median for size, one in found.items() if one is not None}
    if len(medians) < 2:
        return f"CPU a request by {name}: not enough runs."
    first, last = min(medians), max(medians)
    middle = sum(medians.values()) / len(medians)
    apart = max(abs(value / middle - 1) for value in medians.values()) * 100
    slope = (medians[last] / medians[first] - 1) * 100 / math.log2(last / first)
    told = ", ".join(f"{size:,}: {shown(value)} µs" for size, value in medians.items())
    verdict = "met" if apart <= STEADY_PERCENT else "**missed**"
    return (
        f"Gateway CPU a plain request by {name}: {told}. Medians lie within ± {apart:.0f} % of"
        f" their mean (bound ± {STEADY_PERCENT} %: {verdict}); {slope:+.1f} % a doubling."
        f" `{attempt.commit}`"
    )


def _beside(attempts: Sequence[Attempt]) -> list[str]:
    """Streams alone and beside what should not disturb them."""
    lines = []
    for scenario, key, what in (
        ("idle", "idle", "silent streams"),
        ("large", "beside_mb", "MB a body from another client"),
    ):
        attempt = newest(attempts, scenario)
        if attempt is None:
            continue
        sizes = sorted({run.variant[key] for run in attempt.runs if run.scenario == scenario})
        told, highest = [], []
        for size in sizes:
            one = rounds(attempt, scenario, "corvus", **{key: size})
            gaps = [
                alone(attempt, one, lambda found, name=name: found[name])
                for name in ("gap_p50_ms", "gap_p99_ms", "gap_max_ms")
            ]
            figures = " / ".join(shown(gap.median) for gap in gaps if gap is not None)
            told.append(f"{size:,} {what}: {figures} ms")
            highest += [gap.median for gap in gaps[1:2] if gap is not None]
        added = highest[-1] - highest[0] if len(highest) > 1 else 0.0
        verdict = "met" if added <= ADDED_MS else "**missed**"
        lines += [
            f"Gaps of 32 active streams, p50 / p99 / longest, beside {'; '.join(told)}."
            f" It adds {shown(added)} ms to the p99 (bound {shown(ADDED_MS)} ms: {verdict})."
            f" `{attempt.commit}`",
            "",
        ]
    return lines


def _million(attempt: Attempt) -> list[str]:
    """The long run: memory by part, and the books."""
    (end,) = [run for run in attempt.runs if run.scenario == "million_end"][-1:]
    parts = [run for run in attempt.runs if run.scenario == "million" and not run.failed]
    more = end.more
    exact = more["spent_nanos"] - more["expected_nanos"]
    memory = [run.memory_kb["process_after"] / 1024 for run in parts]
    lines = [
        f"{more['answers']:,} plain requests over {end.variant['wallets']:,} wallets:"
        f" {more['errors']} errors, drift {more['drift_nanos']} nanos, charged"
        f" {exact:+} nanos from what the answers cost. `{attempt.commit}`"
    ]
    if memory:
        told = ", ".join(shown(value) for value in memory[:: max(1, len(memory) // 8)])
        lines += ["", f"Memory of the gateway's process after each part, MB: {told}."]
    return lines
