"""What running requests are told when their process has to end.

After SIGTERM they have `gateway.drain_s` to finish. What still runs then is ended in its own way: a
stream with an in-band error and the charge for what came, a whole answer with a 503.
"""

from collections.abc import Callable
from types import TracebackType


class Telling:
    """Has a callback called if the end comes while the block runs; at once if it has come."""

    __slots__ = ("_callback", "_stopping")

    def __init__(self, stopping: "Stopping", callback: Callable[[], None]) -> None:
        self._stopping = stopping
        self._callback = callback

    def __enter__(self) -> None:
        self._stopping.tell(self._callback)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.tell_no_more(self._callback)


class Stopping:
    """Whether the patience is over, and who wants to hear of it."""

    def __init__(self) -> None:
        self.over = False
        self._told: set[Callable[[], None]] = set()

    def tell(self, callback: Callable[[], None]) -> None:
        """Has `callback` called when the end comes; at once if it has come."""
        if self.over:
            callback()
        self._told.add(callback)

    def tell_no_more(self, callback: Callable[[], None]) -> None:
        """Ends `tell`."""
        self._told.discard(callback)

    def telling(self, callback: Callable[[], None]) -> Telling:
        """See `Telling`."""
        return Telling(self, callback)

    def end(self) -> None:
        """The patience is over."""
        self.over = True
        for callback in tuple(self._told):
            callback()
