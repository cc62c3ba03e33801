"""What the gateway itself writes, in the caller's dialect: errors, keep-alive, the final comment.

The forms are those that clients act upon rightly: an empty balance is a 429 that says "do not
retry" and, on the OpenAI dialects, `insufficient_quota`, without which one agent waits five
minutes.
"""

from typing import Any

import msgspec

from corvus_proxy import clock
from corvus_proxy.errors import CapReached, OutOfBalance, RequestError, UpstreamOverloaded
from corvus_proxy.money.amount import format_usd
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.openai import failed

Headers = list[tuple[bytes, bytes]]

_MESSAGES_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    426: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_CHAT_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
}


def status(dialect: Dialect, error: RequestError) -> int:
    """The HTTP status: a busy upstream is 529 on messages, where clients know it, else 429."""
    if isinstance(error, UpstreamOverloaded) and dialect is Dialect.MESSAGES:
        return 529
    return error.status


def error_object(
    dialect: Dialect,
    error: RequestError,
    request_id: str,
    site_url: str,
    charged_nanos: int = 0,
) -> dict[str, Any]:
    """The error as an object of the dialect, ready for JSON."""
    facts = {
        "code": error.code,
        "request_id": request_id,
        "docs_url": f"{site_url}/docs/errors/{error.code}",
        "charged": format_usd(charged_nanos),
        **error.details,
    }
    if dialect is Dialect.MESSAGES:
        kind = _MESSAGES_TYPES.get(status(dialect, error), "api_error")
        if isinstance(error, OutOfBalance | CapReached):
            kind = "billing_error"
        return {
            "type": "error",
            "error": {"type": kind, "message": error.message, **facts},
            "request_id": request_id,
        }
    kind = _CHAT_TYPES.get(error.status, "invalid_request_error")
    if isinstance(error, OutOfBalance | CapReached):
        kind = "insufficient_quota"
    return {"error": {"message": error.message, "type": kind, "param": error.param, **facts}}


def body(
    dialect: Dialect,
    error: RequestError,
    request_id: str,
    site_url: str,
    charged_nanos: int = 0,
) -> bytes:
    """The JSON body of an error."""
    return msgspec.json.encode(error_object(dialect, error, request_id, site_url, charged_nanos))


def headers(error: RequestError) -> Headers:
    """Content type, and what clients read before they retry."""
    found = [
        (b"content-type", b"application/json"),
        (b"x-should-retry", b"true" if error.retry else b"false"),
    ]
    if error.retry_after_s is not None:
        found.append((b"retry-after", b"%d" % error.retry_after_s))
    return found


def in_band(
    dialect: Dialect,
    error: RequestError,
    request_id: str,
    site_url: str,
    charged_nanos: int = 0,
    told: failed.Told = failed.NOTHING_TOLD,
) -> bytes:
    """The error as the last event of a stream that had begun; no terminal event follows it.

    Without it, every SDK takes a stream that just ends for a whole answer. `told` is what the
    client has read of a response.
    """
    if dialect is Dialect.RESPONSES:
        found = error_object(dialect, error, request_id, site_url, charged_nanos)["error"]
        return failed.event(told, found, request_id, clock.wall_s())
    data = body(dialect, error, request_id, site_url, charged_nanos)
    event = b"event: error\n" if dialect is Dialect.MESSAGES else b""
    return event + b"data: " + data + b"\n\n"


def keepalive(dialect: Dialect) -> bytes:
    """What is written into silence: an event that counts as life for agents' byte watchdogs."""
    if dialect is Dialect.MESSAGES:
        return b'event: ping\ndata: {"type": "ping"}\n\n'
    return b": keep-alive\n\n"


def final_comment(request_id: str, cost_nanos: int, *, settled: bool) -> bytes:
    """The last thing in a stream: the handle of the charge, and the charge."""
    facts: dict[str, Any] = {"request_id": request_id, "cost_usd": format_usd(cost_nanos)}
    if not settled:
        facts["settled"] = False
    return b": corvus " + msgspec.json.encode(facts) + b"\n\n"
