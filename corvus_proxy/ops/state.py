"""The state folder of `corvus up`: its lock, its configuration, and `up.json`."""

import fcntl
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

import msgspec

from corvus_proxy.errors import ConfigurationError

SERVERS_END_S = 20


class State:
    """One state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def config(self) -> Path:
        """The effective configuration."""
        return self.folder / "up.toml"

    @property
    def up(self) -> Path:
        """What is running, for people and commands."""
        return self.folder / "up.json"

    @property
    def pepper(self) -> Path:
        return self.folder / "pepper"

    @property
    def sealed_key(self) -> Path:
        """The demo key's secret, sealed under the pepper."""
        return self.folder / "demo-key"

    def log(self, name: str) -> Path:
        """A child's log file."""
        return self.folder / "logs" / f"{name}.log"

    def prepare(self) -> None:
        """Makes the folder and what has to lie in it before anything starts. Raises
        ConfigurationError where it is somebody else's."""
        try:
            for path in (
                self.folder,
                self.folder / "logs",
                self.folder / "metrics",
                self.folder / "journal",
            ):
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self.pepper.exists():
                write_private(self.pepper, secrets.token_hex(32))
        except OSError as error:
            raise ConfigurationError(
                f"{self.folder}: {error.strerror}. It has to belong to user {os.geteuid()}, who"
                f" runs this: `chown -R {os.geteuid()}` what is mounted there, or name another"
                " --state."
            ) from None

    def clear_metrics(self) -> None:
        """Takes away the figures of processes that no longer run; the lock must be held."""
        for stale in (self.folder / "metrics").glob("*.db"):
            stale.unlink()

    def lock(self) -> int:
        """Takes the folder for this process. Raises ConfigurationError when another has it."""
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            where = self.read().get("api", "another process")
            raise ConfigurationError(f"corvus is already running at {where}") from None
        return fd

    def lock_data(self) -> int:
        """A lock that both servers inherit, so that it is free only when they have ended.

        After a kill -9 of the launcher they still write for a moment; two servers on one log would
        destroy it. Raises ConfigurationError when they do not end.
        """
        fd = os.open(self.folder / "data-lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + SERVERS_END_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > deadline:
                    os.close(fd)
                    raise ConfigurationError(
                        f"a Redis or Postgres of an earlier start still runs on {self.folder};"
                        " end it first"
                    ) from None
                time.sleep(0.02)
            else:
                return fd

    def read(self) -> dict[str, Any]:
        """`up.json`, or nothing."""
        try:
            found: dict[str, Any] = json.loads(self.up.read_text())
        except (OSError, ValueError):
            return {}
        return found


def write_private(path: Path, text: str) -> None:
    """Writes a file that only we may read; who reads meanwhile has the old text or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.touch(mode=0o600)
    fresh.chmod(0o600)
    fresh.write_text(text)
    fresh.replace(path)


def to_toml(tree: dict[str, Any]) -> str:
    """TOML of plain values, tables one level deep, and arrays of tables with one inside."""
    scalars = [
        f"{name} = {_value(value)}"
        for name, value in tree.items()
        if not isinstance(value, dict) and not _is_tables(value)
    ]
    out = [*scalars, ""]
    for name, value in tree.items():
        if isinstance(value, dict):
            out += [f"[{name}]", *(f"{key} = {_value(inner)}" for key, inner in value.items()), ""]
        elif _is_tables(value):
            for row in value:
                out += [
                    f"[[{name}]]",
                    *(
                        f"{key} = {_value(inner)}"
                        for key, inner in row.items()
                        if not _is_tables(inner)
                    ),
                ]
                for key, inner in row.items():
                    for table in inner if _is_tables(inner) else ():
                        out += [
                            f"[[{name}.{key}]]",
                            *(f"{part} = {_value(one)}" for part, one in table.items()),
                        ]
                out.append("")
    return "\n".join(out)


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    # JSON's strings are TOML's, but for one character that only TOML wants escaped.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
