"""Relay: the upstream's answer to the client, byte for byte, with the meter looking on.

R1  Every chunk leaves in the loop turn in which it came; only one whose metered cost would pass the
    hold waits for `extend`, and the beginning of an event that may be an error for its end.
R2  What we write ourselves (keep-alive, in-band error, final comment) stands between SSE events,
    never inside one.
R3  When the client goes, the upstream is read on for a short while for its true usage, then
    aborted.
"""

import asyncio
import re

from corvus_proxy._fast import StreamMeter
from corvus_proxy.gateway.ending import (
    REFUSALS,
    Seen,
    Stop,
    bytes_per_100_tokens_at_least,
    conclude,
    counts_other_turns,
    output_at_least,
    text_at_most,
)
from corvus_proxy.gateway.exchange import Ending, Exchange
from corvus_proxy.gateway.forwarding import meta
from corvus_proxy.gateway.quoting import (
    input_estimate,
    may_reason_silently,
    output_limit,
    predicted_tokens,
)
from corvus_proxy.gateway.reading import Report, read, wanted
from corvus_proxy.gateway.streaming.allowance import Allowance
from corvus_proxy.gateway.streaming.tail import Tail, before_error
from corvus_proxy.money.amount import format_usd
from corvus_proxy.settings import HoldSettings, RelaySettings
from corvus_proxy.upstream.faults import Cut, TimedOut
from corvus_proxy.upstream.transport import Answer
from corvus_proxy.wire import refusal
from corvus_proxy.wire.answer import decode_counts
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.openai.failed import Told
from corvus_proxy.wire.verdict import judge_event

_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*(\d{1,12})')
AFTER_TERMINAL_S = 1.0
"""How long an upstream may keep its connection open after the terminal event."""

_AT_THE_HOLDS_END = (Stop.OUT_OF_BALANCE, Stop.CAP_REACHED, Stop.KEY_DISABLED, Stop.LEDGER_AWAY)


