"""Which headers pass, each way. What describes one side's account or connection never does."""

from collections.abc import Iterable
from datetime import timedelta

from corvus_proxy import clock

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


_PACES = {"rate": b"requests", "tokens": b"tokens"}


def pace(what: str, limit: int, left: int, resets_ms: int) -> Headers:
    """A key's own limit of a minute, as the SDKs of both vendors read it; `what` is `rate` (of
    requests) or `tokens`. One vendor tells the time until the minute ends, the other that
    instant."""
    name = _PACES[what]
    ends = clock.iso_utc(clock.utc_now() + timedelta(milliseconds=resets_ms)).encode()
    resets = b"%d.%03ds" % divmod(resets_ms, 1000)
    limit_text, left_text = b"%d" % limit, b"%d" % max(0, left)
    return [
        (b"x-ratelimit-limit-" + name, limit_text),
        (b"x-ratelimit-remaining-" + name, left_text),
        (b"x-ratelimit-reset-" + name, resets),
        (b"anthropic-ratelimit-" + name + b"-limit", limit_text),
        (b"anthropic-ratelimit-" + name + b"-remaining", left_text),
        (b"anthropic-ratelimit-" + name + b"-reset", ends),
    ]


def spent_pace(what: str, limit: int, used: int, retry_ms: int) -> Headers:
    """The headers of a refusal for it; none for what is not of a minute."""
    return pace(what, limit, limit - used, retry_ms) if what in _PACES else []
