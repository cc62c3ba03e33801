"""Applies the migrations by dbmate; knows without it whether there is anything to apply."""

import asyncio
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import asyncpg

from corvus_proxy.books.db import Schema, known_migrations, read_schema
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops import children


def folder() -> Path:
    """Where the migrations lie."""
    return Path(str(resources.files("corvus_proxy.books") / "migrations"))


def _run(url: str, *words: str) -> str:
    binary = Path(sys.executable).with_name("dbmate")
    program = str(binary) if binary.exists() else shutil.which("dbmate")
    if program is None:
        raise ConfigurationError("dbmate is missing; it comes with the package's dependencies")
    local = "127.0.0.1" in url or "localhost" in url
    if local and "sslmode=" not in url:
        url += ("&" if "?" in url else "?") + "sslmode=disable"
    done = subprocess.run(
        [program, "--no-dump-schema", "--migrations-dir", str(folder()), *words],
        env={**children.child_environment(), "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigurationError(f"migrations failed: {done.stderr.strip()}")
    return done.stdout


def migrate(url: str) -> str:
    """Creates the database where it is missing and applies what is new; dbmate's own report."""
    return _run(url, "--wait", "up")


def status(url: str) -> str:
    """Which migrations are applied."""
    return _run(url, "status")


def digest() -> str:
    """Changes with every migration: a state that has seen it needs no dbmate."""
    return ",".join(sorted(os.listdir(folder())))


def known() -> tuple[str, ...]:
    """The numbers of this release's migrations."""
    return known_migrations()


async def check(url: str, *, timeout_s: float = 5) -> Schema:
    """The schema of a database beside this release's. Raises ConfigurationError where it cannot be
    read."""
    try:
        async with asyncio.timeout(timeout_s):
            connection = await asyncpg.connect(url)
            try:
                return await read_schema(connection)
            finally:
                await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        told = str(error) or type(error).__name__
        raise ConfigurationError(f"the database cannot be read: {told}") from None


async def refuse_unknown(url: str) -> None:
    """Raises ConfigurationError where the schema is one that this release must not use. A database
    that does not answer is met later: roles start without it."""
    try:
        schema = await check(url, timeout_s=2)
    except ConfigurationError:
        return
    if refusal := schema.refusal():
        raise ConfigurationError(refusal)
