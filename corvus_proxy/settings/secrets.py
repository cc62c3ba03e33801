"""Secrets by environment variable or file."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from corvus_proxy.errors import ConfigurationError


class Named(NamedTuple):
    """Where a secret stands."""

    option: str
    env: str
    file: str


def read_secret(named: Named) -> str:
    """The secret, or nothing where none is named. Raises ConfigurationError where both are named,
    or what is named is empty or missing."""
    if not named.env and not named.file:
        return ""
    if named.env and named.file:
        raise ConfigurationError(f"{named.option}: name a variable or a file, not both")
    if named.env:
        text = os.environ.get(named.env, "")
    else:
        text = read_file(Path(named.file), named.option).decode("utf-8", "replace")
    if not text.strip():
        raise ConfigurationError(f"{named.option}: nothing in {named.env or named.file}")
    return text.strip()


class Rotating:
    """Secrets that may change while a process runs: one per line of a file, the first being the
    one that we use, each being one that we take. The file is looked at on each use."""

    def __init__(self, named: Named) -> None:
        """Raises ConfigurationError, as `read_secret` does; later, what cannot be read changes
        nothing."""
        self._named = named
        self._stamp = self._look()
        self.all: tuple[str, ...] = tuple(read_secret(named).split())
        """Those that were read last."""

    def __bool__(self) -> bool:
        return bool(self.latest())

    def latest(self) -> tuple[str, ...]:
        """All of them as they are now; empty where none is named."""
        stamp = self._look()
        if stamp != self._stamp:
            with contextlib.suppress(ConfigurationError):
                self.all = tuple(read_secret(self._named).split())
                self._stamp = stamp
        return self.all

    def first(self) -> str:
        """The one that we use; empty where none is named."""
        return next(iter(self.latest()), "")

    def _look(self) -> tuple[int, int, int] | None:
        if not self._named.file:
            return None
        try:
            found = os.stat(self._named.file)
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def read_file(path: Path, option: str) -> bytes:
    """A file's bytes. Raises ConfigurationError that names the option."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{option}: {path}: {error.strerror}") from None


def with_password(url: str, file: str, section: str) -> str:
    """A store's URL with the password that a file has, if one is named. Raises ConfigurationError
    where the URL has a password, too, or the file has none."""
    if not file:
        return url
    option = f"{section}.password_file"
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    if ":" in user:
        raise ConfigurationError(f"{option}: {section}.url has a password, too; leave one out")
    text = read_secret(Named(option, "", file))
    if not at and parts.scheme.startswith("postgres"):
        raise ConfigurationError(f"{option}: {section}.url names no user whose password it is")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(text, safe='')}@{place}"))


def without_password(url: str) -> str:
    """A store's URL as it may be shown."""
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{place}"))
