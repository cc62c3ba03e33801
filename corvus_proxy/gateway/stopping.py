"""What running requests are told when their process has to end.

After SIGTERM they have `gateway.drain_s` to finish. What still runs then is ended in its own way: a
stream with an in-band error and the charge for what came, a whole answer with a 503.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopping:
    """Whether the patience is over, and who wants to hear of it."""

    def __init__(self) -> None:
        self.over = False
        self._told: set[Callable[[], None]] = set()

    @contextmanager
    def telling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Has `callback` called if the end comes while the block runs; at once if it has come."""
        if self.over:
            callback()
        self._told.add(callback)
        try:
            yield
        finally:
            self._told.discard(callback)

    def end(self) -> None:
        """The patience is over."""
        self.over = True
        for callback in tuple(self._told):
            callback()
