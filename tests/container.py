"""Images and containers without a daemon or a registry: buildah, and a base by debootstrap.

chroot isolation shows that the image builds and that what is in it runs as its user. It has the
host's network and processes, no seccomp and a root that can be written to. `Box` is a container by
hand that has what else a kernel gives: a read-only root, a /tmp of its own, process 1.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from corvus_proxy.ops import embedded
from tests.readme import ROOT

APT = "apt-get install -y buildah debootstrap, and run this as root"
BASE = "docker.io/library/debian:12-slim"
"""The name that the Dockerfile uses; the image under it is made here."""
IMAGE = "localhost/corvus:test"
HOME = "/var/lib/corvus"
CERTIFICATES = "/etc/ssl/certs"
DEBRIS = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/lib/apt/lists",
    "var/cache/apt",
)
START_S = 120
BOX = """
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount -t tmpfs tmpfs "$0/tmp"
mount --bind "$1" "$0{home}" && user=$2 && root=$0 && shift 2
exec chroot --userspec="$user" "$root" env -i -C {home} "$@"
"""


class Config(NamedTuple):
    """What an image says of itself."""

    entrypoint: list[str]
    cmd: list[str]
    env: list[str]
    user: str
    healthcheck: list[str]
    size_bytes: int


class Workshop:
    """A store of images in a folder. `close` takes it away."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0 or not all(map(shutil.which, ("buildah", "debootstrap"))):
            pytest.skip(APT)
        self._folder = folder
        self._buildah = [
            "buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run"),
            "--storage-driver", "vfs",
        ]  # fmt: skip

    def words(self, *words: str) -> list[str]:
        """A command line of buildah."""
        return [*self._buildah, *words]

    def call(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """What it printed; AssertionError with its last lines where it failed."""
        done = subprocess.run(self.words(*words), capture_output=True, text=True, check=False)
        if check:
            assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-3000:])
        return done

    def build(self) -> None:
        """The image of this repository, on a fresh Debian."""
        self._make_base()
        certificates = f"{CERTIFICATES}:{CERTIFICATES}:ro"  # of a network that looks into TLS
        self.call(
            "bud", "--isolation", "chroot", "--pull-never", "--layers=false", "--format", "docker",
            "-v", certificates, "-t", IMAGE, str(ROOT),
        )  # fmt: skip

    def _make_base(self) -> None:
        root = self._folder / "base"
        subprocess.run(
            [
                "debootstrap",
                "--variant=minbase",
                "--include=ca-certificates",
                "bookworm",
                str(root),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for name in DEBRIS:  # the published base has none of it either
            shutil.rmtree(root / name)
            (root / name).mkdir()
        made = self.call("from", "scratch").stdout.strip()
        mounted = self.call("mount", made).stdout.strip()
        subprocess.run(["cp", "-a", f"{root}/.", mounted], check=True)
        self.call("umount", made)
        shutil.rmtree(root)
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.call("config", "--env", path, made)
        self.call("commit", "-q", "--rm", made, BASE)

    def config(self) -> Config:
        """What the image says."""
        found = json.loads(self.call("inspect", "--type", "image", IMAGE).stdout)
        said = found["Docker"]["config"]
        images = json.loads(self.call("images", "--json", IMAGE).stdout)
        return Config(
            said["Entrypoint"],
            said["Cmd"],
            said["Env"],
            said["User"],
            said["Healthcheck"]["Test"],
            _bytes(images[0]["size"]),
        )

    def create(self) -> str:
        """A new container of the image; its name."""
        return self.call("from", "--pull-never", IMAGE).stdout.strip()

    def mounted(self, container: str) -> Path:
        """The root of a container."""
        return Path(self.call("mount", container).stdout.strip())

    def delete(self, container: str) -> None:
        """Takes a container away with everything that was written into it."""
        self.call("rm", container)

    def close(self) -> None:
        """Leaves nothing on the disk."""
        self.call("rm", "--all", check=False)
        self.call("rmi", "--all", "--force", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)


def _bytes(size: str) -> int:
    number, unit = size.split()
    return round(float(number) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit])


class Container:
    """One container, on a folder as its volume and on free ports, since the network is the host's.
    What it runs is what its image says, and `more`."""

    def __init__(self, workshop: Workshop, volume: Path) -> None:
        self._workshop = workshop
        self._config = workshop.config()
        self._volume = volume
        self.name = workshop.create()
        ports: list[int] = []
        for _ in range(4):
            ports.append(embedded.free_port(ports))
        self._ports = ports
        self.api, self.site = (f"http://127.0.0.1:{port}" for port in ports[:2])
        self._process: subprocess.Popen[bytes]

    @property
    def facts(self) -> dict[str, Any]:
        """`up.json`, which is there a moment after the public ports are ready."""
        path = self._volume / "state" / "up.json"
        deadline_s = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    @property
    def log(self) -> Path:
        """What the container printed."""
        return self._volume.with_suffix(".log")

    def whole(self) -> list[str]:
        """The image's own command line, on this container's ports."""
        names = ("api", "site", "console", "status")
        words = [
            word
            for name, port in zip(names, self._ports, strict=True)
            for word in (f"--{name}-port", str(port))
        ]
        return [*self._config.entrypoint, *self._config.cmd, *words]

    def start(self) -> float:
        """Runs it; seconds until both public ports said that they are ready."""
        return self._start(self._run(*self.whole()))

    def start_boxed(self) -> float:
        """The same with a root that nothing can be written to, in a `Box`."""
        root = self._workshop.mounted(self.name)
        ids = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines()]
        user = next(f"{line[2]}:{line[3]}" for line in ids if line[0] == self._config.user)
        return self._start(
            [
                "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-e", "-c",
                BOX.format(home=HOME), str(root), str(self._volume), user,
                *self._config.env, *self.whole(),
            ]
        )  # fmt: skip

    def start_role(self, role: str, **variables: str) -> tuple[subprocess.Popen[bytes], Path]:
        """One role alone from the same image, beside what runs on the volume; and its log."""
        return self._popen(self._run(*self._config.entrypoint, role, **variables)), self.log

    def end_role(self, process: subprocess.Popen[bytes]) -> None:
        """SIGTERM to the role under buildah, which hands it on."""
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
            raise

    def inside(
        self, *words: str, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """A command in the container, as its user."""
        done = subprocess.run(
            self._run(*words, **variables), capture_output=True, text=True, check=False
        )
        if check:
            assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done

    def command(self, *words: str) -> dict[str, Any]:
        """A command of the program; its document. The image knows the state folder."""
        found: dict[str, Any] = json.loads(
            self.inside(*self._config.entrypoint, *words, "--json").stdout
        )
        return found

    def health(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """The image's HEALTHCHECK."""
        kind, *words = self._config.healthcheck
        assert kind == "CMD"
        return self.inside(*words, check=False, **variables)

    def stop(self) -> None:
        """As an engine stops it: SIGTERM to its first process."""
        os.kill(self.first_pid, signal.SIGTERM)
        assert self._process.wait(60) == 0, self.log.read_text()[-2000:]

    def kill(self) -> None:
        """As an engine removes one that runs: SIGKILL to all of it."""
        for pid in self.facts["pids"].values():
            os.kill(pid, signal.SIGKILL)
        self._process.wait(60)

    def delete(self) -> None:
        """Takes it away, and what still runs of it."""
        if getattr(self, "_process", None) is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)
        self._workshop.call("umount", self.name, check=False)
        self._workshop.delete(self.name)

    @property
    def first_pid(self) -> int:
        """Its first process, as the host counts; in a box it calls itself 1."""
        pid = int(self.facts["pids"]["launcher"])
        if pid != 1:
            return pid
        (found,) = (
            Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        )
        return int(found)

    def _run(self, *words: str, **variables: str) -> list[str]:
        volume = f"{self._volume}:{HOME}"
        named = [word for name, text in variables.items() for word in ("--env", f"{name}={text}")]
        return self._workshop.words(
            "run", "--isolation", "chroot", "-v", volume, *named, self.name, "--", *words
        )

    def _popen(self, words: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as out:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def _start(self, words: list[str]) -> float:
        began = time.monotonic()
        self._process = self._popen(words)
        for url in (self.api, self.site):
            until_ready(url, self._process, self.log)
        return time.monotonic() - began


def until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until a port says that it is ready. AssertionError with the log's end."""
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            if httpx.get(f"{url}/readyz", trust_env=False, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.02)
