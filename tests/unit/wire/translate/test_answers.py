"""Answers in both directions: whole, streamed, cut at every byte, interleaved, failed."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from corvus_proxy.errors import UpstreamUnavailable
from corvus_proxy.wire import translate
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.translate import Translation, errors
from corvus_proxy.wire.translate.chat_from_messages import FINISH
from corvus_proxy.wire.translate.events import Events
from corvus_proxy.wire.translate.messages_from_chat import STOP_REASONS
from corvus_proxy.wire.translate.reply import Reply
from tests import recorded

CHAT, MESSAGES = Dialect.CHAT, Dialect.MESSAGES
REPLY = Reply("the-slug", "req_1", 1_790_000_000, include_usage=True, input_estimate=7, thinks=True)


def as_chat(reply: Reply = REPLY) -> Translation:
    """A Messages answer, told as chat."""
    return Translation(CHAT, MESSAGES, reply)


def as_messages(reply: Reply = REPLY) -> Translation:
    return Translation(MESSAGES, CHAT, reply)


def event(name: str, **body: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **body})}  \n\n".encode()


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": choices, **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def read(told: bytes) -> list[Any]:
    """The events of a stream, as objects; [DONE] as its word."""
    events = Events()
    found = events.feed(told) + events.finish()
    return [json.loads(data) if data != b"[DONE]" else "[DONE]" for data in found]


def message_of(events: list[Any]) -> dict[str, Any]:
    """What a Messages client has at the end; the grammar is checked on the way."""
    first, *rest, before, last = events
    assert (first["type"], before["type"], last["type"]) == (
        "message_start", "message_delta", "message_stop",
    )  # fmt: skip
    blocks: list[Any] = []
    running = False
    for one in rest:
        assert one["index"] == len(blocks) - (one["type"] != "content_block_start")
        if one["type"] == "content_block_start":
            assert not running
            blocks.append({**one["content_block"], "json": ""})
        assert running == (one["type"] != "content_block_start")
        running = one["type"] != "content_block_stop"
        match one.get("delta"):
            case {"type": "text_delta", "text": text}:
                blocks[-1]["text"] += text
            case {"type": "thinking_delta", "thinking": text}:
                blocks[-1]["thinking"] += text
            case {"type": "input_json_delta", "partial_json": text}:
                blocks[-1]["json"] += text
    assert not running
    for block in blocks:
        text = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(text or "{}")
    return {**first["message"], **before["delta"], "content": blocks, "usage": before["usage"]}


def completion_of(events: list[Any]) -> dict[str, Any]:
    """What a chat client has at the end."""
    assert events[-1] == "[DONE]"
    *chunks, usage = events[:-1]
    assert usage["choices"] == []
    found: dict[str, Any] = {"content": "", "reasoning": "", "calls": {}, "thinking_blocks": []}
    for one in chunks:
        assert one["usage"] is None
        (choice,) = one["choices"]
        delta = choice["delta"]
        found["content"] += delta.get("content") or ""
        found["reasoning"] += delta.get("reasoning_content") or ""
        found["thinking_blocks"] += delta.get("thinking_blocks") or []
        for call in delta.get("tool_calls") or ():
            if "id" in call:
                assert call["index"] == len(found["calls"])
                found["calls"][call["index"]] = [call["id"], call["function"]["name"], ""]
            found["calls"][call["index"]][2] += call["function"]["arguments"]
        assert (choice["finish_reason"] is None) == (one is not chunks[-1])
    return {**found, "finish": chunks[-1]["choices"][0]["finish_reason"], "usage": usage["usage"]}


COUNTS = {"input_tokens": 1_000, "cache_read_input_tokens": 6_000, "output_tokens": 500,
          "cache_creation_input_tokens": 3_000,
          "output_tokens_details": {"thinking_tokens": 400}}  # fmt: skip
CONTENT = [
    {"type": "thinking", "thinking": "hm, so", "signature": "sig"},
    {"type": "text", "text": "I look."},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
    {"type": "tool_use", "id": "toolu_2", "name": "time", "input": {}},
]
CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "content": CONTENT,
          "stop_reason": "tool_use", "usage": COUNTS}  # fmt: skip
CLAUDE_STREAM = [
    event("message_start", message={**CLAUDE, "content": [], "usage": {
        "input_tokens": 1_000, "output_tokens": 1}}),
    event("content_block_start", index=0, content_block={
        "type": "thinking", "thinking": "", "signature": ""}),
    event("ping"),
    event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm,"}),
    event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": " so"}),
    event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "sig"}),
    event("content_block_stop", index=0),
    event("content_block_start", index=1, content_block={"type": "text", "text": ""}),
    event("content_block_delta", index=1, delta={"type": "text_delta", "text": "I lo"}),
    event("content_block_delta", index=1, delta={"type": "text_delta", "text": "ok."}),
    event("content_block_stop", index=1),
    event("content_block_start", index=2, content_block={
        "type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}),
    event("content_block_delta", index=2, delta={
        "type": "input_json_delta", "partial_json": '{"city":'}),
    event("content_block_delta", index=2, delta={
        "type": "input_json_delta", "partial_json": ' "Oslo"}'}),
    event("content_block_stop", index=2),
    event("content_block_start", index=3, content_block={
        "type": "tool_use", "id": "toolu_2", "name": "time", "input": {}}),
    event("content_block_stop", index=3),
    event("message_delta", delta={"stop_reason": "tool_use"}, usage=COUNTS),
    event("message_stop"),
]  # fmt: skip
CHAT_COUNTS = {"prompt_tokens": 10_000, "completion_tokens": 500, "total_tokens": 10_500,
               "prompt_tokens_details": {"cached_tokens": 6_000, "cache_write_tokens": 3_000},
               "completion_tokens_details": {"reasoning_tokens": 400}}  # fmt: skip


def test_a_whole_answer_of_claudes_is_told_as_chat() -> None:
    """Counts in the other arithmetic: 1,000 beside 9,000 of cache is a prompt of 10,000."""
    told = json.loads(as_chat().whole(json.dumps(CLAUDE).encode()))
    (choice,) = told["choices"]
    assert (told["object"], told["model"], told["created"], told["id"]) == (
        "chat.completion", "the-slug", 1_790_000_000, "chatcmpl-msg_1",
    )  # fmt: skip
    assert choice["finish_reason"] == "tool_calls"
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("I look.", "hm, so")
    assert message["thinking_blocks"] == CONTENT[:1]
    assert [(call["id"], call["function"]) for call in message["tool_calls"]] == [
        ("toolu_1", {"name": "weather", "arguments": '{"city": "Oslo"}'}),
        ("toolu_2", {"name": "time", "arguments": "{}"}),
    ]
    assert told["usage"] == CHAT_COUNTS


def test_a_stream_of_claudes_is_told_as_chat_cut_anywhere() -> None:
    """At every byte the same."""
    stream = b"".join(CLAUDE_STREAM)
    expected = as_chat().stream().feed(stream)
    found = completion_of(read(expected))
    assert found == {
        "content": "I look.", "reasoning": "hm, so", "finish": "tool_calls", "usage": CHAT_COUNTS,
        "thinking_blocks": CONTENT[:1],
        "calls": {0: ["toolu_1", "weather", '{"city": "Oslo"}'], 1: ["toolu_2", "time", "{}"]},
    }  # fmt: skip
    for at in range(len(stream)):
        translated = as_chat().stream()
        assert translated.feed(stream[:at]) + translated.feed(stream[at:]) == expected


def test_usage_is_told_only_to_those_who_asked() -> None:
    reply = REPLY._replace(include_usage=False)
    events = read(as_chat(reply).stream().feed(b"".join(CLAUDE_STREAM)))
    assert all("usage" not in one for one in events[:-1])
    assert all(one["choices"] for one in events[:-1])


PARALLEL = [
    chunk({"role": "assistant", "content": "", "refusal": None}, usage=None),
    chunk({"content": "I lo"}), chunk({"content": "ok."}),
    chunk({"tool_calls": [{"index": 0, "id": "a", "type": "function",
                           "function": {"name": "weather", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 1, "id": "b", "type": "function",
                           "function": {"name": "time", "arguments": '{"z'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}},
                          {"index": 1, "function": {"arguments": 'one": 1'}}]}),
    chunk({"tool_calls": [{"index": 1, "function": {"arguments": "}"}}]}),
    chunk({"tool_calls": [{"index": 2, "id": "c", "type": "function",
                           "function": {"name": "time", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]}),
    chunk({}, "tool_calls"),
    chunk(None, usage=CHAT_COUNTS),
    b"data: [DONE]\n\n",
]  # fmt: skip
BLOCKS = [
    {"type": "text", "text": "I look."},
    {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Oslo"}},
    {"type": "tool_use", "id": "b", "name": "time", "input": {"zone": 1}},
    {"type": "tool_use", "id": "c", "name": "time", "input": {}},
]


def test_interleaved_calls_are_told_one_after_the_other() -> None:
    """Cut anywhere; input is told as an estimate first, and truly at the end."""
    stream = b"".join(PARALLEL)
    expected = as_messages().stream().feed(stream)
    events = read(expected)
    assert events[0]["message"]["usage"]["input_tokens"] == REPLY.input_estimate
    found = message_of(events)
    assert found["content"] == BLOCKS
    assert (found["stop_reason"], found["model"], found["id"]) == ("tool_use", "the-slug", "msg_1")
    assert found["usage"] == {
        "input_tokens": 1_000,
        "cache_read_input_tokens": 6_000,
        "cache_creation_input_tokens": 3_000,
        "output_tokens": 500,
        "output_tokens_details": {"thinking_tokens": 400},
    }
    for at in range(len(stream)):
        translated = as_messages().stream()
        assert translated.feed(stream[:at]) + translated.feed(stream[at:]) == expected


def test_the_first_call_is_told_as_it_comes() -> None:
    """Nothing waits but what stands behind an open call."""
    translated = as_messages().stream()
    told = [bool(translated.feed(one)) for one in PARALLEL]
    assert told == [True, True, True, True, False, True, False, False, True, False, False, True]


def test_calls_one_after_the_other_are_told_as_they_come() -> None:
    """As vendors really send them: where arguments are whole, the next call need not wait."""

    def said(index: int, arguments: str, **more: Any) -> bytes:
        function = {"arguments": arguments, **({"name": "f"} if more else {})}
        return chunk({"tool_calls": [{"index": index, "function": function, **more}]})

    pieces = [
        said(0, "", id="a"), said(0, '{"x": {'), said(0, "}}"),
        said(1, "", id="b"), said(1, '{"y":'), said(1, " 2}"), said(1, " "),
        said(2, "{}", id="c"), chunk({"content": "so"}), said(1, "\n"),
    ]  # fmt: skip
    translated = as_messages().stream()
    told = [translated.feed(piece) for piece in pieces]
    assert [bool(one) for one in told] == [True] * 9 + [False]
    end = translated.feed(chunk({}, "tool_calls") + b"data: [DONE]\n\n")
    found = message_of(read(b"".join(told) + end))
    inputs = [block.get("input", block.get("text")) for block in found["content"]]
    assert inputs == [{"x": {}}, {"y": 2}, {}, "so"]


def test_a_whole_chat_answer_is_told_as_messages() -> None:
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": json.dumps(block["input"])},
        }
        for block in BLOCKS[1:]
    ]
    body = {
        "id": "chatcmpl-1",
        "usage": CHAT_COUNTS,
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {"content": "I look.", "reasoning_content": "hm", "tool_calls": calls},
            }
        ],
    }
    told = json.loads(as_messages().whole(json.dumps(body).encode()))
    thought = {"type": "thinking", "thinking": "hm", "signature": ""}
    assert told["content"] == [thought, *BLOCKS]
    assert (told["stop_reason"], told["type"], told["role"]) == ("tool_use", "message", "assistant")
    assert told["usage"]["input_tokens"] == 1_000
    quiet = json.loads(as_messages(REPLY._replace(thinks=False)).whole(json.dumps(body).encode()))
    assert quiet["content"] == BLOCKS


def test_arguments_of_a_whole_answer_are_the_bytes_they_are() -> None:
    """Numbers keep their digits; arguments that the limit cut short are none."""
    written = '{"x": 1.50, "y": 0.12345678901234567890, "z":1e2}'
    use = {"type": "tool_use", "id": "a", "name": "f", "input": "INPUT"}
    claude = json.dumps({**CLAUDE, "content": [use]}).replace('"INPUT"', written)
    (choice,) = json.loads(as_chat().whole(claude.encode()))["choices"]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == written
    for given, told in ((written, written), (written[:9], "{}"), ("", "{}"), ("[1]", "{}")):
        call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": given}}
        body = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "length"}]}
        assert f'"input":{told}'.encode() in as_messages().whole(json.dumps(body).encode())


@pytest.mark.parametrize(("reason", "finish"), FINISH.items())
def test_stop_reasons_have_their_finish_reason(reason: str, finish: str) -> None:
    body = {**CLAUDE, "content": [], "stop_reason": reason}
    (choice,) = json.loads(as_chat().whole(json.dumps(body).encode()))["choices"]
    assert choice["finish_reason"] == finish
    stream = [CLAUDE_STREAM[0], event("message_delta", delta={"stop_reason": reason}),
              event("message_stop")]  # fmt: skip
    assert completion_of(read(as_chat().stream().feed(b"".join(stream))))["finish"] == finish


@pytest.mark.parametrize(("finish", "reason"), STOP_REASONS.items())
def test_finish_reasons_have_their_stop_reason(finish: str, reason: str) -> None:
    body = {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": finish}]}
    assert json.loads(as_messages().whole(json.dumps(body).encode()))["stop_reason"] == reason
    stream = chunk({"content": "x"}) + chunk({}, finish) + b"data: [DONE]\n\n"
    assert message_of(read(as_messages().stream().feed(stream)))["stop_reason"] == reason


def test_a_refusal_is_one() -> None:
    stream = chunk({"refusal": "I will not."}) + chunk({}, "stop") + b"data: [DONE]\n\n"
    found = message_of(read(as_messages().stream().feed(stream)))
    assert (found["stop_reason"], found["content"][0]["text"]) == ("refusal", "I will not.")


@pytest.mark.parametrize(
    ("made", "stream", "trouble"),
    [
        (
            as_chat,
            CLAUDE_STREAM,
            event("error", error={"type": "overloaded_error", "message": "m"}),
        ),
        (as_messages, PARALLEL, b'data: {"error": {"message": "m"}}\n\n'),
        (as_chat, CLAUDE_STREAM, b"data: {rubbish\n\ndata: []\n\n"),
        (as_messages, PARALLEL, b"data: {rubbish\n\ndata: []\n\n"),
    ],
)
def test_a_cut_stream_has_no_end_and_an_upstreams_error_is_not_told(
    made: Callable[[], Translation], stream: list[bytes], trouble: bytes
) -> None:
    """Who knows what was charged tells the error, in the caller's dialect."""
    for at in range(len(stream) - 1):
        translated = made().stream()
        told = translated.feed(b"".join(stream[:at]) + trouble) + translated.finish()
        assert told == made().stream().feed(b"".join(stream[:at]))
        assert not any(one == "[DONE]" or one.get("type") == "message_stop" for one in read(told))


