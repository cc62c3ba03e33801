"""Secrets by environment variable or file."""

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
