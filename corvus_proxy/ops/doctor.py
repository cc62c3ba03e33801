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
from corvus_proxy.ops.backup import folder
from corvus_proxy.service import demo, guard
from corvus_proxy.service.status import Folder, State, is_stale
from corvus_proxy.service.stores import Stores, open_stores
from corvus_proxy.settings import Settings
from corvus_proxy.settings.secrets import without_password
from corvus_proxy.settings.stating import TEXTS
from corvus_proxy.till.checks import check_server
from corvus_proxy.till.client import TillUnavailable
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
    found += _backup(settings, production=production)
    found += _brand(settings, production=production)
    found += _stated(settings, production=production)
    return found + _status(settings, production=production)


async def _till(settings: Settings, stores: Stores) -> list[Finding]:
    try:
        name, version = await stores.till.version()
        await check_server(stores.till, durability_confirmed=settings.redis.durability_confirmed)
        replid = await stores.till.replid()
        closed = sum(
            state.state != "OPEN" or state.stamp != replid
            for state in await stores.till.partitions()
        )
    except TillUnavailable as error:
        return [Finding("redis", "error", f"{without_password(settings.redis.url)}: {error}")]
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
            value = await stores.till.config(option)
            if value is not None and not good(value):
                found.append(Finding("redis", bad, f"{option} = {value}: {advice}"))
        data = await stores.till.config("dir")
    except TillUnavailable:
        return []  # said already
    # A path of another machine says nothing here.
    if data and Path(data).is_dir() and file_system(Path(data)) == "tmpfs":
        found.append(Finding("redis", bad, f"{data} is on tmpfs and dies with the machine"))
    return found


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
    journals = Path(settings.ledger.journal_dir or ".")
    bad = "error" if production else "warning"
    if not settings.ledger.journal_dir:
        return [Finding("journal", "error", "ledger.journal_dir is not set")]
    try:
        journals.mkdir(parents=True, exist_ok=True)
        probe = journals / f"doctor-{os.getpid()}"
        with probe.open("wb") as file:
            file.write(b"x" * 200)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took_s = time.perf_counter() - began
        probe.unlink()
    except OSError as error:
        return [Finding("journal", "error", f"{journals}: {error.strerror}")]
    usage = shutil.disk_usage(journals)
    found = [Finding("journal", "ok", f"{journals}: fdatasync took {took_s * 1000:.2f} ms")]
    if took_s < SUSPICIOUS_SYNC_S:
        found.append(Finding("journal", bad, "fdatasync is too quick to have reached a disk"))
    if usage.free < usage.total // 5:
        found.append(Finding("journal", bad, "less than a fifth of its disk is free"))
    if file_system(journals) == "tmpfs":
        found.append(Finding("journal", bad, f"{journals} is on tmpfs and dies with the machine"))
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


def _backup(settings: Settings, *, production: bool) -> list[Finding]:
    """Whether the books, and the pepper that opens them, would outlive this machine."""
    bad = "error" if production else "warning"
    options = settings.backup
    if not options.dir:
        text = "backup.dir is not set: lose the database, and every balance is lost"
        return [Finding("backup", bad, text)] if production else []
    age_s = folder.age_s(Path(options.dir))
    found = []
    if age_s is None:
        found.append(Finding("backup", bad, f"there is none in {options.dir}: corvus backup run"))
    elif age_s > options.max_age_h * 3600:
        text = f"the newest in {options.dir} is {age_s / 3600:.0f} h old"
        found.append(Finding("backup", bad, text))
    else:
        found.append(Finding("backup", "ok", f"the newest is {age_s / 3600:.1f} h old"))
    if not options.key_file and not options.secrets_dir:
        text = (
            "the pepper is in no backup: lose it, and every customer's key is dead; set"
            " backup.key_file or backup.secrets_dir"
        )
        found.append(Finding("backup", bad, text))
    drilled = folder.last_drill(Path(options.dir))
    if drilled is None:
        text = "no backup was ever restored to try it: corvus backup drill"
        found.append(Finding("backup", "warning", text))
    elif not drilled["ok"]:
        text = f"the last restore drill failed: {'; '.join(drilled['problems'])}"
        found.append(Finding("backup", bad, text))
    return found


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
