"""Responses by way of chat, and by way of Messages behind it: requests, items, events."""

import base64
import json
from typing import Any

import pytest

from corvus_proxy._fast import StreamMeter
from corvus_proxy.catalogue import book
from corvus_proxy.catalogue.book import Model
from corvus_proxy.errors import InvalidRequest
from corvus_proxy.settings import PricingSettings
from corvus_proxy.wire import request as requests
from corvus_proxy.wire import translate
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.tenancy import fields
from corvus_proxy.wire.translate import Translation
from corvus_proxy.wire.translate.events import Events
from corvus_proxy.wire.translate.reply import Reply
from corvus_proxy.wire.translate.responses import sealed
from corvus_proxy.wire.translate.responses.from_chat import INCOMPLETE
from corvus_proxy.wire.translate.responses.to_chat import FATES
from corvus_proxy.wire.translate.responses.tools import Extras
from corvus_proxy.wire.translate.schemas import ANSWER_IN_SCHEMA

CHAT, MESSAGES, RESPONSES = Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES
BOOK = book.load(PricingSettings())
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
SIGNED = [{"type": "thinking", "thinking": "hm", "signature": "sig"}]
SEALED = sealed.closed("anthropic", SIGNED, "hm")
REPLY = Reply(
    "the-slug", "req_1", 1_790_000_000, family="anthropic", custom_tools=frozenset({"apply_patch"})
)


def model(slug: str) -> Model:
    found = BOOK.find(slug)
    assert found is not None
    return found


def asked(slug: str, to: Dialect, **members: Any) -> dict[str, Any]:
    body = json.dumps({"model": slug, "input": [USER], **members}).encode()
    requests.read(RESPONSES, body)
    made = translate.request(RESPONSES, to, body, model(slug))
    requests.read(to, made)
    return json.loads(made)  # type: ignore[no-any-return]


def to_chat(**members: Any) -> dict[str, Any]:
    return asked("glm-5.3", CHAT, **members)


def to_messages(**members: Any) -> dict[str, Any]:
    return asked("claude-opus-5-5", MESSAGES, **members)


def call(call_id: str = "c1", arguments: str = '{"city":"Oslo"}') -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "weather", "arguments": arguments}


def output(call_id: str = "c1", said: Any = "sunny") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": said}


