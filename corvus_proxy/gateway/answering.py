"""What the client reads: heads, whole answers, the end of a stream, and refusals."""

import asyncio
import contextlib

from corvus_proxy.errors import (
    GatewayStopping,
    RequestError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from corvus_proxy.gateway.ending import (
    BYTES_PER_TOKEN_AT_LEAST,
    CONTRADICTION_TOKENS,
    REFUSALS,
    Seen,
    Stop,
    conclude,
    counts_other_turns,
    output_at_least,
    text_at_most,
)
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.forwarding import fault_in, in_callers_words
from corvus_proxy.gateway.front.client import Client, Headers
from corvus_proxy.gateway.quoting import input_estimate, may_reason_silently, output_limit
from corvus_proxy.gateway.reading import Report, read, wanted
from corvus_proxy.gateway.stopping import Stopping
from corvus_proxy.money.amount import format_usd
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.money.usage import Usage
from corvus_proxy.settings import HoldSettings, Settings
from corvus_proxy.till.reply import Settled
from corvus_proxy.upstream.faults import Cut, TimedOut
from corvus_proxy.upstream.transport import Answer
from corvus_proxy.wire import headers, refusal
from corvus_proxy.wire.answer import Whole, plain_word, text_of
from corvus_proxy.wire.answer import read_whole as read_answer
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.openai.failed import NOTHING_TOLD, Told

ANSWER_BYTES_MAX = 256 * 1024 * 1024
"""A whole answer larger than this is no answer of any model."""
SHUTDOWN_END_S = 1.0
"""How long the end of an answer waits for its client where the process has to end."""


async def read_whole(
    exchange: Exchange, answer: Answer, settings: Settings, stopping: Stopping
) -> None:
    """Reads a JSON answer and concludes what it costs.

    When the client goes meanwhile, the upstream has a short while left to finish. Raises
    UpstreamUnavailable, UpstreamTimeout or GatewayStopping where there is no whole answer for a
    client that is still there.
    """
    loop = asyncio.get_running_loop()

    def stop_soon() -> None:
        drain_s = settings.relay.cancel_drain_s
        loop.call_later(exchange.drain_left_s(loop.time(), drain_s), answer.abort)

    exchange.client.on_gone(stop_soon)
    stop = Stop.ENDED
    body = b""
    try:
        with stopping.telling(answer.abort):
            body = await answer.read(ANSWER_BYTES_MAX)
    except TimedOut:
        stop = Stop.TIMED_OUT
    except Cut:
        stop = Stop.SHUTDOWN if stopping.over else Stop.CUT
    exchange.first_byte_s = loop.time()
    whole = read_answer(exchange.asked.dialect, body)
    if exchange.client.gone:
        stop = Stop.CLIENT_GONE
    elif whole is not None and whole.is_error:
        # Some say 200 and mean an error.
        raise in_callers_words(exchange, fault_in(answer, exchange.lease.family, body))
    elif stop is not Stop.ENDED or whole is None:
        raise _no_answer(stop)
    seen = Seen(False, False, None, None, 0, False)
    if whole is not None and not whole.is_error:
        seen = _seen(exchange, whole, settings.hold)
        exchange.upstream_request_id = exchange.upstream_request_id or whole.id
        if exchange.translation is not None:
            body = exchange.translation.whole(body)
    exchange.answer_body = body
    exchange.answer_head = [*headers.to_client(answer.headers), *own_headers(exchange)]
    exchange.ending = conclude(
        seen,
        stop,
        exchange.model.price,
        input_tokens=min(input_estimate(exchange.asked.scan), exchange.quote.bound.input_tokens),
        limit=output_limit(exchange),
    )


def _no_answer(stop: Stop) -> RequestError:
    if stop is Stop.SHUTDOWN:
        return GatewayStopping("This gateway process had to stop; nothing was charged.")
    if stop is Stop.TIMED_OUT:
        return UpstreamTimeout(
            "The upstream did not finish its answer in time; nothing was charged.", retry_after_s=2
        )
    return UpstreamUnavailable(
        "The upstream's answer was not complete; nothing was charged.", retry_after_s=2
    )


def _seen(exchange: Exchange, whole: Whole, factors: HoldSettings) -> Seen:
    dialect = exchange.asked.dialect
    report = Report(dialect, None, whole.usage, whole.model, whole.tier, whole.tool_usage)
    found = read(report, wanted(exchange), has_output=whole.has_output)
    usage = found.usage
    counted, most = 0, None
    embeds = dialect is Dialect.EMBEDDINGS  # nothing is generated, whatever is reported
    if not embeds and (usage is None or _is_odd(usage, whole)):
        text = text_of(dialect, whole.part)
        size = text.letters + text.symbols + text.non_ascii
        counted = output_at_least(Dialect.MESSAGES, int(whole.has_output), size)
        if not counts_other_turns(whole.usage):
            most = text_at_most(text.letters, text.symbols, text.non_ascii, factors)
    return Seen(
        started=True,
        complete=True,
        usage=usage,
        input_usage=None,
        counted_output=counted,
        has_output=whole.has_output,
        flags=found.flags,
        blank=found.blank,
        output_at_most=most,
        silent=may_reason_silently(exchange),
        refusal=whole.reason if whole.reason in REFUSALS else "",
    )


def _is_odd(usage: Usage, whole: Whole) -> bool:
    """Whether a report may contradict its text: only then is the text counted, which costs as much
    as all other reading of an answer."""
    return (
        usage.output < max(len(whole.part) // BYTES_PER_TOKEN_AT_LEAST, 1)
        or usage.output - usage.reasoning > CONTRADICTION_TOKENS
    )


def own_headers(exchange: Exchange) -> Headers:
    """The headers that every answer of ours to an inference request carries."""
    rid = exchange.request_id.encode()
    found = [
        (b"x-request-id", rid),
        (b"x-corvus-model", exchange.model.slug.encode()),
        (b"x-corvus-price-version", exchange.model.price.version.encode()),
    ]
    if exchange.dialect is Dialect.MESSAGES:
        found.append((b"request-id", rid))
    if exchange.asked.removed_tools:
        # The client's own words: a line break in one would begin another header.
        names = ", ".join(plain_word(name) for name in exchange.asked.removed_tools)
        found.append((b"x-corvus-removed-tools", names.encode("ascii", "replace")))
    if (pace := exchange.hold.pace) is not None:
        for what, limit, left in (
            ("rate", pace.requests, pace.requests_left),
            ("tokens", pace.tokens, pace.tokens_left),
        ):
            if limit is not None and left is not None:
                found += headers.pace(what, limit, left, pace.resets_ms)
    if exchange.limit_tokens is not None:
        found.append((b"x-corvus-max-tokens", b"%d" % exchange.limit_tokens))
    return found


EVENT_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]


def stream_headers(exchange: Exchange, answer: Answer | None = None) -> Headers:
    """The head of a streamed answer; without `answer`, of one that no upstream has begun."""
    return [
        *(EVENT_STREAM if answer is None else headers.to_client(answer.headers)),
        *own_headers(exchange),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
    ]


async def finish(exchange: Exchange, settled: Settled | None, settings: Settings) -> None:
    """Ends the answer after `settle` has replied or its time is over."""
    client, ending = exchange.client, exchange.ending
    if client.gone:
        return
    charged = settled.charged_nanos if settled else ending.charge_nanos
    if not exchange.asked.stream:
        cost = (b"x-corvus-cost-usd", format_usd(charged).encode())
        size = (b"content-length", b"%d" % len(exchange.answer_body))
        head = [*exchange.answer_head, cost, size]
        if settled is None:
            head.append((b"x-corvus-settled", b"false"))
        await client.head(200, head)
        await client.end(exchange.answer_body)
        return
    last = b""
    if ending.error is not None and not exchange.told.failed:
        closing = b"" if exchange.boundary else b"\n\n"
        last = closing + refusal.in_band(
            exchange.dialect,
            ending.error,
            exchange.request_id,
            settings.brand.site_url,
            charged_nanos=charged,
            told=exchange.told,
        )
    elif not exchange.boundary:
        last = b"\n\n"
    last += refusal.final_comment(exchange.request_id, charged, settled=settled is not None)
    # Whoever does not take the end of an answer does not keep its request alive.
    stopping = ending.outcome is Outcome.GATEWAY_SHUTDOWN
    patience_s = SHUTDOWN_END_S if stopping else settings.relay.client_stall_s
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            await client.end(last)


async def refuse(
    client: Client,
    error: RequestError,
    *,
    dialect: Dialect,
    request_id: str,
    site_url: str,
    told: Told = NOTHING_TOLD,
    settled: bool = False,
) -> None:
    """Answers with the error in the caller's dialect, in-band when the head has gone out. Nothing
    is charged; `settled` where the ledger knows."""
    if client.gone:
        return
    if client.head_sent:
        last = refusal.in_band(dialect, error, request_id, site_url, told=told)
        comment = refusal.final_comment(request_id, 0, settled=settled)
        await client.end(b"\n\n" + last + comment)
        return
    if isinstance(error, refusal.Relayed):
        status, body = error.upstream_status, error.upstream_body
        head = headers.to_client(error.upstream_headers)
    else:
        status, body = (
            refusal.status(dialect, error),
            refusal.body(dialect, error, request_id, site_url),
        )
        head = refusal.headers(error)
    head = [*head, (b"x-request-id", request_id.encode()), (b"content-length", b"%d" % len(body))]
    if dialect is Dialect.MESSAGES:
        head.append((b"request-id", request_id.encode()))
    await client.head(status, head)
    await client.end(body if client.method != "HEAD" else b"")
