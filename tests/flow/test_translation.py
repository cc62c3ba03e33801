"""Models in the dialect that their family does not speak: unmodified SDKs, ends, money."""

import json
import re
import uuid
from typing import Any

import httpx
import pytest

from corvus_proxy.money.amount import parse_usd
from tests.oracle import bill
from tests.stack import RunningStack

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]
MESSAGES_TOOLS: Any = [{"name": "weather", "description": "the weather", "input_schema": CITY}]
COMMENT = re.compile(rb": corvus (\{[^\n]*\})\n\n\Z")
CLAUDES = ("claude-opus-5-5", "claude-haiku-4-5")
GPTS = ("gpt-5.5", "gpt-4o-mini")


def tagged(**words: Any) -> tuple[str, str]:
    """A tag, and the directive that marks its request in the providers' log."""
    tag = uuid.uuid4().hex
    said = " ".join(f"{name}={value}" for name, value in words.items())
    return tag, f"[[simulate: tag={tag} {said}]]"


def served(stack: RunningStack, tag: str) -> dict[str, Any]:
    """What the provider says it made of the request."""
    (found,) = [row for row in stack.served() if row["tag"] == tag]
    return found


def charged(answer: httpx.Response) -> int:
    """The charge that the answer names, in nanos."""
    if "x-corvus-cost-usd" in answer.headers:
        return parse_usd(answer.headers["x-corvus-cost-usd"])
    found = COMMENT.search(answer.content)
    assert found, answer.content[-300:]
    return parse_usd(json.loads(found[1])["cost_usd"])


def ask(
    stack: RunningStack, path: str, slug: str, text: str, key: str | None = None, **members: Any
) -> httpx.Response:
    body = {"model": slug, "messages": [{"role": "user", "content": text}], **members}
    if path == MESSAGES:
        body.setdefault("max_tokens", 1_000)
    return stack.ask(path, body, key=key)


