"""The upstream's side of a request: what is asked of the till, what is sent, what came back."""

import asyncio
import contextlib
from types import TracebackType

from corvus_proxy.clock import wall_ms
from corvus_proxy.errors import (
    GatewayStopping,
    UpstreamFault,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from corvus_proxy.gateway.admission import header
from corvus_proxy.gateway.exchange import Ending, Exchange
from corvus_proxy.gateway.front.client import ClientGone, Headers
from corvus_proxy.gateway.front.timers import Patience
from corvus_proxy.gateway.quoting import affordable_limit, input_estimate
from corvus_proxy.gateway.stopping import Stopping
from corvus_proxy.money.event import Meta, encode_meta
from corvus_proxy.money.price import ORDINARY
from corvus_proxy.money.pricing import lines
from corvus_proxy.settings import TimeoutSettings
from corvus_proxy.till.reply import Ask
from corvus_proxy.upstream.faults import TimedOut, UpstreamBroke
from corvus_proxy.upstream.transport import Answer
from corvus_proxy.wire import edits, headers, refusal, request
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.tenancy import names
from corvus_proxy.wire.translate import HEADERS
from corvus_proxy.wire.verdict import Blame, judge

ERROR_BYTES_MAX = 1024 * 1024
"""An error body longer than this is not relayed."""
ERROR_READ_S = 5.0
"""An error body that takes longer is judged without."""


def ask(exchange: Exchange) -> Ask:
    """What the till is asked for this request."""
    quote = exchange.quote
    return Ask(
        rid=exchange.request_id,
        wallet=exchange.wallet,
        digest=exchange.digest,
        least_nanos=quote.least_nanos,
        most_nanos=quote.most_nanos,
        share_floor_nanos=quote.share_floor_nanos,
        price_version=exchange.model.price.version,
        slug=exchange.model.slug,
        request_tokens=min(input_estimate(exchange.asked.scan), quote.bound.input_tokens),
    )


def clamp(exchange: Exchange) -> None:
    """Lowers the output limit to what the granted hold (streaming: and the free rest) pays for."""
    hold = exchange.hold
    nanos = hold.granted_nanos
    if exchange.asked.stream:
        nanos += hold.available_nanos
    exchange.limit_tokens = affordable_limit(
        exchange.asked, exchange.quote, exchange.model.price, nanos
    )


def edited_body(exchange: Exchange) -> bytes:
    """The client's body with the allowed edits, each a splice."""
    asked, body, model = exchange.asked, exchange.body, exchange.model
    member = asked.limit_member
    if model.completion_tokens_only and member == "max_tokens":
        member = "max_completion_tokens"
    elif model.family == "glm" and asked.dialect is Dialect.CHAT:
        member = "max_tokens"  # the only one that Z.AI documents
    splices = [*asked.splices, *request.model_splices(asked, model.upstream_model)]
    splices += request.usage_splices(asked, body)
    splices += names.splices(asked.dialect, body, asked.scan, exchange.tenant)
    if exchange.limit_tokens is not None:
        splices += request.limit_splices(asked, body, exchange.limit_tokens, member)
    else:
        splices += request.rename_splices(asked, body, member)
    return edits.apply(body, splices)


async def send(
    exchange: Exchange, timeouts: TimeoutSettings, cancel_drain_s: float, stopping: Stopping
) -> Answer:
    """Sends the request; returns the answer once its head says success.

    Raises UpstreamFault, GatewayStopping, or ClientGone when the client left and the head did not
    come soon after.
    """
    lease = exchange.lease
    passed = headers.to_upstream(exchange.client.headers)
    if exchange.translation is not None:
        passed = HEADERS[exchange.asked.dialect]
    sent = lease.request(passed, edited_body(exchange))
    try:
        with WhileWanted(exchange, cancel_drain_s, stopping):
            answer = await lease.transport.open(lease.origin, sent, timeouts=timeouts)
    except TimedOut as error:
        raise UpstreamTimeout(
            f"The upstream did not answer in time ({error.stage}).", retry_after_s=2
        ) from None
    except UpstreamBroke:
        raise UpstreamUnavailable(
            "The upstream cannot be reached; nothing was charged.", retry_after_s=2
        ) from None
    exchange.upstream_request_id = _request_id(answer.headers)
    if 200 <= answer.status < 300:
        return answer
    async with answer:
        raise in_callers_words(exchange, await fault(answer, lease.family))


class WhileWanted:
    """Ends the block a short while after the client has gone, with ClientGone, or at once when the
    process has to end, with GatewayStopping."""

    __slots__ = ("_drain_s", "_exchange", "_patience", "_stopping")

    def __init__(self, exchange: Exchange, cancel_drain_s: float, stopping: Stopping) -> None:
        self._exchange = exchange
        self._drain_s = cancel_drain_s
        self._stopping = stopping
        self._patience = Patience(None)

    def __enter__(self) -> None:
        self._patience.__enter__()
        # Not kept here: a cycle for each request would be the garbage collector's to find.
        self._stopping.tell(self._stop)
        self._exchange.client.on_gone(self._gone)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.tell_no_more(self._stop)
        try:
            self._patience.__exit__(kind, error, trace)
        except TimeoutError:
            if self._stopping.over:
                raise GatewayStopping(
                    "This gateway process had to stop; nothing was charged."
                ) from None
            raise ClientGone from None

    def _stop(self) -> None:
        self._patience.end_in(0)

    def _gone(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self._patience.end_in(self._exchange.drain_left_s(now_s, self._drain_s))


def is_event_stream(answer: Answer) -> bool:
    """Whether the body is SSE, by its media type alone."""
    value = header(answer.headers, b"content-type") or b""
    return value.partition(b";")[0].strip().lower() == b"text/event-stream"


async def fault(answer: Answer, family: str) -> UpstreamFault:
    """Whose fault an error is, and what the client may read of it. Reads the answer's body."""
    body = b""
    with contextlib.suppress(UpstreamBroke, TimeoutError):
        async with asyncio.timeout(ERROR_READ_S):
            body = await answer.read(ERROR_BYTES_MAX)
    return fault_in(answer, family, body)


def fault_in(answer: Answer, family: str, body: bytes) -> UpstreamFault:
    """The same for an error whose body has been read."""
    if answer.status < 300 and b'"error"' not in body:
        return UpstreamFault("The upstream answered with something else than was asked for.")
    found = judge(family, answer.status, answer.headers, body, wall_ms())
    error: UpstreamFault
    if found.blame is Blame.REQUEST and not body:
        error = UpstreamUnavailable("The upstream's error could not be read; nothing was charged.")
    else:
        error = refusal.upstream_fault(found, answer.headers, body)
    error.blame, error.wait_s = found.blame, found.retry_after_s
    return error


def in_callers_words(exchange: Exchange, fault: UpstreamFault) -> UpstreamFault:
    """An upstream's refusal in the caller's dialect, where the upstream was asked in another."""
    if exchange.translation is None or not isinstance(fault, refusal.Relayed):
        return fault
    status = fault.upstream_status
    told = exchange.translation.error(status, fault.upstream_body)
    return refusal.Relayed(status, fault.upstream_headers, told)


def _request_id(found: Headers) -> str:
    value = header(found, b"request-id") or header(found, b"x-request-id") or b""
    return value.decode("latin-1")


def meta(exchange: Exchange, ending: Ending) -> bytes:
    """The event's `u`: everything the charge was made from, and what the upstream bills for it as
    far as that is known."""
    model = exchange.model
    lease = getattr(exchange, "lease", None)
    billed = ending.usage if ending.billed is None else ending.billed
    bill = lines(ending.usage, model.price)
    usage = {line.name: line.count for line in bill}
    if ending.usage.reasoning:
        usage["reasoning"] = ending.usage.reasoning
    terms = {}
    if ending.usage.terms != ORDINARY:
        terms = {name: value for name, value in ending.usage.terms._asdict().items() if value}
    if ending.usage.served != ending.usage.terms:
        served = ending.usage.served._asdict().items()
        terms |= {f"{name}_served": value or "ordinary" for name, value in served}
    now_s = asyncio.get_running_loop().time()
    first_byte_s = max(0.0, exchange.first_byte_s - exchange.started_s)
    return encode_meta(
        Meta(
            price_version=model.price.version,
            picos={line.name: line.picos for line in bill},
            usage=usage,
            source=ending.source,
            credential=lease.credential.name if lease else "",
            upstream_model=model.upstream_model,
            upstream_request_id=exchange.upstream_request_id,
            cost_nanos=lease.cost_nanos(billed, model) if lease else 0,
            first_byte_ms=round(first_byte_s * 1000),
            total_ms=round((now_s - exchange.started_s) * 1000),
            attempts=exchange.attempts,
            ended_ms=wall_ms(),
            dialect=exchange.dialect.value,
            input_bound=exchange.quote.bound.input_tokens,
            flags=list(ending.flags),
            terms=terms,
            unbilled=dict(ending.usage.unbilled),
            hold_nanos=exchange.hold.granted_nanos,
        )
    )
