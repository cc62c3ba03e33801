"""Every count that a provider's report is known to hold, and what it means for the bill.

Rule 1: a count that stands in no table and is not zero may be a new thing to pay for. It is kept
        under its path, flagged, and never billed: a price is not guessed.
Rule 2: so is one that is known to be billed apart and has no price here (`BILLED_APART`).

Paths join names by points; `[]` stands for any entry of a list. Sources: the usage types of the
vendors' SDKs (anthropic 2.12, openai 3.54) and recorded answers.
"""

from collections.abc import Mapping
from typing import Any

Table = Mapping[str, str]

BILLED_APART = "billed apart by the vendor, no price here"
_INSIDE_INPUT = "inside the input, at its price"
_INSIDE_OUTPUT = "inside the output, at its price"
_CHECK = "input and output together: a check"

_SAMPLING: Table = {
    "input_tokens": "input that is not cached",
    "cache_read_input_tokens": "input from the cache",
    "cache_creation_input_tokens": "input written to the cache",
    "cache_creation.ephemeral_5m_input_tokens": "of which for five minutes",
    "cache_creation.ephemeral_1h_input_tokens": "of which for an hour",
    "output_tokens": "everything generated",
    "output_tokens_details.thinking_tokens": _INSIDE_OUTPUT,
}
MESSAGES: Table = {
    **_SAMPLING,
    **{f"iterations[].{name}": meaning for name, meaning in _SAMPLING.items()},
    "server_tool_use.web_search_requests": "searches, a line of their own",
    "server_tool_use.web_fetch_requests": "free",
}
CHAT: Table = {
    "prompt_tokens": "all input",
    "prompt_tokens_details.cached_tokens": "inside the input, at the price of a cache read",
    "prompt_tokens_details.cache_write_tokens": "inside the input, at the price of a cache write",
    "prompt_tokens_details.cache_write_tokens_details.ttl_30m_tokens": "of which for 30 minutes",
    "prompt_tokens_details.cache_write_tokens_details.ttl_12h_tokens": BILLED_APART,
    "prompt_tokens_details.text_tokens": _INSIDE_INPUT,
    "prompt_tokens_details.image_tokens": _INSIDE_INPUT,
    "prompt_tokens_details.audio_tokens": BILLED_APART,
    "completion_tokens": "all output",
    "completion_tokens_details.reasoning_tokens": _INSIDE_OUTPUT,
    "completion_tokens_details.accepted_prediction_tokens": _INSIDE_OUTPUT,
    "completion_tokens_details.rejected_prediction_tokens": _INSIDE_OUTPUT,
    "completion_tokens_details.text_tokens": _INSIDE_OUTPUT,
    "completion_tokens_details.audio_tokens": BILLED_APART,
    "completion_tokens_details.image_tokens": BILLED_APART,
    "total_tokens": _CHECK,
}
RESPONSES: Table = {
    name.replace("prompt_tokens", "input_tokens").replace(
        "completion_tokens", "output_tokens"
    ): meaning
    for name, meaning in CHAT.items()
}
TOOL_USAGE: Table = {
    "web_search.num_requests": "searches, a line of their own",
    **{
        f"image_gen.{name}": BILLED_APART
        for name in (
            "input_tokens",
            "input_tokens_details.image_tokens",
            "input_tokens_details.text_tokens",
            "output_tokens",
            "output_tokens_details.image_tokens",
            "output_tokens_details.text_tokens",
            "total_tokens",
        )
    },
}
EMBEDDINGS: Table = {"prompt_tokens": "all input", "total_tokens": _CHECK}

_DEPTH_MAX = 8
_KEPT_MAX = 20
_PATH_MAX = 100
_NUMBER_MAX = 2**53


def strangers(
    table: Table, report: Mapping[str, Any]
) -> tuple[dict[str, int | float], tuple[str, ...]]:
    """The numbers of a report that are not zero and that no line bills, by path, and their flags.

    A path is kept once, with its last number, as the books can take it: no control characters, no
    number above 2^53; at most 20 are kept.
    """
    found: dict[str, int | float] = {}
    flags: dict[str, None] = {}
    _look(table, report, "", 1, found, flags)
    return found, tuple(flags)


def _look(
    table: Table,
    value: Mapping[str, Any],
    prefix: str,
    depth: int,
    found: dict[str, int | float],
    flags: dict[str, None],
) -> None:
    """Goes through one object, and what is in it."""
    for name, inner in value.items():
        if not inner or inner is True:
            continue
        kind = type(inner)
        path = prefix + name
        if kind is int or kind is float:
            meaning = table.get(path)
            if meaning is None or meaning is BILLED_APART:
                _keep(path, inner, meaning, found, flags)
        elif depth == _DEPTH_MAX and kind in (dict, list):
            flags["usage_unknown"] = None  # no report that is known goes so deep
        elif kind is dict:
            _look(table, inner, path + ".", depth + 1, found, flags)
        elif kind is list:
            for item in inner:
                # An entry is looked at like a member whose name is the list's.
                _look(table, {"[]": item}, path, depth + 1, found, flags)


def _keep(
    path: str,
    number: int | float,
    meaning: str | None,
    found: dict[str, int | float],
    flags: dict[str, None],
) -> None:
    flags["usage_unknown" if meaning is None else "usage_unpriced"] = None
    if len(found) < _KEPT_MAX:
        name = "".join(c for c in path[:_PATH_MAX] if c.isprintable())
        found[name] = number if abs(number) <= _NUMBER_MAX else _NUMBER_MAX