@pytest.mark.parametrize("slug", CLAUDES)
@pytest.mark.parametrize("effort", ["none", "low"])
def test_the_openai_sdk_streams_a_tool_loop_on_claude(
    stack: RunningStack, slug: str, effort: Any
) -> None:
    """Two turns, streamed, a call in between; the second one with thinking where it is wanted."""
    import openai

    client = openai.OpenAI(base_url=f"{stack.api}/v1", api_key=stack.demo_key)
    messages: list[Any] = [
        {"role": "developer", "content": "You know the weather."},
        {"role": "user", "content": "use the weather tool"},
    ]
    calls: dict[int, Any] = {}
    for part in client.chat.completions.create(
        model=slug, messages=messages, tools=CHAT_TOOLS, tool_choice="required", stream=True
    ):
        for call in part.choices[0].delta.tool_calls or ():
            kept = calls.setdefault(call.index, call)
            if kept is not call:
                kept.function.arguments += call.function.arguments
    (call,) = calls.values()
    assert call.function.name == "weather"
    assert set(json.loads(call.function.arguments)) == {"city"}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump(exclude={"index"})]},
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        {"role": "user", "content": "and now?"},
    ]
    second = list(
        client.chat.completions.create(
            model=slug, messages=messages, tools=CHAT_TOOLS, reasoning_effort=effort, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    assert "".join(part.choices[0].delta.content or "" for part in second if part.choices)
    assert second[-2].choices[0].finish_reason == "stop"
    usage = second[-1].usage
    assert usage is not None
    assert usage.prompt_tokens + usage.completion_tokens == usage.total_tokens > 0
    assert usage.completion_tokens_details is not None
    thought = [part for part in second if part.choices and "reasoning_content" in (
        part.choices[0].delta.model_extra or {})]  # fmt: skip
    assert bool(thought) == bool(usage.completion_tokens_details.reasoning_tokens)
    assert bool(thought) == (effort == "low")


@pytest.mark.parametrize("slug", [*GPTS, "glm-5.3"])
def test_the_anthropic_sdk_streams_a_tool_loop_on_other_families(
    stack: RunningStack, slug: str
) -> None:
    """GPT by translation, GLM on its own Messages; the SDK's accumulator reads both."""
    import anthropic

    client = anthropic.Anthropic(base_url=stack.api, api_key=stack.demo_key)
    tag, directive = tagged()
    messages: list[Any] = [{"role": "user", "content": f"use the weather tool {directive}"}]
    with client.messages.stream(
        model=slug, max_tokens=2048, messages=messages, tools=MESSAGES_TOOLS,
        system="You know the weather.", tool_choice={"type": "any"},
    ) as stream:  # fmt: skip
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    call = next(block for block in first.content if block.type == "tool_use")
    assert set(call.input) == {"city"}
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
    ]  # fmt: skip
    with client.messages.stream(
        model=slug, max_tokens=2048, messages=messages, tools=MESSAGES_TOOLS
    ) as stream:
        second = stream.get_final_message()
    assert second.stop_reason == "end_turn"
    assert any(block.type == "text" and block.text for block in second.content)
    assert min(second.usage.input_tokens, second.usage.output_tokens) > 0
    row = served(stack, tag)
    assert row["dialect"] == ("messages" if slug == "glm-5.3" else "chat")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "slug"), [*((CHAT, one) for one in CLAUDES), *((MESSAGES, one) for one in GPTS)]
)
def test_the_upstreams_own_report_is_billed(
    stack: RunningStack, path: str, slug: str, stream: bool
) -> None:
    """Priced independently, from what the provider says it sent; told in the caller's counts."""
    key = stack.new_key("5")
    tag, directive = tagged(tokens=40)
    text = directive + "long " * 600
    options = {"stream_options": {"include_usage": True}} if stream and path == CHAT else {}
    answer = ask(stack, path, slug, text, key["secret"], stream=stream, **options)
    assert answer.status_code == 200, answer.text
    row = served(stack, tag)
    nanos = bill.messages_nanos if path == CHAT else bill.chat_nanos
    expected = nanos(slug, row["usage"])
    assert charged(answer) == expected > 0
    assert stack.settled(key["key_id"])["spent_nanos"] == expected
    assert answer.headers["x-corvus-model"] == slug
    told = answer.json()["usage"] if not stream else usage_in(answer.content)
    assert ("cost" in told) is stream  # a whole answer has it in its head
    if stream:
        assert parse_usd(told["cost"]) == expected
    theirs = row["usage"]
    if path == CHAT:
        assert told["completion_tokens"] == theirs["output_tokens"]
        assert told["prompt_tokens"] == theirs["input_tokens"]
    else:
        assert told["output_tokens"] == theirs["completion_tokens"]
        written = theirs["prompt_tokens_details"].get("cache_write_tokens", 0)
        assert told["input_tokens"] + written == theirs["prompt_tokens"]


def usage_in(stream: bytes) -> dict[str, Any]:
    """The last usage of a stream."""
    lines = [line for line in stream.splitlines() if line.startswith(b"data: {")]
    events = [json.loads(line[6:]) for line in lines]
    found = [event.get("response", event).get("usage") for event in events]
    return next(one for one in reversed(found) if one)


@pytest.mark.parametrize("fault", ["cut_after", "error_after", "end_after"])
@pytest.mark.parametrize(("path", "slug"), [(CHAT, "claude-opus-5-5"), (MESSAGES, "gpt-4o-mini")])
def test_a_stream_that_fails_ends_in_the_callers_dialect(
    stack: RunningStack, path: str, slug: str, fault: str
) -> None:
    """An error event of the caller's, no terminal event, and what had come is charged."""
    _, directive = tagged(tokens=60, **{fault: 20})
    answer = ask(stack, path, slug, directive, stream=True)
    assert answer.status_code == 200
    assert not re.search(rb"\[DONE\]|message_stop", answer.content)
    *_, last, comment, nothing = answer.content.split(b"\n\n")
    assert (comment.startswith(b": corvus "), nothing) == (True, b"")
    assert last.startswith(b"event: error\ndata: " if path == MESSAGES else b"data: ")
    error = json.loads(last.partition(b"data: ")[2])["error"]
    assert error["code"] == "upstream_cut"
    assert error["type"] == ("api_error" if path == MESSAGES else "server_error")
    assert charged(answer) > 0
    assert b"Overloaded" not in answer.content
    assert b"server had an error" not in answer.content


