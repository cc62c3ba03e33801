"""Files and folders of this machine: who may read secrets, and how full disks are."""

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from corvus_proxy.ops.doctor.finding import Finding
from corvus_proxy.settings import PLAIN_SECTIONS, Settings

FREE_SHARE = 5
"""A disk has at least this part of itself free (one fifth)."""
_NO_SECRETS = ("legal",)
"""Sections whose files are for everybody."""


def secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Every file that holds a secret, by its option."""
    for section in PLAIN_SECTIONS:
        if section in _NO_SECRETS:
            continue
        for name, value in msgspec.structs.asdict(getattr(settings, section)).items():
            if name.endswith("_file") and value:
                yield f"{section}.{name}", Path(value)
    for upstream in settings.upstream:
        for one in upstream.credential:
            if one.secret_file:
                yield f"credential {one.name}: secret_file", Path(one.secret_file)


def secrets(settings: Settings, config: Path | None) -> list[Finding]:
    """Secrets that others on this machine can read or that anybody but their owner can change."""
    found = []
    for option, path in secret_files(settings):
        mode = _mode(path)
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            found.append(_open_to_others(option, path, mode))
    for option in ("database.url", "redis.url"):
        section, _, name = option.partition(".")
        password = urlsplit(getattr(getattr(settings, section), name)).password
        if password and config and _mode(config) & stat.S_IRWXO and _holds(config, password):
            found.append(_open_to_others(option, config, _mode(config)))
    return found


def _open_to_others(option: str, path: Path, mode: int) -> Finding:
    text = f"{option}: {path} has mode {mode:04o} and is open to others; chmod 600 {path}"
    return Finding("secrets", "error", text)


def _mode(path: Path) -> int:
    """Permissions of a file; none where it is not there, which others say."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def _holds(path: Path, text: str) -> bool:
    try:
        return text in path.read_text()
    except (OSError, UnicodeDecodeError):
        return False


def disks(settings: Settings) -> list[Finding]:
    """Disks of the folders that grow, each once; the journal's is looked at with the journal."""
    folders = {
        "status.dir": settings.status.dir,
        "ledger.archive_dir": settings.ledger.archive_dir,
        "metrics.dir": settings.metrics.dir,
    }
    seen = {_device(settings.ledger.journal_dir)}
    found = []
    for option, name in folders.items():
        device = _device(name)
        if device is None or device in seen:
            continue
        seen.add(device)
        if is_full(Path(name)):
            text = f"{option}: less than a fifth of the disk of {name} is free; make room"
            found.append(Finding("disk", "error", text))
    return found


def is_full(folder: Path) -> bool:
    """Whether less than a fifth of its disk is free."""
    usage = shutil.disk_usage(folder)
    return usage.free * FREE_SHARE < usage.total


def _device(name: str) -> int | None:
    try:
        return Path(name).stat().st_dev if name else None
    except OSError:
        return None
