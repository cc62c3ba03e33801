"""`corvus bench --peers`: this gateway, nginx and other gateways in turn, under the same load.

Rule 1: one far end, one load generator, one core for whoever is measured, everything else on the
        others. All subjects run all the time, idle while another is measured.
Rule 2: rounds: in each, every subject is measured once, the order reversed from round to round.
        Ratios are of one round.
Rule 3: our till is open and charges for every answer. What a peer does not do is said beside it.
Rule 4: requests at a fixed rate: `RATE`, or what a subject that cannot carry it can carry, by what
        it did in saturation (`SHARE`); the far end alone is measured at each such rate.
"""

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from bench import far, load, processes, results
from bench.far import Asked, Far
from bench.peers import table
from bench.peers.install import Missing
from bench.peers.subject import Peer
from bench.results import Attempt, Run
from bench.stack import Stack, Subject, direct, place
from bench.stack import running as stack_running
from corvus_proxy.errors import CorvusError

ROUNDS, SECONDS, WARM_S = 5, 8.0, 1.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 1.0
RATE, SHARE, RATE_STEP = 200, 0.6, 10
CONNECTIONS, STREAMS, EVENTS = 16, 128, 64
DRAIN_S = 30.0
"""How long an overloaded peer may take to end what it has begun; what is left then is an error."""


class Scenario(NamedTuple):
    """One load."""

    asked: Asked
    connections: int
    spread_s: float = 0.0
    """Time over which they begin, so that streams do not step in time."""
    rate: int = 0


SCENARIOS = {
    "plain": Scenario(far.plain(), CONNECTIONS),
    "rate": Scenario(far.plain(), CONNECTIONS, rate=RATE),
    "streams": Scenario(far.stream(events=EVENTS, gap_us=10_000), STREAMS, EVENTS * 0.01),
    "rig": Scenario(far.stream(events=EVENTS, gap_us=20_000), STREAMS, EVENTS * 0.02),
}


def measure(*, quick: bool = False) -> Attempt:
    """Installs, starts, measures; every run is written when it has ended."""
    attempt = results.begin({"peers": True, "quick": quick, "missing": {}, "settings": {}})
    found = [peer for peer in table.PEERS if _installed(peer, attempt)]
    _say(f"measuring corvus beside {', '.join(peer.name for peer in found) or 'nobody'}")
    with ExitStack() as stack:
        upstream = stack.enter_context(far.running())
        place({"far": upstream.pid})
        ours = stack.enter_context(stack_running(upstream))
        subjects = [direct(upstream), ours.subject()]
        for peer in found:
            subjects += _start(peer, upstream, stack, attempt)
        rounds = QUICK_ROUNDS if quick else ROUNDS
        seconds = QUICK_SECONDS if quick else SECONDS
        for name, scenario in SCENARIOS.items():
            for number in range(1, rounds + 1):
                turn = subjects if number % 2 else subjects[::-1]
                for subject, words in _turns(name, scenario, turn, attempt):
                    _say(f"{name} {number}/{rounds} {subject.name}")
                    run = _run(name, subject, words, seconds)
                    run.round = number
                    attempt.runs.append(run)
                    results.write(attempt)
        attempt.runs.append(_books(ours))
    results.write(attempt)
    return attempt


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


def _start(peer: Peer, upstream: Far, stack: ExitStack, attempt: Attempt) -> list[Subject]:
    _say(f"starting {peer.name}")
    try:
        subject = stack.enter_context(peer.running(upstream))
    except Missing as missing:
        attempt.options["missing"][peer.name] = str(missing)
        return []
    return [subject] if subject is not None else []


def _turns(
    name: str, scenario: Scenario, subjects: list[Subject], attempt: Attempt
) -> Iterator[tuple[Subject, Scenario]]:
    """Who is measured how in one round; at a fixed rate the far end once for each rate."""
    if not scenario.rate:
        yield from ((subject, scenario) for subject in subjects)
        return
    rates = {subject.name: carried(attempt.runs, subject.name) for subject in subjects}
    for subject in subjects:
        mine = sorted(set(rates.values())) if subject.name == "direct" else [rates[subject.name]]
        yield from ((subject, scenario._replace(rate=rate)) for rate in mine)


def carried(runs: list[Run], subject: str) -> int:
    """`RATE`, or what this subject can carry without a queue, in steps of `RATE_STEP` a second."""
    reached = [
        run.load["answers_per_s"]
        for run in runs
        if run.scenario == "plain" and run.subject == subject and not run.failed
    ]
    if not reached:
        return RATE
    most = int(statistics.median(reached) * SHARE) // RATE_STEP * RATE_STEP
    return min(RATE, max(RATE_STEP, most))


def _run(name: str, subject: Subject, scenario: Scenario, seconds: float) -> Run:
    """One measured load after a short one."""
    variant: dict[str, Any] = dict(subject.variant)
    if scenario.rate:
        variant["rate"] = scenario.rate
    run = Run(name, subject.name, variant, began=results.now())
    try:
        # Few streams: those that an overloaded peer has begun are waited for.
        few = scenario._replace(connections=min(CONNECTIONS, scenario.connections))
        _load(subject, few, min(WARM_S, seconds))
        before = {tree: processes.cpu_us(pid) for tree, pid in subject.trees.items()}
        run.load = _load(subject, scenario, seconds)
        run.cpu_us = {
            tree: processes.cpu_us(pid) - before[tree] for tree, pid in subject.trees.items()
        }
    except CorvusError as error:
        run.failed = str(error)
        return run
    if "gateway" in subject.trees:
        run.memory_kb = {"after": processes.memory_kb(subject.trees["gateway"])["tree"]}
    if not run.load["answers"]:
        run.failed = f"no whole answer: {run.load.get('first_error') or run.load['errors']}"
    return run


def _load(subject: Subject, scenario: Scenario, seconds: float) -> dict[str, Any]:
    words: dict[str, float | str] = {
        "connections": scenario.connections,
        "seconds": seconds,
        "drain_s": DRAIN_S,
    }
    if scenario.spread_s:
        words["spread_s"] = scenario.spread_s
    if scenario.rate:
        words["rate"] = scenario.rate
    with _off_the_core():
        return load.run(
            subject.port,
            scenario.asked,
            secrets=subject.secrets,
            headers=subject.headers,
            **words,
        )


@contextlib.contextmanager
def _off_the_core() -> Iterator[None]:
    """What starts inside stays off the core of whoever is measured, where there is another."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[1:]) or cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _books(ours: Stack) -> Run:
    """Whether our books are right after it all."""
    report = ours.settled()
    more = {name: report[name] for name in ("drift_nanos", "ok")}
    return Run("books", "corvus", began=results.now(), more=more)


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
