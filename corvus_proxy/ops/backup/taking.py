"""Takes a backup of books that are being written to.

One snapshot of Postgres is what the dump and all figures of the manifest are of. The folder gets
its name last, when every byte of it is on the disk: a run that is killed leaves no backup behind.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import msgspec

from corvus_proxy import __version__, clock
from corvus_proxy import pepper as peppers
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.backup import cipher, folder, keeping, programs
from corvus_proxy.ops.state import State
from corvus_proxy.settings import Settings

ARGUMENTS = ("--format=custom", "--compress=1", "--no-owner")
"""The fastest compression: a backup must not take the database's processors for long."""
Told = Callable[[int, int], None]


class Wish(NamedTuple):
    """What a run is asked for."""

    to: Path
    key: bytes | None
    secrets_dir: str
    keep: int


class Taken(NamedTuple):
    """A backup that was taken."""

    path: Path
    manifest: folder.Manifest
    secrets: str
    """Where its secrets are; empty: in no backup."""
    pruned: list[str]


async def take(
    settings: Settings,
    state: State | None,
    wish: Wish,
    *,
    told: Told = lambda *_: None,
) -> Taken:
    """Takes one backup and removes those beyond the newest `keep`; `told` hears how many bytes are
    dumped, of 0: how many there will be nobody knows. Raises ConfigurationError, ProgramFailed,
    BackupBroken, and OSError where the disk does not take it."""
    kept = keeping.gather(settings, state)
    if wish.secrets_dir and Path(wish.secrets_dir).resolve() == wish.to.resolve():
        raise ConfigurationError(
            f"backup.secrets_dir: {wish.secrets_dir} is where the dumps are; who finds both has"
            " every key's pepper"
        )
    with folder.taken(wish.to):
        stamp = clock.utc_now().strftime("%Y-%m-%dT%H-%M-%SZ")
        name = f"{stamp}-{clock.random_hex(2)}"
        partial = wish.to / f"{folder.PARTIAL}{name}"
        partial.mkdir(mode=0o700)
        try:
            target = partial / folder.DUMP
            found = await _snapshot(settings.database.url, target, wish.key, told)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ConfigurationError(f"the books cannot be read: {error}") from None
        where = _keep_secrets(kept, wish, partial, name)
        manifest = folder.Manifest(
            **found,
            corvus=__version__,
            peppers=[peppers.id_of(one) for one in peppers.all_of(settings.pepper())],
            encrypted=wish.key is not None,
            files={path.name: _file(path) for path in sorted(partial.iterdir())},
        )
        (partial / folder.MANIFEST).write_bytes(
            msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
        )
        target = folder.publish(partial, name)
        return Taken(target, manifest, where, folder.prune(wish.to, wish.keep, wish.secrets_dir))


def _keep_secrets(kept: keeping.Kept, wish: Wish, partial: Path, name: str) -> str:
    """Writes the secrets beside the dump where both are encrypted, else apart, else nowhere."""
    if wish.key is not None:
        keeping.write(kept, partial / folder.SECRETS, wish.key)
        return str(wish.to / name / folder.SECRETS)
    if not wish.secrets_dir:
        return ""
    path = folder.secrets_path(wish.secrets_dir, name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    keeping.write(kept, path, None)
    folder.sync(path.parent)
    return str(path)


async def _snapshot(url: str, target: Path, key: bytes | None, told: Told) -> dict[str, Any]:
    """Dumps one snapshot into a file; what the manifest says of it."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # It only waits for pg_dump: a limit on idle transactions would end the snapshot.
            await connection.execute("set local idle_in_transaction_session_timeout = 0")
            snapshot = await connection.fetchval("select pg_export_snapshot()")
            found = await _figures(connection)
            major = connection.get_server_version().major
            program = programs.find("pg_dump", major)
            found["pg_dump"] = programs.version(program)
            await _dump(program, url, snapshot, target, key, told)
    finally:
        await connection.close()
    return found


async def _dump(
    program: Path, url: str, snapshot: str, target: Path, key: bytes | None, told: Told
) -> None:
    sealer = cipher.Sealer(key) if key is not None else None
    words = [*ARGUMENTS, f"--snapshot={snapshot}"]
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        if sealer is not None:
            file.write(sealer.head)
        async for piece in programs.output(program, url, words):
            file.write(sealer.add(piece) if sealer is not None else piece)
            told(file.tell(), 0)
        if sealer is not None:
            file.write(sealer.end())


async def _figures(connection: Any) -> dict[str, Any]:
    """What the snapshot holds, read inside it."""
    rows = await connection.fetch("select version from schema_migrations order by version")
    cursors = await connection.fetch("select part, epoch, seq from cursor order by part")
    totals = await connection.fetchrow(
        "select count(*), coalesce(sum(balance_nanos), 0)::bigint,"
        " (select count(*) from event) from wallet"
    )
    return {
        "taken_at_ms": clock.wall_ms(),
        "postgres": await connection.fetchval("show server_version"),
        "schema": [row[0] for row in rows],
        "cursors": {f"p{part:02d}": f"{epoch}-{seq}" for part, epoch, seq in cursors if seq},
        "wallets": totals[0],
        "balance_nanos": totals[1],
        "events": totals[2],
    }


def _file(path: Path) -> folder.File:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return folder.File(path.stat().st_size, digest.hexdigest())
