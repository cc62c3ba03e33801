"""38: clients that close anywhere, close half, read a byte a second, or never read."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable, Collection
from typing import NamedTuple

from corvus_proxy.money.event import Event, decode_meta
from corvus_proxy.ops.drill.client import TERMINAL, Wish
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.logs import read_served
from corvus_proxy.ops.drill.stack import GATEWAYS

SHORT, LONG = "tokens=12; delay_ms=8", "tokens=190; delay_ms=10"
ENDLESS, ENDLESS_TOKENS = "tokens=4000; delay_ms=1; padding=4000", 4000
"""More than all buffers between a gateway and its client hold."""
SPOKEN = (("chat", "gpt-4.1"), ("messages", "claude-haiku-5-5"))
ROOM_BYTES = 4096
GIVE_UP_S = 25.0
STATUS_BYTES = len("HTTP/1.1 200")
LOOK_S, BOOKED_S = 0.3, 30.0
STALLED_MB, SLACK_MB = 4, 24
"""What a gateway may grow by: for each client that does not read, and by its other work."""


class Manner(NamedTuple):
    """How a client behaves, and how its request may end in the books."""

    name: str
    outcomes: frozenset[str]
    """Empty where no request came to be: no provider may have heard of it."""
    directive: str = LONG
    stop: Callable[[Wish, bytes], bool] | None = None
    """Reads until this holds of what has come, and closes."""
    part: str = ""
    """Sends only up to a byte in this part of the request, and closes."""
    pace_s: float = 0.0
    """Reads one byte in that time, from a small buffer …"""
    deaf: bool = False
    """… or nothing at all."""
    half: bool = False
    """Closes its own side as soon as it has asked, and reads on."""


EARLY = frozenset({"client_cancelled_before_first_byte", "client_cancelled_midstream"})
CANCELLED = frozenset({"client_cancelled_midstream"})
COMPLETED = frozenset({"completed"})
STALLED = frozenset({"slow_reader_timeout"})


def events(count: int) -> Callable[[Wish, bytes], bool]:
    """So many events have begun to come."""
    return lambda _, seen: seen.count(b"data: ") >= count


MANNERS = (
    *(Manner(f"closes in its {part}", frozenset(), part=part)
      for part in ("line", "headers", "body")),
    Manner("closes when it has asked", EARLY, stop=lambda *_: True),
    Manner("closes in the head", EARLY, stop=lambda _, seen: bool(seen)),
    Manner("closes behind the head", EARLY, stop=lambda _, seen: b"\r\n\r\n" in seen),
    *(Manner(f"closes in event {count}", CANCELLED, stop=events(count)) for count in (6, 12, 25)),
    Manner("closes behind the terminal event", COMPLETED, SHORT,
           stop=lambda wish, seen: TERMINAL[wish.dialect] in seen),
    Manner("closes in the last comment", COMPLETED, SHORT,
           stop=lambda _, seen: b": corvus" in seen),
    Manner("closes its own side", COMPLETED | EARLY, SHORT, half=True),
    Manner("reads a byte a second", STALLED, ENDLESS, pace_s=1.0),
    Manner("never reads", STALLED, ENDLESS, pace_s=1.0, deaf=True),
)  # fmt: skip


async def odd_clients(scene: Scene) -> None:
    """38"""
    asked = []
    spoken = itertools.cycle(scene.chance.sample(SPOKEN, 2))
    for manner in MANNERS:
        for model in [next(spoken)] if manner.outcomes == STALLED else SPOKEN:
            asked.append((manner, wish_of(scene, model, manner), scene.chance.choice(GATEWAYS)))
    scene.chance.shuffle(asked)
    before = {name: scene.gateway(name).memory_bytes() for name in GATEWAYS}
    most = dict(before)
    behaving = asyncio.gather(*(behave(scene, *one) for one in asked))
    while not behaving.done():
        await asyncio.sleep(0.1)
        most = {name: max(most[name], scene.gateway(name).memory_bytes()) for name in GATEWAYS}
    await behaving
    for name in GATEWAYS:
        stalled = sum(
            manner.outcomes == STALLED and gateway == name for manner, _, gateway in asked
        )
        grown_mb = (most[name] - before[name]) / 1e6
        if grown_mb > STALLED_MB * stalled + SLACK_MB:
            scene.violated(
                f"gateway {name} grew by {grown_mb:.0f} MB for {stalled} who do not read"
            )
    await judge(scene, [(manner, wish) for manner, wish, _ in asked])


def wish_of(scene: Scene, model: tuple[str, str], manner: Manner) -> Wish:
    """A stream of this client."""
    wish = scene.load.stream(scene.chance.choice(scene.load.rich), manner.directive, model)
    if manner.directive == ENDLESS:
        wish.max_tokens = ENDLESS_TOKENS
    return wish


async def behave(scene: Scene, manner: Manner, wish: Wish, gateway: str) -> None:
    """One client. However it is cut off is its own affair; where the ledger could not admit it, it
    asks again, by the same word."""
    await scene.wait(0.0, 1.0)
    while not await behaved(scene, manner, wish, gateway):
        await scene.wait(0.2, 0.5)


async def behaved(scene: Scene, manner: Manner, wish: Wish, gateway: str) -> bool:
    """One try; False where it was refused for the time being."""
    plain = socket.socket()
    plain.setblocking(False)
    if manner.pace_s:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM_BYTES)
    loop = asyncio.get_running_loop()
    port = scene.link(f"clients>{gateway}").port
    try:
        async with asyncio.timeout(GIVE_UP_S):
            await loop.sock_connect(plain, ("127.0.0.1", port))
            await loop.sock_sendall(plain, asked_bytes(scene, manner, wish))
            if manner.outcomes in (frozenset(), EARLY) or await admitted(plain):
                await listen(scene, manner, wish, plain)
                return True
    except OSError:
        return True
    finally:
        plain.close()
    return False


async def admitted(plain: socket.socket) -> bool:
    """Whether the answer that begins to come, and is not read by this, is no 503."""
    while True:
        with contextlib.suppress(BlockingIOError):
            begin = plain.recv(STATUS_BYTES, socket.MSG_PEEK)
            if len(begin) == STATUS_BYTES or not begin:
                return not begin.endswith(b"503")
        await asyncio.sleep(0.02)


def asked_bytes(scene: Scene, manner: Manner, wish: Wish) -> bytes:
    """What of its request the client sends."""
    request = wish.request()
    line, head = request.index(b"\r\n"), request.index(b"\r\n\r\n") + 4
    spans = {"line": (0, line), "headers": (line, head - 1), "body": (head, len(request) - 1)}
    if not manner.part:
        return request
    return request[: scene.chance.randint(*spans[manner.part])]


async def listen(scene: Scene, manner: Manner, wish: Wish, plain: socket.socket) -> None:
    """Reads in the client's manner, and returns when it has had enough."""
    loop = asyncio.get_running_loop()
    if manner.part:
        return
    if manner.half:
        plain.shutdown(socket.SHUT_WR)
    seen = b""
    at_once = 1 if manner.pace_s else scene.chance.randint(200, 900)
    while manner.stop is None or not manner.stop(wish, seen):
        if manner.outcomes == STALLED and wish.tag in await booked(scene, {wish.tag}):
            return  # it was let go; what stands in its own buffers still hides that from it
        data = b" " if manner.deaf else await loop.sock_recv(plain, at_once)
        if not data:
            return
        seen += data
        await asyncio.sleep(manner.pace_s)


