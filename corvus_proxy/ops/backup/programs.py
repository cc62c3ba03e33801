"""pg_dump and pg_restore of the right version, asked without a password in their arguments."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

from corvus_proxy.errors import ConfigurationError, CorvusError
from corvus_proxy.ops import children, embedded
from corvus_proxy.roles.parent import die_with_parent

READ_BYTES = 1 << 18


class ProgramFailed(CorvusError):
    """pg_dump or pg_restore ended with an error."""


def find(name: str, major: int) -> Path:
    """The program of exactly this major version of Postgres: a newer pg_dump writes what the older
    server cannot read back. Raises ConfigurationError with what to install."""
    folders = [*embedded.postgres_folders(), *map(Path, _path_folders(name))]
    for folder in folders:
        program = folder / name
        if program.exists() and _major(program) == major:
            return program
    raise ConfigurationError(
        f"there is no {name} of Postgres {major} here: apt-get install -y"
        f" postgresql-client-{major}, or name its folder in CORVUS_PG_BIN"
    )


def _path_folders(name: str) -> list[str]:
    found = shutil.which(name)
    return [str(Path(found).parent)] if found else []


def _major(program: Path) -> int:
    found = re.search(r"(\d+)", version(program))
    return int(found[1]) if found else 0


def version(program: Path) -> str:
    """What a program says it is, as `pg_dump (PostgreSQL) 18.6`."""
    done = subprocess.run(
        [str(program), "--version"],
        capture_output=True,
        text=True,
        check=False,
        env=children.child_environment(),
    )
    return done.stdout.strip()


def login(url: str) -> tuple[list[str], dict[str, str]]:
    """A database URL as arguments and environment for Postgres' programs; the password stands in
    the environment alone, where other users of the machine do not see it."""
    parts = urlsplit(url)
    words = [
        f"--host={parts.hostname or '127.0.0.1'}",
        f"--port={parts.port or 5432}",
        f"--dbname={parts.path.lstrip('/') or 'corvus'}",
    ]
    if parts.username:
        words.append(f"--username={unquote(parts.username)}")
    extra = {"PGPASSWORD": unquote(parts.password or "")}
    for option, (value, *_) in parse_qs(parts.query).items():
        if option in ("sslmode", "sslrootcert", "sslcert", "sslkey"):
            extra[f"PG{option.upper()}"] = value
    return words, children.child_environment(extra)


async def output(program: Path, url: str, words: Sequence[str]) -> AsyncIterator[bytes]:
    """What a program writes, piece by piece. Raises ProgramFailed with its own last words."""
    where, environment = login(url)
    process = await asyncio.create_subprocess_exec(
        str(program), *words, "--no-password", *where, env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,
    )  # fmt: skip
    stdout = cast(asyncio.StreamReader, process.stdout)
    said = asyncio.create_task(cast(asyncio.StreamReader, process.stderr).read())
    try:
        while piece := await stdout.read(READ_BYTES):
            yield piece
        if await process.wait():
            last = (await said).decode(errors="replace").strip()
            raise ProgramFailed(f"{program.name} failed: {last[-2000:]}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await asyncio.gather(said, return_exceptions=True)
