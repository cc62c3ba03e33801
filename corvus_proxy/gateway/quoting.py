"""What a request can cost at most, and the output limit its balance affords. Pure.

The input bound counts text by the places where a token may begin (`_fast/quarters.pxd`), images by
their size and documents by the context window: no input that we can make exceeds it.
"""

from corvus_proxy._fast import BodyScan
from corvus_proxy.catalogue.book import Model
from corvus_proxy.gateway.exchange import Exchange, Quote
from corvus_proxy.money.pricing import Bound, Price, affordable_output, worst
from corvus_proxy.settings import HoldSettings
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.media import Size
from corvus_proxy.wire.openai.embeddings import INPUT_TOKENS_MAX
from corvus_proxy.wire.request import Asked

ESTIMATE_BYTES_PER_TOKEN = 4
"""The documented estimate of input that no upstream reported: body bytes, media left out, by
four."""


VENDOR_TOOL_TOKENS = 1_000
"""Instructions that Anthropic adds for a tool of its own that runs at the client: 245 for bash, 700
for the editor, up to 1,234 for the computer, of which `base_tokens` covers what is more
(docs.claude.com, tool use)."""
CLAUDE_PATCH, CLAUDE_IMAGE_MAX = 28, 4_500
GPT_PATCH, GPT_IMAGE_MIN = 32, 1_500
"""Claude counts an image by patches of 28 pixels (its older models by 750 pixels a token) up to
about 4,000; GPT by patches of 32 times 1.2, its small models times up to 2.5, models before GPT-5.4
by tiles, at most 1,445 (docs.claude.com, vision; platform.openai.com, images and vision)."""


def input_bound(asked: Asked, model: Model, hold: HoldSettings) -> int:
    """Tokens that the body's input cannot exceed.

    An image counts by its size where its header says it, else as the largest. How much text the
    pages of a document hold cannot be told: it may fill the context window.
    """
    scan = asked.scan
    if scan.documents and not hold.document_tokens:
        return model.context_tokens
    largest = model.image_tokens or hold.image_tokens
    images = max(0, scan.images - len(asked.image_sizes)) * largest
    for size in asked.image_sizes:
        images += image_tokens(size, model, largest)
    return (
        hold.base_tokens
        + asked.vendor_tools * VENDOR_TOOL_TOKENS
        + images
        + scan.documents * hold.document_tokens
        + text_bound(asked.scan, model, hold, less_quarters=asked.limit_quarter_tokens)
    )


def text_bound(scan: BodyScan, model: Model, hold: HoldSettings, *, less_quarters: int = 0) -> int:
    """Tokens of a text at most; a token has a byte or more, whatever the percent."""
    percent = hold.claude_text_percent if model.family == "anthropic" else hold.text_percent
    by_pairs = -(-(scan.quarter_tokens - less_quarters) * percent // 400)
    return min(scan.letters + scan.symbols, by_pairs) + scan.non_ascii


def predicted_tokens(asked: Asked, model: Model, hold: HoldSettings) -> int:
    """Tokens of a prediction at most. What of it is rejected is billed as output and nowhere shown
    (developers.openai.com, predicted outputs)."""
    return text_bound(asked.prediction, model, hold) if asked.prediction else 0


def image_tokens(size: Size, model: Model, largest: int) -> int:
    """Tokens that an image of this size cannot exceed; `largest` where that cannot be told."""
    if model.family == "anthropic":
        patches = -(-size.width // CLAUDE_PATCH) * -(-size.height // CLAUDE_PATCH)
        return min(CLAUDE_IMAGE_MAX, max(patches, -(-size.width * size.height // 750)) * 11 // 10)
    if model.family == "openai" and not model.image_tokens:
        patches = -(-size.width // GPT_PATCH) * -(-size.height // GPT_PATCH)
        return min(largest, max(GPT_IMAGE_MIN, patches * 5 // 2))
    return largest


def input_estimate(scan: BodyScan) -> int:
    """Tokens charged for input that no upstream reported; the customer has the better of the
    doubt."""
    return (scan.letters + scan.symbols + scan.non_ascii) // ESTIMATE_BYTES_PER_TOKEN


def quote(asked: Asked, model: Model, hold: HoldSettings, *, clamp: bool) -> Quote:
    """The figures that `reserve` decides by. Input beyond the context window is never billed: the
    upstream refuses it."""
    tokens = input_bound(asked, model, hold)
    limit = model.output_tokens_max
    if asked.limit_tokens is not None:
        limit = min(limit, asked.limit_tokens)
    limit *= asked.choices
    # The texts of a request for embeddings have the window each for itself.
    embeds = asked.dialect is Dialect.EMBEDDINGS
    bound = Bound(
        min(tokens, INPUT_TOKENS_MAX if embeds else model.context_tokens),
        limit,
        writes_cache=asked.scan.cache_control,
        asked=asked.terms,
    )
    most = worst(bound, model.price)
    floor = min(max(min(hold.floor_tokens, limit), asked.thinking_budget_tokens + 1), limit)
    full = most.nanos(limit)
    least = most.nanos(floor) if clamp else full
    if asked.stream:
        slice_nanos = most.nanos(min(hold.slice_tokens, limit))
        return Quote(bound, least, max(least, slice_nanos), 0, full)
    share = most.nanos(min(hold.share_floor_tokens, limit))
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
    asked for thinking or gave a prediction."""
    asked = exchange.asked
    return exchange.model.silent_reasoning or asked.thinks or asked.prediction is not None
