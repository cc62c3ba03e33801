"""What may be remarkable about an answer's own counts: each flag of an event, and what it means.

Flags say why a charge is what it is; none of them makes it dearer.
"""

FLAGS = {
    "usage_zero": "all counts were zero beside an answer: treated as not reported",
    "usage_invalid": "counts that cannot be true, such as parts above their whole: treated as not"
    " reported",
    "usage_unknown": "a count that this version does not know was not zero: kept, not billed",
    "usage_unpriced": "a count that this price book has no price for was not zero: kept, not billed"
    " apart",
    "total_differs": "the reported total is not the sum of its parts; the parts are billed",
    "iterations_differ": "the entries of `iterations` do not add up to the counts beside them; the"
    " entries are billed",
    "model_unpriced": "a part was made by a model without a price here: listed at zero",
    "model_differs": "another model of the price book answered: billed as the one asked for",
    "tier_not_asked": "a dearer tier, speed or place than asked for served: billed as asked",
    "tier_unpriced": "a tier without a price here served: billed at the cheaper of asked and"
    " ordinary",
    "tier_unreported": "the upstream does not say whether what was asked for served: billed at the"
    " cheaper of asked and ordinary",
    "fallback_credit": "a fallback credit was redeemed: cache writes are billed as cache reads",
    "usage_above_text": "far more output is reported than came: billed as reported",
    "usage_below_text": "less output is reported than came: billed as reported",
    "usage_lowered": "more output is reported than was allowed: the limit is billed in its place",
    "upstream_error_event": "the stream had an error event",
    "message_restarted": "a second message began inside the stream: the last one is billed",
    "cache_unused": "caching was asked for and nothing was cached or read: prompts below the"
    " model's minimum (up to 4,096 tokens on Claude) are not cached, and billed as plain input",
}

ORDINARY_FLAGS = frozenset({"cache_unused", "fallback_credit"})
"""Flags that tell the customer something and are no anomaly."""
