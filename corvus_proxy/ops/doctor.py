"""`corvus doctor`: checks this installation and says what to do."""

import asyncio
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple

from corvus_proxy import __version__, clock
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.catalogue import lint
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops import pricelist
from corvus_proxy.service import demo, guard
from corvus_proxy.service.status import Folder, State, is_stale
from corvus_proxy.service.stores import Stores, open_stores
from corvus_proxy.settings import Settings
from corvus_proxy.settings.stating import TEXTS
from corvus_proxy.till.checks import check_server
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.journal import file_system
from corvus_proxy.upstream.check import check_credentials

SUSPICIOUS_SYNC_S = 0.00002
REDIS_ADVICE: dict[str, tuple[Callable[[str], bool], str]] = {
    "no-appendfsync-on-rewrite": (
        lambda value: value == "no",
        "set it to no, or charges wait in memory while the log is rewritten",
    ),
    "maxmemory": (
        lambda value: value != "0",
        "set a limit below the machine's memory, so that Redis refuses holds before it is killed",
    ),
}
"""Settings that lose nothing by themselves: a warning, and an error in production."""


class Finding(NamedTuple):
    """One check. `level`: ok, warning or error."""

    check: str
    level: str
    text: str


def run(settings: Settings, *, production: bool, as_json: bool) -> int:
    """Prints all findings; 0 when nothing is an error, else 1."""
    found = asyncio.run(_all(settings, production=production or settings.production))
    if as_json:
        sys.stdout.write(
            json.dumps(
                {
                    "ok": all(one.level != "error" for one in found),
                    "findings": [one._asdict() for one in found],
                }
            )
            + "\n"
        )
    else:
        for one in found:
            sys.stdout.write(f"{one.level:8} {one.check:14} {one.text}\n")
    return 1 if any(one.level == "error" for one in found) else 0


async def _all(settings: Settings, *, production: bool) -> list[Finding]:
    versions = f"corvus {__version__}, Python {platform.python_version()}"
    found = [Finding("version", "ok", versions)]
    try:
        stores = open_stores(settings)
    except ConfigurationError as error:
        return [*found, Finding("pepper", "error", str(error))]
    try:
        found += await _till(settings, stores)
        found += await _redis_advice(stores, production=production)
        found += await _books(settings, stores)
    finally:
        await stores.close()
    found += _journal(settings, production=production)
    found += _prices(settings, clock.utc_now().date())
    found += [
        Finding("credential", "ok" if one.ok else "error", f"{one.family} {one.name}: {one.detail}")
        for one in await check_credentials(settings.upstream)
    ]
    if not settings.upstream:
        found.append(Finding("upstream", "error", "no upstream is configured"))
    found += _brand(settings, production=production)
    found += _stated(settings, production=production)
    return found + _status(settings, production=production)


async def _till(settings: Settings, stores: Stores) -> list[Finding]:
    try:
        name, version = await stores.till.version()
        await check_server(stores.till, durability_confirmed=settings.redis.durability_confirmed)
        closed = len(await stores.till.closed())
    except TillUnavailable as error:
        return [Finding("redis", "error", f"{settings.redis.url}: {error}")]
    except ConfigurationError as error:
        return [Finding("redis", "error", str(error))]
    found = [Finding("redis", "ok", f"{name} {version}, appendfsync always")]
    if closed:
        found.append(
            Finding(
                "partitions",
                "error",
                f"{closed} of 64 are closed; the worker's log and /readyz say why",
            )
        )
    else:
        found.append(Finding("partitions", "ok", "all 64 are open"))
    return found


async def _redis_advice(stores: Stores, *, production: bool) -> list[Finding]:
    """What a Redis that holds money should have besides what it must have."""
    bad = "error" if production else "warning"
    found = []
    try:
        for option, (good, advice) in REDIS_ADVICE.items():
            found += [
                Finding("redis", bad, f"{server}: {option} = {value}: {advice}")
                for server, value in (await stores.till.configs(option) or {}).items()
                if not good(value)
            ]
        folders = set((await stores.till.configs("dir") or {}).values())
        found += await _replicas(stores.till, bad)
    except TillUnavailable:
        return []  # said already
    # A path of another machine says nothing here.
    found += [
        Finding("redis", bad, f"{folder} is on tmpfs and dies with the machine")
        for folder in folders
        if folder and Path(folder).is_dir() and file_system(Path(folder)) == "tmpfs"
    ]
    return found


