"""Lines of requests whose key runs as many as it may: one line a key, first come, first served.

Rule 1: who comes while others wait stands behind them: nobody passes, however often they ask.
Rule 2: only the first of a line asks Redis. When it is served or gives up, the next asks at once.
"""

import asyncio
from collections import deque
from types import TracebackType

from corvus_proxy.till.reply import Paced


class Line:
    """Who waits for one key, and what the last of them was told."""

    def __init__(self, told: Paced) -> None:
        self.told = told
        self.turns: deque[asyncio.Event] = deque()


class Place:
    """A place in a line, given up with the block."""

    def __init__(self, lines: "Lines", key: str, line: Line) -> None:
        self._lines, self._key, self.line = lines, key, line
        self._turn = asyncio.Event()

    async def __aenter__(self) -> "Place":
        self.line.turns.append(self._turn)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.line.turns.remove(self._turn)
        if self.line.turns:
            self.line.turns[0].set()
        else:
            self._lines.waiting.pop(self._key, None)

    async def first(self, timeout_s: float) -> bool:
        """Waits until all who came before are gone; False when time is up."""
        if self.line.turns[0] is self._turn:
            return True
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                await self._turn.wait()
        except TimeoutError:
            return False
        return True


class Lines:
    """All lines of this process, by the digest of the secret that was used."""

    def __init__(self, waiters_max: int) -> None:
        self.waiting: dict[str, Line] = {}
        self._waiters_max = waiters_max

    def join(self, key: str, told: Paced) -> Place | None:
        """A place at the end of the key's line, which begins with `told`; None where it is full."""
        line = self.waiting.get(key) or Line(told)
        if len(line.turns) >= self._waiters_max:
            return None
        self.waiting[key] = line  # only with somebody in it: who leaves it last takes it away
        return Place(self, key, line)
