"""OpenAI's reports: usage by the hour, costs by the day.

Shapes: the SDK's `admin.organization.usage` types (openai-python, `usage_completions_response`,
`usage_embeddings_response`, `usage_costs_response` and their params), and "Usage" in OpenAI's API
reference, `GET /v1/organization/usage/completions`, `…/usage/embeddings` and `…/costs`: pages of
buckets with Unix seconds, `has_more` and `next_page`; `limit` counts buckets.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from corvus_proxy.errors import Unreadable
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.upstream.reports.reading import check_currency, count, nanos, text
from corvus_proxy.upstream.reports.types import OTHER, Billed, Counted

USAGE = ("/v1/organization/usage/completions", "/v1/organization/usage/embeddings")
COSTS = ("/v1/organization/costs",)


def headers(secret: str) -> dict[str, str]:
    """Of every question."""
    return {"authorization": f"Bearer {secret}"}


def query(start_s: int, end_s: int, path: str, scope: str) -> list[tuple[str, str]]:
    """What is asked for a day, of one project or of all."""
    costs = path in COSTS
    found = [
        ("start_time", str(start_s)),
        ("end_time", str(end_s)),
        ("bucket_width", "1d" if costs else "1h"),
        ("group_by", "line_item" if costs else "model"),
        ("limit", "7" if costs else "24"),
    ]
    return [*found, *([("project_ids", scope)] if scope else [])]


def start_s(bucket: Mapping[str, Any]) -> int:
    """When a bucket begins. Raises what `Reading` takes."""
    return int(bucket["start_time"])


def counted(hour: int, result: Mapping[str, Any]) -> Iterator[Counted]:
    """The counts of one result: `input_tokens` includes what was read from the cache and written to
    it. Raises what `Reading` takes."""
    model = text(result["model"])
    read = count(result, "input_cached_tokens")
    written = count(result, "input_cache_write_tokens")
    fresh = count(result, "input_tokens") - read - written
    if fresh < 0:
        raise Unreadable("more input from the cache than input")
    yield Counted(hour, model, "input", fresh)
    yield Counted(hour, model, "cache_read", read)
    yield Counted(hour, model, "cache_write_other", written)
    yield Counted(hour, model, "output", count(result, "output_tokens"))


def billed(result: Mapping[str, Any], scope: str) -> Iterator[Billed]:
    """The amount of one result. Raises what `Reading` takes."""
    amount = result["amount"]
    check_currency(amount["currency"])
    model, usage_class = _of_line(text(result["line_item"]))
    yield Billed(model, usage_class, nanos(amount["value"], NANOS_PER_USD))


def _of_line(line: str) -> tuple[str, str]:
    """Model and class of a line item such as `gpt-6.1-sol, input_tokens`: the words behind the
    comma have changed over the years (`cached input`)."""
    model, comma, what = line.rpartition(", ")
    if not comma:
        return "", OTHER
    what = what.lower()
    if "search" in what:
        return model, "searches"
    if "cach" in what:
        return model, "cache_write_other" if "writ" in what else "cache_read"
    for usage_class in ("output", "input"):
        if usage_class in what:
            return model, usage_class
    return model, OTHER
