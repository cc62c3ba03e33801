"""Anthropic's reports: usage by the hour, cost by the day.

Shapes: platform.claude.com, "Get Messages Usage Report" (`GET
/v1/organizations/usage_report/messages`) and "Get Cost Report" (`GET
/v1/organizations/cost_report`): pages of buckets with RFC 3339 times, `has_more` and `next_page`.
Amounts are decimal strings in cents ("123.45" is 1.23 USD). Cost has no buckets below a day and no
filter, so rows of another workspace are passed over here.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from corvus_proxy.upstream.reports.reading import NANOS_PER_CENT, check_currency, count, nanos, text
from corvus_proxy.upstream.reports.types import OTHER, Billed, Counted

USAGE = ("/v1/organizations/usage_report/messages",)
COSTS = ("/v1/organizations/cost_report",)
VERSION = "2023-06-01"
_CLASSES = {
    "uncached_input_tokens": "input",
    "output_tokens": "output",
    "cache_read_input_tokens": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
}


def headers(secret: str) -> dict[str, str]:
    """Of every question."""
    return {"x-api-key": secret, "anthropic-version": VERSION}


def query(start_s: int, end_s: int, path: str, scope: str) -> list[tuple[str, str]]:
    """What is asked for a day, of one workspace or of all."""
    found = [("starting_at", _rfc3339(start_s)), ("ending_at", _rfc3339(end_s))]
    if path in COSTS:
        groups = ("description", "workspace_id") if scope else ("description",)
        return [*found, ("bucket_width", "1d"), *(("group_by[]", one) for one in groups)]
    found += [("bucket_width", "1h"), ("group_by[]", "model"), ("limit", "24")]
    return [*found, *([("workspace_ids[]", scope)] if scope else [])]


def start_s(bucket: Mapping[str, Any]) -> int:
    """When a bucket begins. Raises what `Reading` takes."""
    return int(datetime.fromisoformat(bucket["starting_at"]).timestamp())


def counted(hour: int, result: Mapping[str, Any]) -> Iterator[Counted]:
    """The counts of one result, which are disjoint. Raises what `Reading` takes."""
    model = text(result["model"])
    written = result.get("cache_creation") or {}
    tools = result.get("server_tool_use") or {}
    yield Counted(hour, model, "input", count(result, "uncached_input_tokens"))
    yield Counted(hour, model, "cache_read", count(result, "cache_read_input_tokens"))
    yield Counted(hour, model, "cache_write_5m", count(written, "ephemeral_5m_input_tokens"))
    yield Counted(hour, model, "cache_write_1h", count(written, "ephemeral_1h_input_tokens"))
    yield Counted(hour, model, "output", count(result, "output_tokens"))
    yield Counted(hour, model, "searches", count(tools, "web_search_requests"))


def billed(result: Mapping[str, Any], scope: str) -> Iterator[Billed]:
    """The amount of one result. Raises what `Reading` takes."""
    if scope and text(result["workspace_id"]) != scope:
        return
    check_currency(result["currency"])
    usage_class = _CLASSES.get(text(result.get("token_type")), OTHER)
    if result.get("cost_type") == "web_search":
        usage_class = "searches"
    yield Billed(text(result.get("model")), usage_class, nanos(result["amount"], NANOS_PER_CENT))


def _rfc3339(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
