"""Streams that begin before their upstream has answered (`relay.keepalive_before_headers_s`)."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from corvus_proxy.money.amount import parse_usd
from tests.sdks import anthropic_client, openai_client
from tests.stack import CONFIG, RunningStack

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
CASES = [
    (CHAT, "gpt-4o-mini"),
    (MESSAGES, "claude-opus-5-5"),
    (RESPONSES, "gpt-5.5"),
    (CHAT, "claude-haiku-4-5"),
]
EACH = pytest.mark.parametrize(("path", "slug"), CASES)
PING = {
    CHAT: b": keep-alive\n\n",
    MESSAGES: b'event: ping\ndata: {"type": "ping"}\n\n',
    RESPONSES: b": keep-alive\n\n",
}
LAST = {CHAT: b"data: [DONE]", MESSAGES: b"message_stop", RESPONSES: b"response.completed"}
COMMENT = re.compile(rb": corvus (\{[^\n]*\})\n\n\Z")


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that waits a moment for an answer's head."""
    config = CONFIG.replace("[relay]\n", "[relay]\nkeepalive_before_headers_s = 0.2\n")
    config = config.replace("[timeouts]\n", "[timeouts]\nfirst_byte_s = 6\n")
    running = RunningStack(tmp_path_factory.mktemp("early"), config=config)
    running.up()
    yield running
    running.down()


def body(path: str, slug: str, wish: str, *, stream: bool = True) -> dict[str, Any]:
    text = f"hi [[simulate: {wish}]]"
    if path == RESPONSES:
        return {"model": slug, "stream": stream, "input": [{"role": "user", "content": text}]}
    messages = [{"role": "user", "content": text}]
    return {"model": slug, "stream": stream, "max_tokens": 40, "messages": messages}


class Seen(NamedTuple):
    """One stream as its client saw it."""

    status: int
    headers: httpx.Headers
    began_s: float
    """Until the head came."""
    content: bytes

    @property
    def comment(self) -> dict[str, Any]:
        found = COMMENT.search(self.content)
        assert found, self.content[-300:]
        facts: dict[str, Any] = json.loads(found[1])
        return facts

    @property
    def error(self) -> dict[str, Any]:
        """The in-band error, the last event."""
        event = self.content.split(b"\n\n")[-3]
        data = json.loads(event.partition(b"data: ")[2])
        facts: dict[str, Any] = data.get("response", data)["error"]
        return facts


def ask(stack: RunningStack, key: str, path: str, asked: dict[str, Any]) -> Seen:
    headers = {"authorization": f"Bearer {key}", "anthropic-version": "2023-06-01"}
    began_s = time.monotonic()
    with httpx.stream(
        "POST", stack.api + path, json=asked, headers=headers, timeout=30, trust_env=False
    ) as answer:
        head_s = time.monotonic() - began_s
        return Seen(answer.status_code, answer.headers, head_s, answer.read())


def in_time(stack: RunningStack, key: str, path: str, asked: dict[str, Any]) -> Seen:
    """What ends before the first ping: asked again where the machine was slower than that."""
    for _ in range(5):
        seen = ask(stack, key, path, asked)
        if not seen.content.startswith(PING[path]):
            break
    return seen


@EACH
def test_a_slow_answer_begins_with_keep_alives(early: RunningStack, path: str, slug: str) -> None:
    """The head and pings come while the upstream thinks; then the whole answer, charged as told."""
    key = early.new_key("5")
    seen = ask(early, key["secret"], path, body(path, slug, "ttfb_ms=4000; tokens=5"))
    assert seen.status == 200
    assert 0.2 < seen.began_s < 3.5
    assert seen.headers["content-type"].startswith("text/event-stream")
    assert seen.headers["cache-control"] == "no-cache"
    assert seen.headers["x-corvus-model"] == slug
    assert seen.content.startswith(PING[path] * 2)
    assert seen.content.count(LAST[path]) >= 1
    assert b"error" not in seen.content.replace(b'"error":null', b"")
    cost = parse_usd(seen.comment["cost_usd"])
    assert early.settled(key["key_id"])["spent_nanos"] == cost > 0
    quick = in_time(early, key["secret"], path, body(path, slug, "tokens=5"))
    assert not quick.content.startswith(PING[path])
    assert seen.content.replace(PING[path], b"").count(b"\n\n") == (
        quick.content.replace(PING[path], b"").count(b"\n\n"))  # fmt: skip


