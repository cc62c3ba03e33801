"""Headers pass by tables, both ways."""

import json
import os
from pathlib import Path

import pytest

from corvus_proxy.wire import headers

NEVER_UP = [
    b"authorization", b"x-api-key", b"host", b"content-length", b"cookie", b"proxy-authorization",
    b"proxy-connection", b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded", b"via",
    b"cf-connecting-ip", b"cf-ray", b"x-real-ip", b"expect", b"openai-organization",
    b"openai-project", b"anthropic-workspace-id", b"anthropic-user-profile-id",
    b"content-encoding", b"accept-encoding", b"x-corvus-clamp", b"x-codex-turn-metadata",
    b"x-codex-window-id", b"thread-id", b"x-client-request-id", b"idempotency-key", b"referer",
    b"origin", b"x-request-id", b"x-anything-new",
]  # fmt: skip
NEVER_DOWN = [
    b"anthropic-organization-id", b"anthropic-workspace-id", b"openai-organization",
    b"openai-project", b"set-cookie", b"cf-ray", b"cf-cache-status", b"server", b"alt-svc",
    b"strict-transport-security", b"retry-after", b"anthropic-ratelimit-requests-remaining",
    b"anthropic-ratelimit-unified-status", b"x-ratelimit-limit-tokens",
    b"x-ratelimit-reset-project-tokens", b"content-length", b"transfer-encoding", b"connection",
    b"date", b"via", b"x-envoy-upstream-service-time", b"anthropic-priority-input-tokens-limit",
    b"x-anything-new", b"location", b"www-authenticate",
]  # fmt: skip


@pytest.mark.parametrize("name", NEVER_UP)
def test_a_header_of_connection_person_or_account_does_not_go_up(name: bytes) -> None:
    """Each by its own name; the list of those that pass is the only one that is asked."""
    assert headers.to_upstream([(name, b"x"), (b"x-app", b"cli")]) == [(b"x-app", b"cli")]


@pytest.mark.parametrize("name", NEVER_DOWN)
def test_a_header_about_the_operators_account_does_not_come_down(name: bytes) -> None:
    """Nor what belongs to the upstream's connection; nor its Retry-After, which 200s carry, too."""
    passed = [(b"content-type", b"a")]
    assert headers.to_client([(name, b"x"), *passed]) == passed


@pytest.mark.parametrize(
    "name",
    [*sorted(headers.PASSED_UP - {b"content-type"}), b"x-stainless-lang",
     b"x-stainless-retry-count"],
)  # fmt: skip
def test_what_passes_passes_verbatim_and_in_order(name: bytes) -> None:
    """Also twice, with blanks, with bytes beyond ASCII."""
    given = [(name, b" a ,b"), (name, b"\xff")]
    assert headers.to_upstream(given) == given


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (b"application/json", b"application/json"),
        (b" Application/JSON ; charset=UTF-8", b" Application/JSON ; charset=UTF-8"),
        (b'application/json;charset="utf8";', b'application/json;charset="utf8";'),
        (b"application/json; charset=utf-16", b"application/json"),
        (b"application/json; charset=utf-8; charset=utf-7", b"application/json"),
        (b"application/jsonl", b"application/json"),
        (b"multipart/form-data; boundary=x", b"application/json"),
        (b"application/x-www-form-urlencoded", b"application/json"),
        (b"", b"application/json"),
        (b"\xff", b"application/json"),
    ],
)
def test_a_body_is_called_what_it_was_read_as(given: bytes, sent: bytes) -> None:
    """In another encoding an upstream could read another request than the one that was priced."""
    assert headers.to_upstream([(b"content-type", given)]) == [(b"content-type", sent)]
    assert headers.to_upstream([]) == []


@pytest.mark.parametrize("name", sorted(headers.PASSED_DOWN))
def test_what_comes_down_comes_verbatim(name: bytes) -> None:
    """The request's id at the upstream has a name of its own: ours is the handle of the charge."""
    assert headers.to_client([(name, b"v")]) == [(name, b"v")]
    for theirs in headers.RENAMED_DOWN:
        assert headers.to_client([(theirs, b"r")]) == [(b"x-upstream-request-id", b"r")]


def test_what_connection_names_stays_here() -> None:
    """A hop's own header is not the next hop's, also where it is one that passes."""
    given = [(b"connection", b"close, X-App"), (b"x-app", b"cli"), (b"accept", b"*/*")]
    assert headers.to_upstream(given) == [(b"accept", b"*/*")]


@pytest.mark.parametrize("begin", headers.DROPPED_BETAS)
def test_a_beta_that_turns_on_what_is_refused_does_not_pass(begin: str) -> None:
    """Its neighbours do; a header with nothing else is left out."""
    name = f"{begin}2026-01-01".encode()
    kept = b"claude-code-20250219,effort-2025-11-24"
    for value in (b"claude-code-20250219," + name + b",effort-2025-11-24",
                  kept + b"," + name.upper(), name + b"," + kept):  # fmt: skip
        assert headers.to_upstream([(b"anthropic-beta", value)]) == [(b"anthropic-beta", kept)]
    assert headers.to_upstream([(b"anthropic-beta", b" " + name)]) == []


def test_every_beta_that_the_sdk_knows_has_been_looked_at() -> None:
    """Dropped, or one that only changes how an answer is made; a new one is to be judged."""
    from anthropic.types.anthropic_beta_param import AnthropicBetaParam

    known = [str(name) for name in AnthropicBetaParam.__args__[1].__args__]  # type: ignore[attr-defined]
    passed = {
        name.rsplit("-", 3)[0]
        for name in known
        if not name.startswith(tuple(headers.DROPPED_BETAS))
    }
    assert passed == {
        # of Messages
        "computer-use", "dev-full-thinking", "interleaved-thinking", "context-management",
        "model-context-window-exceeded", "fast-mode", "thinking-token-count",
        "mid-conversation-tool-changes", "structured-outputs", "task-budgets",
        "thinking-display-updates", "mid-conversation-output-config", "thinking-binding-controls",
        "mid-conversation-system-clear-at", "prompt-caching", "pdfs", "token-counting",
        "token-efficient-tools", "extended-cache-ttl", "experimental-claude-tag",
        # of endpoints that are not served
        "dreaming", "ce-plugins", "spend-limit-reads", "telemetry-destinations", "webhooks",
        "admin-user-sign-out", "analytics-usage-cost", "message-batches", "ce-user-management",
        "ce-claude-code-managed-settings", "efs",
    }  # fmt: skip


@pytest.mark.clients
def test_the_betas_of_real_agents_pass_but_for_those_that_are_not_served() -> None:
    """Claude Code stops working without its own."""
    seen = 0
    for path in sorted(Path(os.environ["CORVUS_CLIENTS"]).glob("*.json")):
        for one in json.loads(path.read_text())["requests"]:
            for name, value in one.get("headers") or ():
                if name.lower() == "anthropic-beta":
                    wanted = [x for x in value.split(",") if not x.startswith("context-1m-")]
                    assert headers.served_betas(value.encode()) == ",".join(wanted).encode()
                    seen += 1
    assert seen > 3
