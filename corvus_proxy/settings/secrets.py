"""Secrets by environment variable or file."""

import os
from pathlib import Path
from typing import NamedTuple

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
