"""Puts a backup back: into an empty database, or into a new state folder of `corvus up`.

Redis is not touched. An empty one is filled from the books by the worker; one that lives is ahead
of them, and the books are brought forward from it (`docs/recovery.md`).
"""

import asyncio
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from corvus_proxy import clock
from corvus_proxy.books import nodes, wallets
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops import embedded, migrate
from corvus_proxy.ops.backup import cipher, folder, keeping, programs
from corvus_proxy.ops.state import State, write_private
from corvus_proxy.settings import Settings

ROLE = """
do $$
begin
    if not exists (select from pg_roles where rolname = 'corvus_app') then
        create role corvus_app nologin;
    end if;
    execute format('grant corvus_app to %I', current_user);
end
$$
"""
"""The one thing of the books that lies outside their database."""


class Restored(NamedTuple):
    """What was put back. Amounts in nanos."""

    backup: Path
    manifest: folder.Manifest
    wallets: int
    balance_nanos: int
    forgotten: list[str]
    """Gateway processes whose journals count as lost."""
    secrets: list[str]
    """Options whose secrets were put back."""
    peppers_missing: list[str]
    """Older peppers of the backup that are not configured: what rests on them does not work."""


def check_files(backup: Path) -> folder.Manifest:
    """The manifest of a backup whose files are as they were written. Raises BackupBroken."""
    manifest = folder.read(backup)
    for name, told in manifest.files.items():
        path = backup / name
        if not path.is_file() or path.stat().st_size != told.bytes:
            raise folder.BackupBroken(f"{path} is missing or not whole")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != told.sha256:
                raise folder.BackupBroken(f"{path} has changed since it was written")
    known = migrate.known()
    if unknown := [one for one in manifest.schema if one not in known]:
        raise folder.BackupBroken(
            f"{backup} is of a newer schema ({unknown[-1]}): restore it with corvus"
            f" {manifest.corvus}"
        )
    return manifest


def secrets_file(backup: Path, manifest: folder.Manifest, named: Path | None) -> Path | None:
    """Where the secrets of a backup are: where it was said, or beside its dump."""
    beside = backup / folder.SECRETS if folder.SECRETS in manifest.files else None
    return named or beside


async def into_state(
    backup: Path, state: State, key: bytes | None, secrets: Path | None, *, actor: str
) -> Restored:
    """Restores into a state folder that has no books yet; `corvus up` starts on it afterwards.
    `actor`: who does it, as the audit names them. Raises ConfigurationError, BackupBroken,
    ProgramFailed."""
    manifest = await asyncio.to_thread(check_files, backup)
    path = secrets_file(backup, manifest, secrets)
    if path is None:
        raise ConfigurationError(
            f"{backup} holds no secrets: name the file that has them (--secrets); without their"
            " pepper no key of these books works"
        )
    kept = keeping.read(path, key)
    if kept.ids()[0] not in manifest.peppers:
        raise ConfigurationError(f"{path} is of another installation: its pepper does not fit")
    state.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if state.pepper.exists() or (state.folder / "redis").exists():
        raise ConfigurationError(f"{state.folder} is in use: restore into a new --state")
    write_private(state.pepper, kept.pepper)
    # Keys may rest on them while the pepper is being changed: they work once these are configured.
    others = [state.folder / f"other-pepper-{at}" for at in range(1, 1 + len(kept.other_peppers))]
    for other, text in zip(others, kept.other_peppers, strict=True):
        write_private(other, text)
    state.prepare()
    if kept.demo_key:
        write_private(state.sealed_key, kept.demo_key)
    server = embedded.Postgres(state.folder, state.log("postgres"), port=embedded.free_port())
    server.start()
    try:
        await asyncio.to_thread(server.wait)
        # No gateway's journal is in a new folder: nobody is waited for.
        done = await into_database(
            backup, manifest, server.url, key, journals_lost=True, actor=actor
        )
    finally:
        await asyncio.to_thread(server.stop)
    named = [f"{other} (name it in secrets.other_pepper_files)" for other in others]
    return done._replace(secrets=["pepper", *named])


async def into_settings(
    backup: Path,
    settings: Settings,
    key: bytes | None,
    secrets: Path | None,
    *,
    lost: bool,
    actor: str,
) -> Restored:
    """Restores into the empty database of a configuration; secrets that it names by file and that
    are not there are written. Raises ConfigurationError, BackupBroken, ProgramFailed."""
    manifest = await asyncio.to_thread(check_files, backup)
    path = secrets_file(backup, manifest, secrets)
    written = keeping.put_back(keeping.read(path, key), settings) if path is not None else []
    missing = keeping.check(settings, manifest.peppers)
    done = await into_database(
        backup, manifest, settings.database.url, key, journals_lost=lost, actor=actor
    )
    return done._replace(secrets=written, peppers_missing=missing)


