"""The refusals of real providers that matter to a gateway, in their own shapes."""

import json
import re
from collections.abc import Mapping
from typing import Any

from corvus_proxy.dev.faults import Asked

Refusal = tuple[int, dict[str, Any]]

MODELS = {
    "anthropic": re.compile(r"claude-"),
    "openai": re.compile(r"(gpt-|o\d|chatgpt-|text-embedding-)"),
    "glm": re.compile(r"glm-"),
}
"""Which model names a family knows."""
OUTPUT_TOKENS_MIN = 16
"""The smallest limit that a response takes."""
_NEWER = re.compile(r"(gpt-[5-9]|o\d)")
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GLM_CODES = {401: "1000", 404: "1211", 429: "1302", 500: "1230", 503: "1305"}


def refusal(
    family: str, status: int, code: str, message: str, *, param: str | None = None
) -> Refusal:
    """An error body of the family; `code` is OpenAI's, or Z.AI's where it is a number."""
    if family == "anthropic":
        kind = _ANTHROPIC_TYPES.get(
            status, "invalid_request_error" if status < 500 else "api_error"
        )
        return status, {"type": "error", "error": {"type": kind, "message": message}}
    if family == "glm":
        number = code if code.isdigit() else _GLM_CODES.get(status, "1210")
        return status, {"error": {"code": number, "message": message}}
    kind = "invalid_request_error" if status < 500 else "server_error"
    if code == "insufficient_quota":
        kind = code
    elif status == 429:
        kind, code = "requests", code or "rate_limit_exceeded"
    return status, {
        "error": {"message": message, "type": kind, "param": param, "code": code or None}
    }


def of_key(family: str, secret: str) -> Refusal | None:
    """The refusal of a missing key, or of one that begins with `bad`."""
    if secret and not secret.startswith("bad"):
        return None
    message = "invalid x-api-key" if family == "anthropic" else "Incorrect API key provided."
    return refusal(family, 401, "invalid_api_key", message)


def judge(family: str, body: Mapping[str, Any], asked: Asked) -> Refusal | None:
    """Why this request is refused, or None."""
    if asked.status and not asked.replay:
        return refusal(family, asked.status, asked.code, "Simulated failure.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        return refusal(
            family, 400, "missing_required_parameter", "model: Field required", param="model"
        )
    if not MODELS[family].match(model):
        return unknown_model(family, model)
    messages = body.get("messages")
    if (
        not isinstance(messages, list)
        or not messages
        or not all(isinstance(message, dict) for message in messages)
    ):
        return refusal(
            family, 400, "missing_required_parameter", "messages: Field required", param="messages"
        )
    for name in ("max_tokens", "max_completion_tokens"):
        limit = body.get(name)
        if limit is not None and (type(limit) is not int or limit < (family != "anthropic")):
            return refusal(family, 400, "invalid_value", f"{name}: not a valid limit", param=name)
    if family == "openai" and body.get("max_tokens") is not None and _NEWER.match(model):
        return refusal(
            family,
            400,
            "unsupported_parameter",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use"
            " 'max_completion_tokens' instead.",
            param="max_tokens",
        )
    return _judge_messages(body) if family == "anthropic" else None


def judge_response(
    body: Mapping[str, Any], chat: Mapping[str, Any], asked: Asked
) -> Refusal | None:
    """The same for a request of a response and the chat that says the same."""
    refused = judge("openai", chat, asked)
    if refused is not None:
        error = refused[1]["error"]
        error["param"] = {"messages": "input", "max_completion_tokens": "max_output_tokens"}.get(
            error["param"], error["param"]
        )
        return refused
    limit = body.get("max_output_tokens")
    if limit is not None and limit < OUTPUT_TOKENS_MIN:
        return refusal(
            "openai",
            400,
            "integer_below_min_value",
            f"Invalid 'max_output_tokens': expected a value >= {OUTPUT_TOKENS_MIN}.",
            param="max_output_tokens",
        )
    if body.get("previous_response_id"):
        return refusal(
            "openai",
            400,
            "previous_response_not_found",
            f"Previous response with id '{body['previous_response_id']}' not found.",
            param="previous_response_id",
        )
    return None


def _judge_messages(body: Mapping[str, Any]) -> Refusal | None:
    limit = body.get("max_tokens")
    if limit is None:
        return refusal("anthropic", 400, "", "max_tokens: Field required")
    budget = (body.get("thinking") or {}).get("budget_tokens")
    if budget is not None and budget >= limit:
        return refusal(
            "anthropic", 400, "", "`max_tokens` must be greater than `thinking.budget_tokens`."
        )
    return None


def judge_embeddings(
    body: Mapping[str, Any], inputs: list[str | list[int]], asked: Asked
) -> Refusal | None:
    """The same for a request of embeddings."""
    if asked.status and not asked.replay:
        return refusal("openai", asked.status, asked.code, "Simulated failure.")
    model = body.get("model")
    if not isinstance(model, str) or not model.startswith("text-embedding-"):
        return unknown_model("openai", str(model))
    if not inputs or not all(inputs):
        return refusal(
            "openai", 400, "invalid_value", "input cannot be an empty string.", param="input"
        )
    return None


def failure(code: str) -> tuple[str, str]:
    """Code and message of OpenAI's error in a stream; that of an empty account speaks of it."""
    if code == "insufficient_quota":
        return code, "You exceeded your current quota."
    return code or "server_error", "The server had an error."


def unknown_model(family: str, model: str) -> Refusal:
    """The refusal of a model that the family does not have."""
    if family == "anthropic":
        return refusal(family, 404, "", f"model: {model}")
    return refusal(
        family,
        404,
        "model_not_found",
        f"The model `{model}` does not exist or you do not have access to it.",
        param="model",
    )


def in_stream(family: str, request_id: str, code: str = "") -> bytes:
    """The error event of a stream that fails in its middle; nothing follows it.

    With the code insufficient_quota it speaks of the account, as real ones do.
    """
    empty = code == "insufficient_quota"
    if family == "anthropic":
        body: dict[str, Any] = {
            "type": "error",
            "error": {"type": "billing_error", "message": "Your credit balance is too low."}
            if empty
            else {"type": "overloaded_error", "message": "Overloaded"},
            "request_id": request_id,
        }
        return b"event: error\ndata: " + json.dumps(body).encode() + b"\n\n"
    code, message = failure(code)
    _, body = refusal(family, 500, code, message)
    return b"data: " + json.dumps(body).encode() + b"\n\n"
