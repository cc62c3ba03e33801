"""Requests in both directions: each row of the mapping table, and what has no counterpart."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corvus_proxy.catalogue import book
from corvus_proxy.catalogue.book import Model
from corvus_proxy.errors import InvalidRequest
from corvus_proxy.settings import PricingSettings
from corvus_proxy.wire import request as requests
from corvus_proxy.wire import translate
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.tenancy import fields
from corvus_proxy.wire.translate import Translation, chat_to_messages, messages_to_chat
from corvus_proxy.wire.translate.reply import Reply

CHAT, MESSAGES = Dialect.CHAT, Dialect.MESSAGES
BOOK = book.load(PricingSettings())
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
USER = {"role": "user", "content": "hello"}


def model(slug: str) -> Model:
    found = BOOK.find(slug)
    assert found is not None
    return found


def to_messages(slug: str = "claude-opus-5-5", **members: Any) -> dict[str, Any]:
    """What the model's upstream is asked for a chat request; it reads as a Messages request."""
    body = json.dumps({"model": slug, "messages": [USER], **members}).encode()
    requests.read(CHAT, body)
    made = translate.request(CHAT, MESSAGES, body, model(slug))
    requests.read(MESSAGES, made)
    return json.loads(made)  # type: ignore[no-any-return]


def to_chat(slug: str = "gpt-5.5", **members: Any) -> dict[str, Any]:
    body = json.dumps({"model": slug, "max_tokens": 9, "messages": [USER], **members}).encode()
    requests.read(MESSAGES, body)
    made = translate.request(MESSAGES, CHAT, body, model(slug))
    requests.read(CHAT, made)
    return json.loads(made)  # type: ignore[no-any-return]


def chat_tool(**more: Any) -> dict[str, Any]:
    function = {"name": "weather", "description": "d", "parameters": CITY, **more}
    return {"type": "function", "function": function}


def messages_tool(**more: Any) -> dict[str, Any]:
    return {"name": "weather", "description": "d", "input_schema": CITY, **more}


def part(**block: Any) -> list[Any]:
    return [{"role": "user", "content": [block]}]


def call(arguments: str = '{"city":"Oslo"}', call_id: str = "call_1") -> dict[str, Any]:
    return {"id": call_id, "type": "function",
            "function": {"name": "weather", "arguments": arguments}}  # fmt: skip


def use(given: Any = None, call_id: str = "call_1") -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "weather",
            "input": {"city": "Oslo"} if given is None else given}  # fmt: skip


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}
DEEP = {"type": "object", "required": ["at"], "properties": {
    "at": {"$ref": "#/$defs/Place"}, "minimum": {"type": "integer", "minimum": 1},
    "more": {"anyOf": [{"type": "array", "items": {"type": "object", "properties": {}}},
                       {"type": "null"}]}},
    "$defs": {"Place": {"type": "object", "properties": {
        "city": {"type": "string", "maxLength": 9, "description": "where"}}}}}  # fmt: skip
"""A schema as clients make them from types: references, bounds, members left out."""
DEEP_FOR_CLAUDE = {"type": "object", "required": ["at"], "additionalProperties": False,
    "properties": {
        "at": {"$ref": "#/$defs/Place"},
        "minimum": {"type": "integer", "description": '{"minimum":1}'},
        "more": {"anyOf": [
            {"type": "array", "items": {
                "type": "object", "properties": {}, "additionalProperties": False}},
            {"type": "null"}]}},
    "$defs": {"Place": {"type": "object", "additionalProperties": False, "properties": {
        "city": {"type": "string", "description": 'where\n{"maxLength":9}'}}}}}  # fmt: skip
