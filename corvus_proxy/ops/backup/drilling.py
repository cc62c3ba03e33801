"""The restore drill: a backup is restored into servers of its own, and its books are verified.

Nothing that would reach a customer or a payment service runs: only what recovery is made of, the
coordinator and the writer. Everything is gone afterwards.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from corvus_proxy import clock
from corvus_proxy.books.db import Books
from corvus_proxy.errors import CorvusError
from corvus_proxy.ledger.coordinator import Coordinator
from corvus_proxy.ledger.verify import verify
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.ops import embedded, migrate
from corvus_proxy.ops.backup import folder, keeping, restoring
from corvus_proxy.service import demo
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till

OPEN_S = 300
DRAIN_S = 60


async def drill(backup: Path, key: bytes | None, secrets: Path | None) -> dict[str, Any]:
    """Restores, recovers and verifies; what was found, `ok` among it. Raises ConfigurationError
    where this machine cannot."""
    began_s = clock.monotonic_s()
    found: dict[str, Any] = {"ok": False, "at_ms": clock.wall_ms(), "backup": backup.name}
    try:
        manifest = await asyncio.to_thread(restoring.check_files, backup)
        found["taken_at_ms"] = manifest.taken_at_ms
        found["pepper"] = _pepper(backup, manifest, key, secrets)
        found |= await _in_scratch(backup, manifest, key)
    except CorvusError as error:
        found["problems"] = [str(error)]
    found["ok"] = not found["problems"]
    found["took_s"] = round(clock.monotonic_s() - began_s, 1)
    await asyncio.to_thread(folder.note_drill, backup.parent, found)
    return found


def _pepper(
    backup: Path, manifest: folder.Manifest, key: bytes | None, secrets: Path | None
) -> str:
    """Whether the pepper of the books is in the backup: `kept` or `not in this backup`. Raises
    BackupBroken where it is another."""
    path = restoring.secrets_file(backup, manifest, secrets)
    if path is None:
        return "not in this backup"
    if set(manifest.peppers) - set(keeping.read(path, key).ids()):
        raise folder.BackupBroken(f"{path}: its pepper is not the one that the keys need")
    return "kept"


async def _in_scratch(backup: Path, manifest: folder.Manifest, key: bytes | None) -> dict[str, Any]:
    scratch = Path(tempfile.mkdtemp(prefix="corvus-drill-"))
    postgres = embedded.Postgres(scratch, scratch / "postgres.log", port=embedded.free_port())
    redis = embedded.Redis(scratch / "redis", scratch / "redis.log", port=embedded.free_port())
    started: list[embedded.Postgres | embedded.Redis] = []
    try:
        for server in (postgres, redis):
            server.start()
            started.append(server)
            await asyncio.to_thread(server.wait)
        done = await restoring.into_database(
            backup, manifest, postgres.url, key, journals_lost=True
        )
        await asyncio.to_thread(migrate.migrate, postgres.url)
        return {
            "wallets": done.wallets,
            "balance_nanos": done.balance_nanos,
            "schema": manifest.schema[-1],
            **await _recover(postgres.url, redis.url),
        }
    finally:
        for server in reversed(started):
            await asyncio.to_thread(server.stop)
        for path in {postgres.folder, scratch}:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


async def _recover(database_url: str, redis_url: str) -> dict[str, Any]:
    """An empty Redis is filled from the books, and both are compared."""
    stores = Stores(Till.open(redis_url, timeout_ms=5000), Books(database_url), b"")
    reading = Till.open(redis_url, timeout_ms=5000)
    writer = Writer(reading, stores.books, keep=5000)
    coordinator = Coordinator(
        stores.till, stores.books, behind=writer.why_behind, in_hand=writer.in_hand
    )
    jobs = [asyncio.create_task(job) for job in (coordinator.run(), writer.run())]
    try:
        await demo.wait_until_open(stores, timeout_s=OPEN_S)
        report = await verify(stores.till, stores.books)
        deadline_s = clock.monotonic_s() + DRAIN_S
        while report.undrained and clock.monotonic_s() < deadline_s:
            await asyncio.sleep(0.2)
            report = await verify(stores.till, stores.books)
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await reading.close()
        await stores.close()
    problems = list(report.problems)
    if report.undrained:
        problems.append(f"{report.undrained} events did not reach the books")
    return {"events": report.events, "drift_nanos": report.drift_nanos, "problems": problems}
