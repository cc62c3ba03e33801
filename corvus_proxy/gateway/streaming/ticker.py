"""One coarse clock for all running streams: keep-alive, stalled clients, silent models.

A stream needs no timer of its own: once a second every one of them is looked at, which costs less
than one timer a chunk.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

TICK_S = 0.5
_log = structlog.get_logger()


class Ticking(Protocol):
    """Something that wants to be looked at now and then."""

    def tick(self, now_s: float) -> None: ...


class Ticker:
    """Calls `tick` of everything that is being watched, every `TICK_S`."""

    def __init__(self) -> None:
        self._watched: set[Ticking] = set()
        self._handle: asyncio.TimerHandle | None = None

    @contextmanager
    def watching(self, one: Ticking) -> Iterator[None]:
        """Ticks `one` while the block runs."""
        self.add(one)
        try:
            yield
        finally:
            self.discard(one)

    def add(self, one: Ticking) -> None:
        """Ticks `one` from now on."""
        self._watched.add(one)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def discard(self, one: Ticking) -> None:
        """Ticks it no more."""
        self._watched.discard(one)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for one in tuple(self._watched):
            try:
                one.tick(now_s)
            except Exception:  # one stream's fault must not stop the clock of all others
                _log.exception("tick_failed")
        self._handle = loop.call_later(TICK_S, self._tick) if self._watched else None
