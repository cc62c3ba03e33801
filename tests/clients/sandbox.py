"""Runs a client as on a machine of its own: an empty home, a clean environment, loopback alone."""

import os
import signal
import subprocess
from pathlib import Path

from tests.clients.installed import node

NOWHERE = "http://127.0.0.1:9"
"""The proxy for all that is not on loopback: nobody listens there."""
RUN_S = 120


class Sandbox:
    """A home and a working folder below `root`."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.work = root / "work"
        self.home.mkdir()
        self.work.mkdir()

    def run(
        self, *words: str | Path, timeout_s: float = RUN_S, path: Path | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program until it ends, with `more` in its environment and `path` at the front of
        its PATH. What it started is ended with it when it takes too long (TimeoutExpired)."""
        folders = [str(folder) for folder in (path, node().parent) if folder]
        environment = {
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "PATH": os.pathsep.join([*folders, "/usr/local/bin", "/usr/bin", "/bin"]),
            "LANG": "C.UTF-8",
            "CI": "1",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "SHELL": "/bin/bash",
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
            **more,
        }
        with subprocess.Popen(
            [str(word) for word in words],
            cwd=self.work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as running:
            try:
                out, err = running.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                out, err = running.communicate()
                raise AssertionError(f"{words[0]} took {timeout_s} s: {out}{err}") from None
        return subprocess.CompletedProcess(words, running.returncode, out, err)

    def finish(self, *words: str | Path, **more: str) -> str:
        """The output of a program that has to succeed."""
        done = self.run(*words, **more)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout
