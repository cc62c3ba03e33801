"""The gateway role: `create` makes the ASGI application that Granian serves, one per process.

It needs Redis and its journal folder, and never Postgres.
"""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import structlog

from corvus_proxy import clock, jobs, metrics
from corvus_proxy import pepper as peppers
from corvus_proxy.account.quote import Sold
from corvus_proxy.account.routes import Account
from corvus_proxy.catalogue import margin, timeline
from corvus_proxy.catalogue.book import Book
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.gateway.front.app import Gateway
from corvus_proxy.gateway.front.asgi import application
from corvus_proxy.gateway.lifecycle import Resources
from corvus_proxy.gateway.stopping import Stopping
from corvus_proxy.gateway.streaming.ticker import Ticker
from corvus_proxy.roles.leaving import Leaving
from corvus_proxy.roles.parent import die_with_parent
from corvus_proxy.roles.process import say_if_too_few_descriptors, set_up_logs
from corvus_proxy.roles.reloading import Reloader, Stamp, stamp_of
from corvus_proxy.service import guard
from corvus_proxy.settings import Credential, Settings, Upstream, config_path, load
from corvus_proxy.till.checks import check_server
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.holds import Holds
from corvus_proxy.till.journal import Node, file_system
from corvus_proxy.till.recovery.report import Reporter
from corvus_proxy.till.telling import spending, stops
from corvus_proxy.upstream.pool import Pool
from corvus_proxy.upstream.transport import HttptoolsTransport, Transport

BUDGETS_S = 1.0
"""How often a process asks what its credentials have cost, and what the operator has switched
off."""
_log = structlog.get_logger()


