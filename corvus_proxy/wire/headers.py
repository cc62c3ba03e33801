"""Which headers pass, each way. What describes one side's account or connection never does.

Both ways a header passes only if a table names it; docs/tenancy.md shows them.
"""

import re
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache

from corvus_proxy import clock

Headers = list[tuple[bytes, bytes]]

# No `idempotency-key`: on an upstream account that many customers share, one customer's key could
# answer another's request.
PASSED_UP = frozenset(
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
PASSED_UP_PREFIXES = (b"x-stainless-",)
PASSED_DOWN = frozenset(
    {
        b"content-encoding",
        b"content-type",
        b"openai-processing-ms",
        b"openai-version",
        b"x-should-retry",
    }
)
RENAMED_DOWN = {b"request-id": b"x-upstream-request-id", b"x-request-id": b"x-upstream-request-id"}

DROPPED_BETAS = {
    # beginning of the name: what it would turn on
    "advisor-tool-": "another model's work, at its own price",
    "agent-memory-": "memory stored on the account",
    "cache-diagnosis-": "a comparison with earlier requests of the account",
    "code-execution-": "programs that run at the provider",
    "compact-": "answers of their own",
    "context-1m-": "a window larger than the model's here, at another price",
    "fallback-credit-": "money of the account",
    "files-api-": "files stored on the account",
    "inline-tools-": "tools that stand in turns, such as those that run at the provider",
    "managed-agents-": "agents stored on the account",
    "mcp-client-": "tools that run at the provider",
    "mcp-tunnels-": "tools that run at the provider",
    "message-threads-": "conversations stored on the account",
    "output-128k-": "answers longer than the model's limit here",
    "output-300k-": "answers longer than the model's limit here",
    "server-side-fallback-": "another model's answer, at its own price",
    "skills-": "skills stored on the account",
    "user-profiles-": "people known to the account",
}
"""Names in `anthropic-beta` that do not pass: each turns on what a request may not ask for here
(`tenancy.fields`), and some do more without a member of their own. Every other one passes: agents
stop working without theirs."""
_DROPPED_BETAS = tuple(DROPPED_BETAS)

REMEMBERED_MAX = 1024
"""Bytes; longer lists of betas are read each time."""
_JSON = b"application/json"
_IS_JSON = re.compile(
    rb"\s*application/json\s*(?:;\s*charset\s*=\s*\"?utf-?8\"?\s*)?;?\s*", re.IGNORECASE
)


def to_upstream(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The client's headers that the upstream sees; credentials and framing are the transport's.

    A body was read and priced as JSON in UTF-8. Where its client calls it anything else the
    upstream is told what it is, lest it reads another request in it.
    """
    found: Headers = []
    own: frozenset[bytes] = frozenset()
    for pair in headers:
        name, value = pair
        if name in PASSED_UP or name.startswith(PASSED_UP_PREFIXES):
            if name == b"anthropic-beta":
                pair = (name, _betas(value))  # noqa: PLW2901
                if not pair[1]:
                    continue
            elif name == b"content-type" and value != _JSON and not _IS_JSON.fullmatch(value):
                pair = (name, _JSON)  # noqa: PLW2901
            found.append(pair)
        elif name == b"connection":
            own |= _of_the_connection(value)
    return [pair for pair in found if pair[0] not in own] if own else found


def _betas(value: bytes) -> bytes:
    return _remembered(value) if len(value) <= REMEMBERED_MAX else served_betas(value)


def served_betas(value: bytes) -> bytes:
    """The list of an `anthropic-beta` header without what is not served; the very same bytes where
    nothing goes."""
    names = value.split(b",")
    kept = [
        name
        for name in names
        if not name.strip().lower().decode("latin-1").startswith(_DROPPED_BETAS)
    ]
    return value if len(kept) == len(names) else b",".join(kept).strip()


_remembered = lru_cache(maxsize=512)(served_betas)
"""An agent names the same ones with every request."""


def _of_the_connection(value: bytes) -> frozenset[bytes]:
    """Names that `connection` says are meant for us alone (RFC 9110, 7.6.1)."""
    return frozenset(part.strip().lower() for part in value.split(b","))


def to_client(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The upstream's headers that the client sees; rate limits and organisation are the
    operator's."""
    found: Headers = []
    for name, value in headers:
        if name in PASSED_DOWN:
            found.append((name, value))
        elif name in RENAMED_DOWN:
            found.append((RENAMED_DOWN[name], value))
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
