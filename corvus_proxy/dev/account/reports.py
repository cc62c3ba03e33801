"""Usage and cost reports of what was really served, in OpenAI's and Anthropic's shapes.

Shapes as in `corvus_proxy/upstream/reports`. An admin key is `admin-` and the key that it reports
on; `admin-*` is that of the whole account, whose scopes are `proj_` or `wrkspc_` and a key's eight
digits of the log. `POST /__control {"reports": {"lose_every": 5}}` asks for trouble: `Wrong`.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

import msgspec

from corvus_proxy.catalogue import book
from corvus_proxy.catalogue.book import Book
from corvus_proxy.dev.http import Exchange
from corvus_proxy.money.pricing import at_cost, lines
from corvus_proxy.money.usage import (
    Usage,
    UsageInvalid,
    from_chat,
    from_embeddings,
    from_messages,
    from_responses,
)
from corvus_proxy.settings import PricingSettings

ADMIN = "admin-"
BUCKETS_MAX = 10
"""Of one page, whatever is asked for: a reader must turn pages."""
HOUR_S, DAY_S = 3_600, 86_400
PATHS = {
    "/v1/organization/usage/completions": "openai",
    "/v1/organization/usage/embeddings": "openai",
    "/v1/organization/costs": "openai",
    "/v1/organizations/usage_report/messages": "anthropic",
    "/v1/organizations/cost_report": "anthropic",
}
SNAPSHOT = "-2026-03-01"
"""OpenAI reports what a name stood for, Anthropic the name."""
_TOKEN_TYPES = {
    "input": "uncached_input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
}
_LINE_ITEMS = {"cache_read": "cached_input_tokens", "cache_write_other": "cache_write_tokens"}


class Row(Protocol):
    """As much of a row of the log as is reported."""

    at_ms: int
    family: str
    credential: str
    dialect: str
    model: str
    usage_made: dict[str, Any] | None


class Wrong(msgspec.Struct, forbid_unknown_fields=True):
    """What a report is to have wrong. `…_every`: of each so many requests one; 0: none."""

    lose_every: int = 0
    double_every: int = 0
    price_percent: int = 100
    """Of what is billed for output."""
    status: int = 0
    """Answer with it."""
    circle: bool = False
    """Every page says that the first one follows."""
    twice: bool = False
    """A bucket comes on two pages."""
    differs: bool = False
    """And another time with other counts."""
    negative: bool = False
    """Counts below zero."""
    currency: str = "USD"


class Part(NamedTuple):
    """One request of the log as it is reported."""

    at_s: int
    credential: str
    model: str
    dialect: str
    usage: Usage


class Reports:
    """Both providers' reports."""

    def __init__(self, cost_percent: int) -> None:
        """`cost_percent`: what the account pays of the official prices."""
        self._cost_percent = cost_percent
        self._book: Book | None = None
        self.wrong = Wrong()

    def ask(self, wish: dict[str, Any]) -> None:
        """Sets what is wrong from now on. Raises ValueError."""
        if wish:
            self.wrong = msgspec.convert(wish, Wrong)

    def answer(self, exchange: Exchange, secret: str, served: Iterable[Row]) -> None:
        """Answers one question."""
        path, _, query = exchange.path.partition("?")
        family, asked = PATHS[path], parse_qs(query)
        if self.wrong.status or not secret.startswith(ADMIN):
            status = self.wrong.status or (403 if family == "anthropic" else 401)
            exchange.json(status, {"error": {"message": "no", "type": "permission_error"}})
            return
        whose = secret.removeprefix(ADMIN)
        scope = "".join(asked.get("project_ids", []) + asked.get("workspace_ids[]", []))
        digest = scope.rpartition("_")[2] or _digest(whose)
        parts = [
            part
            for part in self._parts(served, family)
            if digest in (part.credential, _digest("*"))
        ]
        start_s, end_s = _span(asked)
        width_s = HOUR_S if asked["bucket_width"] == ["1h"] else DAY_S
        buckets = [
            (begins, [part for part in parts if begins <= part.at_s < begins + width_s])
            for begins in range(start_s, end_s, width_s)
        ]
        exchange.json(200, self._page(path, family, buckets, width_s, asked))

    def _page(
        self,
        path: str,
        family: str,
        buckets: list[tuple[int, list[Part]]],
        width_s: int,
        asked: dict[str, list[str]],
    ) -> dict[str, Any]:
        at = int(asked.get("page", ["page_0"])[0].removeprefix("page_"))
        size = min(BUCKETS_MAX, int(asked.get("limit", ["7"])[0]))
        again = 1 if self.wrong.twice and at else 0
        chosen = buckets[at - again : at + size]
        more = at + size < len(buckets) or self.wrong.circle
        follows = "page_0" if self.wrong.circle else f"page_{at + size}"
        data = [self._bucket(path, family, begins, width_s, found) for begins, found in chosen]
        if again and self.wrong.differs:
            data[0]["results"] = [*data[0]["results"], {}]
        page = {"data": data, "has_more": more, "next_page": follows if more else None}
        return page if family == "anthropic" else {"object": "page", **page}

    def _bucket(
        self, path: str, family: str, begins: int, width_s: int, parts: list[Part]
    ) -> dict[str, Any]:
        costs = "cost" in path
        if family == "anthropic":
            results = list(self._cost_rows(parts) if costs else self._messages(parts))
            times: dict[str, Any] = {
                "starting_at": _rfc3339(begins),
                "ending_at": _rfc3339(begins + width_s),
            }
            return {**times, "results": results}
        if not costs:
            embedding = "embeddings" in path
            parts = [one for one in parts if (one.dialect == "embeddings") == embedding]
        results = list(self._costs(parts) if costs else self._completions(parts, path))
        times = {"object": "bucket", "start_time": begins, "end_time": begins + width_s}
        return {**times, "results": results}

    # -- OpenAI ---------------------------------------------------------------------------------

    def _completions(self, parts: list[Part], path: str) -> Iterator[dict[str, Any]]:
        for model, found in sorted(_by_model(parts).items()):
            sign = -1 if self.wrong.negative else 1
            counts = {
                "input_tokens": sign * sum(one.usage.input_total for one in found),
                "num_model_requests": len(found),
            }
            if "completions" in path:
                counts |= {
                    "output_tokens": sum(one.usage.output for one in found),
                    "input_cached_tokens": sum(one.usage.cache_read for one in found),
                    "input_cache_write_tokens": sum(one.usage.cache_write_other for one in found),
                }
            kind = f"organization.usage.{path.rpartition('/')[2]}.result"
            yield {
                "object": kind, **counts, "model": model + SNAPSHOT,
                "project_id": None, "user_id": None, "api_key_id": None, "batch": None,
            }  # fmt: skip

    def _costs(self, parts: list[Part]) -> Iterator[dict[str, Any]]:
        for (_, model, usage_class), picos in sorted(self._bills(parts).items()):
            item = f"{model}{SNAPSHOT}, {_LINE_ITEMS.get(usage_class, f'{usage_class}_tokens')}"
            value = float(Decimal(picos) / 10**12)
            currency = self.wrong.currency.lower()
            yield {
                "object": "organization.costs.result", "line_item": item, "project_id": None,
                "amount": {"value": value, "currency": currency},
            }  # fmt: skip

    # -- Anthropic ------------------------------------------------------------------------------

    def _messages(self, parts: list[Part]) -> Iterator[dict[str, Any]]:
        for model, found in sorted(_by_model(parts).items()):
            sign = -1 if self.wrong.negative else 1
            yield {
                "uncached_input_tokens": sign * sum(one.usage.input for one in found),
                "cache_read_input_tokens": sum(one.usage.cache_read for one in found),
                "cache_creation": {
                    "ephemeral_5m_input_tokens": sum(one.usage.cache_write_5m for one in found),
                    "ephemeral_1h_input_tokens": sum(one.usage.cache_write_1h for one in found),
                },
                "output_tokens": sum(one.usage.output for one in found),
                "server_tool_use": {
                    "web_search_requests": sum(one.usage.searches for one in found)
                },
                "model": model, "api_key_id": None, "workspace_id": None, "service_tier": None,
                "context_window": None,
            }  # fmt: skip

    def _cost_rows(self, parts: list[Part]) -> Iterator[dict[str, Any]]:
        for (credential, model, usage_class), picos in sorted(self._bills(parts).items()):
            searches = usage_class == "searches"
            yield {
                "currency": self.wrong.currency,
                "amount": f"{Decimal(picos) / 10**10:f}",
                "workspace_id": f"wrkspc_{credential}",
                "description": f"{model} usage",
                "cost_type": "web_search" if searches else "tokens",
                "context_window": "0-200k", "service_tier": "standard",
                "model": None if searches else model,
                "token_type": None if searches else _TOKEN_TYPES[usage_class],
            }  # fmt: skip

    # -- both -----------------------------------------------------------------------------------

    def _parts(self, served: Iterable[Row], family: str) -> Iterator[Part]:
        number = 0
        for row in served:
            if row.family != family or row.usage_made is None:
                continue
            usage = _usage(row)
            if usage is None or not usage.tokens:
                continue
            number += 1
            if self.wrong.lose_every and number % self.wrong.lose_every == 0:
                continue
            part = Part(row.at_ms // 1000, row.credential, row.model, row.dialect, usage)
            yield part
            if self.wrong.double_every and number % self.wrong.double_every == 0:
                yield part

    def _bills(self, parts: list[Part]) -> dict[tuple[str, str, str], int]:
        """Picos by credential, model and class."""
        if self._book is None:
            self._book = book.load(PricingSettings())
        by_name = {model.upstream_model: model for model in self._book.models}
        found: dict[tuple[str, str, str], int] = {}
        for part in parts:
            model = by_name.get(part.model)
            if model is None:
                continue
            for line in lines(at_cost(part.usage), model.official_price):
                usage_class = line.name.rpartition("/")[2]
                percent = self._cost_percent
                if usage_class == "output":
                    percent = percent * self.wrong.price_percent // 100
                key = (part.credential, part.model, usage_class)
                found[key] = found.get(key, 0) + line.amount_picos * percent // 100
        return found


def _usage(row: Row) -> Usage | None:
    made = row.usage_made or {}
    try:
        if row.dialect == "messages":
            return from_messages(None, made)
        if row.dialect == "responses":
            return from_responses(made, None)
        return from_embeddings(made) if row.dialect == "embeddings" else from_chat(made)
    except UsageInvalid:
        return None


def _by_model(parts: Iterable[Part]) -> dict[str, list[Part]]:
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.model, []).append(part)
    return found


def _span(asked: dict[str, list[str]]) -> tuple[int, int]:
    if "start_time" in asked:
        return int(asked["start_time"][0]), int(asked["end_time"][0])
    start, end = (datetime.fromisoformat(asked[name][0]) for name in ("starting_at", "ending_at"))
    return int(start.timestamp()), int(end.timestamp())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[-8:]


def _rfc3339(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
