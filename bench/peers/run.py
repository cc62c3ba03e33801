"""`corvus bench --peers`: this gateway, nginx and other gateways in turn, under the same load.

Rule 1: one far end, one load generator, one core for whoever is measured, everything else on the
        others. All subjects run all the time, idle while another is measured.
Rule 2: rounds: in each, every subject is measured once, the order reversed from round to round.
        Ratios are of one round.
Rule 3: our till is open and charges for every answer. What a peer does not do is said beside it.
Rule 4: requests at a fixed rate: `RATE`, or what a subject that cannot carry it can carry, by what
        it did in saturation (`SHARE`); the far end alone is measured at each such rate.
"""

import signal
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench import far, results
from bench.far import Asked
from bench.peers import table
from bench.peers.install import Missing
from bench.peers.subject import Peer
from bench.results import Attempt, Run
from bench.scenarios.base import Bench, Plan
from bench.stack import Stack, Subject

PLAN = Plan(rounds=5)
QUICK = Plan(seconds=1.0, warm_s=0.3, rounds=1, quick=True)
RATE, SHARE, RATE_STEP = 200, 0.6, 10
CONNECTIONS, STREAMS, RIG_STREAMS, EVENTS = 16, 128, 256, 64
DRAIN_S = 60.0
"""How long an overloaded peer may take to end what it has begun; what is left then is an error."""


class Scenario(NamedTuple):
    """One load. Names begin with `peers-`: what is published of this gateway alone is measured by
    scenarios of its own."""

    asked: Asked
    connections: int
    spread_s: float = 0.0
    """Time over which they begin, so that streams do not step in time."""
    rate: int = 0


SCENARIOS = {
    "peers-plain": Scenario(far.plain(), CONNECTIONS),
    "peers-rate": Scenario(far.plain(), CONNECTIONS, rate=RATE),
    "peers-streams": Scenario(far.stream(events=EVENTS, gap_us=10_000), STREAMS, EVENTS * 0.01),
    "peers-rig": Scenario(far.stream(events=EVENTS, gap_us=20_000), RIG_STREAMS, EVENTS * 0.02),
}


def main(
    *,
    folder: Path = results.FOLDER,
    quick: bool = False,
    seconds: float = 0,
    rounds: int = 0,
) -> Path:
    """Installs, starts, measures; the file, in which every run stands as soon as it has ended."""
    plan = QUICK if quick else PLAN
    plan = plan._replace(seconds=seconds or plan.seconds, rounds=rounds or plan.rounds)
    options = {"peers": True, "missing": {}, "settings": {}, **plan._asdict()}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started ends with us
    attempt = results.begin(options)
    found = [peer for peer in table.PEERS if _installed(peer, attempt)]
    with Bench(attempt, plan, folder) as bench, ExitStack() as stack:
        ours = bench.stack()
        subjects = [bench.direct, ours.subject()]
        for peer in found:
            subjects += _start(peer, bench, stack)
        for name, scenario in SCENARIOS.items():
            for number in range(1, plan.rounds + 1):
                _round(bench, name, scenario, subjects if number % 2 else subjects[::-1], number)
        bench.keep(_books(ours))
    return results.write(attempt, folder)


def _installed(peer: Peer, attempt: Attempt) -> bool:
    _say(f"installing {peer.name}")
    attempt.options["missing"] |= peer.missing
    try:
        attempt.versions |= peer.versions()
    except Missing as missing:
        attempt.options["missing"][peer.name] = str(missing)
        return False
    attempt.options["settings"][peer.name] = peer.settings
    return True


def _start(peer: Peer, bench: Bench, stack: ExitStack) -> list[Subject]:
    _say(f"starting {peer.name}")
    try:
        subject = stack.enter_context(peer.running(bench.far))
    except Missing as missing:
        bench.attempt.options["missing"][peer.name] = str(missing)
        return []
    return [subject] if subject is not None else []


def _round(
    bench: Bench, name: str, scenario: Scenario, subjects: list[Subject], number: int
) -> None:
    """Every subject once; at a fixed rate the far end once for each rate that is used."""
    rates = {one.name: carried(bench.attempt.runs, one.name) for one in subjects}
    for subject in subjects:
        if not scenario.rate:
            _measure(bench, name, scenario, subject, number)
            continue
        floor = subject.name == "direct"
        for rate in sorted(set(rates.values())) if floor else [rates[subject.name]]:
            _measure(bench, name, scenario._replace(rate=rate), subject, number)


def _measure(bench: Bench, name: str, scenario: Scenario, subject: Subject, number: int) -> None:
    words: dict[str, float] = {"connections": scenario.connections, "drain_s": DRAIN_S}
    if scenario.spread_s:
        words["spread_s"] = scenario.spread_s
    if scenario.rate:
        words["rate"] = scenario.rate
    variant = {"rate": scenario.rate} if scenario.rate else None
    bench.measured(subject, name, scenario.asked, number, variant=variant, **words)


def carried(runs: list[Run], subject: str) -> int:
    """`RATE`, or what this subject can carry without a queue, in steps of `RATE_STEP` a second."""
    reached = [
        run.load["answers_per_s"]
        for run in runs
        if run.scenario == "peers-plain" and run.subject == subject and not run.failed
    ]
    if not reached:
        return RATE
    most = int(statistics.median(reached) * SHARE) // RATE_STEP * RATE_STEP
    return min(RATE, max(RATE_STEP, most))


def _books(ours: Stack) -> Run:
    """Whether our books are right after it all."""
    report = ours.settled()
    more = {name: report[name] for name in ("drift_nanos", "ok")}
    return Run("peers-books", "corvus", began=results.now(), more=more)


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
