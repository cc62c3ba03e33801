"""The load generator (`bench/c/load.c`): one run of it, or one that goes on beside other work.

`run(port, asked, seconds=5, connections=16)` returns its document; every word that the program
knows is a keyword here.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bench import processes
from bench.c import program
from bench.far import Asked
from corvus_proxy.errors import CorvusError

Document = dict[str, Any]


class Load:
    """A load that has begun."""

    def __init__(self, child: "subprocess.Popen[str]", errors: IO[str]) -> None:
        self._child = child
        self._errors = errors
        self._document: Document | None = None

    def wait_all(self) -> bool:
        """With `tell=1`: until each connection has had the first byte of a body; False when the
        load has ended without."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if line.startswith("{"):
            self._document = dict(json.loads(line))
        return line == "all\n"

    def end(self) -> Document:
        """Waits until it has ended. Raises CorvusError with its last words."""
        rest, _ = self._child.communicate()
        if self._document is None:
            if self._child.returncode:
                self._errors.seek(0)
                raise CorvusError(f"the load generator failed: {self._errors.read()[-2000:]}")
            self._document = dict(json.loads(rest.splitlines()[-1]))
        return self._document


@contextmanager
def beside(
    port: int,
    asked: Asked,
    *,
    secrets: Sequence[str] | Path = (),
    headers: Sequence[str] = (),
    **words: float | str,
) -> Iterator[Load]:
    """A load that goes on while the block runs; it is ended with the block. `secrets` are used in
    turn; a path is a file of them."""
    with tempfile.TemporaryDirectory(prefix="corvus-load-") as folder:
        body = Path(folder, "body")
        body.write_bytes(asked.body)
        command = [str(program("load")), f"port={port}", f"path={asked.path}", f"body={body}"]
        if asked.events:
            command += [f"terminal={asked.terminal}", f"events={asked.events}"]
        if secrets and not isinstance(secrets, Path):
            Path(folder, "keys").write_text("".join(f"{text}\n" for text in secrets))
            secrets = Path(folder, "keys")
        if secrets:
            command.append(f"keys={secrets}")
        command += [f"header={text}" for text in headers]
        command += [f"{name}={value}" for name, value in words.items()]
        with Path(folder, "errors").open("w+") as errors:
            with processes.off_the_first_core():
                child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            try:
                yield Load(child, errors)
            finally:
                if child.poll() is None:
                    child.kill()
                child.wait()


def run(
    port: int,
    asked: Asked,
    *,
    secrets: Sequence[str] | Path = (),
    headers: Sequence[str] = (),
    **words: float | str,
) -> Document:
    """One run; see `beside`. Raises CorvusError."""
    with beside(port, asked, secrets=secrets, headers=headers, **words) as load:
        return load.end()
