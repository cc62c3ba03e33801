"""Many open streams, readers that stall or are slow, and what one client's load does to another."""

import time
from functools import partial
from typing import Any

from bench import far, load
from bench.scenarios.base import Bench, alternate
from bench.stack import Stack, Subject

HELD = (1_000, 5_000, 10_000)
PER_S = 1_000
"""Streams that begin in a second."""
HOLD_S = 10
HUGE_EVENTS, HUGE_EVENT_BYTES = 20_000, 10_000
SLOW_BYTES_PER_S = 1_000_000
IDLE, ACTIVE = 5_000, 32
IDLE_GAP_US = 10_000_000
LEFT_S = 3.0
"""After clients have gone the gateway reads on for the usage for up to 2 s."""


def _warm(bench: Bench, stack: Stack) -> Subject:
    """A stack that has served: what is allocated once is allocated."""
    subject = stack.subject()
    for asked in (far.plain(), far.stream(gap_us=0)):
        load.run(subject.port, asked, secrets=subject.secrets, seconds=bench.plan.warm_s)
    return subject


def held(bench: Bench) -> None:
    """1,000, 5,000 and 10,000 streams at once on one process, an event a second each: memory a
    stream, and whether every frame arrives. A fresh stack each time."""

    def step(streams: int, number: int) -> None:
        with bench.own_stack() as stack:
            subject = _warm(bench, stack)
            ramp_s = max(1.0, streams / PER_S)
            # Each lasts longer than all of them take to begin.
            events = int(ramp_s) + (2 if bench.plan.quick else HOLD_S)
            bench.measured(
                subject,
                "held",
                far.stream(events=events, gap_us=1_000_000),
                number,
                variant={"streams": streams},
                warm_s=0,
                connections=streams,
                spread_s=ramp_s,
                seconds=ramp_s + 0.5,
                drain_s=events + 30,
            )

    sizes = [bench.plan.size(streams) for streams in HELD]
    alternate(bench.plan.rounds, *(partial(step, streams) for streams in sizes))


def stalled(bench: Bench) -> None:
    """Readers of 200 MB that read nothing, or 1 MB a second: what the gateway keeps for them. A
    fresh stack each time: memory that was freed stays with a process for the next."""
    asked = far.stream(events=bench.plan.size(HUGE_EVENTS), gap_us=0, event_bytes=HUGE_EVENT_BYTES)
    kinds: tuple[tuple[str, int, dict[str, float]], ...] = (
        ("stalled", 1, {"stall": 1}),
        ("stalled", 20, {"stall": 1}),
        ("slow", 20, {"slow": SLOW_BYTES_PER_S}),
    )

    def step(kind: str, readers: int, words: dict[str, float], number: int) -> None:
        with bench.own_stack() as stack:
            bench.measured(
                _warm(bench, stack),
                "stalled",
                asked,
                number,
                variant={"kind": kind, "readers": readers},
                warm_s=0,
                connections=readers,
                cut=1,
                **words,
            )

    alternate(bench.plan.rounds, *(partial(step, *kind) for kind in kinds))


def idle(bench: Bench) -> None:
    """32 streams alone, and beside 5,000 that are silent."""
    count = bench.plan.size(IDLE)
    with bench.own_stack() as stack:
        subject = _warm(bench, stack)

        def active(beside: int, number: int) -> None:
            bench.measured(
                subject,
                "idle",
                far.stream(),
                number,
                variant={"idle": beside},
                connections=ACTIVE,
                spread_s=0.64,
            )

        def crowded(number: int) -> None:
            silent = far.stream(gap_us=IDLE_GAP_US)
            words: dict[str, Any] = {
                "connections": count,
                "spread_s": count / PER_S,
                "seconds": 600,
                "tell": 1,
            }
            with load.beside(
                subject.port, silent, secrets=subject.secrets, cut=1, **words
            ) as others:
                others.wait_all()
                active(count, number)
            time.sleep(LEFT_S)

        alternate(bench.plan.rounds, partial(active, 0), crowded)


def large(bench: Bench) -> None:
    """32 streams alone, and while another client sends bodies of 20 MB one after the other."""
    size_mb = 2 if bench.plan.quick else 20
    subject = bench.stack().subject()

    def active(beside_mb: int, number: int) -> None:
        bench.measured(
            subject,
            "large",
            far.stream(),
            number,
            variant={"beside_mb": beside_mb},
            connections=ACTIVE,
            spread_s=0.64,
        )

    def crowded(number: int) -> None:
        asked = far.picture(size_mb * 1_000_000)
        with load.beside(
            subject.port, asked, secrets=subject.secrets, connections=1, seconds=600, cut=1
        ):
            active(size_mb, number)

    alternate(bench.plan.rounds, partial(active, 0), crowded)
