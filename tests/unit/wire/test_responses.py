"""Reading a request for a response: tools, items, storing; how one ends that had begun."""

import json
from typing import Any

import pytest

from corvus_proxy.errors import InvalidRequest, OutOfBalance, UpstreamUnavailable
from corvus_proxy.wire import edits, refusal, request
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.openai.failed import Told

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
SEARCH = {"type": "web_search", "external_web_access": False}
IMAGES = {"type": "image_generation"}


def read(**more: Any) -> tuple[request.Asked, bytes]:
    body = json.dumps({"model": "gpt-5.5", "input": "hi", **more}).encode()
    return request.read(Dialect.RESPONSES, body), body


def sent(**more: Any) -> bytes:
    asked, body = read(**more)
    return edits.apply(body, list(asked.splices))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, (False, None)),
        ({"stream": True, "max_output_tokens": 500}, (True, 500)),
        ({"max_output_tokens": None, "stream": None}, (False, None)),
        ({"prompt_cache_options": {"prewarm": True}, "max_output_tokens": 500}, (False, 0)),
    ],
)
def test_what_is_asked_for(more: Any, expected: Any) -> None:
    """Stream and limit; a prewarmed prompt makes no output."""
    asked, _ = read(**more)
    assert (asked.stream, asked.limit_tokens) == expected
    assert (asked.limit_member, asked.choices) == ("max_output_tokens", 1)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, b'{"store":false,"model": "gpt-5.5", "input": "hi"}'),
        ({"store": False}, b'{"model": "gpt-5.5", "input": "hi", "store": false}'),
        ({"store": True}, b'{"model": "gpt-5.5", "input": "hi", "store": false}'),
        ({"store": None}, b'{"model": "gpt-5.5", "input": "hi", "store": false}'),
    ],
)
def test_nothing_is_stored_at_the_upstream(more: Any, expected: bytes) -> None:
    """Whatever the client says or leaves out; not a byte is touched where it says so itself."""
    assert sent(**more) == expected
    asked, _ = read(**more)
    assert bool(asked.splices) == (more.get("store") is not False)


@pytest.mark.parametrize(
    ("tools", "left", "names"),
    [
        ([FUNCTION, SEARCH], [FUNCTION], ("web_search",)),
        ([SEARCH, FUNCTION], [FUNCTION], ("web_search",)),
        ([SEARCH, IMAGES, FUNCTION], [FUNCTION], ("web_search", "image_generation")),
        ([FUNCTION, SEARCH, FUNCTION, SEARCH], [FUNCTION, FUNCTION], ("web_search",)),
        ([FUNCTION, SEARCH, IMAGES], [FUNCTION], ("web_search", "image_generation")),
        ([FUNCTION], [FUNCTION], ()),
        ([], [], ()),
        ([{"type": "namespace", "name": "n", "tools": [FUNCTION]}, SEARCH],
         [{"type": "namespace", "name": "n", "tools": [FUNCTION]}], ("web_search",)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("indent", [None, 1])
def test_a_search_that_an_agent_offers_unasked_is_taken_out(
    tools: Any, left: Any, names: Any, indent: int | None
) -> None:
    """One comma goes with it, the other tools stay byte for byte, and its name is told."""
    given = {"model": "m", "input": "hi", "store": False, "tools": tools, "stream": True}
    body = json.dumps(given, indent=indent).encode()
    asked = request.read(Dialect.RESPONSES, body)
    edited = edits.apply(body, list(asked.splices))
    assert json.loads(edited) == {**given, "tools": left}
    assert asked.removed_tools == names
    assert (edited == body) == (not names)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [SEARCH]}, "tools"),
        ({"tools": [SEARCH, IMAGES]}, "tools"),
        ({"tools": [FUNCTION, SEARCH], "tool_choice": {"type": "web_search"}}, "tools"),
        ({"tools": [FUNCTION, SEARCH],
          "tool_choice": {"type": "allowed_tools", "tools": [{"type": "web_search"}]}}, "tools"),
        ({"tools": [FUNCTION, {"type": "code_interpreter"}]}, "tools"),
        ({"tools": [FUNCTION, {"type": "mcp", "server_url": "https://x"}]}, "tools"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]}, "tools"),
        ({"tools": [7]}, "tools"),
        ({"input": [{"type": "additional_tools", "tools": [FUNCTION, {"type": "mcp"}]}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
        ({"input": [{"id": "msg_1"}]}, "input"),
        ({"input": [{"type": None, "id": "msg_1"}]}, "input"),
        ({"input": [{"type": "compaction_trigger"}]}, "input"),
        ({"input": [7]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
         "input"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"reasoning": {"mode": "pro"}}, "reasoning"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"prompt_cache_options": {"ttl": "12h"}}, "prompt_cache_options"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": "many"}, None),
    ],
)  # fmt: skip
def test_what_cannot_be_priced_or_would_be_shared_is_refused_by_name(
    more: Any, param: str | None
) -> None:
    """A 400 that names the member."""
    with pytest.raises(InvalidRequest) as refused:
        read(**more)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "more",
    [
        {"background": False, "previous_response_id": None, "conversation": None},
        {"reasoning": {"effort": "high", "summary": "auto", "context": "all_turns"}},
        {"tools": [{"type": "tool_search", "execution": "client"},
                   {"type": "custom", "name": "c"}]},
        {"input": [{"type": "reasoning", "encrypted_content": "gAAAA", "summary": []},
                   {"type": "function_call_output", "call_id": "c", "output": "x"},
                   {"type": "additional_tools", "tools": [FUNCTION]}]},
        {"service_tier": "flex", "metadata": {"a": "b"}, "truncation": "auto"},
    ],
)  # fmt: skip
def test_what_is_priced_passes(more: Any) -> None:
    """Not a byte is touched."""
    asked, body = read(store=False, **more)
    assert edits.apply(body, list(asked.splices)) is body


