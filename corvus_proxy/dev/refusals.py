"""The refusals of real providers that matter to a gateway, in their own shapes."""

import json
import re
from typing import Any

Refusal = tuple[int, dict[str, Any]]

_NEWER = re.compile(r"(gpt-[5-9]|o\d)")
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error"}


def refusal(family: str, status: int, code: str, message: str) -> Refusal:
    """An error body of the family."""
    if family == "anthropic":
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return status, {"type": "error", "error": {"type": kind, "message": message},
                        "request_id": None}
    if family == "glm":
        numbers = {401: "1000", 429: "1302", 500: "1230", 404: "1211"}
        return status, {"error": {"code": numbers.get(status, "1210"), "message": message}}
    kind = "insufficient_quota" if code == "insufficient_quota" else (
        "invalid_request_error" if status < 500 else "server_error")
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


def judge(
    family: str, body: dict[str, Any], secret: str, asked: dict[str, str], models: str
) -> Refusal | None:
    """Why this request is refused, or None."""
    model = str(body.get("model", ""))
    if not secret or secret.startswith("bad"):
        return refusal(family, 401, "invalid_api_key", "Incorrect API key provided.")
    if "status" in asked:
        return refusal(family, int(asked["status"]), asked.get("code", "simulated"),
                       "simulated failure")
    if not re.match(models, model):
        return refusal(family, 404, "model_not_found", f"The model {model!r} does not exist.")
    if not body.get("messages"):
        return refusal(family, 400, "invalid_request_error", "messages: field required")
    if family == "openai" and body.get("max_tokens") is not None and _NEWER.match(model):
        return refusal(family, 400, "unsupported_parameter",
                       "Unsupported parameter: 'max_tokens' is not supported with this model. Use"
                       " 'max_completion_tokens' instead.")
    if family == "anthropic":
        return _judge_messages(body)
    return None


def _judge_messages(body: dict[str, Any]) -> Refusal | None:
    limit = body.get("max_tokens")
    if limit is None:
        return refusal("anthropic", 400, "", "max_tokens: Field required")
    budget = (body.get("thinking") or {}).get("budget_tokens")
    if budget is not None and budget >= limit:
        return refusal("anthropic", 400, "",
                       "`max_tokens` must be greater than `thinking.budget_tokens`.")
    return None


def in_stream(family: str) -> bytes:
    """The error event of a stream that fails in its middle."""
    if family == "anthropic":
        body = {"type": "error",
                "error": {"type": "overloaded_error", "message": "Overloaded"}}
        return b"event: error\ndata: " + json.dumps(body).encode() + b"\n\n"
    body = {"error": {"message": "The server had an error", "type": "server_error",
                      "code": "server_error"}}
    return b"data: " + json.dumps(body).encode() + b"\n\n"
