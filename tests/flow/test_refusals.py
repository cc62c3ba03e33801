"""What a refusal for money tells, taken at its word; a silent model that is paid by time."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy.money.amount import parse_usd
from tests.stack import CONFIG, RunningStack

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1_200}}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("clamp", ["on", "off"])
@pytest.mark.parametrize(
    ("path", "slug", "member", "more"),
    [
        (CHAT, "gpt-4o-mini", "max_tokens", {}),
        (CHAT, "gpt-5.5", "max_completion_tokens", {"n": 3}),
        (MESSAGES, "claude-opus-5-5", "max_tokens", {"max_tokens": 60_000}),
        (MESSAGES, "claude-opus-5-5", "max_tokens", {"max_tokens": 60_000, **THINKING}),
    ],
)
def test_the_limit_that_a_refusal_tells_is_served_and_no_more_is(
    stack: RunningStack, path: str, slug: str, member: str, more: dict[str, Any],
    clamp: str, stream: bool,
) -> None:  # fmt: skip
    """The figures add up; one token more than `affordable_max_tokens` is refused, that is not."""
    body = {"model": slug, "stream": stream, **more,
            "messages": [{"role": "user", "content": "words [[simulate: tokens=20 delay_ms=0]]"}],
            }  # fmt: skip
    headers = {"x-corvus-clamp": clamp}
    poor = error_of(stack.ask(path, body, key=stack.new_key("0.000001")["secret"], **headers))
    least = parse_usd(poor["required"])
    # A little less than what is required: what that pays for is the largest limit it affords.
    credit = least - (1_234 if clamp == "on" else least // 3)
    if clamp == "on" and "thinking" in more:
        credit = least - 1_234
    key = stack.new_key(f"{credit / 1e9:.9f}")
    told = error_of(stack.ask(path, body, key=key["secret"], **headers))
    assert [parse_usd(told[name]) for name in ("balance", "held", "available", "required")] == [
        credit, 0, credit, least,
    ]  # fmt: skip
    limit = told["affordable_max_tokens"]
    assert limit > 300
    if "thinking" in more and clamp == "on":
        assert limit == THINKING["thinking"]["budget_tokens"]  # type: ignore[index]
        return  # the budget has to be lowered, too: no limit above it is affordable
    refused = error_of(stack.ask(path, {**body, member: limit + 1}, key=key["secret"], **headers))
    assert refused["affordable_max_tokens"] == limit
    answer = stack.ask(path, {**body, member: limit}, key=key["secret"], **headers)
    assert answer.status_code == 200, answer.text
    standing = stack.settled(key["key_id"])
    assert standing["balance_nanos"] + standing["spent_nanos"] == credit
    assert 0 < standing["spent_nanos"] <= credit


def error_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code in (402, 429), answer.text
    found: dict[str, Any] = answer.json()["error"]
    assert found["message"].startswith("Out of balance")
    return found


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        (CHAT, {"tools": [{"type": "web_search"}]}, "tools"),
        (CHAT, {"web_search_options": {}}, "web_search_options"),
        (MESSAGES, {"tools": [{"type": "web_search_20260209", "name": "w"}]}, "tools"),
        (MESSAGES, {"tools": [{"type": "web_fetch_20250910", "name": "w"}]}, "tools"),
        (MESSAGES, {"tools": [{"type": "code_execution_20250825", "name": "c"}]}, "tools"),
        (MESSAGES, {"tools": [{"type": "advisor_20260301", "name": "a"}]}, "tools"),
        (MESSAGES, {"tools": [{"type": "mcp_toolset", "mcp_server_name": "m"}]}, "tools"),
        (MESSAGES, {"tools": [{"type": "tool_search_tool_regex_20251119", "name": "t"}]}, "tools"),
        (MESSAGES, {"mcp_servers": [{"type": "url", "url": "https://x"}]}, "mcp_servers"),
        (MESSAGES, {"container": {"skills": [{"type": "anthropic"}]}}, "container"),
        (MESSAGES, {"context_management": {"edits": [{"type": "compact_20260112"}]}},
         "context_management"),
    ],
)  # fmt: skip
def test_what_runs_at_the_upstream_is_refused_by_name(
    stack: RunningStack, path: str, more: dict[str, Any], param: str
) -> None:
    """Its input is bounded by nothing in the body: 400 with the member, and nothing is charged."""
    slug = "gpt-5.5" if path == CHAT else "claude-opus-5-5"
    body = {"model": slug, "messages": [{"role": "user", "content": "x"}], "max_tokens": 9, **more}
    answer = stack.ask(path, body)
    assert answer.status_code == 400
    assert param in json.dumps(answer.json())


@pytest.mark.slow
def test_silent_reasoning_is_paid_by_time_and_speech_is_not(tmp_path: Path) -> None:
    """While nothing comes from a model that reasons in silence, its hold grows slice by slice; that
    of a model that does not reason stays. What is charged is what was said."""
    factors = "[hold]\nslice_tokens = 512\nsilent_tokens_per_s = 2000\n"
    running = RunningStack(tmp_path, config=CONFIG + factors)
    running.up()
    try:
        silent, silent_key = _held_in_silence(running, "gpt-5.5")
        open_, open_key = _held_in_silence(running, "gpt-4o-mini")
        assert silent == sorted(silent)
        assert silent[-1] - silent[0] >= 2 * 512 * 15_000  # two more slices at least
        assert len(open_) == 1
        for key in (silent_key, open_key):
            standing = running.settled(key)
            assert 0 < standing["spent_nanos"] < min(silent[0], 2_000_000)
    finally:
        running.down()


def _held_in_silence(running: RunningStack, slug: str) -> tuple[list[int], str]:
    """What is held at different times of a stream that falls silent after three words."""
    key = running.new_key("5")
    body = {"model": slug, "stream": True, "messages": [
        {"role": "user", "content": "[[simulate: stall_after=3; reasoning=0]]"}]}  # fmt: skip
    asking = threading.Thread(
        target=running.ask, args=(CHAT, body), kwargs={"key": key["secret"]}, daemon=True
    )
    asking.start()
    found: list[int] = []
    deadline = time.monotonic() + 30
    while asking.is_alive() and time.monotonic() < deadline:
        held = running.standing(key["key_id"])["held_nanos"]
        if held and held not in found:
            found.append(held)
    asking.join()
    return found, str(key["key_id"])
