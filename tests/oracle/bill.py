"""What usage costs, reckoned apart from the product: exact fractions over the price book's text.

It takes the rules from the vendors' words, not from our code: which counts stand inside which,
which entries of `iterations` are billed, what a tier costs.
"""

import json
import tomllib
from collections.abc import Iterable
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import corvus_proxy

BOOK = Path(corvus_proxy.__file__).parent / "catalogue" / "models.toml"


def row_of(name: str) -> dict[str, Any] | None:
    """The row of that slug or alias."""
    rows = tomllib.loads(BOOK.read_text())["model"]
    return next((row for row in rows if name in (row["slug"], *row.get("aliases", ()))), None)


def prices(
    slug: str, input_total: int, mode: str = "", geo: str = "", *, whose: str = "price"
) -> dict[str, Fraction]:
    """USD per token of each class for a request with that much input, searches per search."""
    row = row_of(slug)
    assert row is not None, slug
    table = row["modes"][mode] if mode else row
    long = whose + "_long" in table and input_total > row["long_above"]
    found = table[whose + "_long" if long else whose]
    factor = Fraction(row["geos"][geo], 100) if geo else Fraction(1)
    return {
        name: Fraction(usd) / 1000 if name == "searches" else factor * Fraction(usd) / 1_000_000
        for name, usd in found.items()
    }


def rounded(usd: Fraction) -> int:
    """Half up to a nano-dollar."""
    return floor(usd * 10**9 + Fraction(1, 2))


# -- Anthropic ----------------------------------------------------------------------------------


def merged(usage: dict[str, Any]) -> dict[str, Any]:
    """One usage from start and delta: what the delta says, else what the start said."""
    if "start" not in usage and "delta" not in usage:
        return usage
    delta = {name: value for name, value in usage.get("delta", {}).items() if value is not None}
    return {**usage.get("start", {}), **delta}


def _sampling(
    slug: str, counts: dict[str, Any], mode: str, geo: str, *, credited: bool, whose: str
) -> Fraction:
    def count(name: str) -> int:
        return counts.get(name) or 0

    plain, read = count("input_tokens"), count("cache_read_input_tokens")
    split = counts.get("cache_creation") or {}
    hour = split.get("ephemeral_1h_input_tokens", 0)
    five = split.get("ephemeral_5m_input_tokens", 0)
    written = count("cache_creation_input_tokens") or five + hour
    if hour and not five:
        hour = written
    price = prices(slug, plain + read + written, mode, geo, whose=whose)
    if credited:
        writes = written * price["cache_read"]
    else:
        writes = (written - hour) * price["cache_write_5m"] + hour * price["cache_write_1h"]
    reads = read * price["cache_read"]
    return plain * price["input"] + reads + writes + count("output_tokens") * price["output"]


def messages_usd(
    slug: str,
    usage: dict[str, Any],
    *,
    mode: str = "",
    geo: str = "",
    model: str = "",
    whose: str = "price",
) -> Fraction:
    """USD of an Anthropic usage, given flat or as start and delta, asked for as `slug` and answered
    by `model`."""
    counts = merged(usage)
    status = (counts.get("fallback_credit") or {}).get("status") or {}
    credited = (status if isinstance(status, str) else status.get("type")) == "redeemed"
    entries = counts.get("iterations") or []
    fell_back = any(entry["type"] == "fallback_message" for entry in entries)
    total = Fraction(0)
    for entry in entries or [counts]:
        made_by = entry.get("model") or slug
        if made_by == model and not fell_back and entry.get("type") != "advisor_message":
            made_by = slug
        declined = fell_back and entry["type"] == "message" and not entry["output_tokens"]
        if not declined and row_of(made_by):
            total += _sampling(made_by, entry, mode, geo, credited=credited, whose=whose)
    searches = (counts.get("server_tool_use") or {}).get("web_search_requests", 0)
    if searches:
        total += searches * prices(slug, 0, whose=whose)["searches"]
    return total


def messages_nanos(slug: str, usage: dict[str, Any], **terms: Any) -> int:
    """Nano-dollars of the same."""
    return rounded(messages_usd(slug, usage, **terms))


# -- OpenAI and Z.AI ----------------------------------------------------------------------------


def chat_nanos(slug: str, usage: dict[str, Any], mode: str = "", *, whose: str = "price") -> int:
    """Nano-dollars of a chat usage: cached and written tokens stand inside the prompt's."""
    details = usage.get("prompt_tokens_details") or {}
    read, written = details.get("cached_tokens", 0) or 0, details.get("cache_write_tokens", 0) or 0
    price = prices(slug, usage["prompt_tokens"], mode, whose=whose)
    total = (
        (usage["prompt_tokens"] - read - written) * price["input"]
        + read * price["cache_read"]
        + written * price["cache_write_other"]
        + usage["completion_tokens"] * price["output"]
    )
    return rounded(total)


def responses_nanos(slug: str, usage: dict[str, Any], searches: int, mode: str = "") -> int:
    """Nano-dollars of a Responses usage and its searches."""
    details = usage.get("input_tokens_details") or {}
    read, written = details.get("cached_tokens", 0), details.get("cache_write_tokens", 0)
    price = prices(slug, usage["input_tokens"], mode)
    total = (
        (usage["input_tokens"] - read - written) * price["input"]
        + read * price["cache_read"]
        + written * price["cache_write_other"]
        + usage["output_tokens"] * price["output"]
    )
    if searches:
        total += searches * price["searches"]
    return rounded(total)


# -- What an answer says ------------------------------------------------------------------------


def payloads(body: bytes) -> Iterable[dict[str, Any]]:
    """The JSON of each event of a stream."""
    for line in body.decode().splitlines():
        if line.startswith("data:") and line[5:].strip() != "[DONE]":
            yield json.loads(line[5:])


def searches(body: bytes, *, stream: bool) -> int:
    """Searches that a response says it is billed for."""
    found = {} if stream else json.loads(body)
    for event in payloads(body) if stream else ():
        found = event.get("response") or found
    tools = found.get("tool_usage") or {}
    return int((tools.get("web_search") or {}).get("num_requests", 0))


def reported(body: bytes, *, stream: bool) -> tuple[dict[str, Any] | None, str, str]:
    """Usage (Anthropic streams: start and delta), model and tier that an answer reports."""
    if not stream:
        found = json.loads(body)
        return found.get("usage"), found.get("model", ""), found.get("service_tier") or ""
    usage: dict[str, Any] | None = None
    model = tier = ""
    for event in payloads(body):
        if event.get("type") == "message_start":
            usage = {"start": event["message"]["usage"]}
            model = event["message"]["model"]
        elif event.get("type") == "message_delta":
            usage = {**(usage or {}), "delta": event["usage"]}
        elif event.get("type") in ("response.completed", "response.incomplete", "response.failed"):
            ended = event["response"]
            usage, tier = ended.get("usage"), ended.get("service_tier") or ""
            model = ended["model"]
        elif "choices" in event:
            usage = event.get("usage") or usage
            model = model or event.get("model", "")
            tier = event.get("service_tier") or tier
    return usage, model, tier