@pytest.mark.parametrize("made", [as_chat, as_messages])
def test_the_last_event_needs_no_empty_line(made: Callable[[], Translation]) -> None:
    stream = b"".join(CLAUDE_STREAM if made is as_chat else PARALLEL)
    translated = made().stream()
    assert translated.feed(stream[:-2]) + translated.finish() == made().stream().feed(stream)


def test_what_is_no_answer_is_a_fault_of_the_upstream() -> None:
    for made in (as_chat(), as_messages()):
        for body in (b"[]", b'{"content": 3, "choices": 3}', b"{"):
            with pytest.raises(UpstreamUnavailable):
                made.whole(body)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_end_as_the_standard_says(end: bytes) -> None:
    """Three line endings, a byte-order mark, comments, several data lines; cut anywhere."""
    lines = [b": c", b"", b"event: x", b"data: a", b"data:b", b"id: 3", b"", b"data: c", b"", b""]
    text = b"\xef\xbb\xbf" + end.join(lines)
    assert Events().feed(text) == [b"a\nb", b"c"]
    for at in range(len(text)):
        events = Events()
        assert events.feed(text[:at]) + events.feed(text[at:]) == [b"a\nb", b"c"]


@pytest.mark.parametrize(
    ("caller", "status", "upstream", "expected"),
    [
        (CHAT, 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "m"}},
         {"error": {"message": "m", "type": "invalid_request_error", "param": None, "code": None}}),
        (CHAT, 400, {"error": {"message": "prompt is too long: 9 > 8"}},
         {"error": {"message": "prompt is too long: 9 > 8", "type": "invalid_request_error",
                    "param": None, "code": "context_length_exceeded"}}),
        (MESSAGES, 404, {"error": {"message": "m", "code": "model_not_found"}},
         {"type": "error", "request_id": "r",
          "error": {"type": "not_found_error", "message": "m"}}),
        (MESSAGES, 400, {"error": {"message": "m", "code": "context_length_exceeded"}},
         {"type": "error", "request_id": "r",
          "error": {"type": "invalid_request_error", "message": "prompt is too long: m"}}),
        (MESSAGES, 413, {}, {"type": "error", "request_id": "r", "error": {
            "type": "request_too_large", "message": "The upstream refused the request."}}),
    ],
)  # fmt: skip
def test_an_upstreams_refusal_is_told_in_the_callers_words(
    caller: Dialect, status: int, upstream: Any, expected: Any
) -> None:
    told = errors.body(caller, status, json.dumps(upstream).encode(), "r")
    assert json.loads(told) == expected


