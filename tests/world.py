"""A world for recovery: one Redis of its own, books, the worker's jobs, two gateway processes."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from corvus_proxy import secret
from corvus_proxy.books import nodes, statements
from corvus_proxy.books.db import Books
from corvus_proxy.ledger.archive import Archive
from corvus_proxy.ledger.coordinator import Coordinator
from corvus_proxy.ledger.verify import verify
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.event import Meta, encode_meta
from corvus_proxy.ops import embedded
from corvus_proxy.service import keys
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.holds import Hold, Holds
from corvus_proxy.till.journal import Node
from corvus_proxy.till.recovery.report import Reporter
from corvus_proxy.till.reply import Ask

PEPPER = b"p" * 32
META = encode_meta(Meta(price_version="pv", source="upstream", ended_ms=1_790_000_000_000))


class Process:
    """A gateway process: its holds, its journal, its reports."""

    def __init__(self, till: Till, folder: Path, name: str) -> None:
        self.node = Node(folder, PEPPER)
        self.journal = self.node.journal(name, sync_ms=5)
        self.holds = Holds(till, self.journal, lease_s=60, lag_limit=10**6, wait_s=0, waiters_max=1)
        self.reporter = Reporter(till, self.holds, self.node)
        self.reporter.start()

    async def begin(self, made: keys.Created, rid: str, nanos: int) -> Hold:
        digest = secret.digest(made.secret, PEPPER)
        hold = await self.holds.reserve(
            Ask(rid, made.wallet, digest, nanos, nanos, 0, "pv", "slug", 1)
        )
        assert isinstance(hold, Hold), hold
        return hold

    async def charge(self, made: keys.Created, rid: str, nanos: int, *, meta: bytes = META) -> None:
        hold = await self.begin(made, rid, nanos)
        assert await hold.settle(nanos, "completed", meta, wait_s=30)

    async def kill(self) -> None:
        """What the kernel does for a dead process."""
        assert self.reporter._task
        for task in (self.reporter._task, *self.reporter.replay.tasks.values()):
            task.cancel()
        for task in list(self.holds._unsettled.values()):
            task.cancel()
        await asyncio.sleep(0)
        for segment in self.journal._segments:
            os.close(segment.fd)
        self.journal._segments = []
        os.close(self.journal._lock)
        self.node.leave()


class World:
    """One Redis of its own, books, worker jobs, two gateway processes on two nodes."""

    def __init__(self, server: embedded.Redis, till: Till, books: Books, folder: Path) -> None:
        self.server, self.till, self.books, self.folder = server, till, books, folder
        self.stores = Stores(till, books, PEPPER)
        self.one = Process(till, folder / "node1", "p1")
        self.two = Process(till, folder / "node2", "p2")
        self.archive = Archive(str(folder / "archive"), days=7)
        self.writer = Writer(till, books, keep=5, archive=self.archive)
        self.coordinator = Coordinator(
            till, books, behind=self.writer.why_behind, in_hand=self.writer.in_hand
        )
        self.jobs: list[asyncio.Task[None]] = []

    def work(self, *, writer: bool = True) -> None:
        self.jobs.append(asyncio.create_task(self.coordinator.run()))
        if writer:
            self.jobs.append(asyncio.create_task(self.writer.run()))

    async def rest(self) -> None:
        for job in self.jobs:
            job.cancel()
        await asyncio.gather(*self.jobs, return_exceptions=True)
        self.jobs = []

    async def until(self, what: Callable[[], Awaitable[bool]], *, timeout_s: float = 60) -> None:
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            # A process that meets another server ends every connection, also in the middle.
            with contextlib.suppress(TillUnavailable):
                if await what():
                    return
            assert asyncio.get_running_loop().time() < deadline, self.coordinator.closed
            await asyncio.sleep(0.02)

    async def opened(self) -> bool:
        return not await self.till.closed()

    async def listed(self, *names: str) -> None:
        """The books know these processes."""

        async def known() -> bool:
            async with self.books.connection() as connection:
                return set(names) <= {row.process for row in await nodes.known(connection)}

        await self.until(known)

    async def drained(self) -> bool:
        return await self.writer.lag() == 0

    async def settle_down(self) -> None:
        """Open, everything in the books, Redis and the books agree."""
        await self.until(self.opened)
        await self.until(self.drained)
        report = await verify(self.till, self.books)
        assert (report.ok, report.drift_nanos, report.undrained) == (True, 0, 0), report

    async def booked(self, wallet: str) -> dict[str, int]:
        """Charges in the books, by request."""
        async with self.books.connection() as connection:
            rows = await statements.requests(
                connection,
                statements.Scope(wallet),
                statements.Filter(),
                before=(statements.LATEST, ""),
                limit=100_000,
            )
        return {row.request_id: row.charge_nanos for row in rows}
