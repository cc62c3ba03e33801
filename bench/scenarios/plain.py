"""Requests with plain answers: saturation, a low rate, large bodies, one and two processes."""

from functools import partial

from bench import far
from bench.far import Asked
from bench.scenarios.base import Bench, alternate
from bench.stack import Stack, Subject, floor

CONNECTIONS = 16
CROWDS = (1, 16, 64, 256)
RATE = 200
BODIES_KB = {2: 16, 50: 16, 1024: 4, 20_480: 2}
"""Connections by the size of the body."""


def saturation(bench: Bench) -> None:
    """16 connections, 1 KB answers, as fast as they come; till open and closed, nginx, direct."""
    step = partial(_saturate, bench, "plain", far.plain())
    alternate(
        bench.plan.alternating,
        partial(step, bench.direct),
        *(partial(step, subject) for subject in bench.nginx),
        partial(step, bench.stack("open").subject()),
        partial(step, bench.stack("closed").subject()),
    )


def _saturate(
    bench: Bench, scenario: str, asked: Asked, subject: Subject, round_number: int
) -> None:
    bench.measured(subject, scenario, asked, round_number, connections=CONNECTIONS)


def crowds(bench: Bench) -> None:
    """The same over 1, 16, 64 and 256 connections: what a request costs alone, and in company."""

    def step(subject: Subject, connections: int, round_number: int) -> None:
        variant = {"connections": connections}
        bench.measured(
            subject, "crowds", far.plain(), round_number, variant=variant, connections=connections
        )

    subjects = [*bench.nginx, bench.stack("open").subject(), bench.stack("closed").subject()]
    steps = [partial(step, subject, count) for count in CROWDS for subject in subjects]
    alternate(bench.plan.rounds, *steps)


def server(bench: Bench) -> None:
    """The ASGI server without the gateway, answering by itself and forwarding: what comes before
    the first line of ours."""
    asked = far.plain()
    with floor.running(bench.far) as alone:
        answers = alone._replace(variant={"does": "answers"})
        forwards = alone._replace(variant={"does": "forwards"})
        alternate(
            bench.plan.rounds,
            *(partial(_saturate, bench, "server", asked, subject) for subject in bench.nginx),
            partial(_saturate, bench, "server", asked._replace(path="/answers"), answers),
            partial(
                _saturate, bench, "server", asked._replace(path=f"/forwards{asked.path}"), forwards
            ),
        )


def rate(bench: Bench) -> None:
    """200 requests a second at fixed times: what is added to the far end's own latency."""

    def step(subject: Subject, round_number: int) -> None:
        bench.measured(subject, "rate", far.plain(), round_number, connections=64, rate=RATE)

    alternate(
        bench.plan.alternating,
        partial(step, bench.direct),
        *(partial(step, subject) for subject in bench.nginx),
        partial(step, bench.stack().subject()),
    )


def bodies(bench: Bench) -> None:
    """Requests of 2 KB, 50 KB, 1 MB and 20 MB; the largest are a picture, as large ones are."""
    for size_kb, connections in BODIES_KB.items():
        size_bytes = size_kb * 1024
        large = size_kb > 1024
        asked = far.picture(size_bytes) if large else far.plain(body_bytes=size_bytes)

        def step(
            subject: Subject,
            number: int,
            asked: Asked = asked,
            size_kb: int = size_kb,
            connections: int = connections,
        ) -> None:
            bench.measured(
                subject,
                "bodies",
                asked,
                number,
                variant={"body_kb": size_kb},
                connections=connections,
            )

        alternate(
            bench.plan.rounds,
            *(partial(step, subject) for subject in bench.nginx),
            partial(step, bench.stack().subject()),
        )


def gateway_processes(bench: Bench) -> None:
    """One and two gateway processes, both on all cores, 16 connections each: CPU a request must not
    grow."""
    with (
        bench.own_stack(workers=1, pinned=False) as one,
        bench.own_stack(workers=2, pinned=False) as two,
    ):
        # As many for each process: fewer requests at a time cost more each (`crowds`).
        step = partial(bench.measured, scenario="processes", asked=far.plain())

        def both(stack: Stack, processes: int, number: int) -> None:
            step(stack.subject(), round_number=number, connections=CONNECTIONS * processes)

        alternate(bench.plan.alternating, partial(both, one, 1), partial(both, two, 2))
