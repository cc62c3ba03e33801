"""Faults of the network, each of one link: a process that reaches everything but one thing."""

from collections.abc import Callable
from typing import NamedTuple

from corvus_proxy import clock
from corvus_proxy.ops.drill.client import Answer
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.links import DOWN, UP, Link
from corvus_proxy.ops.drill.stack import GATEWAYS

POOR = 429
"""An empty wallet is told so before anybody asks the upstream."""
SEEN_S = 0.5
"""Until then a request may have got through before the cut."""
SLOW_S = 5.0
"""Longer than a gateway waits for an upstream that is silent."""


class Cut(NamedTuple):
    """One link that does not carry, and what it means to those behind it."""

    link: str
    gateway: str
    """Whose clients notice; nobody's when empty."""
    statuses: frozenset[int]
    least_s: float


class Done(NamedTuple):
    """A cut as it was made."""

    cut: Cut
    began_s: float
    upto_s: float


WAYS: tuple[Callable[[Link], None], ...] = (
    lambda link: link.hold(),
    lambda link: link.hold(UP),
    lambda link: link.hold(DOWN),
    lambda link: link.refuse(),
)


async def partitions(scene: Scene) -> None:
    """30"""
    lonely = scene.chance.choice(GATEWAYS)
    cuts = [
        Cut(f"{lonely}>redis", lonely, frozenset({503}), 1.5),
        Cut(f"{lonely}>providers", lonely, frozenset({502, 504}), SLOW_S),
        Cut("worker>redis", "", frozenset(), 1.5),
        Cut("worker>postgres", "", frozenset(), 1.5),
    ]
    scene.chance.shuffle(cuts)
    made = []
    for cut in cuts:
        link = scene.link(cut.link)
        scene.chance.choice(WAYS)(link)
        began_s = clock.monotonic_s()
        await scene.wait(cut.least_s, cut.least_s + 0.5)
        made.append(Done(cut, began_s, clock.monotonic_s()))
        link.heal()
        scene.healed()
        await scene.wait(0.8, 1.2)
    for done in made:
        judge(scene, done)


def judge(scene: Scene, done: Done) -> None:
    """Those behind the cut have the answers that it means, all others are served."""
    cut, meanwhile = done.cut, f"{done.cut.link} is cut"
    asked = scene.asked(done.began_s, done.upto_s)
    scene.must_be_well([one for one in asked if one.gateway != cut.gateway], meanwhile)
    if not cut.gateway:
        return
    behind = [
        one
        for one in asked
        if one.gateway == cut.gateway
        and one.began_s > done.began_s + SEEN_S
        and one.ended_s < done.upto_s
    ]
    wrong = [one for one in behind if one.status not in {*cut.statuses, POOR}]
    if wrong or not any(one.status in cut.statuses for one in behind):
        scene.violated(
            f"{len(wrong)} of {len(behind)} wrong answers while {meanwhile}: {words(wrong[:3])}"
        )


def words(answers: list[Answer]) -> list[str]:
    """What each says, in short."""
    return [f"{one.status} {one.code or one.broken}" for one in answers]


FAULTS = (
    Fault(
        30,
        "a process cut off from one thing",
        "in any order, held one way or both or refused: a gateway from Redis, a gateway from the"
        " upstreams, the worker from Redis, the worker from Postgres",
        "503, and 502 or 504, at that gateway, while the other serves; all is served without the"
        " worker; only the lag grows",
        partitions,
        back_s=2,
    ),
)
