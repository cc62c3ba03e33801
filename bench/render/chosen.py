"""Which runs are shown, and figures of several runs: medians, spreads, ratios by round."""

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.results import Attempt, Run, figures, shown


class Found(NamedTuple):
    """A figure over the rounds of one attempt."""

    values: tuple[float, ...]
    commit: str

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        """The lowest and the highest."""
        return f"{shown(min(self.values))} to {shown(max(self.values))}"


def newest(attempts: Sequence[Attempt], scenario: str) -> Attempt | None:
    """The attempt that a scenario is shown from."""
    for attempt in reversed(attempts):
        if attempt.options.get("quick"):
            continue
        if any(run.scenario == scenario for run in attempt.runs):
            return attempt
    return None


def rounds(
    attempt: Attempt, scenario: str, subject: str, **variant: object
) -> dict[int, dict[str, float]]:
    """Figures by round, of those runs that did not fail and have this variant, whatever else they
    have; `dialect` counts as chat where it is not told."""
    found = {}
    for run in attempt.runs:
        told = {"dialect": "chat", **run.variant}
        same = all(told.get(name) == value for name, value in variant.items())
        if run.scenario == scenario and run.subject == subject and same and not run.failed:
            found[run.round] = {**figures(run), **net(attempt, run)}
    return found


def net(attempt: Attempt, run: Run) -> dict[str, float]:
    """CPU an event without what the stream's request costs besides, at a plain request's price."""
    if not run.load.get("events") or run.scenario == "plain" or "gateway" not in run.cpu_us:
        return {}
    same = {"till": run.variant["till"]} if "till" in run.variant else {}
    plain = rounds(attempt, "plain", run.subject, **same)
    costs = [one["cpu_us_per_request"] for one in plain.values() if "cpu_us_per_request" in one]
    if not costs:
        return {}
    sent = run.load["answers"] + sum(run.load["errors"].values())
    left = run.cpu_us["gateway"] - sent * statistics.median(costs)
    return {"net_cpu_us_per_event": left / run.load["events"]}


Rounds = dict[int, dict[str, float]]


def paired(
    attempt: Attempt, one: Rounds, other: Rounds, make: Callable[..., float], name: str
) -> Found | None:
    """A figure of one beside that of another, round by round."""
    values = tuple(
        make(one[at][name], other[at][name])
        for at in sorted(one.keys() & other.keys())
        if name in one[at] and name in other[at]
    )
    return Found(values, attempt.commit) if values else None


def alone(attempt: Attempt, one: Rounds, make: Callable[..., float]) -> Found | None:
    """A figure that each round has by itself."""
    values = []
    for at in sorted(one):
        try:
            values.append(make(one[at]))
        except KeyError:
            continue
    return Found(tuple(values), attempt.commit) if values else None