TOOL = {"type": "function", "name": "weather", "description": "d", "parameters": CITY}
PATCH = {"type": "custom", "name": "apply_patch", "description": "edits",
         "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}}  # fmt: skip
HELLO = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
PICTURE = {"type": "input_image", "image_url": "https://a/b"}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"input": "hi"}, {"messages": [{"role": "user", "content": "hi"}]}),
        ({"instructions": "i"}, {"messages": [{"role": "system", "content": "i"}, HELLO]}),
        ({"input": [{"role": "developer", "content": "d"}, USER]},
         {"messages": [{"role": "system", "content": "d"}, HELLO]}),
        ({"input": [{"role": "user", "content": [PICTURE]}]},
         {"messages": [{"role": "user", "content": [
             {"type": "image_url", "image_url": {"url": "https://a/b"}}]}]}),
        ({"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
         {"tools": [{"type": "function", "function": {
             "name": "weather", "description": "d", "parameters": CITY}}],
          "tool_choice": "required", "parallel_tool_calls": False}),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}},
         {"tool_choice": {"type": "function", "function": {"name": "weather"}}}),
        ({"tools": [TOOL, {"type": "web_search"}, {"type": "tool_search"}]},
         {"tools": [{"type": "function", "function": {
             "name": "weather", "description": "d", "parameters": CITY}}]}),
        ({"tools": [PATCH]},
         {"tools": [{"type": "function", "function": {
             "name": "apply_patch",
             "description": "edits\nIts input follows this grammar:\nstart: x",
             "parameters": {"type": "object", "properties": {"input": {"type": "string"}},
                            "required": ["input"]}}}]}),
        ({"input": [
            USER,
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "I look."}]},
            call(), call("c2"), output(), output("c2", [{"type": "input_text", "text": "rain"},
                                                        PICTURE]), USER]},
         {"messages": [
             HELLO,
             {"role": "assistant", "content": "I look.", "tool_calls": [
                 {"id": one, "type": "function", "function": {
                     "name": "weather", "arguments": '{"city":"Oslo"}'}} for one in ("c1", "c2")]},
             {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
             {"role": "tool", "tool_call_id": "c2", "content": "rain\n(What it shows follows.)"},
             {"role": "user", "content": [
                 {"type": "image_url", "image_url": {"url": "https://a/b"}}]},
             HELLO]}),
        ({"input": [USER, {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch",
                           "input": 'a "b"'},
                    {"type": "custom_tool_call_output", "call_id": "c", "output": "done"}]},
         {"messages": [
             HELLO,
             {"role": "assistant", "content": None, "tool_calls": [
                 {"id": "c", "type": "function", "function": {
                     "name": "apply_patch", "arguments": '{"input":"a \\"b\\""}'}}]},
             {"role": "tool", "tool_call_id": "c", "content": "done"}]}),
        ({"input": [USER, {"type": "reasoning", "summary": [], "encrypted_content":
                           sealed.closed("glm", [], "hm")}, call(), output()]},
         {"messages": [
             HELLO,
             {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [
                 {"id": "c1", "type": "function", "function": {
                     "name": "weather", "arguments": '{"city":"Oslo"}'}}]},
             {"role": "tool", "tool_call_id": "c1", "content": "sunny"}]}),
        ({"reasoning": {"effort": "none"}}, {"thinking": {"type": "disabled"}}),
        ({"reasoning": {"effort": "high"}}, {"thinking": {"type": "enabled"}}),
        ({"max_output_tokens": 9}, {"max_completion_tokens": 9}),
        ({"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
         {"response_format": {"type": "json_object"}}),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": CITY}}},
         {"response_format": {"type": "json_object"},
          "messages": [{"role": "system", "content": ANSWER_IN_SCHEMA + json.dumps(
              CITY, separators=(",", ":"))}, HELLO]}),
        ({"stream": True, "store": False, "include": ["reasoning.encrypted_content"]},
         {"stream": True, "stream_options": {"include_usage": True}}),
        ({"prompt_cache_key": "k", "client_metadata": {}, "user": "u", "safety_identifier": "s"},
         {"prompt_cache_key": None, "user": None, "safety_identifier": None}),
    ],
)  # fmt: skip
def test_a_request_is_said_in_chat(members: Any, expected: Any) -> None:
    made = to_chat(**members)
    assert {name: made.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"instructions": "i", "input": "hi"},
         {"system": [{"type": "text", "text": "i"}], "max_tokens": 128_000,
          "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}),
        ({"input": [USER, {"type": "reasoning", "summary": [], "encrypted_content": SEALED},
                    call(), output("c1", [PICTURE])]},
         {"messages": [
             HELLO,
             {"role": "assistant", "content": [*SIGNED, {
                 "type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}}]},
             {"role": "user", "content": [{
                 "type": "tool_result", "tool_use_id": "c1", "content": [
                     {"type": "image", "source": {"type": "url", "url": "https://a/b"}}]}]}]}),
        ({"reasoning": {"effort": "high", "summary": "auto"}},
         {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": CITY}}},
         {"output_config": {"format": {"type": "json_schema", "schema": {
             **CITY, "additionalProperties": False}}}}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        ({"safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
    ],
)  # fmt: skip
def test_a_request_is_said_in_messages(members: Any, expected: Any) -> None:
    made = to_messages(**members)
    assert {name: made.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"something_new": 1}, "something_new"),
        ({"truncation": "auto"}, "truncation"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"input": []}, "input"),
        ({"tools": [{"type": "local_shell"}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice"),
        ({"input": [{"type": "local_shell_call"}]}, "input[0].type"),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "local_shell"}]}, USER]},
         "input[0].tools[0].type"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "local_shell"}]}]},
         "tools[0].tools[0].type"),
        ({"input": [{"type": "function_call", "name": "w"}]}, "input[0].call_id"),
        ({"input": [{"role": "critic", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
         "input[0].content[0].file_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]},
         "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://a"}]}]},
         "input[0].content[0].file_url"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
    ],
)  # fmt: skip
def test_what_chat_cannot_say_is_refused_by_its_name(members: Any, param: str) -> None:
    for told in (to_chat, to_messages):
        with pytest.raises(InvalidRequest) as refused:
            told(**members)
        assert refused.value.param == param


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": [{"role": "developer", "content": "d"}]}, "input"),
        ({"temperature": 1.5}, "temperature"),
        ({"input": [USER, {**call(), "arguments": "[1]"}]}, "input[1].arguments"),
        ({"input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": "ftp://a"}]}]},
         "input[0].content[0].image_url"),
        ({"input": [USER, call(), output("c1", [{"type": "input_file", "file_data": "JVBE"}])]},
         "input[2].output[0].file_data"),
    ],
)  # fmt: skip
def test_what_messages_cannot_say_is_refused_by_its_place_in_the_response(
    members: Any, param: str
) -> None:
    """Not by the place it would have in the chat on the way."""
    with pytest.raises(InvalidRequest) as refused:
        to_messages(**members)
    assert refused.value.param == param
    assert param in refused.value.message


