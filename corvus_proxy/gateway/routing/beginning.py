"""The beginning of a streamed answer, before its client has had a byte of it.

A stream that fails ahead of its first own byte, or that a provider only announces and then refuses,
is a failed try: another credential may still answer, and otherwise the client reads a plain error.
"""

import asyncio

from corvus_proxy._fast import StreamMeter
from corvus_proxy.errors import (
    UpstreamFault,
    UpstreamOverloaded,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.forwarding import WhileWanted, in_callers_words
from corvus_proxy.gateway.stopping import Stopping
from corvus_proxy.settings import Settings
from corvus_proxy.upstream.faults import Cut, TimedOut
from corvus_proxy.upstream.pool_standing import ACTIONS
from corvus_proxy.upstream.transport import Answer
from corvus_proxy.wire import refusal
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.verdict import REQUEST_STATUSES, Blame, judge_event

_JSON = [(b"content-type", b"application/json")]


class Begun:
    """An answer of which some chunks were read ahead (`transport.Answer`)."""

    def __init__(self, answer: Answer, ahead: list[bytes]) -> None:
        self._answer = answer
        self._ahead = ahead
        self.status = answer.status
        self.headers = answer.headers

    async def chunk(self) -> bytes | None:
        """See `transport.Answer`."""
        if self._ahead:
            return self._ahead.pop(0)
        return await self._answer.chunk()

    async def read(self, bytes_max: int) -> bytes:
        """See `transport.Answer`."""
        return b"".join(self._ahead) + await self._answer.read(bytes_max)

    def abort(self) -> None:
        """See `transport.Answer`."""
        self._answer.abort()

    async def __aenter__(self) -> "Begun":
        return self

    async def __aexit__(self, *error: object) -> None:
        """Whoever opened the answer ends it."""


async def begin(
    exchange: Exchange, answer: Answer, settings: Settings, stopping: Stopping
) -> Answer:
    """Waits until the answer has begun, or for as long as silence may last; what came meanwhile is
    read again from what it returns.

    Raises UpstreamFault when the answer ends before it began, and what `WhileWanted` raises.
    """
    ahead: list[bytes] = []
    relay, loop = settings.relay, asyncio.get_running_loop()
    since_s = loop.time()
    try:
        with WhileWanted(exchange, relay.cancel_drain_s, stopping):
            try:
                async with asyncio.timeout(relay.keepalive_s) as patience:
                    await _read_ahead(exchange, answer, ahead, patience, settings.pool.holdback_ms)
            except TimeoutError:
                if not patience.expired():
                    raise
                # What there is goes out; silence is filled from now on.
    except TimedOut:
        raise UpstreamTimeout(
            "The upstream did not begin its answer in time; nothing was charged.", retry_after_s=2
        ) from None
    except Cut:
        raise UpstreamUnavailable(
            "The upstream ended the answer before it began; nothing was charged.", retry_after_s=2
        ) from None
    exchange.lease.turn.begun()
    exchange.silent_s = loop.time() - since_s
    return Begun(answer, ahead)


async def _read_ahead(
    exchange: Exchange,
    answer: Answer,
    ahead: list[bytes],
    patience: asyncio.Timeout,
    holdback_ms: int,
) -> None:
    meter = StreamMeter(exchange.asked.dialect.value, False)
    loop = asyncio.get_running_loop()
    while not (meter.committed or meter.ended):
        chunk = await answer.chunk()
        if chunk is None:
            raise Cut("the body ended before the answer began")
        if not ahead and exchange.asked.dialect is Dialect.RESPONSES:
            patience.reschedule(min(patience.when() or 0.0, loop.time() + holdback_ms / 1000))
        ahead.append(chunk)
        meter.feed(chunk)
        if meter.failed and not meter.committed:
            _raise_failed(exchange, meter.error)
            return


def _raise_failed(exchange: Exchange, error: bytes) -> None:
    """Raises the fault that an error event ahead of everything else means; returns where it is the
    request's own, which the client is to read as it came: a stream of another dialect cannot pass
    it on, so there it becomes a plain error."""
    verdict = judge_event(exchange.lease.family, error)
    fault: UpstreamFault
    if not ACTIONS[verdict.blame].again:
        if exchange.translation is None:
            return
        found = verdict._replace(status=REQUEST_STATUSES.get(verdict.code, 400))
        fault = refusal.upstream_fault(found, _JSON, b'{"error":%b}' % error)
        fault = in_callers_words(exchange, fault)
    elif verdict.blame in (Blame.RATE, Blame.BUSY, Blame.ACCOUNT):
        fault = UpstreamOverloaded("The upstream is busy; nothing was charged.", retry_after_s=5)
    else:
        fault = UpstreamUnavailable(
            "The upstream failed before it answered; nothing was charged.", retry_after_s=2
        )
    fault.blame = verdict.blame
    raise fault