@EACH
def test_an_upstream_that_never_answers_is_told_inside_and_free(
    early: RunningStack, path: str, slug: str
) -> None:
    """The dialect's error, no terminal event, nothing charged, nothing held."""
    key = early.new_key("5")
    seen = ask(early, key["secret"], path, body(path, slug, "ttfb_ms=60000"))
    assert seen.status == 200
    assert seen.content.startswith(PING[path] * 2)
    assert (seen.error["code"], seen.error["charged"]) == ("upstream_timeout", "0.00")
    assert LAST[path] not in seen.content
    told = seen.comment
    told.pop("settled", None)  # where Redis took a moment longer
    assert told == {"request_id": seen.headers["x-request-id"], "cost_usd": "0.00"}
    assert early.settled(key["key_id"])["spent_nanos"] == 0


OWN = ("status=400", None, "Simulated failure.")


@pytest.mark.parametrize(
    ("path", "slug", "wish", "code", "words"),
    [(path, slug, *OWN) for path, slug in CASES]
    + [
        (*CASES[0], "status=500", "upstream_unavailable", "failed before it answered"),
        (*CASES[2], "status=429; code=insufficient_quota", "upstream_overloaded", "busy"),
        (*CASES[1], "status=401", "upstream_unavailable", "failed before it answered"),
    ],
)
def test_what_an_upstream_refuses_late_is_told_inside(
    early: RunningStack, path: str, slug: str, wish: str, code: str | None, words: str
) -> None:
    """The client's own error keeps the provider's words; what is ours is told as it is in a head,
    and as what it is: never as an empty balance."""
    key = early.new_key("5")
    seen = ask(early, key["secret"], path, body(path, slug, f"ttfb_ms=1100; {wish}"))
    assert seen.status == 200
    assert words in seen.error["message"]
    assert code is None or seen.error["code"] == code
    assert "insufficient_quota" not in json.dumps(seen.error)
    if path == RESPONSES:
        assert b"event: response.failed\n" in seen.content
    assert early.settled(key["key_id"])["spent_nanos"] == 0


def test_what_ends_in_time_is_answered_as_without_it(early: RunningStack) -> None:
    """An error has its own status, a whole answer its head with the cost; no ping stands in it."""
    refused = in_time(early, early.demo_key, CHAT, body(CHAT, "gpt-4o-mini", "status=400"))
    assert refused.status == 400
    asked = body(CHAT, "gpt-4o-mini", "ttfb_ms=1500; tokens=3", stream=False)
    whole = early.ask(CHAT, asked)
    assert whole.json()["usage"]
    assert parse_usd(whole.headers["x-corvus-cost-usd"]) > 0


def test_a_client_that_goes_meanwhile_pays_nothing(early: RunningStack) -> None:
    """It had pings and no answer."""
    key = early.new_key("5")
    headers = {"authorization": f"Bearer {key['secret']}"}
    asked = body(CHAT, "gpt-4o-mini", "ttfb_ms=5000")
    with httpx.stream(
        "POST", early.api + CHAT, json=asked, headers=headers, timeout=30, trust_env=False
    ) as answer:
        assert next(answer.iter_raw()) == PING[CHAT]
    assert early.settled(key["key_id"])["spent_nanos"] == 0


@pytest.mark.slow
def test_official_clients_read_a_late_error_as_one(early: RunningStack) -> None:
    """And a slow answer as an answer, pings and all; each asks once."""
    import anthropic
    import openai

    client, calls = openai_client(early.api, early.demo_key)
    claude, claudes = anthropic_client(early.api, early.demo_key)
    slow, never = "ttfb_ms=1500; tokens=4", "ttfb_ms=60000"
    told = client.chat.completions.create(**body(CHAT, "gpt-4o-mini", slow))
    assert [c.choices[0].finish_reason for c in told if c.choices][-1] == "stop"
    kinds = [event.type for event in client.responses.create(**body(RESPONSES, "gpt-5.5", slow))]
    assert kinds[-1] == "response.completed"
    said = claude.messages.create(**body(MESSAGES, "claude-opus-5-5", slow))
    assert [event.type for event in said][-1] == "message_stop"
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(**body(CHAT, "gpt-4o-mini", never)))
    failed = list(client.responses.create(**body(RESPONSES, "gpt-5.5", never)))
    assert failed[-1].type == "response.failed"
    with pytest.raises(anthropic.APIStatusError):
        list(claude.messages.create(**body(MESSAGES, "claude-opus-5-5", never)))
    assert (calls.calls, claudes.calls) == (4, 2)