def test_the_callers_own_dialect_comes_first() -> None:
    """Then one that is translated, else none."""

    def speaks(*ones: Dialect) -> Callable[[Dialect], bool]:
        return lambda one: one in ones

    assert translate.upstream_dialect(speaks(CHAT, MESSAGES), MESSAGES) is MESSAGES
    assert translate.upstream_dialect(speaks(CHAT), MESSAGES) is CHAT
    assert translate.upstream_dialect(speaks(MESSAGES), CHAT) is MESSAGES
    assert translate.upstream_dialect(speaks(), CHAT) is None


def streams(*dialects: str) -> list[Any]:
    rows = [row for row in recorded.recordings(*dialects) if row.is_stream and row.status == 200]
    return [pytest.param(row, id=row.file) for row in rows]


def told_in_pieces(translation: Translation, body: bytes, seed: str) -> list[Any]:
    """The events of a recording, cut at random; the same as uncut."""
    source, translated, told = random.Random(seed), translation.stream(), b""
    at = 0
    while at < len(body):
        size = source.randrange(1, 400)
        told += translated.feed(body[at : at + size])
        at += size
    told += translated.finish()
    whole = translation.stream()
    assert told == whole.feed(body) + whole.finish()
    return read(told)


@pytest.mark.parametrize("recording", streams("anthropic"))
def test_recorded_messages_streams_become_chat(recording: recorded.Recording) -> None:
    """The same words, in chat's grammar; one that was cut or failed has no end."""
    events = told_in_pieces(as_chat(), recording.body, recording.file)
    theirs = [event for event in read(recording.body) if isinstance(event, dict)]
    ends = any(event["type"] == "message_stop" for event in theirs)
    assert ("[DONE]" in events) == ends
    if not ends:
        return
    found = completion_of(events)
    theirs = theirs[: [event["type"] for event in theirs].index("message_stop")]
    deltas = [event["delta"] for event in theirs if event["type"] == "content_block_delta"]
    assert found["content"].endswith("".join(delta.get("text") or "" for delta in deltas))
    assert found["reasoning"] == "".join(delta.get("thinking") or "" for delta in deltas)
    blocks = [one["content_block"] for one in theirs if one["type"] == "content_block_start"]
    called = [(block["id"], block["name"]) for block in blocks if block["type"] == "tool_use"]
    assert [(call[0], call[1]) for call in found["calls"].values()] == called
    assert all(call[2].startswith("{") for call in found["calls"].values())


@pytest.mark.parametrize("recording", streams("chat", "zai-chat"))
def test_recorded_chat_streams_become_messages(recording: recorded.Recording) -> None:
    """The same words, in the grammar of Messages."""
    events = told_in_pieces(as_messages(), recording.body, recording.file)
    theirs = [event for event in read(recording.body) if isinstance(event, dict)]
    if events[-1:] == [] or events[-1]["type"] != "message_stop":
        assert b"[DONE]" not in recording.body or not any(one.get("choices") for one in theirs)
        return
    found = message_of(events)
    deltas = [one["choices"][0].get("delta") or {} for one in theirs if one.get("choices")
              and one["choices"][0].get("index", 0) == 0]  # fmt: skip
    texts = [block["text"] for block in found["content"] if block["type"] == "text"]
    assert "".join(texts) == "".join(
        (delta.get("content") or "") + (delta.get("refusal") or "") for delta in deltas
    )
