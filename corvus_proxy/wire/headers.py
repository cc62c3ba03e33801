"""Which headers pass, each way. What describes one side's account or connection never does."""

from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

# No `idempotency-key`: on an upstream account that many customers share, one customer's key could
# answer another's request.
_PASSED_UP = frozenset(
    {
        b"accept",
        b"anthropic-beta",
        b"anthropic-dangerous-direct-browser-access",
        b"anthropic-version",
        b"content-type",
        b"openai-beta",
        b"originator",
        b"session-id",
        b"user-agent",
        b"x-app",
        b"x-claude-code-session-id",
        b"x-openai-internal-codex-responses-lite",
    }
)
_PASSED_UP_PREFIXES = (b"x-stainless-",)
_PASSED_DOWN = frozenset(
    {
        b"content-encoding",
        b"content-type",
        b"openai-processing-ms",
        b"openai-version",
        b"x-should-retry",
    }
)
_RENAMED_DOWN = {b"request-id": b"x-upstream-request-id", b"x-request-id": b"x-upstream-request-id"}


def to_upstream(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The client's headers that the upstream sees; credentials and framing are the transport's."""
    return [
        (name, value)
        for name, value in headers
        if name in _PASSED_UP or name.startswith(_PASSED_UP_PREFIXES)
    ]


def to_client(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The upstream's headers that the client sees; rate limits and organisation are the
    operator's."""
    found: Headers = []
    for name, value in headers:
        if name in _PASSED_DOWN:
            found.append((name, value))
        elif name in _RENAMED_DOWN:
            found.append((_RENAMED_DOWN[name], value))
    return found