class Process:
    """Everything one gateway process opens, and how it starts and stops."""

    def __init__(self, settings: Settings, *, since: Stamp) -> None:
        """`since`: the stamp of the configuration file from before it was read."""
        if not settings.ledger.journal_dir:
            raise ConfigurationError(
                "ledger.journal_dir: name a folder on a disk that outlives the process"
            )
        if settings.production and file_system(Path(settings.ledger.journal_dir)) == "tmpfs":
            raise ConfigurationError(
                f"ledger.journal_dir: {settings.ledger.journal_dir} is on tmpfs and dies with the"
                " machine; name a folder on a disk"
            )
        guard.refuse_demo(settings, str(config_path() or "settings"))
        self._settings = settings
        self._pepper = settings.pepper()
        self._sellable = sellable(settings)
        self._prices = timeline.Current(self._sellable)
        self._stops = stops.NOTHING
        self._till = Till.open(settings.redis.url, timeout_ms=settings.redis.timeout_ms)
        self._transports = transports(settings)
        self._reloader = Reloader(config_path(), settings, self._take, since=since)
        self._pool = Pool(settings.upstream, self._transports, settings.pool, probe=probe)
        self._spending = spending.Spending()
        self._ids = clock.RequestIds()
        self._account = Account(
            settings,
            self._till,
            self._pepper,
            Sold(settings, lambda: self._prices.book, self._pool.serves),
        )
        self.leaving = Leaving(settings.gateway.leave_s)
        self.engine: Gateway

    async def start(self) -> None:
        """Opens the journal and begins to report. Redis may still be away."""
        settings = self._settings
        node = Node(Path(settings.ledger.journal_dir), self._pepper)
        self._journal = node.journal(
            self._ids.incarnation,
            sync_ms=settings.ledger.journal_sync_ms,
            stall_ms=settings.ledger.journal_stall_ms,
        )
        self._holds = Holds(
            self._till,
            self._journal,
            lease_s=settings.ledger.lease_s,
            lag_limit=settings.ledger.lag_limit,
            wait_s=settings.hold.wait_s,
            waiters_max=settings.hold.waiters_max,
        )
        self._reporter = Reporter(self._till, self._holds, node)
        self._stopping = Stopping()
        self._going: asyncio.Task[None] | None = None
        self._simulated = False
        using = Resources(
            settings,
            self._prices,
            self._pepper,
            self._holds,
            self._pool,
            Ticker(),
            self._ids,
            self._stopping,
        )
        self.engine = Gateway(using, self._till, ready=self._ready, account=self._account)
        self._checking = asyncio.create_task(self._check())
        self._reloading = asyncio.create_task(self._reloader.run(self._look_around))
        self._budgeting = asyncio.create_task(self._keep_budgets())
        self._holds.start()
        self._reporter.start()
        self._listen()
        gc.collect()
        gc.freeze()  # what start-up made lives for ever; later collections need not walk it
        # A request leaves next to no cycles: the default looks for them after every third request.
        gc.set_threshold(10_000, 20, 20)

    def _listen(self) -> None:
        """Hears SIGTERM. Between start-up and serving the server lets the loop rest for a moment,
        and uvloop keeps a signal of that moment until the next one: so there is a next one."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_stop)
        loop.add_signal_handler(signal.SIGURG, _nothing)
        for after_s in (0.1, 1.0):
            loop.call_later(after_s, os.kill, os.getpid(), signal.SIGURG)

    async def _check(self) -> None:
        """Nothing is served before this Redis was found fit to hold money."""
        while True:
            try:
                await check_server(
                    self._till, durability_confirmed=self._settings.redis.durability_confirmed
                )
                self._simulated = await self._till.simulated()
                guard.refuse_simulated(self._settings, marked=self._simulated)
                await self._look_at_budgets()
                await self._look_at_stops()
            except TillUnavailable:
                await asyncio.sleep(0.05)
            except ConfigurationError as error:
                self.engine.closed = str(error)
                _log.error("refused_to_serve", why=str(error))
                await asyncio.sleep(5)
            else:
                self.engine.closed = None
                return

    def _look_around(self) -> None:
        self._pool.forget()
        metrics.disk_used("journal", self._settings.ledger.journal_dir)

    async def _keep_budgets(self) -> None:
        """Holds credentials to their budgets; while Redis is away, to what it said last."""
        while True:
            await asyncio.sleep(BUDGETS_S)
            with contextlib.suppress(TillUnavailable):
                await self._look_at_budgets()
                await self._look_at_stops()
                await self._holds.used.tell(self._till, peppers.id_of(self._pepper))

    async def _look_at_budgets(self) -> None:
        if not self._pool.has_budgets:
            return
        try:
            self._spending = await spending.read(self._till) or self._spending
        finally:
            self._pool.hold_to_budgets(self._spending.on(clock.utc_day()))

    async def _look_at_stops(self) -> None:
        """What nobody has told yet is off stays as it was: a Redis that has lost its word is told
        again by the worker."""
        found = await stops.read(self._till)
        if found is None or found == self._stops:
            return
        self._stops = found
        self._pool.obey(disabled=frozenset(found.credentials), draining=frozenset(found.draining))
        self._prices.take(without(self._sellable, found.models))
        _log.warning("stops", **msgspec.structs.asdict(found))

    def _take(self, settings: Settings) -> None:
        """Other upstreams from now on. Raises ConfigurationError; then nothing has changed."""
        guard.refuse_demo(settings, str(config_path() or "settings"))
        guard.refuse_simulated(settings, marked=self._simulated)
        prices = sellable(settings)
        for upstream in settings.upstream:
            if upstream.client not in self._transports:
                self._transports |= {upstream.client: transports(settings)[upstream.client]}
        self._pool.update(settings.upstream, self._transports)
        self._sellable = prices
        self._prices.take(without(prices, self._stops.models))

    def _on_stop(self) -> None:
        """SIGTERM: the front is left, then running requests have `drain_s`; the server takes no new
        ones."""
        if self._going is None:
            self._going = asyncio.create_task(self._go())

    async def _go(self) -> None:
        """The server has no hook for it, but treats SIGINT alike: it is told by that."""
        gateway = self._settings.gateway
        await self.leaving.run(gateway.port)
        asyncio.get_running_loop().call_later(gateway.drain_s, self._stopping.end)
        os.kill(os.getpid(), signal.SIGINT)

    async def stop(self) -> None:
        """After the last stream: waits for the last charges, then hands over or keeps the
        journal."""
        await jobs.end(self._checking, self._reloading, self._budgeting)
        await self._pool.close()
        drained = await self._holds.drain(5)
        left = await self._reporter.stop(leave=drained)
        await self._holds.stop()
        if left:
            self._journal.retire()
        else:
            _log.warning("journal_kept", living=len(self._holds.living))
        for transport in self._transports.values():
            await transport.close()
        await self._account.close()
        await self._till.close()
        metrics.flush()

    def _ready(self) -> str | None:
        if self.leaving.begun:
            return "the process is stopping"
        if self.engine.closed is not None:
            return self.engine.closed
        if not self._reporter.open:
            return "the ledger is not open"
        if not self._journal.healthy:
            return "the journal cannot be written"
        return None


def _nothing() -> None:
    """What a signal does that only wakes."""


def sellable(settings: Settings) -> timeline.Timeline:
    """The price books without what would be sold below cost at a real upstream. What is announced
    is judged today, so that the operator reads of it before it comes into force."""
    full = timeline.load(settings.pricing)
    since = full.since(clock.utc_now().date())
    told: set[margin.Margin] = set()

    def affordable(day: date | None, book: Book) -> Book:
        below = margin.below_cost(book, settings)
        past = since is not None and (day is None or day < since)
        for found in below if not past else ():
            if found not in told:
                _log.error("below_cost", why=margin.explain(found), since=day and str(day))
                told.add(found)
        return unsold(book, {found.slug for found in below})

    return full.through(affordable)


def without(books: timeline.Timeline, slugs: Collection[str]) -> timeline.Timeline:
    """The price books without the models that the operator has switched off."""
    return books.through(lambda _, book: unsold(book, slugs)) if slugs else books


def unsold(book: Book, slugs: Collection[str]) -> Book:
    """A book in which some models are known and not sold."""
    left_out = [row for row in book.models if row.slug in slugs]
    return Book(
        tuple(row for row in book.models if row.slug not in slugs),
        book.unsold | {name for row in left_out for name in (row.slug, *row.aliases)},
    )


def transports(settings: Settings) -> dict[str, Transport]:
    """The upstream clients that the configuration names; httpx is imported only if it is one."""
    found: dict[str, Transport] = {"httptools": HttptoolsTransport()}
    if any(upstream.client == "httpx" for upstream in settings.upstream):
        from corvus_proxy.upstream.httpx_client import HttpxTransport

        found["httpx"] = HttpxTransport()
    return found


async def probe(upstream: Upstream, credential: Credential) -> bool:
    """Whether an upstream accepts a credential, by a free call; never raises.

    Over httpx, in a thread of its own: the first import of it would hold up every stream.
    """

    def ask() -> bool:
        from corvus_proxy.upstream.check import check_credential

        return asyncio.run(check_credential(upstream, credential)).ok

    return await asyncio.to_thread(ask)


def create() -> Any:
    """The ASGI application of one process, from the file in CORVUS_CONFIG."""
    die_with_parent()
    set_up_logs()
    since = stamp_of(config_path())
    settings = load(config_path())
    say_if_too_few_descriptors(2 * settings.gateway.connections_max)
    process = Process(settings, since=since)

    async def engine(client: Any) -> None:
        await process.engine(client)

    return application(engine, process.start, process.stop, lambda: process.leaving.begun)
