"""`corvus doctor`: checks this installation and says what to do."""

import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from corvus_proxy import __version__, clock
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.catalogue import lint
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops import pricelist
from corvus_proxy.ops.backup import folder as backups
from corvus_proxy.ops.doctor import files, gaps, servers
from corvus_proxy.ops.doctor.finding import Finding
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

JOURNAL = "ledger.journal_dir: "
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


def run(settings: Settings, *, production: bool, as_json: bool, config: Path | None = None) -> int:
    """Prints all findings; 0 when nothing is an error, else 1. `config`: the file that the
    settings were read from."""
    found = asyncio.run(
        examine(settings, production=production or settings.production, config=config)
    )
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


async def examine(
    settings: Settings, *, production: bool, config: Path | None = None
) -> list[Finding]:
    """Every finding; what only customers would mind is asked for with `production`."""
    versions = f"corvus {__version__}, Python {platform.python_version()}"
    found = [Finding("version", "ok", versions)]
    try:
        stores = open_stores(settings)
    except ConfigurationError as error:
        found.append(Finding("pepper", "error", str(error)))
    else:
        try:
            found += await _till(settings, stores)
            found += await _redis_advice(stores, production=production)
            found += await _books(settings, stores, production=production)
        finally:
            await stores.close()
    found += _journal(settings, production=production)
    found += _prices(settings, clock.utc_now().date())
    found += await _credentials(settings)
    found += _backup(settings, production=production)
    if production:
        found += gaps.findings(settings)
        found += files.secrets(settings, config)
        found += files.disks(settings)
    found += _stated(settings, production=production)
    found += _status(settings, production=production)
    return list(dict.fromkeys(found))  # two checks that read one file say the same of it


async def _credentials(settings: Settings) -> list[Finding]:
    """What each provider says to the operator's key."""
    if not settings.upstream:
        text = "upstream: none is configured; add an [[upstream]] with a credential"
        return [Finding("upstream", "error", text)]
    found = []
    for one in await check_credentials(settings.upstream):
        text = f"{one.family} {one.name}: {one.detail}"
        if not one.ok:
            text += "; give it a key that its provider accepts, or take it out"
        found.append(Finding("credential", "ok" if one.ok else "error", text))
    return found


async def _till(settings: Settings, stores: Stores) -> list[Finding]:
    try:
        name, version = await stores.till.version()
        await check_server(stores.till, durability_confirmed=settings.redis.durability_confirmed)
        closed = len(await stores.till.closed())
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
            found += [
                Finding("redis", bad, f"{server}: {option} = {value}: {advice}")
                for server, value in (await stores.till.configs(option) or {}).items()
                if not good(value)
            ]
        folders = {Path(one) for one in (await stores.till.configs("dir") or {}).values() if one}
        found += await servers.replication(stores, production=production)
    except TillUnavailable:
        return []  # said already
    for folder in folders:
        if not folder.is_dir():
            continue  # a path of another machine says nothing here
        if file_system(folder) == "tmpfs":
            found.append(Finding("redis", bad, f"{folder} is on tmpfs and dies with the machine"))
        if production and files.is_full(folder):
            text = f"less than a fifth of the disk of {folder} is free"
            found.append(Finding("redis", bad, text))
    return found


async def _books(settings: Settings, stores: Stores, *, production: bool) -> list[Finding]:
    bad = "error" if production else "warning"
    try:
        async with stores.books.connection() as connection:
            version = await connection.fetchval("show server_version")
            found = await servers.durability(connection, bad=bad)
            found += await servers.clocks(stores, connection, bad=bad)
            schema = await servers.migrations(connection)
        if schema[-1].level != "error":
            guard.refuse_simulated(settings, marked=await demo.marked(stores))
            if production:
                schema += await servers.simulated_money(stores)
                async with stores.books.connection() as connection:
                    schema += await servers.forgetting(connection, settings.retention)
    except BooksUnavailable as error:
        return [
            Finding("postgres", "error", f"database.url: {error}; start it, or correct the URL")
        ]
    except TillUnavailable:
        return []  # said already
    except ConfigurationError as error:
        return [Finding("money", "error", str(error))]
    return [Finding("postgres", "ok", version), *found, *schema]


def _journal(settings: Settings, *, production: bool) -> list[Finding]:
    journals = Path(settings.ledger.journal_dir or ".")
    bad = "error" if production else "warning"
    if not settings.ledger.journal_dir:
        text = "ledger.journal_dir is not set; name a folder on a disk that outlives the process"
        return [Finding("journal", "error", text)]
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
        text = (
            f"ledger.journal_dir: {journals}: {error.strerror}; gateways must be able to write it"
        )
        return [Finding("journal", "error", text)]
    found = [Finding("journal", "ok", f"{journals}: fdatasync took {took_s * 1000:.2f} ms")]
    if took_s < SUSPICIOUS_SYNC_S:
        found.append(
            Finding(
                "journal",
                bad,
                JOURNAL + "fdatasync is too quick to have reached a disk; name another",
            )
        )
    if files.is_full(journals):
        found.append(
            Finding("journal", bad, JOURNAL + "less than a fifth of its disk is free; make room")
        )
    if file_system(journals) == "tmpfs":
        text = f"{journals} is on tmpfs and dies with the machine; name a journals on a disk"
        found.append(Finding("journal", bad, JOURNAL + text))
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
        text = (
            "status.dir is not set: the site's status page has nothing to show; name a folder that"
            " the worker writes and the site reads"
        )
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
    age_s = backups.age_s(Path(options.dir))
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
    drilled = backups.last_drill(Path(options.dir))
    if drilled is None:
        text = "no backup was ever restored to try it: corvus backup drill"
        found.append(Finding("backup", "warning", text))
    elif not drilled["ok"]:
        text = f"the last restore drill failed: {'; '.join(drilled['problems'])}"
        found.append(Finding("backup", bad, text))
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
