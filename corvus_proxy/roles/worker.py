"""The worker role: writer, coordinator, sweeper, outbox and prober, and the port of the status."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import structlog

from corvus_proxy import clock, jobs, metrics
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.ledger import outbox
from corvus_proxy.ledger.archive import Archive
from corvus_proxy.ledger.coordinator import Coordinator
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.roles.process import serve_until, set_up_logs, stop_event
from corvus_proxy.roles.statuses import Status
from corvus_proxy.service import (
    budgets,
    demo,
    guard,
    orders,
    peppers,
    proof,
    reconciling,
    retention,
)
from corvus_proxy.service.alarms import hooks, watch
from corvus_proxy.service.gauges import MEASURE_S, Gauges
from corvus_proxy.service.operating import stopping
from corvus_proxy.service.stores import Stores, open_stores
from corvus_proxy.settings import Settings, config_path
from corvus_proxy.shop import mail
from corvus_proxy.shop.services import providers
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.sweeper import Sweeper
from corvus_proxy.upstream.check import check_credentials

OUTBOX_S = 0.5
LAG_S = 2.0
ALARMS_S = 3.0
NOTICES_S = 1.0
MAIL_S = 1.0
ORDERS_S = 1.0
BUDGETS_S = 1.0
DAYS_S = 10.0
CHECK_S = 20.0
GAUGES_FIRST_S = 5.0
RETENTION_S = 10.0
BACKUP_S = 60.0
RECONCILE_S = 300.0
PEPPERS_S = 2.0
_log = structlog.get_logger()


async def main(settings: Settings) -> None:
    """Runs until SIGTERM. Redis and Postgres may be away at any time, at start too."""
    set_up_logs()
    guard.refuse_demo(settings, str(config_path() or "settings"))
    guard.refuse_test_money(settings, str(config_path() or "settings"))
    stop = stop_event()
    stores = open_stores(settings)
    # Its own door: the writer's blocking reads must not wait behind anybody's calls.
    reading = Till.open(settings.redis.url, timeout_ms=2000, connections=4)
    archive = Archive(settings.ledger.archive_dir, days=settings.ledger.archive_days)
    writer = Writer(reading, stores.books, keep=settings.ledger.keep, archive=archive)
    coordinator = Coordinator(
        stores.till, stores.books, behind=writer.why_behind, in_hand=writer.in_hand
    )
    sweeper = Sweeper(stores.till, lease_s=settings.ledger.lease_s)
    mailer = mail.open_mailer(stores.books, stores.pepper, settings)
    desk = orders.open_desk(settings, stores, providers(settings))
    status = Status(settings, stores.till, desk.providers)
    gauges = Gauges(settings)
    work = [
        writer.run(),
        coordinator.run(),
        _every("sweeper", min(5.0, settings.ledger.lease_s / 8), lambda: _sweep(sweeper)),
        _every("outbox", OUTBOX_S, lambda: outbox.tick(stores.till, stores.books)),
        _every("lag", LAG_S, lambda: _measure_lag(writer)),
        _every("budgets", BUDGETS_S, lambda: budgets.tick(stores)),
        _every("stops", BUDGETS_S, lambda: stopping.tick(stores)),
        _every("orders", ORDERS_S, lambda: orders.tick(desk)),
        _every("mail", MAIL_S, lambda: mail.tick(mailer)),
        _every("alarms", ALARMS_S, lambda: watch.tick(stores, site_url=settings.brand.site_url)),
        _every(
            "notices",
            NOTICES_S,
            lambda: hooks.tick(stores, private=settings.worker.private_webhooks),
        ),
        _every("status", settings.status.probe_s, status.tick),
        _every("days", DAYS_S, lambda: proof.count_days(stores)),
        _every("check", CHECK_S, lambda: proof.check_daily(stores)),
        _every("gauges", MEASURE_S, lambda: gauges.tick(stores), first_s=GAUGES_FIRST_S),
        _every(
            "reconcile",
            RECONCILE_S,
            lambda: reconciling.tick(stores, settings),
            first_s=RECONCILE_S,
        ),
        _every("retention", RETENTION_S, lambda: retention.tick(stores.books, settings.retention)),
        _every("peppers", PEPPERS_S, lambda: peppers.tick(stores)),
        _stamp(stores),
        _every("backup", BACKUP_S, lambda: _measure_backup(settings.backup.dir)),
        _every("trim", RETENTION_S, lambda: retention.trim(stores, settings.retention)),
        _refuse_simulated(settings, stores, stop),
        _check_credentials(settings),
    ]
    tasks = [asyncio.create_task(one) for one in work]
    try:
        app = status.app(lambda: [*coordinator.closed.values(), *writer.broken.values()])
        await serve_until(stop, app, settings.worker.host, settings.worker.status_port)
    finally:
        await jobs.end(*tasks)
        with contextlib.suppress(Exception):  # what is left in the stream waits for the next start
            await writer.tick(block_ms=0)
        await status.close()
        await desk.close()
        await reading.close()
        await stores.close()


async def _check_credentials(settings: Settings) -> None:
    """Says once, at start, which upstream credentials are not accepted; requests decide later."""
    for found in await check_credentials(settings.upstream):
        (_log.info if found.ok else _log.error)(
            "credential", name=found.name, family=found.family, detail=found.detail
        )


async def _every(
    name: str, period_s: float, job: Callable[[], Awaitable[object]], *, first_s: float = 0.0
) -> None:
    """Does a job again and again; `first_s`: what can wait leaves the start to what cannot."""
    await asyncio.sleep(first_s)
    while True:
        try:
            await job()
        except (TillUnavailable, BooksUnavailable) as error:
            _log.info("job_waits", job=name, why=str(error))
        except Exception:  # one job's defect must not end it for ever
            _log.exception("job_failed", job=name)
        await asyncio.sleep(period_s)


async def _sweep(sweeper: Sweeper) -> None:
    metrics.HOLDS_EXPIRED.inc(await sweeper.tick())


async def _measure_lag(writer: Writer) -> None:
    metrics.LEDGER_LAG.set(await writer.lag())


async def _stamp(stores: Stores) -> None:
    """Once, as soon as the books answer."""
    while True:
        try:
            await peppers.stamp(stores)
            return
        except (BooksUnavailable, asyncpg.PostgresError):  # not migrated yet
            await asyncio.sleep(1)


async def _measure_backup(folder: str) -> None:
    """A backup has its manifest once it is whole; names begin with the time."""
    if not folder:
        return
    found = sorted(Path(folder).glob("[!.]*/manifest.json"))
    age_s = float("inf")
    if found:
        age_s = clock.wall_s() - json.loads(found[-1].read_bytes())["taken_at_ms"] / 1000
    metrics.BACKUP_AGE.set(age_s)


async def _refuse_simulated(settings: Settings, stores: Stores, stop: asyncio.Event) -> None:
    """Ends the role where simulated money and a real upstream meet, once both stores answer."""
    while guard.real_upstreams(settings):
        try:
            guard.refuse_simulated(settings, marked=await demo.marked(stores))
            return
        except (TillUnavailable, BooksUnavailable):
            await asyncio.sleep(1)
        except Exception as error:  # a refusal to serve has to end the process, whatever it is
            _log.error("refused", why=str(error))
            stop.set()
            return
