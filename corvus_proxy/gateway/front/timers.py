"""Times without a timer each: one coarse timer looks after all that wait.

`asyncio.timeout` sets and clears a timer for each block. Almost no block of a gateway reaches its
limit, and none of these limits means the quarter of a second.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, TypeVar

TICK_S = 0.25
AFTER_S = 0.05

T = TypeVar("T")


class Patience:
    """`with Patience(limit_s) as patience:` around awaits of one task; raises TimeoutError in place
    of whatever is awaited there when the time is over, up to `TICK_S` late. None: no limit yet."""

    __slots__ = ("_cancelling", "_due_s", "_ended", "_limit_s", "_task")

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._due_s = 0.0
        self._ended = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    def __enter__(self) -> "Patience":
        self._task = asyncio.current_task()
        if self._task is not None:
            self._cancelling = self._task.cancelling()
        if self._limit_s is not None:
            self.end_in(self._limit_s)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _waiting.discard(self)
        task, self._task = self._task, None
        # As asyncio.timeout: another's cancelling goes before ours.
        if not self._ended or task is None:
            return
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end_in(self, limit_s: float) -> None:
        """The time is over so many seconds from now; with 0, when the block waits next. Harmless
        after the block."""
        if self._task is None or self._ended:
            return
        loop = asyncio.get_running_loop()
        self._due_s = loop.time() + limit_s
        if limit_s <= 0:
            # Not now: a task that is cancelled while it runs is so at its next wait, which may lie
            # behind the block.
            loop.call_soon(self._end)
        else:
            _waiting.add(self, loop)

    def end_if_due(self, now_s: float) -> bool:
        """Ends the block where its time is over; whether it was."""
        if now_s < self._due_s:
            return False
        self._end()
        return True

    def _end(self) -> None:
        if self._task is not None and not self._ended:
            self._ended = True
            self._task.cancel()


class _Waiting:
    """All that have a limit, in the loop that runs."""

    def __init__(self) -> None:
        self._all: set[Patience] = set()
        self._ticking: asyncio.AbstractEventLoop | None = None

    def add(self, one: Patience, loop: asyncio.AbstractEventLoop) -> None:
        self._all.add(one)
        if loop is not self._ticking:
            self._ticking = loop
            loop.call_later(TICK_S, self._tick, loop)

    def discard(self, one: Patience) -> None:
        self._all.discard(one)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for one in [one for one in self._all if one.end_if_due(now_s)]:
            self._all.discard(one)
        if self._all:
            loop.call_later(TICK_S, self._tick, loop)
        else:
            self._ticking = None


_waiting = _Waiting()


class Later(Generic[T]):
    """Calls `deed` with each of what was added, `AFTER_S` to twice that later: one timer for many,
    most of which need it no more by then."""

    def __init__(self, deed: Callable[[T], None]) -> None:
        self._deed = deed
        self._new: list[T] = []
        self._ticking: asyncio.AbstractEventLoop | None = None

    def add(self, one: T) -> None:
        """`one` is due, in the loop that runs."""
        self._new.append(one)
        loop = asyncio.get_running_loop()
        if loop is not self._ticking:
            self._ticking = loop
            loop.call_later(AFTER_S, self._tick, loop, ())

    def _tick(self, loop: asyncio.AbstractEventLoop, due: Sequence[T]) -> None:
        for one in due:
            self._deed(one)
        new, self._new = self._new, []
        if new:
            loop.call_later(AFTER_S, self._tick, loop, new)
        else:
            self._ticking = None