def test_thinking_goes_back_to_its_own_family_alone() -> None:
    """What is not ours, is broken, or is of another family, is left out."""
    assert sealed.opened(SEALED, "anthropic") == {"thinking_blocks": SIGNED}
    assert sealed.opened(sealed.closed("glm", [], "t"), "glm") == {"reasoning_content": "t"}
    broken = "corvus1." + base64.b64encode(b"{").decode()
    for word in (SEALED[:-4], broken, "corvus1.%%%", "gAAAAAB", "", sealed.closed("glm", [], "t")):
        assert sealed.opened(word, "anthropic") == {}
    assert sealed.opened(SEALED, "glm") == {}
    history = [USER, {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}, call(),
               output()]  # fmt: skip
    assert [block["type"] for block in to_messages(input=history)["messages"][1]["content"]] == [
        "tool_use"
    ]


def test_tools_that_are_left_out_are_told() -> None:
    """And the names of custom ones are kept for the answer."""
    tools = [TOOL, PATCH, {"type": "web_search_preview"}, {"type": "tool_search"}]
    body = json.dumps({"model": "x", "input": "", "tools": tools}).encode()
    found = translate.extras(RESPONSES, body)
    left_out = ("web_search_preview", "tool_search")
    assert found == Extras(frozenset({"apply_patch"}), left_out)
    assert translate.extras(CHAT, body) == Extras()


def test_tools_in_namespaces_are_functions_under_both_names() -> None:
    """Offered beside the others or inside the input; a call is told back where it stands."""
    inner = {"type": "namespace", "name": "agents", "tools": [TOOL, PATCH]}
    brought = {"type": "additional_tools", "role": "developer", "tools": [
        {"type": "namespace", "name": "n" * 60, "tools": [TOOL]}]}  # fmt: skip
    history = [brought, USER, {**call(), "namespace": "agents"}, output()]
    made = to_chat(tools=[TOOL, inner], input=history)
    names = [tool["function"]["name"] for tool in made["tools"]]
    assert names[:3] == ["weather", "agents__weather", "agents__apply_patch"]
    assert (len(names), len(names[3])) == (4, 64)
    assert made["messages"][1]["tool_calls"][0]["function"]["name"] == "agents__weather"
    body = json.dumps({"model": "x", "input": history, "tools": [TOOL, inner]}).encode()
    found = translate.extras(RESPONSES, body)
    assert found.namespaced == {
        "agents__weather": ("agents", "weather"),
        "agents__apply_patch": ("agents", "apply_patch"), names[3]: ("n" * 60, "weather"),
    }  # fmt: skip
    reply = REPLY._replace(namespaced=found.namespaced, custom_tools=found.custom)
    stream = b"".join([
        chunk(told_call(0, "{}", "agents__weather", "a")),
        chunk(told_call(1, "{}", "weather", "b")),
        chunk(told_call(2, '{"input":"x"}', "agents__apply_patch", "c")),
        chunk({}, "tool_calls"), b"data: [DONE]\n\n",
    ])  # fmt: skip
    response = followed(read(Translation(RESPONSES, CHAT, reply).stream().feed(stream)))
    assert [(item["type"], item.get("namespace"), item["name"]) for item in response["output"]] == [
        ("function_call", "agents", "weather"), ("function_call", None, "weather"),
        ("custom_tool_call", "agents", "apply_patch"),
    ]  # fmt: skip