def test_the_vendors_own_tools_are_counted() -> None:
    """For each of them the upstream adds instructions; one that is taken out adds none."""
    tools = [FUNCTION, SEARCH, {"type": "local_shell"}, {"type": "tool_search"}]
    assert read(tools=tools)[0].vendor_tools == 2
    assert read(tools=[FUNCTION])[0].vendor_tools == 0


def test_a_member_that_stands_twice_inside_is_refused() -> None:
    """An upstream may take either."""
    body = b'{"model":"m","input":"x","reasoning":{"mode":"pro","mode":null}}'
    with pytest.raises(InvalidRequest):
        request.read(Dialect.RESPONSES, body)


def test_a_name_that_means_nothing_lowers_no_count() -> None:
    """Embeddings have no output limit; a member without a name is input like any other."""
    plain = request.read(Dialect.EMBEDDINGS, b'{"model":"m","input":"x"}')
    odd = request.read(Dialect.EMBEDDINGS, b'{"model":"m","input":"x","":"%s"}' % (b"long " * 99))
    assert plain.limit_quarter_tokens == odd.limit_quarter_tokens == 0
    assert odd.scan.quarter_tokens > plain.scan.quarter_tokens


@pytest.mark.parametrize("value", [b"7", b"null", b'{"a":1}'])
def test_embeddings_of_neither_text_nor_tokens_are_refused(value: bytes) -> None:
    """By name."""
    with pytest.raises(InvalidRequest) as refused:
        request.read(Dialect.EMBEDDINGS, b'{"model":"m","input":%s}' % value)
    assert refused.value.param == "input"


def failed(error: Any, told: Told) -> dict[str, Any]:
    event = refusal.in_band(Dialect.RESPONSES, error, "req_1", "https://x", 5, told=told)
    head, data, rest = event.split(b"\n", 2)
    assert (head, rest) == (b"event: response.failed", b"\n")
    found: dict[str, Any] = json.loads(data.removeprefix(b"data: "))
    return found


def test_a_response_that_had_begun_ends_under_its_own_id() -> None:
    """With the next number; an agent stops at once where the balance is gone."""
    found = failed(OutOfBalance("Out of balance: x"), Told("resp_7", "gpt-5.5", 41))
    assert found["sequence_number"] == 42
    assert found["response"]["id"] == "resp_7"
    assert found["response"]["status"] == "failed"
    error = found["response"]["error"]
    assert error["code"] == "insufficient_quota"
    assert (error["reason"], error["charged"]) == ("insufficient_balance", "0.000000005")
    assert error["message"].startswith("Out of balance")


def test_a_response_of_which_nothing_was_told_still_ends_well_formed() -> None:
    """It has an id of ours and the first number, and a code at which an agent tries again."""
    found = failed(UpstreamUnavailable("The upstream went."), Told())
    assert found["sequence_number"] == 0
    assert found["response"]["id"] == "resp_req_1"
    assert found["response"]["error"]["code"] == "upstream_unavailable"
