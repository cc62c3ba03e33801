"""The client's side of a request, as the engine sees it; `asgi` is the one adapter of it."""

from collections.abc import Callable
from typing import Protocol

Headers = list[tuple[bytes, bytes]]
LARGE_BYTES = 256 * 1024
"""Bodies from this size on are put together and read beside the loop: 20 MB of new memory alone
take 3 to 17 ms, and the scan of a body lets other threads run."""


class Client(Protocol):
    """One HTTP request and the way to answer it. Header names are lower-case bytes."""

    method: str
    path: str
    """Decoded path without the query."""
    query: bytes
    headers: Headers
    head_sent: bool
    gone: bool
    """The client has closed its side; what is written now goes nowhere."""

    async def body(self, bytes_max: int, timeout_s: float) -> bytes:
        """The whole request body. Raises BodyTooLarge, BodyTimeout, ClientGone."""

    async def head(self, status: int, headers: Headers) -> None:
        """Sends status and headers, once."""

    async def write(self, chunk: bytes) -> None:
        """Sends one piece of the body; returns when the client's socket takes more."""

    async def end(self, last: bytes = b"") -> None:
        """Sends the last piece and ends the body cleanly."""

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Has `callback` called once when the client closes; at once if it has. That may be learnt
        a tenth of a second late …"""

    def watch(self) -> None:
        """… but no more from here on."""


class ClientGone(Exception):
    """The client closed before its request was complete; nobody is left to answer."""
