"""Limits of a sub-key over real sockets: what its clients read, in both dialects."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flow.test_crash import LEASE_S, gateway_processes
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


def await_held(stack: RunningStack, secret: str) -> None:
    """Until a request of the key was let in."""
    deadline = time.monotonic() + 30
    while not stack.ask_get("/v1/key", key=secret).json()["held_nanos"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_requests_at_once_wait_a_little_and_then_are_refused(stack: RunningStack) -> None:
    secret = sub_key(stack, concurrency=1)
    slow = body(CHAT, "tokens=40 delay_ms=200", stream=True)
    running = threading.Thread(target=stack.ask, args=(CHAT, slow), kwargs={"key": secret})
    running.start()
    await_held(stack, secret)
    began = time.monotonic()
    refused = stack.ask(CHAT, body(CHAT), key=secret)
    assert (refused.status_code, refused.json()["error"]["what"]) == (429, "concurrency")
    assert 1.5 < time.monotonic() - began < 30
    assert refused.headers["retry-after"] == "1"
    running.join()
    assert stack.ask(CHAT, body(CHAT), key=secret).status_code == 200


def test_who_leaves_the_line_is_not_served(stack: RunningStack) -> None:
    """Its turn passes to the next; the upstream is not asked, and nothing is charged for it."""
    secret = sub_key(stack, concurrency=1)
    slow = body(CHAT, "tokens=30 delay_ms=150", stream=True)
    asked = len(stack.served())
    running = threading.Thread(target=stack.ask, args=(CHAT, slow), kwargs={"key": secret})
    running.start()
    await_held(stack, secret)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            stack.api + CHAT,
            json=body(CHAT, "tokens=7 delay_ms=0"),
            headers={"authorization": f"Bearer {secret}"},
            trust_env=False,
            timeout=0.3,
        )
    running.join()
    assert stack.ask(CHAT, body(CHAT), key=secret).status_code == 200
    assert len(stack.served()) == asked + 2


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


@pytest.mark.slow
def test_two_processes_are_one_limit_and_the_dead_hold_no_place(tmp_path: Path) -> None:
    """Both count the same minute and the same requests at once; what ran in a process that was
    killed runs no more soon after, and in no minute is more admitted than may be."""
    stack = RunningStack(tmp_path)
    stack.up("--workers", "2")
    try:
        assert len(gateway_processes(stack)) == 2
        asked = at_once(stack, 24, sub_key(stack, requests_per_minute=5))
        assert sorted(asked) == [200] * 5 + [429] * 19
        secret = sub_key(stack, concurrency=2)
        long = "tokens=25 delay_ms=200"  # beyond the two seconds that others wait
        assert sorted(at_once(stack, 8, secret, long)) == [200] * 2 + [429] * 6
        endless = threading.Thread(
            target=at_once, args=(stack, 2, secret, "tokens=200 delay_ms=200")
        )
        endless.start()
        time.sleep(1)
        assert at_once(stack, 1, secret) == [429]
        for pid in gateway_processes(stack):
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        while at_once(stack, 1, secret) != [200]:
            assert time.monotonic() - killed < 10 * LEASE_S
            time.sleep(0.2)
        endless.join()
        assert sorted(at_once(stack, 8, secret, long)) == [200] * 2 + [429] * 6
    finally:
        stack.down()


def at_once(
    stack: RunningStack, count: int, secret: str, words: str = "tokens=5 delay_ms=0"
) -> list[int]:
    """The statuses of so many streams that are asked for at once, each on a connection of its own;
    0 where there was none."""
    seen: list[int] = []

    def one() -> None:
        try:
            seen.append(stack.ask(CHAT, body(CHAT, words, stream=True), key=secret).status_code)
        except httpx.HTTPError:
            seen.append(0)

    running = [threading.Thread(target=one) for _ in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return seen


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2023-06-01"}])
def test_a_key_with_a_list_of_models_is_shown_those_alone(
    stack: RunningStack, headers: dict[str, str]
) -> None:
    """In every shape; another model is refused by its name as it would be when it is asked, also
    where nothing is charged."""
    allowed, other = "claude-opus-5-5", "gpt-4o-mini"
    secret = sub_key(stack, models=[allowed])
    headers = {"authorization": f"Bearer {secret}", **headers}
    with httpx.Client(base_url=stack.api, headers=headers, trust_env=False) as client:
        assert [row["id"] for row in client.get("/v1/models").json()["data"]] == [allowed]
        assert client.get(f"/v1/models/{allowed}").json()["id"] == allowed
        refused = [
            client.get(f"/v1/models/{other}"),
            client.post("/v1/responses/input_tokens", json={"model": other, "input": "x"}),
        ]
        for answer in refused:
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                403, "model_not_allowed")  # fmt: skip


def test_the_check_of_a_frozen_key_says_so(stack: RunningStack) -> None:
    """The list of models is how clients ask whether a key works."""
    main = stack.new_key("1.00")
    stack.command("keys", "freeze", main["key_id"], "--reason", "test")
    assert stack.ask_get("/v1/models", key=main["secret"]).status_code == 403
    assert stack.ask_get("/v1/models/gpt-4o-mini", key=main["secret"]).status_code == 403