async def _replicas(till: Till, bad: str) -> list[Finding]:
    """A replica is promoted with what it has: what was acknowledged without it has to be charged
    again from the journals. Raises TillUnavailable."""
    least = await till.configs("min-replicas-to-write") or {}
    replication = await till.infos("replication")
    return [
        Finding(
            "redis",
            bad,
            f"{server} has replicas, and min-replicas-to-write = 0: set it to 1, or it goes on"
            " taking charges that no replica has",
        )
        for server, info in replication.items()
        if int(info.get("connected_slaves", 0)) and least.get(server, "1") == "0"
    ]


async def _books(settings: Settings, stores: Stores) -> list[Finding]:
    try:
        async with stores.books.connection() as connection:
            version = await connection.fetchval("show server_version")
            synchronous = await connection.fetchval("show synchronous_commit")
        guard.refuse_simulated(settings, marked=await demo.marked(stores))
    except (BooksUnavailable, TillUnavailable) as error:
        return [Finding("postgres", "error", str(error))]
    except ConfigurationError as error:
        return [Finding("money", "error", str(error))]
    level = "ok" if synchronous == "on" else "warning"
    return [Finding("postgres", level, f"{version}, synchronous_commit {synchronous}")]


def _journal(settings: Settings, *, production: bool) -> list[Finding]:
    folder = Path(settings.ledger.journal_dir or ".")
    bad = "error" if production else "warning"
    if not settings.ledger.journal_dir:
        return [Finding("journal", "error", "ledger.journal_dir is not set")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"doctor-{os.getpid()}"
        with probe.open("wb") as file:
            file.write(b"x" * 200)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took_s = time.perf_counter() - began
        probe.unlink()
    except OSError as error:
        return [Finding("journal", "error", f"{folder}: {error.strerror}")]
    usage = shutil.disk_usage(folder)
    found = [Finding("journal", "ok", f"{folder}: fdatasync took {took_s * 1000:.2f} ms")]
    if took_s < SUSPICIOUS_SYNC_S:
        found.append(Finding("journal", bad, "fdatasync is too quick to have reached a disk"))
    if usage.free < usage.total // 5:
        found.append(Finding("journal", bad, "less than a fifth of its disk is free"))
    if file_system(folder) == "tmpfs":
        found.append(Finding("journal", bad, f"{folder} is on tmpfs and dies with the machine"))
    return found


def _prices(settings: Settings, today: date) -> list[Finding]:
    """Each model's margin, what is not sold for it, and what `prices lint` says."""
    try:
        found = pricelist.margins(settings)
    except ConfigurationError as error:
        return [Finding("prices", "error", str(error))]
    return [
        *(Finding("prices", level, text) for level, text in found),
        *(Finding("prices", "warning", text) for text in lint.problems(settings.pricing, today)),
    ]


def _status(settings: Settings, *, production: bool) -> list[Finding]:
    """What the worker measures: whether it does, and what is not in order."""
    if not settings.status.dir:
        level = "error" if production else "warning"
        text = "status.dir is not set: the site's status page has nothing to show"
        return [Finding("status", level, text)]
    document = Folder(settings.status.dir).document()
    if document is None or is_stale(document, clock.wall_ms()):
        last = "never" if document is None else f"last {document.generated_at}"
        text = f"no worker measures into {settings.status.dir} ({last})"
        return [Finding("status", "error", text)]
    bad = [one for one in document.components if one.state in (State.DEGRADED, State.DOWN)]
    if not bad:
        return [
            Finding("status", "ok", f"measured {document.generated_at}: {document.state.value}")
        ]
    return [
        Finding("status", "warning", f"{one.title} is {one.state.value}: {one.detail}")
        for one in bad
    ]


def _brand(settings: Settings, *, production: bool) -> list[Finding]:
    if not production:
        return []
    found = []
    if settings.demo.enabled:
        found.append(Finding("demo", "error", "[demo] is on"))
    found += [
        Finding("brand", "error", f"brand.{name} is not set")
        for name in ("support", "independence", "refunds")
        if not getattr(settings.brand, name)
    ]
    return found


def _stated(settings: Settings, *, production: bool) -> list[Finding]:
    """What the pages of trust and law show as missing, and texts that cannot be read."""
    found = []
    for name in TEXTS:
        try:
            settings.legal.text(name)
        except ConfigurationError as error:
            found.append(Finding("legal", "error", str(error)))
    unset = [
        f"trust.{name}"
        for name in settings.trust.__struct_fields__
        if getattr(settings.trust, name) in ("", [], {})
    ]
    if production and unset:
        told = f"shown as not stated: {', '.join(unset)}"
        found.append(Finding("trust", "warning", told))
    return found