async def booked(scene: Scene, tags: Collection[str]) -> dict[str, Event]:
    """How requests ended in the books, by their clients' tags. Of one that was cancelled ahead of
    the upstream's head nobody here learns the upstream's id."""
    served = await asyncio.to_thread(read_served, scene.stack.served)
    made = {one.request_id: one.tag for one in served if one.tag in tags}
    ends = await scene.ends_upstream(list(made))
    return {made[decode_meta(event.meta).upstream_request_id]: event for event in ends}


async def judge(scene: Scene, asked: list[tuple[Manner, Wish]]) -> None:
    """Each request that a provider had ended as its client's manner wants it."""
    manner_of = {wish.tag: manner for manner, wish in asked}
    certain = {
        tag for tag, manner in manner_of.items() if manner.outcomes and manner.outcomes != EARLY
    }

    found: dict[str, Event] = {}

    deadline_s = scene.now_s() + BOOKED_S
    while not certain <= set(found) and scene.now_s() < deadline_s:
        await asyncio.sleep(LOOK_S)
        found = await booked(scene, manner_of)
    for tag in certain - set(found):
        scene.violated(f"{tag}: the client {manner_of[tag].name}, and the books do not have it")
    for tag, event in found.items():
        manner = manner_of[tag]
        if event.outcome not in manner.outcomes:
            scene.violated(f"{event.id}: the client {manner.name}, booked as {event.outcome}")


FAULTS = (
    Fault(
        38,
        "client: leaves anywhere, stalls",
        "clients that close at a byte of each part of request and answer, close their own side,"
        " read a byte a second, or never read, in both dialects",
        "half a request never reaches a provider; who leaves pays for what had come; who does not"
        " read is let go; a gateway grows by 4 MB for each at most",
        odd_clients,
    ),
)
