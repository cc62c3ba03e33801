"""37: providers that report wrongly, break off, fall silent, or say 200 and mean an error."""

import asyncio
import dataclasses
from typing import NamedTuple

from corvus_proxy.money.event import Event, decode_meta
from corvus_proxy.ops.drill.checkers import STRICT
from corvus_proxy.ops.drill.client import Answer, Wish
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.stack import GATEWAYS
from corvus_proxy.ops.drill.workload import MODELS

TOKENS = 8
LIMIT = 200
PACE_S = 0.02


class Odd(NamedTuple):
    """One oddity and how it has to end."""

    words: str
    outcome: str
    flag: str = ""
    """One that has to stand on the event."""
    status: int = 200
    code: str = ""
    """The error that the client reads; empty for a whole answer, `*` for the upstream's own."""


MISSING, CUT = "usage_missing", "upstream_cut_midstream"
EARLY, LATE = "upstream_error_before_first_byte", "gateway_timeout"
GONE, SHORT = "upstream_unavailable", "upstream_cut"
REPORTS = (
    Odd("no_usage", MISSING),
    Odd("zero_usage", MISSING, "usage_zero"),
    Odd("lie=negative", MISSING, "usage_invalid"),
    Odd("lie=huge", MISSING, "usage_invalid"),
    Odd("report_output=5000", "usage_contradiction", "usage_lowered"),
    Odd("refusal", "content_refusal"),
)
"""Of streams and of whole answers."""
WHOLE = (
    *REPORTS,
    Odd("error_body", EARLY, status=502, code=GONE),
    Odd("no_answer", EARLY, status=502, code=GONE),
    Odd("cut_after=0", EARLY, status=502, code=GONE),
    Odd("ttfb_ms=6000", EARLY, status=504, code="upstream_timeout"),
)
STREAMED = (
    *REPORTS,
    Odd("lie=twice", "completed"),
    Odd("error_body", EARLY, status=502, code=GONE),
    Odd("no_answer", EARLY, status=502, code=GONE),
    Odd("cut_after=0", EARLY, code=SHORT),
    Odd("error_after=0", EARLY, code="*"),
    Odd("error_after=5", CUT, code="*"),
    Odd("cut_late", CUT, code=SHORT),
    Odd("end_after=0", EARLY, code=SHORT),
    Odd("end_after=4", CUT, code=SHORT),
    Odd("stall_after=0", LATE, code="upstream_timeout"),
    Odd("stall_after=6", LATE, code="upstream_timeout"),
    Odd("ttfb_ms=6000", EARLY, status=504, code="upstream_timeout"),
    *(Odd(f"cut_after={at}", CUT, code=SHORT) for at in range(1, TOKENS + 1)),
)


async def odd_upstream(scene: Scene) -> None:
    """37"""
    asked: list[tuple[Odd, Wish]] = []
    for dialect, slug in MODELS:
        early = Odd("lie=early", MISSING if dialect == "messages" else "completed")
        for stream, odds in ((True, (*STREAMED, early)), (False, WHOLE)):
            asked += [(odd, wish_of(scene, (dialect, slug), odd, stream=stream)) for odd in odds]
    scene.chance.shuffle(asked)
    answers = await asyncio.gather(
        *(answered(scene, wish, number * PACE_S) for number, (_, wish) in enumerate(asked))
    )
    ends = {event.id: event for event in await scene.ends([one.request_id for one in answers])}
    for (odd, _), answer in zip(asked, answers, strict=True):
        if why := wrong_end(odd, answer, ends[answer.request_id]):
            kind = "stream" if answer.wish.stream else "whole answer"
            scene.violated(f"{odd.words} in a {kind} of {answer.wish.slug}: {why}")
    scene.note(f"{len(asked)} odd answers")


async def answered(scene: Scene, wish: Wish, after_s: float) -> Answer:
    """The answer of a provider; where the ledger could not admit the request, it is made again."""
    await asyncio.sleep(after_s)
    gateway = scene.chance.choice(GATEWAYS)
    while True:
        answer = await scene.load.send(wish, gateway)
        if answer.code != "ledger_unavailable":
            return answer
        await scene.wait(0.2, 0.5)
        wish = dataclasses.replace(wish, tag=f"{wish.tag}r")


def wish_of(scene: Scene, model: tuple[str, str], odd: Odd, *, stream: bool) -> Wish:
    """A request to a provider that will do that."""
    wish = scene.load.stream(
        scene.chance.choice(scene.load.rich), f"tokens={TOKENS}; delay_ms=5; {odd.words}", model
    )
    wish.stream, wish.max_tokens = stream, LIMIT
    return wish


def wrong_end(odd: Odd, answer: Answer, event: Event) -> str:
    """What of the answer or its event is other than it has to be."""
    if answer.status != 200 and odd.code in (SHORT, "*"):
        # It fell before the client had a byte: a plain error, after which another may be tried.
        free = (event.outcome, event.delta_nanos) == (EARLY, 0)
        plain = answer.code in (GONE, "upstream_overloaded")
        return "" if plain and free else f"the client read {answer.status} {answer.code}"
    told = odd.code if odd.code != "*" else answer.code
    if (answer.status, answer.code) != (odd.status, told) or bool(told) != bool(odd.code):
        return f"the client read {answer.status} {answer.code or answer.broken}"
    if answer.status == 200 and answer.whole == bool(odd.code):
        return f"the stream ended {'whole' if answer.whole else 'too early'}"
    if event.outcome != odd.outcome:
        return f"booked as {event.outcome}"
    flags = decode_meta(event.meta).flags
    if odd.flag and odd.flag not in flags:
        return f"booked with the flags {flags}"
    return ""


FAULTS = (
    Fault(
        37,
        "upstream: odd and broken answers",
        "for each model, streamed and whole: usage missing, zero, twice, ahead of the text,"
        " negative, 10^12 of everything, above the limit; cut at each event, ended early, an error"
        " event, silence, an error with status 200",
        "each ends with its own outcome and error (money.md); usage that cannot be true is not"
        " charged, what did not come is not charged",
        odd_upstream,
        STRICT,
    ),
)
