"""The official Python packages, unmodified: streams, tool loops, an empty balance, a top-up."""

import json
from typing import Any

import pytest

from tests.sdks import anthropic_client, openai_client
from tests.stack import RunningStack

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]
MESSAGES_TOOLS: Any = [{"name": "weather", "description": "the weather", "input_schema": CITY}]


@pytest.mark.parametrize("slug", ["gpt-5.5", "glm-5.3", "gpt-4o-mini"])
def test_openai_streams_a_tool_loop(stack: RunningStack, slug: str) -> None:
    """Two turns, streamed, with a tool call in between; usage only where it was asked for."""
    client, _ = openai_client(stack.api, stack.demo_key)
    messages: list[Any] = [{"role": "user", "content": "use the weather tool"}]
    parts = list(
        client.chat.completions.create(
            model=slug, messages=messages, tools=CHAT_TOOLS, tool_choice="required", stream=True
        )
    )
    assert all(part.choices for part in parts)
    calls = [call for part in parts for call in part.choices[0].delta.tool_calls or ()]
    assert calls[0].function is not None
    assert calls[0].function.name == "weather"
    arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    assert set(json.loads(arguments)) == {"city"}
    messages += [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": calls[0].id,
                    "type": "function",
                    "function": {"name": "weather", "arguments": arguments},
                }
            ],
        },
        {"role": "tool", "tool_call_id": calls[0].id, "content": "sunny"},
    ]
    second = list(
        client.chat.completions.create(
            model=slug,
            messages=messages,
            tools=CHAT_TOOLS,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(part.choices[0].delta.content or "" for part in second if part.choices)
    assert second[-1].usage is not None
    assert second[-1].usage.completion_tokens > 0


def test_anthropic_streams_a_tool_loop(stack: RunningStack) -> None:
    """Two turns through the SDK's own accumulator, with thinking and a tool call."""
    client, _ = anthropic_client(stack.api, stack.demo_key)
    messages: list[Any] = [{"role": "user", "content": "use the weather tool"}]
    with client.messages.stream(
        model="claude-opus-5-5",
        max_tokens=2048,
        messages=messages,
        tools=MESSAGES_TOOLS,
        tool_choice={"type": "any"},
    ) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    call = next(block for block in first.content if block.type == "tool_use")
    assert set(call.input) == {"city"}
    messages += [
        {"role": "assistant", "content": first.content},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}],
        },
    ]
    with client.messages.stream(
        model="claude-opus-5-5",
        max_tokens=2048,
        messages=messages,
        tools=MESSAGES_TOOLS,
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        second = stream.get_final_message()
    assert any(block.type == "text" and block.text for block in second.content)
    assert second.usage.output_tokens > 0


def test_models_are_listed_in_either_shape(stack: RunningStack) -> None:
    """Both SDKs read the list and one row."""
    chat, _ = openai_client(stack.api, stack.demo_key)
    assert "gpt-5.5" in [model.id for model in chat.models.list()]
    assert chat.models.retrieve("claude-opus-5-5").id == "claude-opus-5-5"
    messages, _ = anthropic_client(stack.api, stack.demo_key)
    assert "claude-opus-5-5" in [model.id for model in messages.models.list()]
    assert messages.models.retrieve("glm-5.3").id == "glm-5.3"


def test_a_small_key_is_served_until_empty_and_revived_by_a_credit(stack: RunningStack) -> None:
    """0.004 USD on gpt-5.5: served, then one 429 per SDK call; after a credit the same client goes
    on."""
    import anthropic
    import openai

    key = stack.new_key("0.004")
    client, calls = openai_client(stack.api, key["secret"])

    def ask() -> Any:
        return client.chat.completions.create(
            model="gpt-5.5", max_completion_tokens=64, messages=[{"role": "user", "content": "hi"}]
        )

    served = 0
    error: Any = None
    while error is None:
        try:
            ask()
            served += 1
        except openai.RateLimitError as refused:
            error = refused
    assert served >= 2
    assert calls.calls == served + 1
    body: Any = error.body
    assert (body["type"], body["code"]) == ("insufficient_quota", "insufficient_balance")
    assert body["message"].startswith("Out of balance")
    assert error.response.headers["x-should-retry"] == "false"
    assert error.response.headers["retry-after"] == "61"
    assert 0 <= stack.standing(key["key_id"])["balance_nanos"] < 4_000_000
    other, other_calls = anthropic_client(stack.api, key["secret"])
    with pytest.raises(anthropic.RateLimitError) as second:
        other.messages.create(
            model="claude-opus-5-5",
            max_tokens=2000,
            messages=[{"role": "user", "content": "hi " * 2000}],
        )
    assert other_calls.calls == 1
    refusal: Any = second.value.body
    assert refusal["error"]["type"] == "billing_error"
    stack.command("keys", "credit", key["key_id"], "1", "--reason", "top-up")
    assert ask().usage.completion_tokens > 0


def test_a_slug_on_the_wrong_path_names_the_right_one(stack: RunningStack) -> None:
    """A model for embeddings, asked to chat: a 400 in the caller's dialect, and one call."""
    import anthropic
    import openai

    chat, calls = openai_client(stack.api, stack.demo_key)
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings"):
        chat.chat.completions.create(
            model="text-embedding-3-small", messages=[{"role": "user", "content": "hi"}]
        )
    messages, _ = anthropic_client(stack.api, stack.demo_key)
    with pytest.raises(anthropic.BadRequestError, match="/v1/embeddings"):
        messages.messages.create(
            model="text-embedding-3-small",
            max_tokens=10,
            messages=[{"role": "user", "content": "hi"}],
        )
    assert calls.calls == 1
