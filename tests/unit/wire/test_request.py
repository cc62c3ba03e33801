"""Reading and editing requests: what is priced is what is sent."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy.errors import InvalidRequest
from corvus_proxy.wire import edits, request
from corvus_proxy.wire.dialect import Dialect

M = [{"role": "user", "content": "hi"}]


def read(dialect: Dialect, body: dict[str, Any] | bytes) -> request.Asked:
    return request.read(dialect, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        (Dialect.CHAT, {"model": "m", "messages": M}, (False, None, "max_completion_tokens", 1)),
        (Dialect.CHAT, {"model": "m", "messages": M, "max_tokens": 5, "n": 3, "stream": True},
         (True, 5, "max_tokens", 3)),
        (Dialect.MESSAGES, {"model": "m", "messages": M, "max_tokens": 0},
         (False, 0, "max_tokens", 1)),
    ],
)  # fmt: skip
def test_what_is_asked_for(dialect: Dialect, body: Any, expected: Any) -> None:
    """Stream, limit, the member that carries it, and the number of answers."""
    asked = read(dialect, body)
    assert (asked.stream, asked.limit_tokens, asked.limit_member, asked.choices) == expected


@pytest.mark.parametrize(
    ("dialect", "body", "param"),
    [
        (Dialect.CHAT, b'{"model":"a","messages":[],"model":"b"}', "model"),
        (Dialect.CHAT, b'{"model":"a","messages":[],"mod\\u0065l":"b"}', "model"),
        (Dialect.CHAT, b'{"model":"a","messages":[],"max_tokens":1,"max_tokens":9}', "max_tokens"),
        (Dialect.CHAT, {"model": "m", "messages": M, "max_tokens": 1, "max_completion_tokens": 2},
         "max_tokens"),
        (Dialect.CHAT, b'{"model":"m","messages":[],"stream_options":'
         b'{"include_usage":true,"include_usage":false}}', "stream_options"),
        (Dialect.CHAT, {"model": "m", "messages": M, "service_tier": "scale"}, "service_tier"),
        (Dialect.CHAT, {"model": "m", "messages": M, "store": True}, "store"),
        (Dialect.CHAT, {"model": "m", "messages": M, "web_search_options": {}},
         "web_search_options"),
        (Dialect.CHAT, {"model": "m", "messages": M, "modalities": ["text", "audio"]},
         "modalities"),
        (Dialect.CHAT, {"model": "m", "messages": M, "tools": [{"type": "web_search"}]}, "tools"),
        (Dialect.CHAT, {"model": "m", "messages": M, "prompt_cache_options": {"ttl": "12h"}},
         "prompt_cache_options"),
        (Dialect.CHAT, {"model": "m", "messages": [{"role": "user", "content": [
            {"type": "text", "text": "x", "prompt_cache_breakpoint": {
                "mode": "explicit", "ttl": "12h"}}]}]}, "prompt_cache_options"),
        *((Dialect.CHAT, b'{"model":"m","messages":[],' + odd + b"}", "prompt_cache_options")
          for odd in (b'"prompt_cache_options":{"ttl":"12\\u0068"}',
                      b'"prompt\\u005fcache_options":{"ttl":"12h"}',
                      b'"prompt_cache_options":{"x":{},"t\\u0074l" : "12h"}',
                      b'"prompt_cache_options":{"ttl":"12h","ttl":"30m"}')),
        (Dialect.CHAT, {"model": "m", "messages": M, "n": 0}, "n"),
        (Dialect.CHAT, {"model": "m", "messages": M, "max_tokens": 0}, "max_tokens"),
        (Dialect.MESSAGES, {"model": "m", "messages": M, "max_tokens": 1,
                            "tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools"),
        *((dialect, b'{"model":"m","max_tokens":9,"messages":[],"tools":[{"type":"' + hidden
           + b'","type":"' + shown + b'"}]}', "type")
          for dialect, hidden, shown in (
              (Dialect.CHAT, b"web_search", b"function"), (Dialect.RESPONSES, b"mcp", b"function"),
              (Dialect.MESSAGES, b"web_search_20250305", b"custom"))),
        (Dialect.MESSAGES, b'{"model":"m","max_tokens":9,"messages":[],"context_management":{'
         b'"edits":[{"type":"compact_20260112","t\\u0079pe":"clear_thinking_20251015"}]}}', "type"),
        (Dialect.RESPONSES, b'{"model":"m","input":[{"type":"additional_tools",'
         b'"tools":[{"type":"mcp"}],"tools":[]}]}', "tools"),
        (Dialect.MESSAGES, b'{"model":"m","max_tokens":9,"messages":[],'
         b'"metadata":{"user_id":"a","user\\u005fid":"b"}}', "metadata"),
        (Dialect.CHAT, {"model": "m", "messages": M, "tools": [{"web_search": {}}]}, "tools"),
        (Dialect.CHAT, {"model": "m", "messages": M, "tools": [{"type": "function_hosted"}]},
         "tools"),
        (Dialect.MESSAGES, {"model": "m", "messages": M, "max_tokens": 1, "tools": [
            {"type": "bash_code_execution_20260101", "name": "bash"}]}, "tools"),
        (Dialect.MESSAGES, {"model": "m", "messages": M, "max_tokens": 1, "speed": "warp"},
         "speed"),
        (Dialect.MESSAGES, {"model": "m", "messages": M, "max_tokens": 1, "inference_geo": "eu"},
         "inference_geo"),
        (Dialect.MESSAGES, {"model": "m", "messages": M, "max_tokens": -1}, "max_tokens"),
        (Dialect.MESSAGES, {"model": "m", "messages": M}, None),
        (Dialect.CHAT, {"messages": M}, None),
        (Dialect.CHAT, b"[]", None),
        (Dialect.CHAT, b'{"model":"m","messages":[]', None),
        (Dialect.CHAT, b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
        (Dialect.CHAT, b"\xff\xfe", None),
    ],
)  # fmt: skip
def test_what_cannot_be_priced_or_read_is_refused_by_name(
    dialect: Dialect, body: Any, param: str | None
) -> None:
    """A 400 that names the member."""
    with pytest.raises(InvalidRequest) as refused:
        read(dialect, body)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","input":[{"id":"msg_1"}]}',
        b'{"model":"m","input":[{"type":"item_reference","id":"msg_1"}]}',
        b'{"model":"m","input":[{"type":"code_interpreter_call","container_id":"cntr_1"}]}',
        b'{"model":"m","input":"x","previous_response_id":"resp_1"}',
        b'{"model":"m","input":"x","model":"n"}',
        b'{"model":"m","input":"x","tools":[{"type":"mcp","type":"function"}]}',
    ],
)
def test_what_is_only_counted_reaches_nothing_stored_either(body: bytes) -> None:
    """The upstream would read it to count it."""
    with pytest.raises(InvalidRequest):
        request.read_counted(Dialect.RESPONSES, body)


@pytest.mark.parametrize("dialect", [Dialect.MESSAGES, Dialect.RESPONSES])
def test_what_is_only_counted_needs_no_more_than_its_input(dialect: Dialect) -> None:
    turns = [{"role": "user", "content": "x"}, {"type": "message", "role": "user", "content": "y"}]
    body = {"model": "m", "input": turns, "messages": turns}
    assert request.read_counted(dialect, json.dumps(body).encode()).model == "m"


@pytest.mark.parametrize(
    ("dialect", "members", "terms"),
    [
        (Dialect.CHAT, {}, ("", "")),
        (Dialect.CHAT, {"service_tier": "default"}, ("", "")),
        (Dialect.CHAT, {"service_tier": "flex"}, ("flex", "")),
        (Dialect.CHAT, {"service_tier": "priority"}, ("priority", "")),
        (Dialect.CHAT, {"service_tier": "fast"}, ("priority", "")),
        (Dialect.CHAT, {"service_tier": "ultrafast"}, ("ultrafast", "")),
        (Dialect.MESSAGES, {"service_tier": "auto"}, ("", "")),
        (Dialect.MESSAGES, {"service_tier": "standard_only", "speed": "fast"}, ("fast", "")),
        (Dialect.MESSAGES, {"speed": "standard", "inference_geo": "global"}, ("", "")),
        (Dialect.MESSAGES, {"speed": None, "inference_geo": "us"}, ("", "us")),
    ],
)
def test_tier_speed_and_place_are_read(
    dialect: Dialect, members: dict[str, Any], terms: tuple[str, str]
) -> None:
    """Each word in its one meaning; whether the model has a price for it is judged at admission."""
    body = {"model": "m", "messages": M, "max_tokens": 9, **members}
    assert read(dialect, body).terms == terms


@pytest.mark.parametrize("value", [None, "auto", "default"])
def test_harmless_values_of_refused_fields_pass(value: Any) -> None:
    """null and the ordinary tier cost nothing extra."""
    said = [{"role": "user", "content": '"prompt_cache_options":{"ttl":"12h"}'}]
    body = {"model": "m", "messages": said, "service_tier": value, "store": False, "tools": None,
            "prompt_cache_options": {"ttl": "30m"}}  # fmt: skip
    assert read(Dialect.CHAT, body).model == "m"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        ({"include_obfuscation": False}, {"include_usage": True, "include_obfuscation": False}),
        ({"include_usage": False}, {"include_usage": True}),
    ],
)
@pytest.mark.parametrize("given_null", [True, False])
def test_usage_is_always_asked_for(options: Any, expected: Any, given_null: bool) -> None:
    """One splice; everything else byte for byte."""
    body: dict[str, Any] = {"model": "m", "messages": M, "stream": True}
    if options is not None or given_null:
        body["stream_options"] = options
    raw = json.dumps(body).encode()
    asked = read(Dialect.CHAT, raw)
    edited = edits.apply(raw, request.usage_splices(asked, raw))
    assert json.loads(edited) == {**body, "stream_options": expected}
    asked_for = {**body, "stream_options": {"include_usage": True}}
    raw = json.dumps(asked_for).encode()
    assert edits.apply(raw, request.usage_splices(read(Dialect.CHAT, raw), raw)) is raw


@pytest.mark.parametrize(("member", "present"), [("max_tokens", True), ("max_tokens", False)])
@pytest.mark.parametrize("rename", [True, False])
def test_the_clamp_edits_one_number(member: str, present: bool, rename: bool) -> None:
    """The limit is replaced, renamed or inserted; the rest stays."""
    body: dict[str, Any] = {"model": "m", "messages": M}
    if present:
        body[member] = 9000
    raw = json.dumps(body, indent=2).encode()
    asked = read(Dialect.CHAT, raw)
    name = "max_completion_tokens" if rename else (member if present else asked.limit_member)
    edited = edits.apply(raw, request.limit_splices(asked, raw, 77, name))
    body.pop(member, None)
    assert json.loads(edited) == {**body, name: 77}
    assert edited.count(b"\n") == raw.count(b"\n")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("clamped", [True, False])
@pytest.mark.parametrize("limit", [None, 9000])
@pytest.mark.parametrize("order", [1, -1])
def test_a_limit_never_stands_twice(name: str, clamped: bool, limit: Any, order: int) -> None:
    """A null under the other name is no second limit, which an upstream would take as none."""
    pairs = {"max_tokens": limit, "max_completion_tokens": None}
    body = {"model": "m", "messages": M, **dict(list(pairs.items())[::order])}
    raw = json.dumps(body).encode()
    asked = read(Dialect.CHAT, raw)
    if clamped:
        splices = request.limit_splices(asked, raw, 77, name)
    else:
        splices = request.rename_splices(asked, raw, name)
    sent = json.loads(edits.apply(raw, splices), object_pairs_hook=list)
    limits = [(member, value) for member, value in sent if member.startswith("max_")]
    other = ({*pairs} - {name}).pop()
    assert sorted(limits) == sorted([(name, 77 if clamped else limit), (other, None)])


def test_several_edits_at_once_do_not_disturb_each_other() -> None:
    """Model, usage, limit and its name."""
    raw = b'{ "stream":true ,"max_tokens" : 100000,"model":"alias","messages":[{"a":"max_tokens"}]}'
    asked = read(Dialect.CHAT, raw)
    splices = request.model_splices(asked, "real")
    splices += request.usage_splices(asked, raw)
    splices += request.limit_splices(asked, raw, 5, "max_completion_tokens")
    assert edits.apply(raw, splices) == (
        b'{"stream_options":{"include_usage":true}, "stream":true ,"max_completion_tokens" : 5,'
        b'"model":"real","messages":[{"a":"max_tokens"}]}'
    )


@given(st.binary(max_size=200))
def test_rubbish_is_always_a_refusal(body: bytes) -> None:
    """Nothing but InvalidRequest comes out."""
    for dialect in (Dialect.CHAT, Dialect.MESSAGES):
        with contextlib.suppress(InvalidRequest):
            request.read(dialect, body)
