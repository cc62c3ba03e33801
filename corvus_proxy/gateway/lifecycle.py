"""The life of one request: admit → quote → reserve → route → relay → settle → record.

`serve` is the whole of it; docs/architecture.md has a heading for each phase. Each function below
it is one phase. What a phase finds out stands in the `Exchange`; what it needs comes in
`Resources`.
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType

import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.catalogue.book import Book
from corvus_proxy.catalogue.timeline import Current
from corvus_proxy.errors import (
    GatewayStopping,
    LedgerUnavailable,
    RequestError,
    UpstreamRefused,
)
from corvus_proxy.gateway import admission, answering, forwarding, quoting
from corvus_proxy.gateway.exchange import Ending, Exchange
from corvus_proxy.gateway.front.client import ClientGone
from corvus_proxy.gateway.refusing import raise_refusal
from corvus_proxy.gateway.routing.beginning import begin
from corvus_proxy.gateway.routing.tries import Tries
from corvus_proxy.gateway.stopping import Stopping
from corvus_proxy.gateway.streaming.early import Early
from corvus_proxy.gateway.streaming.relay import Stream
from corvus_proxy.gateway.streaming.ticker import Ticker
from corvus_proxy.money.flags import ORDINARY_FLAGS
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.money.usage import Usage
from corvus_proxy.settings import Settings
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.holds import Hold, Holds
from corvus_proxy.till.reply import Settled
from corvus_proxy.upstream.pool import Pool
from corvus_proxy.upstream.transport import Answer
from corvus_proxy.wire.tenancy.names import Tenant

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Resources:
    """What every request uses; opened once per process by the composition root."""

    settings: Settings
    prices: Current
    pepper: bytes
    holds: Holds
    pool: Pool
    ticker: Ticker
    ids: clock.RequestIds
    stopping: Stopping

    @property
    def book(self) -> Book:
        """The price book in force at this instant."""
        return self.prices.book


async def serve(exchange: Exchange, using: Resources) -> None:
    """One inference request from its body to its record; answers the client whatever happens."""
    try:
        await admit(exchange, using)
        quote(exchange, using)
        async with await reserve(exchange, using) as hold, ZeroOnFault(exchange, hold):
            check_there(exchange)
            tries = Tries(exchange, using.pool, using.settings.pool)
            async with Early(exchange, using.settings.relay, using.ticker) as early:
                while tries.wanted:
                    async with tries, await route(exchange, using) as answer:
                        await relay(exchange, answer, using, early)
            settled = await settle(exchange, hold, using)
            record(exchange, settled)
            await answering.finish(exchange, settled, using.settings)
    except ClientGone:
        metrics.client_gone_early()
    except RequestError as error:
        metrics.refused(exchange.dialect.value, error.code)
        ending = getattr(exchange, "ending", None)
        _log.info(
            "refused",
            request_id=exchange.request_id,
            code=error.code,
            wallet=exchange.wallet,
            outcome=ending.outcome if ending else Outcome.REFUSED_ADMISSION,
        )
        await answering.refuse(
            exchange.client,
            error,
            dialect=exchange.dialect,
            request_id=exchange.request_id,
            site_url=using.settings.brand.site_url,
            told=exchange.told,
            settled=exchange.settled,
        )


async def admit(exchange: Exchange, using: Resources) -> None:
    """Who asks, and for what: secret, body, model, and in whose words. Raises the refusal of the
    first check that fails."""
    client = exchange.client
    who = admission.caller(client.headers, using.pepper)
    exchange.wallet, exchange.digest = who
    exchange.tenant = Tenant(using.pepper, who.wallet)
    exchange.body = await admission.read_body(client, using.settings.gateway)
    # Read once: everything that this request is charged by is of one book.
    exchange.book = using.book
    exchange.model, read = await admission.beside_loop(
        exchange.body,
        admission.understand,
        exchange.dialect,
        exchange.body,
        exchange.book,
        using.pool.serves,
        exchange.request_id,
        clock.wall_ms() // 1000,
    )
    exchange.body, exchange.asked, exchange.translation = read
    admission.check_terms(exchange.asked, exchange.model.price)


def quote(exchange: Exchange, using: Resources) -> None:
    """What it can cost at most, at the price version that is pinned here."""
    exchange.quote = quoting.quote(
        exchange.asked, exchange.model, using.settings.hold, clamp=admission.clamps(exchange.client)
    )


async def reserve(exchange: Exchange, using: Resources) -> Hold:
    """Holds the money in Redis, or raises why not; lowers the output limit to what is
    affordable."""
    ask = forwarding.ask(exchange)
    exchange.client.on_gone(lambda: None)  # from here on it is noticed
    try:
        reply = await using.holds.reserve(ask)
    except TillUnavailable:
        raise LedgerUnavailable(
            "The ledger does not answer; nothing was charged.", retry_after_s=2
        ) from None
    if not isinstance(reply, Hold):
        raise_refusal(reply, exchange, using.settings.brand.site_url)
    exchange.hold = reply
    forwarding.clamp(exchange)
    return reply


def check_there(exchange: Exchange) -> None:
    """Raises ClientGone for a client that left while it waited: nobody is to pay for its answer."""
    if exchange.client.gone:
        raise ClientGone


async def route(exchange: Exchange, using: Resources) -> Answer:
    """Sends the edited body with the credential of this try; the answer's head has come."""
    settings = using.settings
    return await forwarding.send(
        exchange, settings.timeouts, settings.relay.cancel_drain_s, using.stopping
    )


