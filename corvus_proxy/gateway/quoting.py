"""What a request can cost at most, and the output limit its balance affords. Pure.

The input bound counts the body's bytes by class: no text yields more tokens per byte of its class
than the factors say, base64 media are counted by their parts instead (`[hold]` in the settings).
"""

from corvus_proxy._fast import BodyScan
from corvus_proxy.catalogue.book import Model
from corvus_proxy.gateway.exchange import Exchange, Quote
from corvus_proxy.money.pricing import Bound, Price, affordable_output, ceiling
from corvus_proxy.settings import HoldSettings
from corvus_proxy.wire.request import Asked

ESTIMATE_BYTES_PER_TOKEN = 4
"""The documented estimate of input that no upstream reported: body bytes, media left out, by
four."""


def input_bound(scan: BodyScan, hold: HoldSettings) -> int:
    """Tokens that the body's input cannot exceed."""
    return (
        hold.base_tokens
        + -(-scan.letters * 100 // hold.letters_per_100_tokens)
        + -(-scan.symbols * 100 // hold.symbols_per_100_tokens)
        + -(-scan.non_ascii * 100 // hold.non_ascii_per_100_tokens)
        + scan.images * hold.image_tokens
        + scan.documents * hold.document_tokens
    )


def input_estimate(scan: BodyScan) -> int:
    """Tokens charged for input that no upstream reported; the customer has the better of the
    doubt."""
    return (scan.letters + scan.symbols + scan.non_ascii) // ESTIMATE_BYTES_PER_TOKEN


def quote(asked: Asked, model: Model, hold: HoldSettings, *, clamp: bool) -> Quote:
    """The figures that `reserve` decides by. Input beyond the context window is never billed: the
    upstream refuses it."""
    tokens = input_bound(asked.scan, hold)
    limit = model.output_tokens_max
    if asked.limit_tokens is not None:
        limit = min(limit, asked.limit_tokens)
    limit *= asked.choices
    bound = Bound(
        min(tokens, model.context_tokens),
        limit,
        writes_cache=asked.scan.cache_control,
        asked=asked.terms,
    )
    price = model.price
    floor = min(max(min(hold.floor_tokens, limit), asked.thinking_budget_tokens + 1), limit)
    full = ceiling(bound, price)
    least = _with_output(bound, floor, price) if clamp else full
    if asked.stream:
        slice_nanos = _with_output(bound, min(hold.slice_tokens, limit), price)
        return Quote(bound, least, max(least, slice_nanos), 0, full)
    share = _with_output(bound, min(hold.share_floor_tokens, limit), price)
    return Quote(bound, least, full, max(least, share), full)


def affordable_limit(asked: Asked, quote: Quote, price: Price, nanos: int) -> int | None:
    """The output limit for one answer that `nanos` pay for, or None where the full ceiling fits."""
    if nanos >= quote.full_nanos:
        return None
    limit = affordable_output(nanos, quote.bound, price) // asked.choices
    return max(limit, asked.thinking_budget_tokens + 1, 1)


def output_limit(exchange: Exchange) -> int:
    """Output tokens, of all answers together, that the upstream was given as the limit."""
    if exchange.limit_tokens is None:
        return exchange.quote.bound.output_tokens
    return exchange.limit_tokens * exchange.asked.choices


def may_reason_silently(exchange: Exchange) -> bool:
    """Whether output may have been made that nobody sees: by such a model, or because the client
    asked for thinking, of which a summary at most is shown."""
    return exchange.model.silent_reasoning or "thinking" in exchange.asked.scan.members


def _with_output(bound: Bound, output_tokens: int, price: Price) -> int:
    return ceiling(bound._replace(output_tokens=output_tokens), price)
