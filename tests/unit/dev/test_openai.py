"""The simulated OpenAI's own dialects: responses and embeddings, over real sockets."""

import asyncio
import base64
import json
import struct
from typing import Any

import httpx
import pytest

from corvus_proxy._fast import StreamMeter
from corvus_proxy.dev.openai import asked as openai_asked
from corvus_proxy.dev.providers import Providers, serve
from corvus_proxy.money.usage import from_responses

pytestmark = pytest.mark.anyio

KEY = {"authorization": "Bearer good-key"}
SCHEMA = {"type": "object", "required": ["city"], "properties": {"city": {"enum": ["Oslo"]}}}
WEATHER = {"type": "function", "name": "weather", "parameters": SCHEMA}
OTHER = {"type": "function", "name": "other", "parameters": {"type": "object"}}
PATCH = {"type": "custom", "name": "patch", "format": {"type": "text"}}


async def post(url: str, path: str = "/v1/responses", **asked: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url) as client:
        return await client.post(path, json={"model": "gpt-5.5", **asked}, headers=KEY)


def metered(answer: httpx.Response) -> StreamMeter:
    meter = StreamMeter("responses", False)
    meter.feed(answer.content)
    meter.finish()
    return meter


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = answer.content.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]


async def logged(providers: Providers) -> Any:
    """The last row: it is written when its request has ended."""
    async with asyncio.timeout(20):
        while not providers.served:  # noqa: ASYNC110 -- another task's list, no event
            await asyncio.sleep(0.005)
    return providers.served[-1]


async def test_a_streamed_response_says_what_it_used() -> None:
    """Numbered events, each named as its data says; usage at the end alone, as in the log."""
    async with serve(pace_ms=0) as (providers, url):
        answer = await post(url, input="hello", stream=True)
        row = await logged(providers)
    told = events(answer)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    names = [line[7:].decode() for line in answer.content.splitlines() if line[:6] == b"event:"]
    assert names == [event["type"] for event in told]
    assert (names[0], names[-1]) == ("response.created", "response.completed")
    meter = metered(answer)
    used = from_responses(json.loads(meter.usage_last))
    assert used.output == row.tokens_made == row.usage["output_tokens"] == 80
    assert meter.deltas == row.deltas_sent == used.output - used.reasoning == 64
    assert meter.service_tier == "default"
    assert (row.dialect, row.outcome) == ("responses", "completed")


async def test_a_whole_response_is_what_its_stream_ends_with() -> None:
    """The same output and counts."""
    async with serve(pace_ms=0, seed=3) as (_, url):
        whole = (await post(url, input="hello", max_output_tokens=40)).json()
        last = events(await post(url, input="hello", max_output_tokens=40, stream=True))[-1]
    assert last["type"] == "response.incomplete"
    assert whole["incomplete_details"] == {"reason": "max_output_tokens"}
    assert whole["usage"]["output_tokens"] == last["response"]["usage"]["output_tokens"] == 40
    kinds = [item["type"] for item in whole["output"]]
    assert (
        kinds == [item["type"] for item in last["response"]["output"]] == ["reasoning", "message"]
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("choice", "tools", "name"),
    [
        ("required", [WEATHER], "weather"),
        ({"type": "function", "name": "weather"}, [OTHER, WEATHER], "weather"),
        ({"type": "custom", "name": "patch"}, [WEATHER, PATCH], "patch"),
        ({"type": "allowed_tools", "mode": "required",
          "tools": [{"type": "function", "name": "weather"}]}, [OTHER, WEATHER], "weather"),
        ("required", [{"type": "namespace", "name": "n", "tools": [WEATHER]}], "weather"),
        ("auto", [WEATHER], None),
        ("none", [WEATHER], None),
    ],
)  # fmt: skip
async def test_a_tool_that_must_be_called_is_called(
    choice: Any, tools: Any, name: str | None, stream: bool
) -> None:
    """With arguments that fit its schema; after its output the answer is text."""
    more = {"tools": tools, "tool_choice": choice, "stream": stream}
    async with serve(pace_ms=0) as (_, url):
        answer = await post(url, input="hello", **more)
        found = events(answer)[-1]["response"] if stream else answer.json()
        item = found["output"][-1]
        if name is None:
            assert item["type"] == "message"
            return
        assert item["name"] == name
        if item["type"] == "function_call":
            assert json.loads(item["arguments"]) == {"city": "Oslo"}
        assert item.get("namespace") == ("n" if tools[0].get("tools") else None)
        if stream:
            meter = metered(answer)
            assert meter.deltas == found["usage"]["output_tokens"] - 16
        output = {"type": f"{item['type']}_output", "call_id": item["call_id"], "output": "rain"}
        items = [{"role": "user", "content": "hello"}, item, output]
        after = (await post(url, input=items, **{**more, "stream": False})).json()
    assert after["output"][-1]["type"] == "message"


