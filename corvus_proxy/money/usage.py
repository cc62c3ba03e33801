"""Token counts by class: one disjoint record from every dialect's own arithmetic.

The same words mean opposite things: Anthropic's `input_tokens` leaves the cache counts out,
OpenAI's and Z.AI's `prompt_tokens` includes them. A conversion that would go negative has used the
wrong arithmetic; it raises `UsageInvalid`, and the caller treats the usage as missing. Which counts
are known stands in `money.known`; what is not known is kept and never billed.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from corvus_proxy.money import known
from corvus_proxy.money.price import ORDINARY, Price, Terms

TOKENS_MAX = 10**9
"""More tokens than any model can take or give; a larger count is a lie."""
PARTS_MAX = 1000
"""More samplings than one answer can have."""

CLASSES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "cache_write_other", "output")
"""The priced token classes, in the order in which a bill lists them."""
COUNTS = (*CLASSES, "searches", "reasoning")
"""Every count of a usage."""


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
    parts: "tuple[Part, ...]" = ()
    """Samplings that the provider bills one by one. Where there are any, the counts above are their
    sum and the bill is made from them."""
    terms: Terms = ORDINARY
    """What the customer pays for."""
    served: Terms = ORDINARY
    """What served, for the operator's cost."""
    unbilled: Mapping[str, int | float] = {}
    """Counts that are not zero and that no line bills, by their path in the report."""
    flags: tuple[str, ...] = ()
    """What the conversion found remarkable (`money.flags`)."""

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

    @property
    def tokens(self) -> int:
        """Input and output, cached or not."""
        return self.input_total + self.output

    def counts(self) -> dict[str, int]:
        """Every count by name."""
        return {name: getattr(self, name) for name in COUNTS}


class Part(msgspec.Struct, frozen=True):
    """One sampling of an answer: an entry of Anthropic's `iterations`."""

    usage: Usage
    kind: str = "message"
    """`message`, `compaction`, `advisor_message`, `fallback_message`, or one not known yet."""
    model: str = ""
    """The model it was made by, where that is not the one that was asked for."""
    price: Price | None = None
    """Our price of that model; None where there is none, and the part is listed at zero."""
    official: Price | None = None
    """The vendor's."""


def from_messages(
    start: Mapping[str, Any] | None,
    last: Mapping[str, Any] | None,
    *,
    hour_only: bool = False,
) -> Usage:
    """Usage of an Anthropic answer: `message_start`'s counts overridden by the last
    `message_delta`'s.

    A key of `last` that is present and not null replaces the start's, also when it is smaller
    (platform.claude.com, streaming; the SDK accumulates the same way). A non-streamed answer's
    counts are given as `last` alone. Cache writes without a breakdown are 5-minute writes, and so
    is what the delta's total adds to the start's breakdown, unless that names only 1-hour writes or
    the request asked for no other (`hour_only`). `iterations`, where there are any, are billed in
    place of the counts beside them. Raises UsageInvalid.
    """
    merged = dict(start or {})
    merged.update((name, value) for name, value in (last or {}).items() if value is not None)
    unbilled, flags = known.strangers(known.MESSAGES, merged)
    credited = _is_redeemed(merged)
    whole = _from_anthropic(merged, hour_only=hour_only, credited=credited)
    parts = _parts(merged, hour_only=hour_only, credited=credited)
    searches = _count(merged.get("server_tool_use") or {}, "web_search_requests")
    if credited:
        flags += ("fallback_credit",)
    if parts:
        if not _adds_up(whole, parts):
            flags += ("iterations_differ",)
        whole = _sum(parts, reasoning=whole.reasoning)
    if not (searches or parts or unbilled or flags):
        return whole
    return msgspec.structs.replace(
        whole, searches=searches, parts=parts, unbilled=unbilled, flags=flags
    )


def from_chat(usage: Mapping[str, Any]) -> Usage:
    """Usage of a chat completion (OpenAI and Z.AI): cache counts stand inside `prompt_tokens`.

    Raises UsageInvalid.
    """
    return _from_openai(usage, known.CHAT, "prompt_tokens", "completion_tokens")


def from_responses(usage: Mapping[str, Any], tool_usage: Mapping[str, Any] | None = None) -> Usage:
    """Usage of an OpenAI response: as of a chat under other names; its tools' counts stand in
    `tool_usage` beside it. A `web_search_call` in the output is no proof of a search that is
    billed, `num_requests` is. Raises UsageInvalid."""
    found = _from_openai(usage, known.RESPONSES, "input_tokens", "output_tokens")
    tools = tool_usage or {}
    unbilled, flags = known.strangers(known.TOOL_USAGE, tools)
    return msgspec.structs.replace(
        found,
        searches=_count(tools.get("web_search") or {}, "num_requests"),
        unbilled={**found.unbilled, **unbilled},
        flags=tuple(dict.fromkeys(found.flags + flags)),
    )


def from_embeddings(usage: Mapping[str, Any]) -> Usage:
    """Usage of embeddings: input alone. Raises UsageInvalid."""
    unbilled, flags = known.strangers(known.EMBEDDINGS, usage)
    total = usage.get("total_tokens")
    found = Usage(input=_count(usage, "prompt_tokens"), unbilled=unbilled, flags=flags)
    return _checked_total(found, total)


