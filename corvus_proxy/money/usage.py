"""Token counts by class: one disjoint record from every dialect's own arithmetic.

The same words mean opposite things: Anthropic's `input_tokens` leaves the cache counts out,
OpenAI's and Z.AI's `prompt_tokens` includes them. A conversion that would go negative has used the
wrong arithmetic; it raises `UsageInvalid`, and the caller treats the usage as missing.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

TOKENS_MAX = 10**9
"""More tokens than any model can take or give; a larger count is a lie."""

CLASSES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "cache_write_other", "output")
"""The priced token classes, in the order in which a bill lists them."""


class UsageInvalid(ValueError):
    """Counts that cannot be true: negative, not integers, absurdly large, or parts above the
    whole."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one answer used. Every class is disjoint from the others, in tokens (`searches`:
    calls)."""

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_write_other: int = 0
    output: int = 0
    searches: int = 0
    reasoning: int = 0
    """Of which: part of `output`, for display only."""

    @property
    def input_total(self) -> int:
        """All input, cached or not: what a long-context tier is tested against."""
        return (
            self.input
            + self.cache_read
            + self.cache_write_5m
            + self.cache_write_1h
            + self.cache_write_other
        )


def from_messages(start: Mapping[str, Any] | None, last: Mapping[str, Any] | None) -> Usage:
    """Usage of an Anthropic answer: `message_start`'s counts overridden by the last
    `message_delta`'s.

    A key of `last` that is present and not null replaces the start's, also when it is smaller
    (platform.claude.com, streaming; the SDK accumulates the same way). A non-streamed answer's
    counts are given as `last` alone. Cache writes without a breakdown are 5-minute writes, and so
    is what the delta's total adds to the start's breakdown, unless that names only 1-hour writes.
    Raises UsageInvalid.
    """
    merged = dict(start or {})
    merged.update((name, value) for name, value in (last or {}).items() if value is not None)
    written = _count(merged, "cache_creation_input_tokens")
    split = merged.get("cache_creation") or {}
    write_1h = _count(split, "ephemeral_1h_input_tokens")
    write_5m = _count(split, "ephemeral_5m_input_tokens")
    if "cache_creation_input_tokens" not in merged:
        written = write_1h + write_5m
    rest = written - write_1h - write_5m
    if rest < 0:
        # The delta's total is the later word: a total that shrank takes the dearer writes off
        # first.
        write_1h, write_5m = max(0, written - write_5m), min(write_5m, written)
        rest = 0
    if write_1h and not write_5m:
        write_1h += rest
    else:
        write_5m += rest
    details = merged.get("output_tokens_details") or {}
    return Usage(
        input=_count(merged, "input_tokens"),
        cache_read=_count(merged, "cache_read_input_tokens"),
        cache_write_5m=write_5m,
        cache_write_1h=write_1h,
        output=_count(merged, "output_tokens"),
        searches=_count(merged.get("server_tool_use") or {}, "web_search_requests"),
        reasoning=_count(details, "thinking_tokens"),
    )


def from_chat(usage: Mapping[str, Any]) -> Usage:
    """Usage of a chat completion (OpenAI and Z.AI): cache counts stand inside `prompt_tokens`.

    Raises UsageInvalid.
    """
    prompt = _count(usage, "prompt_tokens")
    details = usage.get("prompt_tokens_details") or {}
    read = _count(details, "cached_tokens")
    written = _count(details, "cache_write_tokens")
    plain = prompt - read - written
    if plain < 0:
        raise UsageInvalid(
            f"cached {read} + written {written} tokens exceed prompt_tokens {prompt}"
        )
    return Usage(
        input=plain,
        cache_read=read,
        cache_write_other=written,
        output=_count(usage, "completion_tokens"),
        reasoning=_count(usage.get("completion_tokens_details") or {}, "reasoning_tokens"),
    )


def _count(counts: Mapping[str, Any], name: str) -> int:
    if not isinstance(counts, Mapping):
        raise UsageInvalid(f"the counts around {name} are not an object")
    value = counts.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= TOKENS_MAX:
        raise UsageInvalid(f"{name} is {value!r}, not a count of tokens")
    return value