@pytest.mark.parametrize(("path", "slug"), [(CHAT, "claude-opus-5-5"), (MESSAGES, "gpt-5.5")])
def test_out_of_balance_is_told_in_the_callers_dialect(
    stack: RunningStack, path: str, slug: str
) -> None:
    """Before the first byte."""
    key = stack.new_key("0.000001")
    refused = ask(stack, path, slug, "hello", key["secret"], stream=True)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")
    kind = "billing_error" if path == MESSAGES else "insufficient_quota"
    assert refused.json()["error"]["type"] == kind


@pytest.mark.parametrize(("path", "slug"), [(CHAT, "claude-opus-5-5"), (MESSAGES, "gpt-5.5")])
def test_a_limit_that_the_balance_affords_reaches_the_upstream(
    stack: RunningStack, path: str, slug: str
) -> None:
    """The clamp works on the request that is sent, and the answer tells it."""
    key = stack.new_key("0.05")
    limit = {"max_tokens": 100_000} if path == MESSAGES else {"max_completion_tokens": 100_000}
    tag, directive = tagged(tokens=20)
    answer = ask(stack, path, slug, directive, key["secret"], **limit)
    assert answer.status_code == 200, answer.text
    assert 1_000 < int(answer.headers["x-corvus-max-tokens"]) < 100_000
    assert served(stack, tag)["outcome"] == "completed"


@pytest.mark.parametrize(("path", "slug"), [(CHAT, "claude-opus-5-5"), (MESSAGES, "gpt-4o-mini")])
def test_an_upstreams_refusal_comes_in_the_callers_words(
    stack: RunningStack, path: str, slug: str
) -> None:
    _, directive = tagged(status=400)
    answer = ask(stack, path, slug, directive)
    assert answer.status_code == 400
    found = answer.json()
    assert ("request_id" in found) == (path == MESSAGES)
    assert found["error"]["message"] == "Simulated failure."
    assert found["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "slug", "members", "param"),
    [
        (CHAT, "claude-opus-5-5", {"n": 2}, "n"),
        (CHAT, "claude-opus-5-5", {"logprobs": True}, "logprobs"),
        (MESSAGES, "gpt-5.5", {"top_k": 3}, "top_k"),
    ],
)
def test_what_has_no_counterpart_is_a_400_that_names_the_field(
    stack: RunningStack, path: str, slug: str, members: Any, param: str
) -> None:
    """Nothing is held and no upstream is called."""
    tag, directive = tagged()
    answer = ask(stack, path, slug, directive, **members)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "invalid_request"
    assert error["message"].startswith(f"{param}:")
    assert not [row for row in stack.served() if row["tag"] == tag]


@pytest.mark.parametrize("stream", [True, False])
def test_glm_speaks_messages_by_itself(stack: RunningStack, stream: bool) -> None:
    """Byte for byte; its `message_start` counts nothing, and the end is what is billed."""
    tag, directive = tagged(tokens=30)
    answer = ask(stack, MESSAGES, "glm-5.3", directive + "long " * 300, stream=stream)
    assert answer.status_code == 200, answer.text
    row = served(stack, tag)
    assert (row["family"], row["dialect"]) == ("glm", "messages")
    counts = row["usage"]
    read = counts["cache_read_input_tokens"]
    expected = bill.chat_nanos("glm-5.3", {
        "prompt_tokens": counts["input_tokens"] + read,
        "prompt_tokens_details": {"cached_tokens": read},
        "completion_tokens": counts["output_tokens"],
    })  # fmt: skip
    assert charged(answer) == expected > 0


