"""Output tokens that the hold of a running stream pays for, and the asking for more.

A stream holds a first slice of output. At 60 % of what is held the next slice is asked for in the
background; a chunk that would pass the hold waits for the answer. When the till says that this was
the last, the stream ends at the slice's end and the wallet stays at or above zero.
"""

import asyncio

from corvus_proxy.money.pricing import Bound, Price, affordable_output, ceiling
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.holds import Hold
from corvus_proxy.till.reply import Extended

ASK_AT_PERCENT = 60
_UNBOUNDED = 1 << 62


class Allowance:
    """How far a stream may go. `tokens` and `ask_at` are compared with the meter at every chunk."""

    __slots__ = (
        "_asking",
        "_bound",
        "_hold",
        "_limit",
        "_price",
        "_slice",
        "ask_at",
        "away",
        "capped",
        "disabled",
        "final",
        "tokens",
    )

    def __init__(
        self, hold: Hold, bound: Bound, price: Price, *, limit: int, slice_tokens: int
    ) -> None:
        self._hold = hold
        self._bound = bound
        self._price = price
        self._limit = limit
        self._slice = slice_tokens
        self._asking: asyncio.Task[None] | None = None
        self.final = False
        """The till has said that there is no more."""
        self.away = False
        """… because it could not be asked."""
        self.disabled = False
        """… because the key was frozen or revoked."""
        self.capped = False
        """… because the key's cap is reached."""
        self.tokens = 0
        self.ask_at = 0
        self._set(hold.granted_nanos)

    def _set(self, granted_nanos: int) -> None:
        if granted_nanos >= self._nanos(self._limit):
            self.tokens = self.ask_at = (
                _UNBOUNDED  # the upstream's own limit ends it before the hold
            )
            return
        before, self.tokens = (
            self.tokens,
            affordable_output(granted_nanos, self._bound, self._price),
        )
        self.ask_at = before + (self.tokens - before) * ASK_AT_PERCENT // 100

    def _nanos(self, output_tokens: int) -> int:
        return ceiling(self._bound._replace(output_tokens=output_tokens), self._price)

    def ask(self, tokens: int) -> None:
        """Asks for the slice after `tokens` in the background, unless that is under way or in
        vain."""
        if self._asking is None and not self.final:
            self._asking = asyncio.ensure_future(self._extend(tokens))

    async def reach(self, tokens: int) -> bool:
        """Waits until `tokens` are paid for; False when they will not be."""
        while tokens > self.tokens:
            if self.final and self._asking is None:
                return False
            self.ask(tokens)
            if self._asking is not None:
                await self._asking
        return True

    async def _extend(self, tokens: int) -> None:
        want = min(max(tokens, self.tokens) + self._slice, self._limit)
        try:
            reply = await self._hold.extend(self._nanos(want))
            if isinstance(reply, Extended):
                self.final, self.capped = reply.final, reply.reason == "cap"
                self.disabled = reply.reason not in ("", "cap")
                self._set(reply.granted_total_nanos)
            else:
                self.final = self.away = True
        except TillUnavailable:
            # The stream goes on to the end of what is held; there it is asked once more or ends.
            self.final = self.away = tokens > self.tokens
        finally:
            self._asking = None

    def close(self) -> None:
        """Forgets an answer that nobody waits for any more."""
        if self._asking is not None:
            self._asking.cancel()
