"""What the gateway itself writes, in the caller's dialect: errors, keep-alive, the final comment.

The forms are those that clients act upon rightly: an empty balance is a 429 that says "do not
retry" and, on the OpenAI dialects, `insufficient_quota`, without which one agent waits five
minutes.
"""

import math
from typing import Any

import msgspec

from corvus_proxy import clock
from corvus_proxy.errors import (
    CapReached,
    LimitReached,
    OutOfBalance,
    RequestError,
    UpstreamFault,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from corvus_proxy.money.amount import format_usd
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.openai import failed
from corvus_proxy.wire.verdict import Blame, Verdict, words_of

Headers = list[tuple[bytes, bytes]]

_MESSAGES_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
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


RETRY_AFTER_MAX_S = 60
"""Some SDKs sleep as long as they are told, whatever it is; what takes longer is asked again."""


class Relayed(UpstreamRefused):
    """The upstream's own refusal of the request, to be passed on as it came."""

    def __init__(self, status: int, found: Headers, body: bytes) -> None:
        super().__init__(
            f"The upstream refused the request with status {status}.", upstream_status=status
        )
        self.upstream_headers = found
        self.upstream_body = body


def upstream_fault(found: Verdict, headers: Headers, body: bytes) -> UpstreamFault:
    """What a client is told of an upstream's error: the upstream's own words where they are about
    the request, else ours. `headers` and `body` are those of the error."""
    match found.blame:
        case Blame.REQUEST if found.relayed:
            return Relayed(found.status, headers, body)
        case Blame.REQUEST:
            return UpstreamRefused(
                f"The upstream refused the request with status {found.status}; its words cannot be"
                " passed on. Nothing was charged.",
                upstream_status=found.status,
            )
        case Blame.RATE | Blame.BUSY:
            return _overloaded(found)
        case Blame.ACCOUNT if found.told_as_busy:
            return _overloaded(found)
        case Blame.SLOW:
            return UpstreamTimeout("The upstream timed out; nothing was charged.")
        case _:
            return UpstreamUnavailable(
                "The upstream failed before it answered; nothing was charged."
            )


def _overloaded(found: Verdict) -> UpstreamOverloaded:
    wait_s = found.retry_after_s
    return UpstreamOverloaded(
        "The upstream is busy; nothing was charged.",
        retry_after_s=None if wait_s is None else min(RETRY_AFTER_MAX_S, max(1, math.ceil(wait_s))),
    )


def status(dialect: Dialect, error: RequestError) -> int:
    """The HTTP status: a busy upstream is 529 on messages, where clients know it, else 429; what an
    upstream refused has the upstream's own."""
    if isinstance(error, UpstreamRefused):
        return error.upstream_status
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
    kind = _CHAT_TYPES.get(status(dialect, error), "invalid_request_error")
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
    if isinstance(error, LimitReached):
        found += error.headers
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
    client has read of a response. An upstream's refusal that may be relayed keeps its words: agents
    act upon them.
    """
    found = error_object(dialect, error, request_id, site_url, charged_nanos)
    if isinstance(error, Relayed):
        found["error"] |= words_of(error.upstream_body)
    if dialect is Dialect.RESPONSES:
        return failed.event(told, found["error"], request_id, clock.wall_s())
    event = b"event: error\n" if dialect is Dialect.MESSAGES else b""
    return event + b"data: " + msgspec.json.encode(found) + b"\n\n"


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