def _from_openai(
    usage: Mapping[str, Any], table: known.Table, whole_in: str, whole_out: str
) -> Usage:
    """Cache counts inside the input, reasoning and rejected predictions inside the output."""
    prompt = _count(usage, whole_in)
    details = usage.get(whole_in + "_details") or {}
    read = _count(details, "cached_tokens")
    written = _count(details, "cache_write_tokens")
    plain = prompt - read - written
    if plain < 0:
        raise UsageInvalid(f"cached {read} + written {written} tokens exceed {whole_in} {prompt}")
    output = _count(usage, whole_out)
    reasoning = _count(usage.get(whole_out + "_details") or {}, "reasoning_tokens")
    unbilled, flags = known.strangers(table, usage)
    found = Usage(
        input=plain,
        cache_read=read,
        cache_write_other=written,
        output=output,
        reasoning=min(reasoning, output),
        unbilled=unbilled,
        flags=flags,
    )
    return _checked_total(found, usage.get("total_tokens"))


def _checked_total(usage: Usage, total: Any) -> Usage:
    if total is None or total == usage.input_total + usage.output:
        return usage
    return msgspec.structs.replace(usage, flags=(*usage.flags, "total_differs"))


def _from_anthropic(counts: Mapping[str, Any], *, hour_only: bool, credited: bool) -> Usage:
    """One set of Anthropic's counts: the top's, or an iteration's."""
    read = _count(counts, "cache_read_input_tokens")
    write_5m, write_1h = _writes(counts, hour_only=hour_only)
    if credited:
        # The retry is billed as if its conversation had been on this model all along, so the cache
        # would have been there (platform.claude.com, refusals and fallback).
        read, write_5m, write_1h = read + write_5m + write_1h, 0, 0
    details = counts.get("output_tokens_details") or {}
    return Usage(
        input=_count(counts, "input_tokens"),
        cache_read=read,
        cache_write_5m=write_5m,
        cache_write_1h=write_1h,
        output=_count(counts, "output_tokens"),
        reasoning=_count(details, "thinking_tokens"),
    )


def _writes(counts: Mapping[str, Any], *, hour_only: bool) -> tuple[int, int]:
    """Tokens written for five minutes and for an hour."""
    written = _count(counts, "cache_creation_input_tokens")
    split = counts.get("cache_creation") or {}
    write_1h = _count(split, "ephemeral_1h_input_tokens")
    write_5m = _count(split, "ephemeral_5m_input_tokens")
    if counts.get("cache_creation_input_tokens") is None:
        written = write_1h + write_5m
    rest = written - write_1h - write_5m
    if rest < 0:
        # The delta's total is the later word: a total that shrank takes the dearer writes off
        # first.
        return min(write_5m, written), max(0, written - write_5m)
    if not write_5m and (write_1h or hour_only):
        return 0, write_1h + rest
    return write_5m + rest, write_1h


def _parts(counts: Mapping[str, Any], *, hour_only: bool, credited: bool) -> tuple[Part, ...]:
    """The samplings of `iterations`, the declined ones left out: an attempt that a fallback model
    took over is not billed if it said nothing."""
    entries = counts.get("iterations") or []
    if not isinstance(entries, list) or len(entries) > PARTS_MAX:
        raise UsageInvalid("iterations is no list of samplings")
    found = []
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise UsageInvalid("an entry of iterations is not an object")
        usage = _from_anthropic(entry, hour_only=hour_only, credited=credited)
        model = entry.get("model")
        found.append(
            Part(
                usage, str(entry.get("type") or "message"), model if isinstance(model, str) else ""
            )
        )
    if any(part.kind == "fallback_message" for part in found):
        found = [part for part in found if part.kind != "message" or part.usage.output]
    return tuple(found)


def _adds_up(whole: Usage, parts: tuple[Part, ...]) -> bool:
    """Whether the counts beside the entries are the sum of those that they are said to sum."""
    said = _sum(tuple(part for part in parts if part.kind in ("message", "fallback_message")))
    return whole.input_total == said.input_total and whole.output == said.output


def _sum(parts: tuple[Part, ...], *, reasoning: int = 0) -> Usage:
    sums = {name: sum(getattr(part.usage, name) for part in parts) for name in CLASSES}
    return Usage(**sums, reasoning=reasoning)


def _is_redeemed(counts: Mapping[str, Any]) -> bool:
    credit = counts.get("fallback_credit")
    status = credit.get("status") if isinstance(credit, Mapping) else None
    if isinstance(status, Mapping):
        status = status.get("type")
    return status == "redeemed"


def _count(counts: Mapping[str, Any], name: str) -> int:
    if type(counts) is not dict and not isinstance(counts, Mapping):
        raise UsageInvalid(f"the counts around {name} are not an object")
    value = counts.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= TOKENS_MAX:
        raise UsageInvalid(f"{name} is {value!r}, not a count of tokens")
    return value