class Stream:
    """One streamed answer on its way. `run` relays it, `tick` is called twice a second."""

    def __init__(
        self,
        exchange: Exchange,
        answer: Answer,
        *,
        relay: RelaySettings,
        hold: HoldSettings,
    ) -> None:
        asked, quote = exchange.asked, exchange.quote
        self._exchange = exchange
        self._client = exchange.client
        self._answer = answer
        self._relay = relay
        self._factors = hold
        self._bytes_per_100_tokens = bytes_per_100_tokens_at_least(hold)
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        strip = asked.dialect is Dialect.CHAT and not asked.include_usage
        self.meter = StreamMeter(asked.dialect.value, strip)
        translation = exchange.translation
        self._translated = None if translation is None else translation.stream(self._cost_usd)
        self._limit = output_limit(exchange)
        self._allowance = Allowance(
            exchange.hold,
            quote.bound,
            exchange.model.price,
            limit=self._limit,
            slice_tokens=hold.slice_tokens,
        )
        self._look_at = -1
        """What is `meter.generated` before the slice's figures have to be reckoned again."""
        self._stop: Stop | None = None
        self._kept_sequence: int | None = None
        """The sequence number that the client read last, where not all that came went to it."""
        self._tail = Tail()
        self._fresh = True
        """What was written last ends between two events, whatever the meter has read since."""
        self._writing_since_s = 0.0
        self._written_s = self._loop.time() - exchange.silent_s
        self._cancelled_by_us = False
        self._unseen_tokens = predicted_tokens(asked, exchange.model, hold)
        """Output that may have been made and that no text shows."""
        self._thinks = exchange.model.silent_reasoning or asked.thinks
        self._silent_tokens_per_s = hold.silent_tokens_per_s * asked.choices
        if self._thinks:
            self._unseen_tokens += int(exchange.silent_s * self._silent_tokens_per_s)
        self._wanted = wanted(exchange)
        self._deltas_at_tick = 0
        self._ticked_s = self._loop.time()
        exchange.hold.progress = self.checkpoint

    # -- the way of the bytes -------------------------------------------------------------------

    async def run(self) -> Ending:
        """Relays until the answer ends, whatever ends it. Charges nothing itself."""
        self._client.on_gone(self._on_gone)
        self._client.watch()  # each token that is made for nobody costs
        try:
            stop = await self._pump()
        except asyncio.CancelledError:
            if not self._cancelled_by_us or self._task is None:
                raise
            self._task.uncancel()
            stop = self._stop or Stop.CUT
        finally:
            self._allowance.close()
            self._exchange.hold.progress = None
        self._exchange.boundary = self._fresh
        self._exchange.told = self._told()
        if self.meter.failed:
            lease = self._exchange.lease
            self._exchange.blame = judge_event(lease.family, self.meter.error).blame
        return self._conclude(stop)

    async def _pump(self) -> Stop:
        answer, meter = self._answer, self.meter
        ended = False
        while True:
            try:
                chunk = await answer.chunk()
            except TimedOut:
                return self._stop or Stop.TIMED_OUT
            except Cut:
                await self._write(self._last(cut=True))
                return self._stop or (Stop.ENDED if ended else Stop.CUT)
            if chunk is None:
                await self._write(self._last(cut=False))
                return self._stop or Stop.ENDED
            if not self._exchange.first_byte_s:
                self._exchange.first_byte_s = self._loop.time()
            sequence = meter.sequence
            chunk = meter.feed(chunk)
            if meter.generated > self._look_at and not await self._pay_for_output():
                self._kept_sequence = sequence
                return self._stop or self._unpaid()
            if meter.failed and not self._may_be_told(meter.error or chunk):
                kept = self._before_error(chunk)
                numbers = _SEQUENCE.findall(kept)
                self._kept_sequence = int(numbers[-1]) if numbers else sequence
                await self._write(kept)
                answer.abort()
                return self._stop or Stop.CUT
            await self._write(self._sendable(chunk))
            if meter.ended and not ended:
                ended = True
                self._loop.call_later(AFTER_TERMINAL_S, answer.abort)
                if self._client.gone:
                    answer.abort()
                    return self._stop or Stop.ENDED

    def _sendable(self, chunk: bytes) -> bytes:
        """What may be sent on now that a chunk has come."""
        if self._translated is not None:
            return self._translated.feed(chunk)
        whole = self.meter.boundary
        if whole and not self._tail.kept:
            return chunk
        return self._tail.sendable(chunk, whole=whole, fresh=self._fresh)

    def _last(self, *, cut: bool) -> bytes:
        """What is still to be sent of an answer whose bytes have ended. A last event without its
        empty line still tells what it tells."""
        meter, sequence = self.meter, self.meter.sequence
        held = meter.finish()
        if self._translated is not None:
            return self._translated.finish()
        kept = self._tail.take() + (b"" if cut else held)
        untold = meter.failed and not self._may_be_told(meter.error or kept)
        if not untold and (meter.ended or not cut):
            return kept
        if kept:
            self._kept_sequence = sequence
        return b""

    def _before_error(self, chunk: bytes) -> bytes:
        """What may be sent of a chunk with an error that speaks of the operator's account."""
        if self._translated is not None:
            return self._translated.feed(chunk)  # it tells no error of an upstream's
        return before_error(self._tail.take() + chunk)

    def _may_be_told(self, error: bytes) -> bool:
        """Whether the client may read the upstream's error event: not where it is about us."""
        return judge_event(self._exchange.lease.family, error).relayed

    def _unpaid(self) -> Stop:
        if self._allowance.away:
            return Stop.LEDGER_AWAY
        if self._allowance.capped:
            return Stop.CAP_REACHED
        return Stop.KEY_DISABLED if self._allowance.disabled else Stop.OUT_OF_BALANCE

    async def _pay_for_output(self) -> bool:
        """Whether the hold covers what has come; from where on that has to be asked again."""
        tokens = self.output_at_most()
        left = self._allowance.ask_at - tokens
        if left < 0:
            return await self._pay(tokens)
        # So much text cannot make more tokens than are left, whatever it is made of.
        self._look_at = self.meter.generated + left * self._bytes_per_100_tokens // 100
        return True

    async def _pay(self, tokens: int) -> bool:
        """Whether the hold covers `tokens`, asking for more at the slice's end."""
        gone = self._client.gone  # then nobody is served by another slice
        if tokens <= self._allowance.tokens:
            if not gone:
                self._allowance.ask(tokens)
            return True
        if gone:
            self._answer.abort()
            return False
        if await self._allowance.reach(tokens):
            return True
        self._answer.abort()
        return False

    async def _write(self, chunk: bytes) -> None:
        if not chunk or self._client.gone:
            return
        self._writing_since_s = self._written_s = self._loop.time()
        # What is translated leaves in whole events, and nothing is written in front of a tail.
        self._fresh = self._translated is not None or bool(self._tail.kept) or self.meter.boundary
        await self._client.write(chunk)
        self._writing_since_s = 0.0

    # -- what happens meanwhile -----------------------------------------------------------------

    def _on_gone(self) -> None:
        if self.meter.ended:  # it has had it all
            self._answer.abort()
            return
        if self._stop is None:
            self._stop = Stop.CLIENT_GONE
        left_s = self._exchange.drain_left_s(self._loop.time(), self._relay.cancel_drain_s)
        self._loop.call_later(left_s, self._answer.abort)

    def shut_down(self) -> None:
        """The process has to end: so does this stream."""
        if self.meter.ended and not self._writing_since_s:
            self._answer.abort()  # it has had it all
        else:
            self._end(Stop.SHUTDOWN)

    def _end(self, stop: Stop) -> None:
        """Ends the stream from outside, also where it waits for its client."""
        if self._stop is None:
            self._stop = stop
        self._answer.abort()
        if self._writing_since_s and self._task and not self._cancelled_by_us:
            self._cancelled_by_us, self._fresh = True, False
            self._task.cancel()

    def tick(self, now_s: float) -> None:
        """Keep-alive in silence, an end to stalled clients, tokens for silent reasoning."""
        elapsed_s, self._ticked_s = now_s - self._ticked_s, now_s
        if self._client.gone:
            return
        if self._writing_since_s:
            if now_s - self._writing_since_s > self._relay.client_stall_s:
                self._end(Stop.CLIENT_STALLED)
            return
        if self._thinks and self.meter.deltas == self._deltas_at_tick:
            self._unseen_tokens += int(elapsed_s * self._silent_tokens_per_s)
            self._look_at = -1
            tokens = self.output_at_most()
            if tokens > self._allowance.ask_at:
                self._allowance.ask(tokens)
            if tokens > self._allowance.tokens and self._allowance.final:
                self._end(self._unpaid())  # no chunk need come that could tell
                return
        self._deltas_at_tick = self.meter.deltas
        if now_s - self._written_s > self._relay.keepalive_s and self._fresh:
            self._written_s = now_s
            self._keepalive = asyncio.ensure_future(self._keep_alive())

    async def _keep_alive(self) -> None:
        # A piece of the answer may have gone out between the tick and this.
        if self._fresh:
            await self._client.write(refusal.keepalive(self._exchange.dialect))

    # -- the meter's figures --------------------------------------------------------------------

    def output_at_most(self) -> int:
        """Output tokens so far, surely not fewer than the upstream counts: drives the slices."""
        meter = self.meter
        counted = text_at_most(meter.letters, meter.symbols, meter.non_ascii, self._factors)
        return max(counted, meter.deltas) + self._unseen_tokens

    def seen(self) -> Seen:
        """What has passed so far."""
        meter, dialect = self.meter, self._exchange.asked.dialect
        has_output = meter.deltas > 0
        start, last = decode_counts(meter.usage_start), decode_counts(meter.usage_last)
        tools = decode_counts(meter.tool_usage)
        report = Report(dialect, start, last, meter.model, meter.service_tier, tools)
        found = read(report, self._wanted, has_output=has_output)
        flags = found.flags
        if meter.restarts:
            flags += ("message_restarted",)
        if meter.failed:
            flags += ("upstream_error_event",)
        comparable = not counts_other_turns(last) and not meter.restarts
        text_bytes = meter.letters + meter.symbols + meter.non_ascii
        return Seen(
            started=meter.started,
            complete=meter.ended and not meter.failed,
            usage=found.usage,
            input_usage=found.input_usage,
            counted_output=output_at_least(dialect, meter.deltas, text_bytes),
            has_output=has_output,
            flags=flags,
            blank=found.blank,
            output_at_most=self.output_at_most() if comparable else None,
            silent=may_reason_silently(self._exchange),
            refusal=meter.reason if meter.reason in REFUSALS else "",
        )

    def _told(self) -> Told:
        """What the client has read of a response, for whatever is to be said after it."""
        if self._translated is not None:
            return self._translated.told
        meter, sequence = self.meter, self._kept_sequence
        whole = sequence is None
        return Told(
            meter.upstream_id,
            meter.model,
            meter.sequence if sequence is None else sequence,
            failed=whole and meter.ended and meter.failed and meter.boundary,
        )

    def checkpoint(self) -> tuple[int, bytes]:
        """Charge and meta as they would be if the stream ended now: what a crash would charge."""
        ending = self._conclude(Stop.CUT)._replace(source="checkpoint")
        return ending.charge_nanos, meta(self._exchange, ending)

    def _cost_usd(self) -> str:
        """What the answer costs, of which all has come."""
        return format_usd(self._conclude(Stop.ENDED).charge_nanos)

    def _conclude(self, stop: Stop) -> Ending:
        exchange = self._exchange
        limit = self._limit
        if stop in _AT_THE_HOLDS_END:
            # The chunk that the hold did not cover went nowhere.
            limit = min(limit, self._allowance.tokens)
        return conclude(
            self.seen(),
            stop,
            exchange.model.price,
            input_tokens=min(
                input_estimate(exchange.asked.scan), exchange.quote.bound.input_tokens
            ),
            limit=limit,
        )
