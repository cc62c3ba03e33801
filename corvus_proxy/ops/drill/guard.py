"""`python -m corvus_proxy.ops.drill.guard`: ends what a drill has started when the drill is gone.

The drill writes a line for each child, `+pid`; when the pipe closes, however that came about, every
child's session is killed. Frozen processes too: they would never see the signal that a dead parent
leaves them.
"""

import contextlib
import os
import signal
import subprocess
import sys
from typing import IO, cast


class Guard:
    """The drill's side."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "corvus_proxy.ops.drill.guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._pipe = cast(IO[bytes], self._process.stdin)

    def knows(self, pid: int) -> None:
        """A child has been started."""
        self._tell(f"+{pid}\n")

    def forgets(self, pid: int) -> None:
        """A child has ended; its number may soon be another's."""
        self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(line.encode())
            self._pipe.flush()

    def close(self) -> None:
        """Every child has ended, or ends now."""
        self._pipe.close()
        self._process.wait()


def main() -> None:
    """Reads to the end, then kills."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    children: set[int] = set()
    for line in sys.stdin:
        sign, pid = line[0], int(line[1:])
        (children.add if sign == "+" else children.discard)(pid)
    for pid in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