def test_models_name_every_path_that_serves_them(stack: RunningStack) -> None:
    rows = {row["id"]: row["endpoints"] for row in stack.ask_get("/v1/models").json()["data"]}
    for slug in ("claude-opus-5-5", "gpt-5.5", "glm-5.3"):
        assert {CHAT, MESSAGES, RESPONSES} == set(rows[slug])


RESPONSES_TOOLS: Any = [{"type": "function", "name": "weather", "parameters": CITY, "strict": None},
                        {"type": "web_search"}, {"type": "tool_search"}]  # fmt: skip


@pytest.mark.parametrize("slug", ["claude-opus-5-5", "claude-haiku-4-5", "glm-5.3"])
def test_responses_run_a_tool_loop_on_other_families(stack: RunningStack, slug: str) -> None:
    """Two turns by the SDK, streamed: what came back goes in again, thinking in its place."""
    import openai

    client = openai.OpenAI(base_url=f"{stack.api}/v1", api_key=stack.demo_key)
    history: list[Any] = [{"role": "user", "content": "use the weather tool"}]
    options: Any = {"model": slug, "tools": RESPONSES_TOOLS, "store": False, "stream": True,
                    "instructions": "You know the weather.", "reasoning": {"effort": "low"},
                    "include": ["reasoning.encrypted_content"]}  # fmt: skip
    events = list(client.responses.create(input=history, **options))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    first: Any = events[-1]
    assert first.type == "response.completed"
    assert first.response.output[0].type == "reasoning"
    assert first.response.output[0].encrypted_content.startswith("corvus1.")
    call = first.response.output[-1]
    assert set(json.loads(call.arguments)) == {"city"}
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.id for item in done] == [item.id for item in first.response.output]
    history += [item.model_dump(exclude_none=True) for item in done]
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    second: Any = list(client.responses.create(input=history, **options))[-1]
    assert second.type == "response.completed"
    assert second.response.output_text
    usage = second.response.usage
    assert usage.input_tokens + usage.output_tokens == usage.total_tokens > 0


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("slug", ["claude-opus-5-5", "glm-5.3"])
def test_responses_are_billed_by_the_upstreams_own_report(
    stack: RunningStack, slug: str, stream: bool
) -> None:
    key = stack.new_key("5")
    tag, directive = tagged(tokens=40)
    body = {"model": slug, "input": directive + "long " * 300, "stream": stream,
            "tools": RESPONSES_TOOLS}  # fmt: skip
    answer = stack.ask(RESPONSES, body, key=key["secret"])
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-corvus-removed-tools"] == "web_search, tool_search"
    row = served(stack, tag)
    nanos = bill.chat_nanos if slug == "glm-5.3" else bill.messages_nanos
    assert charged(answer) == nanos(slug, row["usage"]) > 0
    if stream:
        assert parse_usd(usage_in(answer.content)["cost"]) == charged(answer)
    assert row["dialect"] == ("chat" if slug == "glm-5.3" else "messages")


@pytest.mark.parametrize("slug", ["claude-opus-5-5", "glm-5.3"])
def test_a_response_that_is_cut_fails_with_the_next_number(stack: RunningStack, slug: str) -> None:
    _, directive = tagged(tokens=60, cut_after=20)
    body = {"model": slug, "input": directive, "stream": True}
    answer = stack.ask(RESPONSES, body)
    *rest, last, _, _ = answer.content.split(b"\n\n")
    events = [json.loads(event.partition(b"data: ")[2]) for event in [*rest, last]]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["id"] == events[0]["response"]["id"]
    assert charged(answer) > 0
