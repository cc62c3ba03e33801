"""The folder that backups lie in: their manifests, which is the newest, which may go."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from corvus_proxy import clock
from corvus_proxy.errors import ConfigurationError, CorvusError

FORMAT = 1
MANIFEST, DUMP, SECRETS = "manifest.json", "books.dump", "secrets"
PARTIAL = ".partial-"
LAST_DRILL = "last-drill.json"


class File(msgspec.Struct, frozen=True):
    """One file of a backup, as it lies there."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup is of. All figures are of the one snapshot that was dumped."""

    taken_at_ms: int
    """When the snapshot was taken, by the wall clock of the machine that took it."""
    corvus: str
    """Version of this program."""
    postgres: str
    """Version of the server that was dumped."""
    pg_dump: str
    schema: list[str]
    """Migrations that were applied, by number, in order."""
    cursors: dict[str, str]
    """The last booked event of each partition that has one: `p07` to `epoch-seq`."""
    wallets: int
    balance_nanos: int
    """All customers' balances together."""
    events: int
    peppers: list[str]
    """Ids of the peppers that its keys need."""
    encrypted: bool
    files: dict[str, File]
    format: int = FORMAT


class BackupBroken(CorvusError):
    """A backup is not whole, or not what its manifest says."""


def read(folder: Path) -> Manifest:
    """A backup's manifest. Raises BackupBroken."""
    try:
        found = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError:
        raise BackupBroken(f"{folder} is no backup: it has no {MANIFEST}") from None
    except msgspec.MsgspecError as error:
        raise BackupBroken(f"{folder / MANIFEST}: {error}") from None
    if found.format != FORMAT:
        raise BackupBroken(f"{folder}: format {found.format} is of another version of corvus")
    return found


def complete(folder: Path) -> list[tuple[Path, Manifest]]:
    """All whole backups in a folder, the newest first; what is none is left out."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(BackupBroken):
            if path.is_dir() and not path.name.startswith(PARTIAL):
                found.append((path, read(path)))
    return sorted(found, key=lambda one: (one[1].taken_at_ms, one[0].name), reverse=True)


def age_s(folder: Path) -> float | None:
    """Seconds since the newest backup of a folder was taken; None: there is none."""
    found = complete(folder)
    return (clock.wall_ms() - found[0][1].taken_at_ms) / 1000 if found else None


def chosen(backup: Path | None, folder: str) -> Path:
    """The backup that was named, or the newest of the configured folder. Raises
    ConfigurationError."""
    if backup is not None and (backup / MANIFEST).exists():
        return backup
    where = backup or (Path(folder) if folder else None)
    if where is None:
        raise ConfigurationError("name a backup, or set backup.dir for the newest in there")
    found = complete(where)
    if not found:
        raise ConfigurationError(f"there is no backup in {where}")
    return found[0][0]


@contextlib.contextmanager
def taken(folder: Path) -> Iterator[None]:
    """Holds a folder against other runs, and clears what dead ones left. Raises
    ConfigurationError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(f"another backup is being taken into {folder}") from None
        for left in folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(left)
        yield
    finally:
        os.close(fd)


def publish(partial: Path, name: str) -> Path:
    """Gives a finished backup its name: from then on it is one, whatever breaks."""
    for path in (*partial.iterdir(), partial):
        sync(path)
    target = partial.with_name(name)
    partial.rename(target)
    sync(target.parent)
    return target


def sync(path: Path) -> None:
    """Returns when a file, or a folder's entries, are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def prune(folder: Path, keep: int, secrets_dir: str) -> list[str]:
    """Removes whole backups beyond the newest `keep`, their secrets with them; their names."""
    gone = []
    for path, _ in complete(folder)[keep:] if keep else ():
        # Without its manifest it is none any more, should the rest not be reached.
        (path / MANIFEST).unlink()
        shutil.rmtree(path)
        if secrets_dir:
            secrets_path(secrets_dir, path.name).unlink(missing_ok=True)
        gone.append(path.name)
    return gone


def secrets_path(secrets_dir: str, name: str) -> Path:
    """Where the secrets of a backup lie when not beside its dump."""
    return Path(secrets_dir) / f"{name}.secrets"


def last_drill(folder: Path) -> dict[str, Any] | None:
    """How the last restore drill of a folder ended, `ok` and `problems`; None: there was none."""
    try:
        found: dict[str, Any] = msgspec.json.decode((folder / LAST_DRILL).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None
    return found


def note_drill(folder: Path, result: dict[str, Any]) -> None:
    """Remembers how the last restore drill of a folder ended."""
    partial = folder / f"{LAST_DRILL}.partial"
    partial.write_bytes(msgspec.json.encode(result) + b"\n")
    partial.replace(folder / LAST_DRILL)