TO_MESSAGES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("system", {"messages": [{"role": "system", "content": "a"},
                             {"role": "developer", "content": [text("b")]}, USER]},
     {"system": [text("a"), text("b")], "messages": part(**text("hello"))}),
    ("user text", {"messages": part(**text("x"))}, {"messages": part(**text("x"))}),
    ("empty text is left out", {"messages": [{"role": "user", "content": [text(""), text("x")]}]},
     {"messages": part(**text("x"))}),
    ("so is text of spaces alone", {"messages": [
        {"role": "user", "content": [text(" \n"), text("x ")]},
        {"role": "assistant", "content": "\n\n", "tool_calls": [call()]}]},
     {"messages": [*part(**text("x ")), {"role": "assistant", "content": [use()]}]}),
    ("image inline", {"messages": part(type="image_url", image_url={
        "url": f"data:image/png;base64,{PNG}", "detail": "high"})},
     {"messages": part(type="image", source={
         "type": "base64", "media_type": "image/png", "data": PNG})}),
    ("image by address", {"messages": part(type="image_url", image_url={"url": "https://a/b"})},
     {"messages": part(type="image", source={"type": "url", "url": "https://a/b"})}),
    ("document", {"messages": part(type="file", file={
        "file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"})},
     {"messages": part(type="document", title="a.pdf", source={
         "type": "base64", "media_type": "application/pdf", "data": "JVBE"})}),
    ("assistant text", {"messages": [USER, {"role": "assistant", "content": "yes"}]},
     {"messages": [{"role": "user", "content": [text("hello")]},
                   {"role": "assistant", "content": [text("yes")]}]}),
    ("refusal", {"messages": [USER, {"role": "assistant", "content": None, "refusal": "no"}]},
     {"messages": [{"role": "user", "content": [text("hello")]},
                   {"role": "assistant", "content": [text("no")]}]}),
    ("tool", {"tools": [chat_tool()]}, {"tools": [messages_tool()]}),
    ("strict tool", {"tools": [chat_tool(strict=True)]},
     {"tools": [messages_tool(strict=True, input_schema={**CITY, "additionalProperties": False})]}),
    ("system in the middle stays behind the user's words", {"messages": [
        {"role": "system", "content": "a"}, USER, {"role": "developer", "content": "b"},
        {"role": "user", "content": "more"}, {"role": "system", "content": "c"},
        {"role": "assistant", "content": "yes"}, {"role": "system", "content": "d"},
        {"role": "user", "content": "on"}, {"role": "system", "content": "e"}]},
     {"system": [text("a")], "messages": [
         {"role": "user", "content": [text("hello"), text("more")]},
         {"role": "system", "content": [text("b"), text("c")]},
         {"role": "assistant", "content": [text("yes")]},
         {"role": "user", "content": [text("on")]},
         {"role": "system", "content": [text("d"), text("e")]}]}),
    ("system between two turns of the model's goes to the top", {"messages": [
        USER, {"role": "assistant", "content": "a"}, {"role": "system", "content": "s"},
        {"role": "assistant", "content": "b"}]},
     {"system": [text("s")], "messages": [
         *part(**text("hello")), {"role": "assistant", "content": [text("a"), text("b")]}]}),
    ("tool without parameters", {"tools": [{"type": "function", "function": {"name": "f"}}]},
     {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]}),
    ("choice none", {"tools": [chat_tool()], "tool_choice": "none"},
     {"tool_choice": {"type": "none"}}),
    ("choice auto", {"tools": [chat_tool()], "tool_choice": "auto"},
     {"tool_choice": {"type": "auto"}}),
    ("choice required", {"tools": [chat_tool()], "tool_choice": "required"},
     {"tool_choice": {"type": "any"}}),
    ("choice named", {"tools": [chat_tool()],
                      "tool_choice": {"type": "function", "function": {"name": "weather"}}},
     {"tool_choice": {"type": "tool", "name": "weather"}}),
    ("choice without tools", {"tool_choice": "auto"}, {"tool_choice": None}),
    ("one at a time", {"tools": [chat_tool()], "parallel_tool_calls": False},
     {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ("several at a time", {"tools": [chat_tool()], "parallel_tool_calls": True},
     {"tool_choice": None}),
    ("calls and results", {"messages": [
        USER, {"role": "assistant", "content": None,
               "tool_calls": [call(), call("", "call:2")]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call:2", "content": [text("rain")]},
        {"role": "user", "content": "and?"}]},
     {"messages": [
         {"role": "user", "content": [text("hello")]},
         {"role": "assistant", "content": [
             use(), use({}, chat_to_messages.tool_id("call:2"))]},
         {"role": "user", "content": [
             {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"},
             {"type": "tool_result", "tool_use_id": chat_to_messages.tool_id("call:2"),
              "content": [text("rain")]},
             text("and?")]}]}),
    ("thinking with its signature", {"messages": [
        USER, {"role": "assistant", "content": "x", "reasoning_content": "t", "thinking_blocks": [
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "thinking", "thinking": "u", "signature": ""},
            {"type": "redacted_thinking", "data": "d"}]}]},
     {"messages": [{"role": "user", "content": [text("hello")]}, {"role": "assistant", "content": [
         {"type": "thinking", "thinking": "t", "signature": "s"},
         {"type": "redacted_thinking", "data": "d"}, text("x")]}]}),
    ("effort", {"reasoning_effort": "minimal"},
     {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
    ("most effort", {"reasoning_effort": "xhigh"},
     {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}),
    ("no effort", {"reasoning_effort": "none"}, {"thinking": None, "output_config": None}),
    ("a forced call allows no thinking",
     {"reasoning_effort": "high", "tools": [chat_tool()], "tool_choice": "required"},
     {"thinking": None, "output_config": {"effort": "high"}}),
    ("limit", {"max_tokens": 7}, {"max_tokens": 7}),
    ("new limit", {"max_completion_tokens": 8}, {"max_tokens": 8}),
    ("no limit", {}, {"max_tokens": 128_000}),
    ("a limit above the model's", {"max_tokens": 999_999}, {"max_tokens": 128_000}),
    ("stop", {"stop": "x"}, {"stop_sequences": ["x"]}),
    ("stops", {"stop": ["x", "y"]}, {"stop_sequences": ["x", "y"]}),
    ("sampling", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
    ("JSON", {"response_format": {"type": "json_object"}},
     {"system": [text(chat_to_messages.JSON_ONLY)]}),
    ("JSON schema", {"response_format": {"type": "json_schema", "json_schema": {
        "name": "n", "strict": True, "schema": SCHEMA}}},
     {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
    ("JSON schema, deep", {"response_format": {"type": "json_schema", "json_schema": {
        "name": "n", "schema": DEEP}}},
     {"output_config": {"format": {"type": "json_schema", "schema": DEEP_FOR_CLAUDE}}}),
    ("plain format", {"response_format": {"type": "text"}}, {"output_config": None}),
    ("cache on a part", {"messages": part(**text("x"), cache_control={"type": "ephemeral"})},
     {"messages": part(**text("x"), cache_control={"type": "ephemeral"})}),
    ("cache on top", {"cache_control": {"type": "ephemeral"}},
     {"cache_control": {"type": "ephemeral"}}),
    ("end user", {"user": "u"}, {"metadata": {"user_id": "u"}, "user": None}),
    ("new end user", {"safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
    ("tier", {"service_tier": "auto"}, {"service_tier": None}),
    ("hints", {"prompt_cache_key": "k", "verbosity": "low", "n": 1, "logprobs": False,
               "presence_penalty": 0.0, "store": False, "seed": None},
     {"prompt_cache_key": None, "verbosity": None, "n": None, "logprobs": None}),
    ("stream", {"stream": True, "stream_options": {"include_usage": True}},
     {"stream": True, "stream_options": None}),
]  # fmt: skip

TO_CHAT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("system", {"system": "a"}, {"messages": [{"role": "system", "content": "a"}, USER]}),
    ("system in blocks", {"system": [text("x-anthropic-billing-header: cc_version=1"),
                                     {**text("a"), "cache_control": {"type": "ephemeral"}},
                                     text("b")]},
     {"messages": [{"role": "system", "content": [text("a"), text("b")]}, USER]}),
    ("system in the middle", {"messages": [
        USER, {"role": "system", "content": "s", "output_config": {"effort": "low"}}]},
     {"messages": [USER, {"role": "system", "content": "s"}], "reasoning_effort": "low"}),
    ("image inline", {"messages": part(type="image", source={
        "type": "base64", "media_type": "image/png", "data": PNG})},
     {"messages": part(type="image_url", image_url={"url": f"data:image/png;base64,{PNG}"})}),
    ("image by address", {"messages": part(
        type="image", source={"type": "url", "url": "https://a/b"})},
     {"messages": part(type="image_url", image_url={"url": "https://a/b"})}),
    ("document", {"messages": part(type="document", title="a.pdf", source={
        "type": "base64", "media_type": "application/pdf", "data": "JVBE"})},
     {"messages": part(type="file", file={
         "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"})}),
    ("document of text", {"messages": part(
        type="document", source={"type": "text", "media_type": "text/plain", "data": "t"})},
     {"messages": [{"role": "user", "content": "t"}]}),
    ("document of text with a title", {"messages": part(
        type="document", title="a", citations={"enabled": False},
        source={"type": "text", "media_type": "text/plain", "data": "t"})},
     {"messages": [{"role": "user", "content": "a\nt"}]}),
    ("tool", {"tools": [messages_tool(type="custom", cache_control=None, defer_loading=True)]},
     {"tools": [chat_tool()]}),
    ("choice any", {"tools": [messages_tool()], "tool_choice": {"type": "any"}},
     {"tool_choice": "required"}),
    ("choice tool", {"tools": [messages_tool()], "tool_choice": {"type": "tool", "name": "w"}},
     {"tool_choice": {"type": "function", "function": {"name": "w"}}}),
    ("choice none", {"tools": [messages_tool()], "tool_choice": {"type": "none"}},
     {"tool_choice": "none"}),
    ("one at a time", {"tools": [messages_tool()],
                       "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
     {"tool_choice": "auto", "parallel_tool_calls": False}),
    ("calls and results", {"messages": [
        USER,
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "redacted_thinking", "data": "d"}, text("look"), use(), use({}, "c2")]},
        {"role": "user", "content": [
            text("and?"),
            {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"},
            {"type": "tool_result", "tool_use_id": "c2", "is_error": True, "content": [
                text("a"), {"type": "image", "source": {"type": "url", "url": "https://a/b"}}]},
        ]}]},
     {"messages": [
         USER,
         {"role": "assistant", "content": "look", "tool_calls": [
             call('{"city": "Oslo"}'), call("{}", "c2")]},
         {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
         {"role": "tool", "tool_call_id": "c2",
          "content": "Error: a\n(What it shows follows.)"},
         {"role": "user", "content": [
             text("and?"), {"type": "image_url", "image_url": {"url": "https://a/b"}}]}]}),
    ("a turn of thinking alone", {"messages": [
        USER, {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "s"}]}, USER]},
     {"messages": [USER, USER]}),
    ("effort", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
     {"reasoning_effort": "xhigh", "thinking": None}),
    ("budget", {"thinking": {"type": "enabled", "budget_tokens": 5_000}, "max_tokens": 9_000},
     {"reasoning_effort": "medium"}),
    ("this family does not reason about tools on chat",
     {"tools": [messages_tool()], "output_config": {"effort": "high"}},
     {"reasoning_effort": "none"}),
    ("limit", {"max_tokens": 7}, {"max_completion_tokens": 7, "max_tokens": None}),
    ("a limit above the model's", {"max_tokens": 999_999}, {"max_completion_tokens": 128_000}),
    ("stops", {"stop_sequences": ["x"]}, {"stop": ["x"]}),
    ("sampling", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
    ("JSON schema", {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
     {"response_format": {"type": "json_schema", "json_schema": {
         "name": "answer", "strict": True, "schema": SCHEMA}}}),
    ("JSON schema that OpenAI does not enforce",
     {"output_config": {"format": {"type": "json_schema", "schema": DEEP_FOR_CLAUDE}}},
     {"response_format": {"type": "json_schema", "json_schema": {
         "name": "answer", "strict": False, "schema": DEEP_FOR_CLAUDE}}}),
    ("strict tool", {"tools": [messages_tool(strict=True, input_schema=SCHEMA)]},
     {"tools": [chat_tool(strict=True, parameters=SCHEMA)]}),
    ("strict tool that OpenAI does not enforce",
     {"tools": [messages_tool(strict=True, input_schema=DEEP_FOR_CLAUDE)]},
     {"tools": [chat_tool(parameters=DEEP_FOR_CLAUDE)]}),
    ("cache", {"cache_control": {"type": "ephemeral"}}, {"cache_control": None}),
    ("context", {"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}},
     {"context_management": None}),
    ("tier", {"service_tier": "standard_only", "speed": "standard", "inference_geo": "global"},
     {"service_tier": None, "speed": None, "inference_geo": None}),
    ("stream", {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
]  # fmt: skip


def holds(made: dict[str, Any], expected: dict[str, Any]) -> None:
    """None stands for a member that is absent."""
    assert {name: made.get(name) for name in expected} == expected


@pytest.mark.parametrize(("members", "expected"), [row[1:] for row in TO_MESSAGES],
                         ids=[row[0] for row in TO_MESSAGES])  # fmt: skip
def test_chat_is_said_in_messages(members: dict[str, Any], expected: dict[str, Any]) -> None:
    holds(to_messages(**members), expected)


@pytest.mark.parametrize(("members", "expected"), [row[1:] for row in TO_CHAT],
                         ids=[row[0] for row in TO_CHAT])  # fmt: skip
def test_messages_are_said_in_chat(members: dict[str, Any], expected: dict[str, Any]) -> None:
    holds(to_chat(**members), expected)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"something_new": 1}, "something_new"),
        ({"temperature": 1.5}, "temperature"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        ({"tools": [chat_tool()], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tools": [chat_tool()], "tool_choice": "sometimes"}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"messages": [{"role": "system", "content": "s"}]}, "messages"),
        ({"messages": [{"role": "function", "content": "s"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "s"}]}, "messages[0].tool_call_id"),
        ({"messages": [USER, {"role": "assistant", "function_call": {}}]},
         "messages[1].function_call"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [call("[1]")]}]},
         "messages[1].tool_calls[0].function.arguments"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [call("{")]}]},
         "messages[1].tool_calls[0].function.arguments"),
        ({"messages": part(type="video")}, "messages[0].content[0].type"),
        ({"messages": part(type="image_url", image_url={"url": "ftp://x"})},
         "messages[0].content[0].image_url.url"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ],
)  # fmt: skip
def test_what_messages_cannot_say_is_refused_by_its_name(
    members: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        to_messages(**members)
    assert refused.value.param == param.replace("[0].content[0].type", "[0].content[0].type")
    assert param in refused.value.message


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"top_k": 3}, "top_k"),
        ({"something_new": 1}, "something_new"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop_sequences": list("abcde")}, "stop_sequences"),
        ({"speed": "fast"}, "speed"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"tools": [messages_tool()], "tool_choice": {"type": "maybe"}}, "tool_choice"),
        ({"output_config": {"effort": "enormous"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format"),
        ({"messages": part(type="document", source={"type": "url", "url": "https://a"})},
         "messages[0].content[0].source"),
        ({"messages": part(type="search_result")}, "messages[0].content[0].type"),
        ({"messages": part(type="document", citations={"enabled": True}, source={
            "type": "text", "data": "t"})}, "messages[0].content[0].citations"),
        ({"messages": part(type="document", context="c", source={
            "type": "text", "data": "t"})}, "messages[0].content[0].context"),
        ({"messages": part(type="tool_result", content="x")},
         "messages[0].content[0].tool_use_id"),
        ({"messages": [USER, {"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
         "messages[1].content[0].type"),
        ({"messages": [{"role": "critic", "content": "x"}]}, "messages[0].role"),
        ({"messages": []}, "messages"),
    ],
)  # fmt: skip
def test_what_chat_cannot_say_is_refused_by_its_name(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        to_chat(**members)
    assert refused.value.param == param
    assert param in refused.value.message


@pytest.mark.parametrize(
    ("caller", "upstream", "slug", "content", "param"),
    [
        (CHAT, MESSAGES, "claude-opus-5-5", {"type": "file", "file": {"file_id": "f"}},
         "messages[0].content[0].file.file_id"),
        (MESSAGES, CHAT, "gpt-5.5", {"type": "image", "source": {"type": "file", "file_id": "f"}},
         "messages[0].content[0].source"),
    ],
)  # fmt: skip
def test_what_is_stored_at_a_vendor_is_refused_here_too(
    caller: Dialect, upstream: Dialect, slug: str, content: Any, param: str
) -> None:
    """Reading the request refuses it first; translation has no way to say it either."""
    body = json.dumps({"model": slug, "max_tokens": 9, "messages": part(**content)}).encode()
    with pytest.raises(InvalidRequest):
        requests.read(caller, body)
    with pytest.raises(InvalidRequest) as refused:
        translate.request(caller, upstream, body, model(slug))
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("slug", "effort", "limit", "thinking"),
    [
        ("claude-haiku-4-5", "low", 9_000, {"type": "enabled", "budget_tokens": 2_048}),
        ("claude-haiku-4-5", "max", 64_000, {"type": "enabled", "budget_tokens": 16_384}),
        ("claude-sonnet-4-5", "high", 4_000, {"type": "enabled", "budget_tokens": 3_999}),
        ("claude-opus-4-5", "high", 1_024, None),
    ],
)
def test_older_models_think_by_budget(
    slug: str, effort: str, limit: int, thinking: dict[str, Any] | None
) -> None:
    """Below the limit, at least 1,024; where there is no room for it they do not think."""
    made = to_messages(slug, reasoning_effort=effort, max_tokens=limit)
    holds(made, {"thinking": thinking, "output_config": None})


def test_an_older_model_does_not_begin_to_think_inside_a_round() -> None:
    """It would refuse: the turn that called has to begin with its thinking."""
    signed = {"thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}]}
    for more, thinks in (({}, False), (signed, True)):
        history = [USER, {"role": "assistant", "tool_calls": [call()], **more},
                   {"role": "tool", "tool_call_id": "call_1", "content": "x"}]  # fmt: skip
        made = to_messages("claude-haiku-4-5", messages=history, reasoning_effort="low",
                           tools=[chat_tool()], max_tokens=9_000)  # fmt: skip
        assert ("thinking" in made) == thinks
    assert to_messages("claude-opus-4-6", reasoning_effort="xhigh")["output_config"] == {
        "effort": "high"
    }


@pytest.mark.parametrize(
    ("slug", "members", "expected"),
    [
        ("gpt-4.1", {"output_config": {"effort": "high"}}, None),
        ("gpt-5.5", {"output_config": {"effort": "xhigh"}}, "xhigh"),
        ("gpt-5.5", {}, None),
        ("gpt-5.5", {"tools": [messages_tool()]}, "none"),
        ("gpt-4.1", {"tools": [messages_tool()]}, None),
    ],
)
def test_effort_is_said_where_the_model_knows_it(
    slug: str, members: dict[str, Any], expected: str | None
) -> None:
    assert to_chat(slug, **members).get("reasoning_effort") == expected


def test_older_models_have_every_system_text_on_top() -> None:
    """They refuse one inside the conversation."""
    history = [USER, {"role": "system", "content": "s"}]
    for slug in ("claude-haiku-4-5", "claude-opus-4-7"):
        made = to_messages(slug, messages=history)
        assert (made["system"], len(made["messages"])) == ([text("s")], 1)
    assert "system" not in to_messages("claude-opus-4-8", messages=history)


def test_glm_is_told_the_schema_of_its_answer() -> None:
    """It enforces JSON and no schema."""
    form = {"type": "json_schema", "schema": CITY}
    made = to_chat("glm-5.3", system="Be brief.", output_config={"format": form})
    assert made["response_format"] == {"type": "json_object"}
    assert [message["role"] for message in made["messages"]] == ["system", "system", "user"]
    assert json.loads(made["messages"][1]["content"].partition("\n")[2]) == CITY


def test_glm_is_told_to_think_in_its_own_words() -> None:
    """And its end user is not named: it knows no such member."""
    on = to_chat("glm-5.3", thinking={"type": "adaptive"}, metadata={"user_id": "u"})
    holds(
        on, {"thinking": {"type": "enabled"}, "reasoning_effort": None, "safety_identifier": None}
    )
    assert to_chat("glm-5.3")["thinking"] == {"type": "disabled"}


def test_the_end_user_is_told_apart_and_not_named() -> None:
    """64 characters are allowed; one agent's id is JSON with the account inside."""
    user_id = json.dumps({"device_id": "d" * 64, "session_id": "s"})
    told = [to_chat(metadata={"user_id": one})["safety_identifier"] for one in (user_id, "other")]
    assert len(set(told)) == 2
    assert all(len(one) == 64 for one in told)


def test_arguments_pass_as_they_are_written() -> None:
    """Numbers keep their digits: a cached prefix hangs on the bytes, a signature too."""
    written = '{"x": 1.50, "y": 123456789012345678901234567890, "z":1e2}'
    history = [USER, {"role": "assistant", "tool_calls": [call(written)]}]
    body = json.dumps({"model": "claude-opus-5-5", "messages": history}).encode()
    made = translate.request(CHAT, MESSAGES, body, model("claude-opus-5-5"))
    assert written.encode() in made
    there = made.replace(b"claude-opus-5-5", b"gpt-5.5")
    back = json.loads(translate.request(MESSAGES, CHAT, there, model("gpt-5.5")))
    assert back["messages"][1]["tool_calls"][0]["function"]["arguments"] == written


def test_names_and_ids_that_are_too_long_for_chat_are_shortened_and_come_back() -> None:
    """Messages allows 128 letters, as tools of MCP servers have; chat 64. The same ones each time,
    so that a history still speaks of them."""
    name, other = (f"mcp__{'server' * 10}__{tool}" for tool in ("read", "write"))
    asked = {
        "tools": [messages_tool(name=one) for one in (name, other, "weather")],
        "tool_choice": {"type": "tool", "name": name},
        "messages": [
            USER,
            {"role": "assistant", "content": [{**use(call_id="c" * 64), "name": name}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c" * 64, "content": "x"}]},
        ],
    }  # fmt: skip
    made = to_chat(**asked)
    short, *others = (tool["function"]["name"] for tool in made["tools"])
    assert len({short, *others}) == 3
    assert all(len(one) <= 64 for one in (short, *others))
    assert others[1] == "weather"
    assert made["tool_choice"]["function"]["name"] == short
    (told,) = made["messages"][1]["tool_calls"]
    assert (told["function"]["name"], len(told["id"]) <= 40) == (short, True)
    assert made["messages"][2]["tool_call_id"] == told["id"]
    renamed = translate.extras(MESSAGES, json.dumps(asked).encode()).renamed
    assert renamed == {short: name, others[0]: other}
    answer = {"choices": [{"message": {"tool_calls": [{**told, "id": "c"}]}}]}
    reply = Reply("s", "r", 0, renamed=renamed)
    whole = json.loads(Translation(MESSAGES, CHAT, reply).whole(json.dumps(answer).encode()))
    assert whole["content"][0]["name"] == name
    stream = Translation(MESSAGES, CHAT, reply).stream()
    delta = {"choices": [{"delta": {"tool_calls": [told]}}]}
    assert f'"name":"{name}"'.encode() in stream.feed(f"data: {json.dumps(delta)}\n\n".encode())


def test_every_member_that_the_vendors_sdks_know_has_a_fate() -> None:
    """Carried, dropped, neutral, or refused before: a member without a fate is refused, which is
    right for a new one and has to be meant for an old one."""
    from anthropic.types.message_create_params import MessageCreateParamsBase
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase

    for dialect, fates, params, refused in (
        (CHAT, chat_to_messages.FATES, CompletionCreateParamsBase, {"moderation", "seed"}),
        (
            MESSAGES,
            messages_to_chat.FATES,
            MessageCreateParamsBase,
            set(),
        ),
    ):
        named = fates.carried | fates.dropped | set(fates.neutral)
        named |= {field.member for field in fields.refused(dialect)}
        assert set(params.__annotations__) - named == refused
        assert not fates.carried & fates.dropped
        assert not (fates.carried | fates.dropped) & set(fates.neutral)


words = st.text('a"\\\n\u00e9\U0001f600{ ', min_size=1, max_size=5).filter(str.strip)
objects = st.dictionaries(words, st.one_of(words, st.integers(-9, 9), st.booleans()), max_size=2)
QUICKLY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rounds of a chat: a question, perhaps calls with their results, an answer."""
    history: list[dict[str, Any]] = []
    for turn in range(draw(st.integers(1, 2))):
        history.append({"role": "user", "content": draw(words)})
        names = [f"call_{turn}_{n}" for n in range(draw(st.integers(0, 2)))]
        if names:
            said = draw(st.none() | words)
            calls = [call(json.dumps(draw(objects)), name) for name in names]
            history.append({"role": "assistant", "content": said, "tool_calls": calls})
            history += [{"role": "tool", "tool_call_id": name, "content": draw(words)}
                        for name in draw(st.permutations(names))]  # fmt: skip
        history.append({"role": "assistant", "content": draw(words)})
    history.append({"role": "user", "content": draw(words)})
    return history


@QUICKLY
@given(histories())
def test_a_history_survives_both_ways(history: list[dict[str, Any]]) -> None:
    """Chat, told as Messages, told as chat again, is what it was; turns alternate between."""
    made = to_messages(messages=history)
    roles = [message["role"] for message in made["messages"]]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    back = to_chat(**{name: made[name] for name in ("messages", "max_tokens")})
    assert back["messages"] == history


@QUICKLY
@given(histories(), words)
def test_a_longer_history_begins_with_the_shorter_one(
    history: list[dict[str, Any]], more: str
) -> None:
    """So a prompt's cached prefix grows turn by turn in the other dialect, too."""
    told = {"role": "system", "content": "From now on in Latin."}
    history = [*history, told]
    answer = {"role": "assistant", "content": "ok"}
    longer = [*history, answer, {"role": "user", "content": more}, told]
    short, long = (to_messages(messages=one) for one in (history, longer))
    assert "system" not in short | long
    assert long["messages"][: len(short["messages"])] == short["messages"]
