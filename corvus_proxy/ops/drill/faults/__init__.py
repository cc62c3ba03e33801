"""The named faults: what each is, and what the drill gives it to work with.

A fault is a coroutine over a `Scene`. It finds a stack under load, breaks it, mends it, and
returns; what must hold is checked by the runner, for all alike. What only this fault can know it
adds by `scene.violated`. docs/drill.md has a row for each, and a test compares it with `TABLE`.
"""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from corvus_proxy import clock
from corvus_proxy.errors import CorvusError
from corvus_proxy.money.event import Event
from corvus_proxy.ops.drill.checkers import STRICT, Bounds
from corvus_proxy.ops.drill.client import Answer
from corvus_proxy.ops.drill.links import DOWN, Link, Seen
from corvus_proxy.ops.drill.logs import ends_of
from corvus_proxy.ops.drill.stack import Stack
from corvus_proxy.ops.drill.stack.process import Process
from corvus_proxy.ops.drill.workload import CLIENTS, Workload


@dataclass
class Scene:
    """One fault's stage."""

    stack: Stack
    load: Workload
    chance: random.Random
    bounds: Bounds = STRICT
    """The fault's own; one that only the fault can measure is set here."""
    healed_s: float = 0.0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def healed(self) -> None:
        """From now on everything must go well again; the end of the fault is taken else."""
        self.healed_s = clock.monotonic_s()

    def violated(self, sentence: str) -> None:
        """Something that had to hold did not."""
        self.problems.append(sentence)

    def note(self, sentence: str) -> None:
        """A fact for the report."""
        self.notes.append(sentence)

    @staticmethod
    def now_s() -> float:
        """The clock of the answers' times."""
        return clock.monotonic_s()

    async def wait(self, least_s: float, most_s: float) -> None:
        """A while between the two, from the seed."""
        await asyncio.sleep(self.chance.uniform(least_s, most_s))

    async def until(
        self, done: Callable[[], bool | Awaitable[bool]], what: str, *, timeout_s: float = 60
    ) -> None:
        """Waits until `done`. Raises CorvusError that says `what` did not come about."""
        deadline_s = clock.monotonic_s() + timeout_s
        while True:
            found = done()
            if found if isinstance(found, bool) else await found:
                return
            if clock.monotonic_s() > deadline_s:
                raise CorvusError(f"after {timeout_s} s it has not come about that {what}")
            await asyncio.sleep(0.02)

    async def kill_when(
        self, process: Process, link: Link, matches: Callable[[Seen], bool], *, within: int = 12
    ) -> None:
        """kill -9 of a process in the very moment in which what `matches` passes a link, at its
        first to `within`th time by the seed; it never arrives. The process is dead on return."""
        struck = asyncio.Event()
        left = self.chance.randint(1, within)

        def watch(seen: Seen) -> bool:
            nonlocal left
            if struck.is_set():
                return True
            if not matches(seen):
                return False
            left -= 1
            if left:
                return False
            process.signal(signal.SIGKILL)
            struck.set()
            return True

        link.watch(watch)
        await self.until(struck.is_set, f"{link.name} saw what it watches for")
        process.kill()
        link.heal()

    def count(self, script: str) -> Callable[[], int]:
        """Counts Redis's OKs to a script from now on, on every gateway's link."""
        seen_so_far = 0

        def tap(seen: Seen) -> None:
            nonlocal seen_so_far
            if seen.way == DOWN and seen.call is not None and seen.call.name == script:
                seen_so_far += isinstance(seen.reply, list) and seen.reply[0] == b"OK"

        for link in self.stack.redis_links:
            link.taps.append(tap)
        return lambda: seen_so_far

    def listen(self, name: str) -> Callable[[str], bool]:
        """Whether a process's log has said these words from now on."""
        log = self.stack.log(name)
        start = log.stat().st_size

        def said(words: str) -> bool:
            with log.open("rb") as file:
                file.seek(start)
                return words.encode() in file.read()

        return said

    def asked(self, since_s: float, upto_s: float | None = None) -> list[Answer]:
        """Answers to what was asked between two moments, as far as they have ended."""
        upto_s = clock.monotonic_s() if upto_s is None else upto_s
        return [one for one in self.load.answers if since_s <= one.began_s <= upto_s]

    def must_be_well(self, answers: Iterable[Answer], meanwhile: str) -> None:
        """They are what a service gives that is well; one in a hundred may be a stray."""
        found = list(answers)
        bad = [f"{one.status} {one.code or one.broken}" for one in found if not one.well]
        if not found or len(bad) * 100 > len(found):
            self.violated(f"{len(bad)} of {len(found)} not served while {meanwhile}: {bad[:3]}")

    async def ends(self, rids: list[str], *, timeout_s: float = 30) -> list[Event]:
        """How these requests ended, once the books have all of them."""
        found: list[Event] = []

        async def booked() -> bool:
            found[:] = await ends_of(self.stack.stores.books, rids)
            return len(found) == len(set(rids))

        await self.until(booked, f"the books have {len(rids)} requests", timeout_s=timeout_s)
        return found

    async def ends_upstream(self, upstream_ids: list[str]) -> list[Event]:
        """How requests ended that a provider knows by these ids, as far as the books have them."""
        return await ends_of(self.stack.stores.books, upstream_ids, upstream=True)

    # -- the parts ----------------------------------------------------------------------------

    def link(self, name: str) -> Link:
        """A link by its name, such as `a>redis`."""
        return self.stack.links[name]

    @property
    def redis(self) -> Process:
        return self.stack.redis

    @property
    def postgres(self) -> Process:
        return self.stack.postgres

    @property
    def worker(self) -> Process:
        return self.stack.worker

    def gateway(self, name: str) -> Process:
        """Gateway `a` or `b`."""
        return self.stack.gateways[name]

    async def start_redis(self) -> None:
        """Redis starts on what is in its folder, and answers."""
        self.redis.start()
        await asyncio.to_thread(self.stack.redis_server.wait)

    async def start_postgres(self) -> None:
        """Postgres starts on what is in its folder, and accepts connections."""
        self.postgres.start()
        await asyncio.to_thread(self.stack.postgres_server.wait)


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    number: int
    name: str
    done: str
    """What the drill does."""
    expected: str
    """What must hold, during and after, beside the checkers C1 to C12."""
    run: Callable[[Scene], Awaitable[None]] | None = None
    bounds: Bounds = STRICT
    back_s: float = 10.0
    """Served again within that time after healing."""
    needs: str = ""
    """Why it cannot be run; empty where it can."""
    cluster: bool = False
    """It is made on a stack whose Redis is a cluster."""
    destroys: bool = False
    """The stack is not what it was, and the next fault gets a new one."""
    clients: int = CLIENTS
