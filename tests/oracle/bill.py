"""What usage costs, reckoned apart from the product: exact fractions over the price book's text."""

import tomllib
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import corvus_proxy

BOOK = Path(corvus_proxy.__file__).parent / "catalogue" / "models.toml"


def prices(slug: str, input_total: int) -> dict[str, Fraction]:
    """USD per token of each class for a request with that much input."""
    row = next(row for row in tomllib.loads(BOOK.read_text())["model"] if row["slug"] == slug)
    long = "price_long" in row and input_total > row["long_above"]
    found = row["price_long" if long else "price"]
    return {name: Fraction(usd) / 1_000_000 for name, usd in found.items()}


def messages_nanos(slug: str, usage: dict[str, Any]) -> int:
    """Nano-dollars of an Anthropic usage, given flat or as start and delta."""
    if "start" in usage or "delta" in usage:
        usage = {
            **usage.get("start", {}),
            **{name: value for name, value in usage.get("delta", {}).items() if value is not None},
        }
    written = usage.get("cache_creation_input_tokens", 0) or 0
    hour = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens", 0)
    read = usage.get("cache_read_input_tokens", 0) or 0
    plain = usage.get("input_tokens", 0) or 0
    price = prices(slug, plain + read + written)
    total = (
        plain * price["input"]
        + read * price["cache_read"]
        + (written - hour) * price["cache_write_5m"]
        + hour * price["cache_write_1h"]
        + usage["output_tokens"] * price["output"]
    )
    return rounded(total)


def chat_nanos(slug: str, usage: dict[str, Any]) -> int:
    """Nano-dollars of a chat usage: cached and written tokens stand inside the prompt's."""
    details = usage.get("prompt_tokens_details") or {}
    read, written = details.get("cached_tokens", 0) or 0, details.get("cache_write_tokens", 0) or 0
    price = prices(slug, usage["prompt_tokens"])
    total = (
        (usage["prompt_tokens"] - read - written) * price["input"]
        + read * price["cache_read"]
        + written * price["cache_write_other"]
        + usage["completion_tokens"] * price["output"]
    )
    return rounded(total)


def rounded(usd: Fraction) -> int:
    """Half up to a nano-dollar."""
    return floor(usd * 10**9 + Fraction(1, 2))