def test_every_member_that_the_vendors_sdk_knows_has_a_fate() -> None:
    from openai.types.responses.response_create_params import ResponseCreateParamsBase

    known = FATES.carried | FATES.dropped | set(FATES.neutral)
    known |= {field.member for field in fields.refused(RESPONSES)}
    left = {"access_programs", "background_options", "image", "moderation"}
    assert set(ResponseCreateParamsBase.__annotations__) - known <= left


# -- answers ------------------------------------------------------------------------------------


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return (
        b"data: " + json.dumps({"id": "chatcmpl-1", "choices": choices, **more}).encode() + b"\n\n"
    )


def told_call(index: int, arguments: str, name: str = "", call_id: str = "") -> dict[str, Any]:
    head = {"id": call_id, "type": "function"} if call_id else {}
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"tool_calls": [{"index": index, **head, "function": function}]}


COUNTS = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
          "prompt_tokens_details": {"cached_tokens": 60},
          "completion_tokens_details": {"reasoning_tokens": 9}}  # fmt: skip
STREAM = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "h"}), chunk({"reasoning_content": "m"}),
    chunk({"thinking_blocks": SIGNED}),
    chunk({"content": "I "}), chunk({"content": "look."}),
    chunk(told_call(0, "", "weather", "a")), chunk(told_call(1, '{"in', "apply_patch", "b")),
    chunk(told_call(0, '{"city":')), chunk(told_call(1, 'put":"x\\ny"}')),
    chunk(told_call(0, '"Oslo"}')),
    chunk({}, "tool_calls"), chunk(None, usage=COUNTS), b"data: [DONE]\n\n",
]  # fmt: skip
OUTPUT = [
    {"id": "rs_1_0", "type": "reasoning", "encrypted_content": SEALED,
     "summary": [{"type": "summary_text", "text": "hm"}]},
    {"id": "msg_1_1", "type": "message", "status": "completed", "role": "assistant", "content": [
        {"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}]},
    {"id": "fc_1_2", "type": "function_call", "status": "completed", "call_id": "a",
     "name": "weather", "arguments": '{"city":"Oslo"}'},
    {"id": "ctc_1_3", "type": "custom_tool_call", "status": "completed", "call_id": "b",
     "name": "apply_patch", "input": "x\ny"},
]  # fmt: skip


def read(told: bytes) -> list[dict[str, Any]]:
    return [json.loads(data) for data in Events().feed(told)]


def followed(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The response at the end of a stream, whose grammar is checked on the way."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    items: dict[int, dict[str, Any]] = {}
    texts: dict[int, str] = {}
    done: dict[int, dict[str, Any]] = {}
    for event in events[2:-1]:
        at = event["output_index"]
        if event["type"] == "response.output_item.added":
            assert at == len(items)
            items[at], texts[at] = event["item"], ""
            continue
        assert at not in done
        if event["type"] == "response.output_item.done":
            done[at] = event["item"]
            assert event["item"]["id"] == items[at]["id"]
            assert texts[at] in json.dumps(event["item"]).replace('\\"', '"') or "\n" in texts[at]
            continue
        assert event["item_id"] == items[at]["id"]
        texts[at] += event.get("delta", "")
    response: dict[str, Any] = events[-1]["response"]
    assert events[-1]["type"] == f"response.{response['status']}"
    assert response["output"] == [done[at] for at in range(len(items))]
    return response


def test_a_stream_is_told_as_a_response_cut_anywhere() -> None:
    """Calls may come interleaved: each item has its own place. Our own meter reads what is told."""
    stream = b"".join(STREAM)
    translation = Translation(RESPONSES, CHAT, REPLY)
    expected = translation.stream().feed(stream)
    response = followed(read(expected))
    assert response["output"] == OUTPUT
    assert (response["status"], response["id"], response["model"]) == (
        "completed", "resp_1", "the-slug",
    )  # fmt: skip
    assert response["usage"] == {
        "input_tokens": 100, "output_tokens": 50, "total_tokens": 150,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 9},
    }  # fmt: skip
    for at in range(0, len(stream), 3):
        translated = translation.stream()
        assert translated.feed(stream[:at]) + translated.feed(stream[at:]) == expected
    meter = StreamMeter("responses", False)
    meter.feed(expected)
    assert (meter.ended, meter.failed, meter.upstream_id) == (True, False, "resp_1")
    assert json.loads(meter.usage_last) == response["usage"]


def test_a_whole_answer_is_told_as_a_response() -> None:
    calls = [
        {"id": "a", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
        {"id": "b", "function": {"name": "apply_patch", "arguments": '{"input":"x\\ny"}'}},
    ]
    message = {"content": "I look.", "reasoning_content": "hm", "thinking_blocks": SIGNED,
               "tool_calls": calls}  # fmt: skip
    body = {"id": "chatcmpl-1", "usage": COUNTS, "choices": [
        {"index": 0, "message": message, "finish_reason": "tool_calls"}]}  # fmt: skip
    told = json.loads(Translation(RESPONSES, CHAT, REPLY).whole(json.dumps(body).encode()))
    assert told["output"] == OUTPUT
    assert told["usage"]["total_tokens"] == 150


def test_calls_of_a_whole_answer_need_no_index() -> None:
    calls = [{"id": one, "function": {"name": "weather", "arguments": "{}"}} for one in "ab"]
    body = {"choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
    told = json.loads(Translation(RESPONSES, CHAT, REPLY).whole(json.dumps(body).encode()))
    assert [item["call_id"] for item in told["output"]] == ["a", "b"]


def test_messages_are_told_as_a_response() -> None:
    """Through chat; signed thinking is carried."""
    blocks = [*SIGNED, {"type": "text", "text": "I look."}, {
        "type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Oslo"}}]  # fmt: skip
    body = {
        "id": "1",
        "content": blocks,
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 40, "cache_read_input_tokens": 60, "output_tokens": 50},
    }
    translation = Translation(RESPONSES, MESSAGES, REPLY)
    written = json.dumps(body, separators=(",", ":")).encode()
    told = json.loads(translation.whole(written))
    assert told["output"] == OUTPUT[:3]
    assert told["usage"]["input_tokens"] == 100


@pytest.mark.parametrize(("finish", "why"), [*INCOMPLETE.items(), ("stop", None)])
def test_ends_are_told(finish: str, why: str | None) -> None:
    stream = chunk({"content": "x"}) + chunk({}, finish) + b"data: [DONE]\n\n"
    response = followed(read(Translation(RESPONSES, CHAT, REPLY).stream().feed(stream)))
    assert response["incomplete_details"] == ({"reason": why} if why else None)
    assert response["status"] == ("incomplete" if why else "completed")


def test_what_the_limit_cut_short_is_incomplete() -> None:
    """An agent does not run a call whose arguments have no end; what came before is whole."""
    deltas = [{"content": "I look."}, {"tool_calls": [{"index": 0, "id": "a", "function": {
        "name": "weather", "arguments": '{"ci'}}]}]  # fmt: skip
    stream = b"".join(map(chunk, deltas)) + chunk({}, "length") + b"data: [DONE]\n\n"
    streamed = followed(read(Translation(RESPONSES, CHAT, REPLY).stream().feed(stream)))
    message = {**deltas[0], **deltas[1]}
    body = {"choices": [{"message": message, "finish_reason": "length"}]}
    whole = json.loads(Translation(RESPONSES, CHAT, REPLY).whole(json.dumps(body).encode()))
    for response in (streamed, whole):
        assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


def test_a_refusal_is_a_part_of_its_own() -> None:
    stream = chunk({"refusal": "no"}) + chunk({}, "stop") + b"data: [DONE]\n\n"
    response = followed(read(Translation(RESPONSES, CHAT, REPLY).stream().feed(stream)))
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "no"}]


def test_a_cut_stream_tells_where_it_stands() -> None:
    """For the `response.failed` that ends it: its id and the next number."""
    for at in range(1, len(STREAM) - 1):
        translated = Translation(RESPONSES, CHAT, REPLY).stream()
        told = read(translated.feed(b"".join(STREAM[:at]) + b'data: {"error": {"code": 1}}\n\n'))
        assert translated.finish() == b""
        assert not any(event["type"] == "response.completed" for event in told)
        assert translated.told.sequence == told[-1]["sequence_number"]
        assert translated.told.response_id == "resp_1"
    assert Translation(RESPONSES, CHAT, REPLY).stream().told.sequence == -1
