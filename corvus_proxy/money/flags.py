"""What may be remarkable about an answer's own counts: each flag of an event, and what it means.

Flags say why a charge is what it is; none of them makes it dearer.
"""

FLAGS = {
    "usage_zero": "all counts were zero beside an answer: treated as not reported",
    "usage_invalid": "counts that cannot be true, such as parts above their whole: treated as not"
    " reported",
    "message_restarted": "a second message began inside the stream: the last one is billed",
    "usage_above_text": "far more output is reported than came: billed as reported",
    "usage_below_text": "less output is reported than came: billed as reported",
    "usage_lowered": "more output is reported than was allowed: the limit is billed in its place",
    "upstream_error_event": "the stream had an error event",
}
