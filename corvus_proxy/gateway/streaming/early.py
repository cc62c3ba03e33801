"""A stream that begins before its upstream has answered, for clients that give up in silence.

Only with `relay.keepalive_before_headers_s`. From then on the client has a 200 and keep-alives, and
whatever else happens is told inside the stream; another credential may still take over, because
nothing of an answer has been told.
"""

import asyncio
from types import TracebackType

from corvus_proxy.gateway import answering
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.front.client import ClientGone
from corvus_proxy.gateway.streaming.ticker import Ticker
from corvus_proxy.settings import RelaySettings
from corvus_proxy.wire import refusal


class Early:
    """`async with Early(…) as early:` around all tries of a request; `await early.over()` before
    anything else is written to its client."""

    __slots__ = ("_at_s", "_exchange", "_relay", "_ticker", "_writing")

    def __init__(self, exchange: Exchange, relay: RelaySettings, ticker: Ticker) -> None:
        self._exchange = exchange
        self._relay = relay
        self._ticker = ticker
        self._at_s = 0.0
        """When the next word is due; 0: there is none."""
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Early":
        wait_s = self._relay.keepalive_before_headers_s
        if wait_s and self._exchange.asked.stream:
            self._at_s = asyncio.get_running_loop().time() + wait_s
            self._ticker.add(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.over()

    def tick(self, now_s: float) -> None:
        """Begins the stream when it is time, and fills the silence after that."""
        if not self._at_s or now_s < self._at_s or self._exchange.client.gone:
            return
        if self._writing is None or self._writing.done():
            self._at_s = now_s + self._relay.keepalive_s
            self._writing = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        client = self._exchange.client
        if not client.head_sent:
            await client.head(200, answering.stream_headers(self._exchange))
        await client.write(refusal.keepalive(self._exchange.dialect))

    async def over(self) -> None:
        """Nothing more is written here; what was begun has been. Raises ClientGone where the client
        does not take even that."""
        if self._at_s:
            self._at_s = 0.0
            self._ticker.discard(self)
            if self._writing is not None:
                try:
                    async with asyncio.timeout(self._relay.client_stall_s):
                        await self._writing
                except TimeoutError:
                    raise ClientGone from None