async def relay(exchange: Exchange, answer: Answer, using: Resources, early: Early) -> None:
    """Lets the answer through, metered, and concludes what it costs."""
    settings = using.settings
    if not exchange.asked.stream:
        await answering.read_whole(exchange, answer, settings, using.stopping)
        return
    if not forwarding.is_event_stream(answer):
        fault = await forwarding.fault(answer, exchange.lease.family)
        raise forwarding.in_callers_words(exchange, fault)
    answer = await begin(exchange, answer, settings, using.stopping)
    await early.over()
    exchange.begun = True
    if not exchange.client.head_sent:
        await exchange.client.head(200, answering.stream_headers(exchange, answer))
    stream = Stream(exchange, answer, relay=settings.relay, hold=settings.hold)
    with using.ticker.watching(stream), using.stopping.telling(stream.shut_down):
        exchange.ending = await stream.run()


async def settle(exchange: Exchange, hold: Hold, using: Resources) -> Settled | None:
    """Charges; None when the ledger has not answered yet (it is journalled and goes on by
    itself)."""
    ending = exchange.ending
    wait_s = using.settings.relay.settle_wait_ms / 1000 if exchange.asked.stream else 2.0
    return await hold.settle(
        ending.charge_nanos,
        ending.outcome,
        forwarding.meta(exchange, ending),
        wait_s=wait_s,
        tokens=ending.usage.tokens,
    )


def record(exchange: Exchange, settled: Settled | None) -> None:
    """Counts the request; its durable record is the event that `settle` wrote."""
    ending = exchange.ending
    now_s = asyncio.get_running_loop().time()
    metrics.answered(
        exchange.model.family,
        exchange.dialect.value,
        ending.outcome,
        charge_nanos=settled.charged_nanos if settled else ending.charge_nanos,
        shortfall_nanos=settled.shortfall_nanos if settled else 0,
        tokens=ending.usage.counts(),
        total_s=now_s - exchange.started_s,
        first_byte_s=max(0.0, exchange.first_byte_s - exchange.started_s),
    )
    metrics.flagged(exchange.model.family, ending.flags)
    if not ORDINARY_FLAGS.issuperset(ending.flags):
        _log.warning(
            "usage_flagged",
            request_id=exchange.request_id,
            slug=exchange.model.slug,
            flags=ending.flags,
            unbilled=dict(ending.usage.unbilled),
        )


class ZeroOnFault:
    """Settles at zero, under the fault's own outcome code, when the block ends with an error."""

    def __init__(self, exchange: Exchange, hold: Hold) -> None:
        self._exchange = exchange
        self._hold = hold

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, Exception) or self._hold.settled:
            return
        ending = Ending(_outcome_of(error), Usage(), "upstream", 0)
        self._exchange.ending = ending
        meta = forwarding.meta(self._exchange, ending)
        settled = await self._hold.settle(0, ending.outcome, meta, wait_s=0.3)
        self._exchange.settled = settled is not None
        record(self._exchange, settled)


def _outcome_of(error: Exception) -> Outcome:
    match error:
        case ClientGone():
            return Outcome.CANCELLED_EARLY
        case UpstreamRefused():
            return Outcome.UPSTREAM_REFUSED
        case GatewayStopping():
            return Outcome.GATEWAY_SHUTDOWN
        case RequestError():
            return Outcome.UPSTREAM_ERROR
        case _:
            return Outcome.GATEWAY_FAULT