@pytest.mark.parametrize(
    ("asked", "status", "param"),
    [
        ({}, 400, "input"),
        ({"input": "x", "max_output_tokens": 3}, 400, "max_output_tokens"),
        ({"input": "x", "previous_response_id": "r"}, 400, "previous_response_id"),
        ({"input": "x", "model": "nobody"}, 404, "model"),
        ({"input": "[[simulate: status=529]]"}, 529, None),
    ],
)
async def test_refusals_name_the_member(asked: Any, status: int, param: str | None) -> None:
    """Of this dialect."""
    async with serve(pace_ms=0) as (_, url):
        answer = await post(url, **asked)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


@pytest.mark.parametrize("wish", ["cut_after=3", "error_after=3", "cut_late", "no_usage"])
async def test_trouble_in_a_stream(wish: str) -> None:
    """What the gateway has to survive, in this dialect's words."""
    async with serve(pace_ms=0) as (_, url):
        try:
            answer = await post(url, input=f"[[simulate: {wish}]]", stream=True)
        except httpx.RemoteProtocolError:
            assert wish.startswith("cut")
            return
    meter = metered(answer)
    assert meter.failed == wish.startswith("error")
    assert meter.ended
    assert meter.usage_last == b""
    if meter.failed:
        assert json.loads(meter.error)["code"] == "server_error"
        assert not meter.usage_last


async def test_counting_counts_what_a_response_reports() -> None:
    """The same prompt, the same number."""
    asked = {"input": [{"role": "user", "content": "hello there"}], "instructions": "be kind"}
    async with serve(pace_ms=0) as (_, url):
        counted = (await post(url, "/v1/responses/input_tokens", **asked)).json()
        answered = (await post(url, **asked)).json()
    assert counted == {
        "object": "response.input_tokens",
        "input_tokens": answered["usage"]["input_tokens"],
    }


@pytest.mark.parametrize(
    ("given", "tokens", "rows"),
    [("four char", 3, 1), (["ab", "cdefg"], 3, 2), ([1, 2, 3], 3, 1), ([[1], [2, 3]], 3, 2)],
)
async def test_embeddings(given: Any, tokens: int, rows: int) -> None:
    """One vector of length one for each input, the same in either encoding, and their tokens."""
    asked = {"model": "text-embedding-3-small", "input": given, "dimensions": 5}
    async with serve(pace_ms=0) as (_, url):
        plain = (await post(url, "/v1/embeddings", **asked)).json()
        packed = (await post(url, "/v1/embeddings", **asked, encoding_format="base64")).json()
    assert plain["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert len(plain["data"]) == rows
    vector = plain["data"][0]["embedding"]
    assert sum(number * number for number in vector) == pytest.approx(1)
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert list(struct.unpack("<5f", raw)) == pytest.approx(vector)


@pytest.mark.parametrize("asked", [{"input": ""}, {"input": []}, {"model": "gpt-5.5"}])
async def test_embeddings_of_nothing_are_refused(asked: Any) -> None:
    """As by the real one."""
    async with serve(pace_ms=0) as (_, url):
        answer = await post(
            url, "/v1/embeddings", **{"model": "text-embedding-3-small", "input": "x", **asked}
        )
    assert answer.status_code in (400, 404)


def test_a_response_says_as_a_chat_what_it_says() -> None:
    """Instructions, texts, calls and their outputs, and tools wherever they stand."""
    chat = openai_asked.as_chat(
        {
            "model": "m",
            "instructions": "be kind",
            "max_output_tokens": 9,
            "reasoning": {"effort": "none"},
            "tools": [WEATHER, {"type": "web_search"}],
            "input": [
                {"type": "additional_tools", "tools": [OTHER]},
                {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "function_call", "name": "weather", "arguments": "{}", "call_id": "c"},
                {"type": "function_call_output", "call_id": "c", "output": "rain"},
            ],
        }
    )
    assert [message["role"] for message in chat["messages"]] == [
        "system", "user", "assistant", "tool",
    ]  # fmt: skip
    assert chat["messages"][1]["content"] == [{"type": "text", "text": "hi"}]
    assert [tool["name"] for tool in chat["tools"]] == ["weather", "other"]
    assert (chat["max_completion_tokens"], chat["reasoning_effort"]) == (9, "none")
