"""Counting the input of a request: free, and never refused for want of balance.

The upstream that would serve the request is asked, with the body as the client wrote it. A model
whose upstream counts nothing in this dialect is counted by the documented estimate, and a header
says so: agents only draw their context's fill by it.
"""

from typing import NamedTuple

import msgspec

from corvus_proxy import clock
from corvus_proxy.catalogue.book import Model
from corvus_proxy.errors import (
    InvalidRequest,
    LimitReached,
    NotFound,
    UpstreamFault,
    UpstreamOverloaded,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from corvus_proxy.gateway import admission, forwarding
from corvus_proxy.gateway.front.client import Client, Headers
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.gateway.lifecycle import Resources
from corvus_proxy.gateway.quoting import input_estimate
from corvus_proxy.gateway.refusing import check_active, check_allowed
from corvus_proxy.till.reply import Look
from corvus_proxy.upstream.faults import TimedOut, UpstreamBroke
from corvus_proxy.upstream.pool_members import Lease, Sought
from corvus_proxy.upstream.pool_standing import ACTIONS
from corvus_proxy.wire import edits, headers, request
from corvus_proxy.wire.dialect import COUNTING, Dialect
from corvus_proxy.wire.tenancy import names
from corvus_proxy.wire.verdict import Blame

_BELOW = {
    ("anthropic", Dialect.MESSAGES): "/count_tokens",
    ("openai", Dialect.RESPONSES): "/input_tokens",
}
"""Which family's upstream counts in which dialect, and the path below the dialect's own."""
COUNT_BYTES_MAX = 1024 * 1024
"""A larger answer is no count."""


class CountPace:
    """How many counts each wallet has asked of this process within the minute."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._minute = 0
        self._asked: dict[str, int] = {}

    def take(self, wallet: str, now_s: float) -> None:
        """One more. Raises LimitReached."""
        minute = int(now_s // 60)
        if minute != self._minute:
            self._minute = minute
            self._asked.clear()
        asked = self._asked[wallet] = self._asked.get(wallet, 0) + 1
        if asked > self._per_minute:
            raise LimitReached(
                f"More than {self._per_minute:,} counts of tokens were asked for within a minute.",
                retry_after_s=max(1, round((minute + 1) * 60 - now_s)),
            )


async def count(client: Client, look: Look, using: Resources, pace: CountPace) -> Reply:
    """The answer to a request on one of `COUNTING`. Raises RequestError, ClientGone."""
    check_active(look)
    wallet = admission.caller(client.headers, using.pepper).wallet
    pace.take(wallet, clock.monotonic_s())
    dialect = COUNTING[client.path]
    body = await admission.read_body(client, using.settings.gateway)
    counted = await admission.beside_loop(body, request.read_counted, dialect, body)
    model = _model(using, counted.model)
    check_allowed(model, look.rates.models)
    below = _BELOW.get((model.family, dialect))
    if below is None or not using.pool.serves(model.family, dialect):
        return _estimated(dialect, counted)
    splices = [
        *request.model_splices(counted, model.upstream_model),
        *names.splices(dialect, body, counted.scan, names.Tenant(using.pepper, wallet)),
    ]
    asked = _Asked(headers.to_upstream(client.headers), edits.apply(body, splices), below)
    return await _tried(asked, model, dialect, using)


class _Asked(NamedTuple):
    """What an upstream is sent."""

    headers: Headers
    body: bytes
    below: str


async def _tried(asked: _Asked, model: Model, dialect: Dialect, using: Resources) -> Reply:
    """The count of the first credential that gives one, of at most `pool.tries`.

    None of them is better or worse for it: counting has limits of its own, and not every upstream
    that answers can count.
    """
    sought = Sought()
    failed: UpstreamFault | None = None
    while failed is None or len(sought.tried) < using.settings.pool.tries:
        try:
            lease = using.pool.choose(model.family, dialect, sought)
        except UpstreamOverloaded as none_left:
            raise failed or none_left from None
        try:
            return await _count_with(lease, asked, using)
        except UpstreamFault as error:
            if not ACTIONS[Blame(error.blame)].again:
                raise
            failed = error
            sought = sought._replace(tried=(*sought.tried, lease.credential.name))
    raise failed


async def _count_with(lease: Lease, asked: _Asked, using: Resources) -> Reply:
    """One credential's count. Raises UpstreamFault."""
    sent = lease.request(asked.headers, asked.body, below=asked.below)
    try:
        answer = await lease.transport.open(lease.origin, sent, timeouts=using.settings.timeouts)
        async with answer:
            if not 200 <= answer.status < 300:
                raise await forwarding.fault(answer, lease.family)
            found = await answer.read(COUNT_BYTES_MAX)
    except TimedOut:
        raise UpstreamTimeout("The upstream did not count in time.", retry_after_s=2) from None
    except UpstreamBroke:
        raise UpstreamUnavailable("The upstream did not count.", retry_after_s=2) from None
    return Reply(found, headers=_passed(answer.headers))


def _model(using: Resources, name: str) -> Model:
    model = using.book.find(name)
    if model is None:
        raise NotFound(admission.unknown_model(using.book, name), param="model")
    if model.embeddings:
        raise InvalidRequest(
            f"{model.slug} makes embeddings; its input is not counted here.", param="model"
        )
    return model


def _passed(found: Headers) -> Headers:
    """The upstream's headers that pass; the content type is our own to say."""
    return [pair for pair in headers.to_client(found) if pair[0] != b"content-type"]


def _estimated(dialect: Dialect, counted: request.Counted) -> Reply:
    tokens = input_estimate(counted.scan)
    answer: dict[str, object] = {"input_tokens": tokens}
    if dialect is Dialect.RESPONSES:
        answer["object"] = "response.input_tokens"
    return Reply(msgspec.json.encode(answer), headers=[(b"x-corvus-estimated", b"true")])
