"""Paced streams: time to the first token, the gaps between events, CPU an event."""

from functools import partial

from bench import far
from bench.far import Asked
from bench.scenarios.base import Bench, alternate
from bench.stack import Subject, floor

EVENTS, GAP_US = 64, 10_000
RIG_GAP_US, RIG_STREAMS = 20_000, 256


def _paced(
    bench: Bench, scenario: str, asked: Asked, streams: int, subject: Subject, number: int
) -> None:
    # Spread over the time of one answer, so that streams do not step in time.
    bench.measured(
        subject, scenario, asked, number, connections=streams, spread_s=EVENTS * GAP_US / 1e6
    )


def few(bench: Bench) -> None:
    """128 streams at a time of 64 events of 300 bytes, 10 ms apart; Anthropic's form besides."""
    step = partial(_paced, bench, "streams", far.stream(), 128)
    own = partial(_paced, bench, "streams", far.stream(dialect="messages"), 128)
    alternate(
        bench.plan.alternating,
        partial(step, bench.direct),
        *(partial(step, subject) for subject in bench.nginx),
        partial(step, bench.stack("open").subject()),
        partial(step, bench.stack("closed").subject()),
        partial(own, bench.stack("open").subject(dialect="messages")),
    )


def server(bench: Bench) -> None:
    """The same streams through the ASGI server alone: what an event costs before our first line."""
    asked = far.stream()
    own = asked._replace(path=f"/streams{asked.path}")
    with floor.running(bench.far) as alone:
        streams = alone._replace(variant={"does": "streams"})
        alternate(
            bench.plan.rounds,
            *(partial(_paced, bench, "server_streams", asked, 128, one) for one in bench.nginx),
            partial(_paced, bench, "server_streams", own, 128, streams),
        )


def many(bench: Bench) -> None:
    """640 streams at a time: 64,000 events a second are on offer."""
    step = partial(_paced, bench, "streams640", far.stream(), 640)
    alternate(
        bench.plan.rounds,
        partial(step, bench.direct),
        *(partial(step, subject) for subject in bench.nginx),
        partial(step, bench.stack().subject()),
    )


def rig(bench: Bench) -> None:
    """The public rig's shape, 20 ms between 64 deltas: one request at a time for what is added,
    and 256 streams."""

    def alone(subject: Subject, number: int) -> None:
        bench.measured(subject, "rig", far.plain(), number, variant={"shape": "one"}, connections=1)

    def streams(subject: Subject, number: int) -> None:
        bench.measured(
            subject,
            "rig",
            far.stream(events=EVENTS, gap_us=RIG_GAP_US),
            number,
            variant={"shape": "streams"},
            connections=RIG_STREAMS,
            spread_s=EVENTS * RIG_GAP_US / 1e6,
        )

    subjects = [bench.direct, *bench.nginx, bench.stack().subject()]
    for step in (alone, streams):
        alternate(bench.plan.rounds, *(partial(step, subject) for subject in subjects))
