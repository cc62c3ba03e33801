"""What the API port answers about a key itself, as the front sees it: paths, methods, replies.

What stands behind them is handed in by the composition root: the gateway knows neither the books
nor what an account is.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from corvus_proxy.gateway.admission import Caller
from corvus_proxy.gateway.front.client import Client, Headers


class Reply(NamedTuple):
    """An answer: whole, or in pieces that are sent as they are made."""

    body: bytes | AsyncIterator[bytes]
    status: int = 200
    kind: bytes = b"application/json"
    headers: Headers = []


class Endpoints(Protocol):
    """Endpoints about the caller's own key."""

    paths: tuple[str, ...]
    """All of them, to name in a hint."""

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that a path is called with; none where there is no such endpoint."""

    async def answer(self, client: Client, caller: Caller) -> Reply:
        """Answers one request to one of them. Raises RequestError, ClientGone."""
