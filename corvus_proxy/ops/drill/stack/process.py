"""A child of the drill: started, killed, frozen and measured."""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from corvus_proxy.errors import CorvusError
from corvus_proxy.ops import children
from corvus_proxy.ops.drill.guard import Guard


class Process:
    """One child of the drill, in a session of its own."""

    def __init__(
        self,
        name: str,
        start: Callable[[], subprocess.Popen[bytes]],
        *,
        guard: Guard,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.name = name
        self._guard = guard
        self._start = start
        self._stop_signal = stop_signal
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, where it does not run."""
        if not self.alive:
            self.child = self._start()
            self._guard.knows(self.child.pid)

    @property
    def pid(self) -> int:
        """Raises CorvusError when it has never been started."""
        if self.child is None:
            raise CorvusError(f"{self.name} has not been started")
        return self.child.pid

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def signal(self, number: int) -> None:
        """Signals the process and all that it has started."""
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, number)

    def kill(self) -> None:
        """kill -9; it has ended when this returns."""
        self.signal(signal.SIGKILL)
        if self.child is not None:
            self.child.wait()
            self._guard.forgets(self.child.pid)

    def freeze(self) -> None:
        """It stands still, as a machine that swaps or a virtual machine that is moved."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self.signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """The signal of an orderly stop, to the process alone."""
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(self._stop_signal)

    def stop(self, timeout_s: float = 15) -> None:
        """An orderly stop, and kill -9 when it does not come."""
        if self.child is not None:
            self.thaw()
            children.end(self.child, self._stop_signal, timeout_s=timeout_s)
            self._guard.forgets(self.child.pid)

    def limit_files(self, size_bytes: int = resource.RLIM_INFINITY) -> None:
        """No file of the process, or of one that it has started, grows beyond that size: its writes
        fail as on a full disk. Without a size they succeed again."""
        for pid in self._session():
            with contextlib.suppress(OSError):
                limits = (size_bytes, resource.RLIM_INFINITY)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)

    def memory_bytes(self) -> int:
        """Resident memory of the process and of those that it has started."""
        pages = 0
        for pid in self._session():
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def _session(self) -> list[int]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[3]) == self.pid:
                    found.append(int(stat.parent.name))
        return found

    async def ended(self, timeout_s: float) -> bool:
        """Whether it ends within that time."""
        child = self.child
        if child is None:
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(child.wait, timeout_s)
        return not self.alive
