"""Faults of gateway processes: killed at every step of a request, all at once, or while asked to
stop."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from corvus_proxy.ops.drill.checkers import Bounds
from corvus_proxy.ops.drill.client import Answer, Wish
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.links import DOWN, UP, Seen
from corvus_proxy.ops.drill.stack import GATEWAYS
from corvus_proxy.ops.drill.workload import MODELS

KILLED = Bounds(broken=True)
UNHEARD = Bounds(unheard=True)
READY_S = 10.0
TOGETHER_S = 5.0
"""All gateways are ready again within that time after all of them were killed."""
STREAMS = 200
DRAIN_S = 10.0
MID_SLICE_BYTES = 1500


def asks(script: str) -> Callable[[Seen], bool]:
    """A call of that script on its way to Redis."""
    return lambda seen: seen.way == UP and seen.call is not None and seen.call.name == script


def granted(script: str) -> Callable[[Seen], bool]:
    """Redis's OK to that script on its way back."""

    def matches(seen: Seen) -> bool:
        if seen.way != DOWN or seen.call is None or seen.call.name != script:
            return False
        return isinstance(seen.reply, list) and seen.reply[0] == b"OK"

    return matches


def first_byte(seen: Seen) -> bool:
    """The first event of a stream on its way to a client."""
    return seen.way == DOWN and b"data: " in seen.data


def mid_slice(seen: Seen) -> bool:
    """A later event of a stream."""
    return seen.way == DOWN and seen.passed_bytes > MID_SLICE_BYTES and b"data: " in seen.data


def killed_at(
    matches: Callable[[Seen], bool], link: str = "{}>redis"
) -> Callable[[Scene], Awaitable[None]]:
    """Each gateway in turn is killed when that passes; what has matched never arrives."""

    async def run(scene: Scene) -> None:
        for name in GATEWAYS:
            await scene.kill_when(scene.gateway(name), scene.link(link.format(name)), matches)
            await scene.wait(0.1, 0.6)
            scene.gateway(name).start()
            await scene.stack.until_ready(name, timeout_s=READY_S)
            scene.healed()
            await scene.wait(0.8, 1.2)

    return run


async def kill_all(scene: Scene) -> None:
    """7"""
    for name in GATEWAYS:
        scene.gateway(name).signal(signal.SIGKILL)
    for name in GATEWAYS:
        scene.gateway(name).kill()
    await scene.wait(0.2, 1.0)
    for name in GATEWAYS:
        scene.gateway(name).start()
    await asyncio.gather(
        *(scene.stack.until_ready(name, timeout_s=TOGETHER_S) for name in GATEWAYS)
    )


async def drain(scene: Scene) -> None:
    """8"""
    name = scene.chance.choice(GATEWAYS)
    asked = [stream_of(scene) for _ in range(STREAMS)]
    running = [asyncio.create_task(scene.load.send(wish, name)) for wish in asked]
    sent = list(zip(asked, running, strict=True))
    await scene.until(
        lambda: all(wish.heard or task.done() for wish, task in sent), "every stream has begun"
    )
    begun = [task for wish, task in sent if wish.heard]
    if len(begun) * 2 < len(sent):
        scene.violated(f"only {len(begun)} of {len(sent)} streams had begun: little was shown")
    if any(task.done() for task in running):
        scene.note(f"{sum(task.done() for task in running)} had ended before")
    scene.gateway(name).ask_to_stop()
    if not await scene.gateway(name).ended(DRAIN_S + 5):
        scene.violated(f"gateway {name} has not ended after {DRAIN_S + 5} s")
        scene.gateway(name).kill()
    await asyncio.gather(*running)
    for answer in [task.result() for task in begun]:
        if why := cut_short(answer):
            scene.violated(f"{answer.request_id or answer.wish.tag}: {why}")
    left = set(scene.stack.journal(name).glob("*.journal"))
    scene.gateway(name).start()
    await scene.stack.until_ready(name, timeout_s=READY_S)
    # Where the books were late the process has left its journal to the next one.
    await scene.until(
        lambda: not left & set(scene.stack.journal(name).glob("*.journal")),
        f"the journal that gateway {name} had is in the books, and gone",
    )


def stream_of(scene: Scene) -> Wish:
    """A stream of a few seconds."""
    wallet, model = scene.chance.choice(scene.load.rich), scene.chance.choice(MODELS)
    tokens = scene.chance.randint(30, 40)
    return scene.load.stream(wallet, f"tokens={tokens}; delay_ms=100", model)


def cut_short(answer: Answer) -> str:
    """Why an answer is not what its client had asked for."""
    if answer.ok and answer.whole and answer.settled:
        return ""
    return f"status {answer.status}, {answer.code or answer.broken or 'no final charge'}"


FAULTS = (
    Fault(
        1,
        "gateway killed: before reserve",
        "kill -9 as a `reserve` leaves, which never reaches Redis; each gateway once",
        "the other serves; nothing is held or charged for that request",
        killed_at(asks("reserve")),
        KILLED,
    ),
    Fault(
        2,
        "gateway killed: reserve unseen",
        "kill -9 as Redis grants a hold, whose reply never arrives; each gateway once",
        "the hold ends at zero: by the journal's replay or with its lease",
        killed_at(granted("reserve")),
        KILLED,
    ),
    Fault(
        3,
        "gateway killed: first byte",
        "kill -9 as the first event of a stream leaves for the client; each gateway once",
        "the request ends at its last checkpoint",
        killed_at(first_byte, "clients>{}"),
        KILLED,
    ),
    Fault(
        4,
        "gateway killed: mid-slice",
        "kill -9 in the middle of a stream; each gateway once",
        "the request ends at its last checkpoint",
        killed_at(mid_slice, "clients>{}"),
        KILLED,
    ),
    Fault(
        5,
        "gateway killed: settle unsent",
        "kill -9 as a `settle` leaves, after the journal has it; it never reaches Redis",
        "the journal's charge is made at the restart, once",
        killed_at(asks("settle")),
        KILLED,
    ),
    Fault(
        6,
        "gateway killed: settle unseen",
        "kill -9 as Redis answers a `settle`, whose reply never arrives",
        "charged once: the replay finds it done",
        killed_at(granted("settle")),
        KILLED,
    ),
    Fault(
        7,
        "all gateways killed",
        "kill -9 of all gateways at once",
        "all are ready again within 5 s; what they had journalled is charged once",
        kill_all,
        KILLED,
        back_s=TOGETHER_S,
    ),
    Fault(
        8,
        "gateway told to stop",
        f"SIGTERM to a gateway with {STREAMS} streams",
        "none of them is cut, each is charged; its journal goes as soon as the books have it; the"
        " other serves",
        drain,
        UNHEARD,
    ),
)
