"""Limits of a sub-key over real sockets: what its clients read, in both dialects."""

import threading
import time
from typing import Any

import httpx
import pytest

from tests.stack import RunningStack

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
SLUGS = {CHAT: "gpt-4o-mini", MESSAGES: "claude-opus-5-5"}


def sub_key(stack: RunningStack, **limits: Any) -> str:
    """The secret of a new sub-key with such limits."""
    main = stack.new_key("5.00")["secret"]
    answer = httpx.post(
        stack.api + "/v1/keys",
        json=limits,
        headers={"authorization": f"Bearer {main}"},
        trust_env=False,
        timeout=20,
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


def body(path: str, words: str = "tokens=5 delay_ms=0", **more: Any) -> dict[str, Any]:
    text = f"hi [[simulate: {words}]]"
    messages = [{"role": "user", "content": text}]
    return {"model": SLUGS[path], "max_tokens": 50, "messages": messages, **more}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_key_at_its_requests_of_a_minute_is_told_when_to_come_again(
    stack: RunningStack, path: str, stream: bool
) -> None:
    """429 that clients repeat, never as an empty balance; both spellings of the limits."""
    secret = sub_key(stack, requests_per_minute=2, tokens_per_minute=100_000)
    for left in ("1", "0"):
        answer = stack.ask(path, body(path, stream=stream), key=secret)
        assert answer.status_code == 200, answer.text
        for name in ("x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining"):
            assert answer.headers[name] == left
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert answer.headers["anthropic-ratelimit-tokens-limit"] == "100000"
        assert 99_000 < int(answer.headers["x-ratelimit-remaining-tokens"]) < 100_000
        assert answer.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
        assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
    refused = stack.ask(path, body(path, stream=stream), key=secret)
    assert refused.status_code == 429
    assert refused.headers["x-should-retry"] == "true"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert (error["what"], error["charged"]) == ("rate", "0.00")
    assert "insufficient_quota" not in refused.text
    plain = stack.ask(path, body(path, stream=stream), key=stack.new_key("1.00")["secret"])
    assert not [name for name in plain.headers if "ratelimit" in name]


def test_tokens_count_as_they_were_used(stack: RunningStack) -> None:
    """A long answer counts when it has ended; an input that never fits is no matter of waiting."""
    secret = sub_key(stack, tokens_per_minute=300)
    words = "tokens=280 delay_ms=0"
    assert stack.ask(CHAT, body(CHAT, words, max_tokens=400), key=secret).status_code == 200
    refused = stack.ask(CHAT, body(CHAT), key=secret)
    assert (refused.status_code, refused.json()["error"]["what"]) == (429, "tokens")
    messages = [{"role": "user", "content": "many words " * 500}]
    large = stack.ask(CHAT, body(CHAT) | {"messages": messages}, key=secret)
    assert (large.status_code, large.headers["x-should-retry"]) == (413, "false")


def test_requests_at_once_wait_a_little_and_then_are_refused(stack: RunningStack) -> None:
    secret = sub_key(stack, concurrency=1)
    slow = body(CHAT, "tokens=20 delay_ms=200", stream=True)
    running = threading.Thread(target=stack.ask, args=(CHAT, slow), kwargs={"key": secret})
    running.start()
    time.sleep(0.5)
    began = time.monotonic()
    refused = stack.ask(CHAT, body(CHAT), key=secret)
    assert (refused.status_code, refused.json()["error"]["what"]) == (429, "concurrency")
    assert 1.5 < time.monotonic() - began < 10
    assert refused.headers["retry-after"] == "1"
    running.join()
    assert stack.ask(CHAT, body(CHAT), key=secret).status_code == 200


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_another_model_than_those_of_its_list_is_refused(stack: RunningStack, path: str) -> None:
    other = next(slug for known, slug in SLUGS.items() if known != path)
    secret = sub_key(stack, models=[other])
    refused = stack.ask(path, body(path), key=secret)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (403, "false")
    error = refused.json()["error"]
    assert (error["code"], error["type"]) == ("model_not_allowed", "permission_error")
    mine = next(known for known, slug in SLUGS.items() if slug == other)
    assert stack.ask(mine, body(mine), key=secret).status_code == 200