async def into_database(
    backup: Path,
    manifest: folder.Manifest,
    url: str,
    key: bytes | None,
    *,
    journals_lost: bool,
    actor: str = "cli",
) -> Restored:
    """Fills an empty database, which is made where it is missing. Raises ConfigurationError,
    ProgramFailed."""
    try:
        await _prepare(url)
        major = await _major(url)
        if int(manifest.postgres.split(".")[0]) > major:
            raise ConfigurationError(
                f"the backup is of Postgres {manifest.postgres}, and this server is {major}"
            )
        program = programs.find("pg_restore", major)
        await _fill(program, url, backup, manifest, key)
        return await _settle(url, backup, manifest, journals_lost=journals_lost, actor=actor)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ConfigurationError(f"the database cannot be filled: {error}") from None


async def _prepare(url: str) -> None:
    """Makes the database and the role where they are missing. Raises ConfigurationError where
    there is anything in it."""
    name = urlsplit(url).path.lstrip("/")
    admin = await asyncpg.connect(_database(url, "postgres"), timeout=10)
    try:
        if not await admin.fetchval("select 1 from pg_database where datname = $1", name):
            quoted = name.replace('"', '""')
            await admin.execute(f'create database "{quoted}"')
        await admin.execute(ROLE)
    finally:
        await admin.close()
    connection = await asyncpg.connect(url, timeout=10)
    try:
        tables = await connection.fetchval(
            "select count(*) from pg_tables where schemaname = 'public'"
        )
    finally:
        await connection.close()
    if tables:
        raise ConfigurationError(
            f"the database {name} is not empty: restore into a new one; nothing is overwritten"
        )


async def _major(url: str) -> int:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return int(connection.get_server_version().major)
    finally:
        await connection.close()


async def _fill(
    program: Path, url: str, backup: Path, manifest: folder.Manifest, key: bytes | None
) -> None:
    words = ["--exit-on-error", "--single-transaction", "--no-owner"]
    with tempfile.TemporaryDirectory(prefix="corvus-restore-") as scratch:
        dump = backup / folder.DUMP
        if manifest.encrypted:
            if key is None:
                raise ConfigurationError(f"{backup} is encrypted: name its --key-file")
            dump = Path(scratch) / folder.DUMP
            await asyncio.to_thread(_decrypt, backup / folder.DUMP, dump, key)
        async for _ in programs.output(program, url, [*words, str(dump)]):
            pass


def _decrypt(source: Path, target: Path, key: bytes) -> None:
    with source.open("rb") as encrypted, target.open("wb") as plain:
        for piece in cipher.opened(encrypted, key, str(source)):
            plain.write(piece)


async def _settle(
    url: str, backup: Path, manifest: folder.Manifest, *, journals_lost: bool, actor: str
) -> Restored:
    """Compares the filled database with the manifest, and notes in its audit what it is. Raises
    BackupBroken."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute("analyze")
        found = await connection.fetchrow(
            "select count(*), coalesce(sum(balance_nanos), 0)::bigint from wallet"
        )
        if (found[0], found[1]) != (manifest.wallets, manifest.balance_nanos):
            raise folder.BackupBroken(
                f"{backup}: {found[0]} wallets with {found[1]} nanos came back, not"
                f" {manifest.wallets} with {manifest.balance_nanos}"
            )
        forgotten: list[str] = []
        async with connection.transaction():
            if journals_lost:
                rows = await nodes.known(connection)
                forgotten = [row.process for row in rows]
                at_ms = clock.wall_ms()
                await nodes.forget(connection, dict.fromkeys(forgotten, at_ms))
            details = {"taken_at_ms": manifest.taken_at_ms, "forgotten": forgotten}
            await wallets.insert_audit(
                connection, actor=actor, action="backup.restore", subject=backup.name,
                details=json.dumps(details),
            )  # fmt: skip
        return Restored(backup, manifest, found[0], found[1], forgotten, [], [])
    finally:
        await connection.close()


def _database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def as_document(done: Restored) -> dict[str, Any]:
    """A restore for `--json`."""
    return {
        "backup": str(done.backup),
        "taken_at_ms": done.manifest.taken_at_ms,
        "wallets": done.wallets,
        "balance_nanos": done.balance_nanos,
        "events": done.manifest.events,
        "forgotten": done.forgotten,
        "secrets": done.secrets,
        "peppers_missing": done.peppers_missing,
    }
