"""Something done a moment later for many at once, by one timer: most of them need it no more by
then."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

AFTER_S = 0.05

T = TypeVar("T")


class Later(Generic[T]):
    """Calls `deed` with each of what was added, `AFTER_S` to twice that later."""

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
