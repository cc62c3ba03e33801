"""`corvus backup …`, `db …`, `secrets …`: an installation through losses and upgrades."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.amount import format_usd
from corvus_proxy.ops.commands.common import (
    Common,
    Reason,
    actor,
    logs_to_stderr,
    on_stores,
    say,
    settings_of,
)
from corvus_proxy.ops.commands.desk.progress import watched
from corvus_proxy.ops.state import State

backup = App(name="backup", help="Backups of the books.")
db = App(name="db", help="The database.")
secrets_app = App(name="secrets", help="What rests on which pepper.")
WARNING = 30
LOST = (
    "What was spent after {when} is not in it: customers keep that money. What was paid or granted"
    " after it is not in it either, docs/backup.md says how it is found."
)


def _key(settings: Any, named: Path | None) -> bytes | None:
    from corvus_proxy.ops.backup import cipher

    path = named or (Path(settings.backup.key_file) if settings.backup.key_file else None)
    return cipher.read_key(path) if path is not None else None


def _settings_or_none(common: Common) -> Any:
    """The settings of an installation, or the defaults where there is none yet."""
    from corvus_proxy.settings import Settings, config_path, load

    path = common.config or config_path()
    return load(path) if path is not None else Settings()


def _when(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@backup.command
def run(
    *,
    to: Path | None = None,
    key_file: Path | None = None,
    secrets_dir: Path | None = None,
    keep: int | None = None,
    common: Common | None = None,
) -> None:
    """Takes a backup of the books while everything runs.

    Parameters
    ----------
    to
        Folder of backups; else `backup.dir`.
    key_file
        Encrypts dump and secrets; else `backup.key_file`.
    secrets_dir
        Where the secrets go without a key file; else `backup.secrets_dir`.
    keep
        Whole backups that stay, 0: all; else `backup.keep`.
    """
    from corvus_proxy.ops.backup import taking

    common = common or Common()
    settings = settings_of(common)
    folder = to or (Path(settings.backup.dir) if settings.backup.dir else None)
    if folder is None:
        raise ConfigurationError("name a folder (--to), or set backup.dir")
    if keep is not None and keep < 0:
        raise ValueError("--keep is a number of backups, 0 for all")
    wish = taking.Wish(
        folder,
        _key(settings, key_file),
        str(secrets_dir or settings.backup.secrets_dir),
        settings.backup.keep if keep is None else keep,
    )
    state = State(common.state) if common.config is None else None
    with watched("dumped", "bytes") as told:
        done = asyncio.run(taking.take(settings, state, wish, told=told))
    size = sum(one.bytes for one in done.manifest.files.values())
    lines = [
        f"{done.path}: {done.manifest.wallets} wallets with"
        f" {format_usd(done.manifest.balance_nanos)} USD, {done.manifest.events} events,"
        f" {size} bytes{', encrypted' if done.manifest.encrypted else ''}",
        f"secrets: {done.secrets}"
        if done.secrets
        else "secrets: NOT kept. Without the pepper no key works on a new machine: set"
        " backup.key_file or backup.secrets_dir",
        *(f"removed: {name}" for name in done.pruned),
    ]
    document = {
        "path": str(done.path),
        "secrets": done.secrets or None,
        "bytes": size,
        "pruned": done.pruned,
        "encrypted": done.manifest.encrypted,
        "taken_at_ms": done.manifest.taken_at_ms,
        "wallets": done.manifest.wallets,
        "balance_nanos": done.manifest.balance_nanos,
        "events": done.manifest.events,
    }
    say(common, document, "\n".join(lines))


@backup.command(name="list")
def list_(folder: Path | None = None, *, common: Common | None = None) -> None:
    """Whole backups in a folder (else `backup.dir`), the newest first.

    Parameters
    ----------
    folder
        Where to look; `backup.dir` where it is left out.
    """
    from corvus_proxy.ops.backup import folder as backups

    common = common or Common()
    where = folder or Path(settings_of(common).backup.dir or "")
    if where == Path():
        raise ConfigurationError("name a folder, or set backup.dir")
    found = backups.complete(where)
    lines = [
        f"{path.name}  {_when(one.taken_at_ms)}  {one.wallets} wallets"
        f"  {format_usd(one.balance_nanos)} USD  schema {one.schema[-1]}  corvus {one.corvus}"
        f"{'  encrypted' if one.encrypted else ''}"
        for path, one in found
    ]
    document = {
        "backups": [
            {
                "path": str(path),
                "taken_at_ms": one.taken_at_ms,
                "wallets": one.wallets,
                "balance_nanos": one.balance_nanos,
                "schema": one.schema[-1],
                "encrypted": one.encrypted,
                "bytes": sum(file.bytes for file in one.files.values()),
            }
            for path, one in found
        ]
    }
    say(common, document, "\n".join(lines) or f"there is no backup in {where}")


@backup.command
def restore(
    source: Path,
    *,
    key_file: Path | None = None,
    secrets: Path | None = None,
    journals_lost: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,
) -> None:
    """Puts a backup back: into a new --state folder, or into the empty database of a --config.

    Parameters
    ----------
    source
        The backup, or a folder of backups for the newest in it.
    key_file
        What it was encrypted with; else `backup.key_file`.
    secrets
        The file with its secrets, where they are not beside the dump.
    journals_lost
        With --config: the gateways' machines are lost, too. Nobody waits for their
        journals; without it the worker names each that it waits for.
    """
    from corvus_proxy.ops.backup import folder as backups
    from corvus_proxy.ops.backup import restoring

    common = common or Common()
    settings = _settings_or_none(common)
    path = backups.chosen(source, "")
    key = _key(settings, key_file)
    if common.config is not None or settings.secrets.pepper_file:
        work = restoring.into_settings(
            path, settings, key, secrets, lost=journals_lost, actor=actor()
        )
        after = "Start the worker with an empty Redis, or with the one that lives"
    else:
        work = restoring.into_state(path, State(common.state), key, secrets, actor=actor())
        after = f"Start it: corvus up --state {common.state}"
    with watched("restoring", "none"):
        done = asyncio.run(work)
    lines = [
        f"{done.backup}: {done.wallets} wallets with {format_usd(done.balance_nanos)} USD are back",
        *(f"written: {option}" for option in done.secrets),
        *(
            f"pepper {name} is NOT configured: what still rests on it does not work; name its file"
            " in secrets.other_pepper_files, then see `corvus secrets status`"
            for name in done.peppers_missing
        ),
        *(f"its journal counts as lost: process {name}" for name in done.forgotten),
        LOST.format(when=_when(done.manifest.taken_at_ms)),
        f"{after}; then `corvus ledger verify`.",
    ]
    say(common, restoring.as_document(done), "\n".join(lines))


@backup.command
def drill(
    source: Path | None = None,
    *,
    key_file: Path | None = None,
    secrets: Path | None = None,
    common: Common | None = None,
) -> None:
    """Restores a backup into servers of its own, verifies its books, and throws all away; exit
    code 3 when they do not verify.

    Parameters
    ----------
    source
        The backup, or a folder for the newest in it; else the newest of `backup.dir`.
    key_file
        What it was encrypted with; else `backup.key_file`.
    secrets
        The file with its secrets, where they are not beside the dump.
    """
    from corvus_proxy.ops.backup import drilling
    from corvus_proxy.ops.backup import folder as backups

    common = common or Common()
    logs_to_stderr(WARNING + 20)  # recovery tells of every partition that it rebuilds
    running = State(common.state).config
    settings = settings_of(common) if running.exists() else _settings_or_none(common)
    path = backups.chosen(source, settings.backup.dir)
    with watched("restoring and verifying", "none"):
        found = asyncio.run(drilling.drill(path, _key(settings, key_file), secrets))
    if found["ok"]:
        text = (
            f"ok: {path.name} restores to {found['wallets']} wallets with"
            f" {format_usd(found['balance_nanos'])} USD and {found['events']} events, drift 0,"
            f" pepper {found['pepper']}, in {found['took_s']} s"
        )
    else:
        text = "\n".join([f"FAILED: {path.name}", *found["problems"]])
    say(common, found, text)
    if not found["ok"]:
        raise SystemExit(3)


@db.command
def migrate(*, status: bool = False, common: Common | None = None) -> None:
    """Applies migrations to the database of the settings.

    Parameters
    ----------
    status
        Only tell which are applied and which are missing.
    """
    from corvus_proxy.ops import migrate as migrations

    common = common or Common()
    url = settings_of(common).database.url
    asyncio.run(migrations.refuse_unknown(url))
    told = migrations.status(url) if status else migrations.migrate(url)
    say(common, {"text": told}, told.rstrip("\n") or "nothing was to be done")


@db.command
def check(*, common: Common | None = None) -> None:
    """Whether this release may run on the database; exit code 1 where it must not, 3 where
    migrations are missing."""
    from corvus_proxy.ops import migrate as migrations

    common = common or Common()
    schema = asyncio.run(migrations.check(settings_of(common).database.url))
    refusal = schema.refusal()
    if refusal:
        text = refusal
    elif schema.missing:
        text = f"migrations are missing ({', '.join(schema.missing)}): corvus db migrate"
    elif schema.beyond:
        text = f"ok: a later release has added {', '.join(schema.beyond)}, which this one may use"
    else:
        text = f"ok: the schema is this release's, {migrations.known()[-1]}"
    ok = not refusal and not schema.missing
    say(common, {"ok": ok, **schema._asdict(), "text": text}, text)
    if not ok:
        raise SystemExit(1 if refusal else 3)


@secrets_app.command
def status(*, common: Common | None = None) -> None:
    """What rests on which pepper, and whether one may be taken from the configuration."""
    from corvus_proxy.service import peppers

    common = common or Common()
    found = on_stores(common, peppers.status)
    lines = [f"current pepper {found.current}"]
    for name in [found.current, *found.others, *sorted(set(found.secrets) - {found.current}
                 - set(found.others))]:  # fmt: skip
        what = f"{found.secrets.get(name, 0)} secrets of keys, {found.seals.get(name, 0)} seals"
        lines.append(f"{name or 'not known':12}  {what}")
    if found.others:
        lines.append(
            f"{found.codes} recovery codes and {found.tokens} read-only tokens work under the"
            " pepper that they were made with: take it away, and those made before end"
        )
    say(common, found._asdict(), "\n".join(lines))


@secrets_app.command
def reseal(*, reason: Reason, common: Common | None = None) -> None:
    """Makes every seal of an older pepper anew under the current one."""
    from corvus_proxy.service import peppers

    common = common or Common()
    made = on_stores(common, lambda stores: peppers.reseal(stores, reason=reason, actor=actor()))
    say(common, {"seals": made}, f"{made} seals were made anew")
