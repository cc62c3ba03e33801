"""`/v1/models` of both providers."""

from typing import Any

from corvus_proxy.dev import frames, refusals
from corvus_proxy.dev.http import Exchange

LISTED = {
    "anthropic": ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"),
    "openai": ("gpt-6.1-sol", "gpt-5.5", "gpt-5.4-mini", "gpt-4.1", "gpt-4o-mini"),
}


def listed(exchange: Exchange, name: str, secret: str) -> refusals.Refusal:
    """`/v1/models`, or one model of it, in the shape that the caller's headers ask for."""
    family = "anthropic" if "anthropic-version" in exchange.headers else "openai"
    refused = refusals.of_key(family, secret)
    if refused is not None:
        return refused
    rows = [_model(family, one) for one in ([name] if name else LISTED[family])]
    if name:
        known = refusals.MODELS[family].match(name)
        return (200, rows[0]) if known else refusals.unknown_model(family, name)
    if family == "anthropic":
        return 200, {
            "data": rows,
            "has_more": False,
            "first_id": rows[0]["id"],
            "last_id": rows[-1]["id"],
        }
    return 200, {"object": "list", "data": rows}


def _model(family: str, name: str) -> dict[str, Any]:
    if family == "anthropic":
        return {
            "type": "model",
            "id": name,
            "display_name": name.replace("-", " ").title(),
            "created_at": "2026-10-01T00:00:00Z",
        }
    return {"id": name, "object": "model", "created": frames.CREATED, "owned_by": "openai"}
