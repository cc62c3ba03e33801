"""The stream meter against its oracle: whole, cut anywhere, with every framing."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy._fast import StreamMeter
from tests.oracle import stream_oracle
from tests.recorded import Recording, recordings

STREAMS = [
    r for r in recordings("anthropic", "chat", "zai-chat", "chat-other", "responses") if r.is_stream
]
SHORT_MAX = 12288
FIELDS = (
    "letters", "symbols", "non_ascii", "deltas", "events", "started", "ended", "finished", "failed",
    "overflow", "restarts", "usage_start", "usage_last", "error", "model", "upstream_id", "reason",
    "service_tier", "committed", "tool_usage", "sequence",
    "generated",
)  # fmt: skip


def dialect(recording: Recording) -> str:
    return {"anthropic": "messages", "responses": "responses"}.get(recording.dialect, "chat")


def fed(kind: str, pieces: list[bytes], *, strip: bool = False) -> tuple[StreamMeter, bytes]:
    meter = StreamMeter(kind, strip)
    out = b"".join([meter.feed(piece) for piece in pieces]) + meter.finish()
    return meter, out


def state(seen: Any) -> dict[str, object]:
    return {name: getattr(seen, name) for name in FIELDS}


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces, some of them perhaps empty."""
    ends = [*sorted({min(place, len(stream)) for place in places}), len(stream)]
    return [stream[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def check(kind: str, stream: bytes, pieces: list[bytes], *, strip: bool = False) -> StreamMeter:
    """Figures and forwarded bytes are the oracle's."""
    meter, out = fed(kind, pieces, strip=strip)
    seen = stream_oracle.read(kind, stream, strip=strip)
    assert state(meter) == state(seen)
    assert out == seen.forwarded
    return meter


# -- recorded streams -------------------------------------------------------------------------


@pytest.mark.recordings
@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("recording", STREAMS, ids=lambda r: r.file)
def test_recorded_stream_is_read_as_the_oracle_reads_it(recording: Recording, strip: bool) -> None:
    """Fed whole, byte by byte and in pieces of any size, every figure is the oracle's."""
    stream, kind = recording.body, dialect(recording)
    check(kind, stream, [stream], strip=strip)
    check(kind, stream, [stream[i : i + 1] for i in range(len(stream))], strip=strip)
    places = random.Random(1).choices(range(len(stream)), k=200)
    check(kind, stream, cut(stream, places), strip=strip)


@pytest.mark.recordings
@pytest.mark.parametrize("recording", STREAMS, ids=lambda r: r.file)
def test_recorded_usage_is_the_manifests(recording: Recording) -> None:
    """Where the manifest names counts, the meter's last usage has just these."""
    meter, _ = fed(dialect(recording), [recording.body])
    expected = recording.usage
    if expected is None:
        assert meter.usage_last == b""
        return
    for part, found in (("start", meter.usage_start), ("delta", meter.usage_last)):
        if part in expected:
            assert expected[part].items() <= json.loads(found).items()
    if not {"start", "delta"} & expected.keys():
        assert expected.items() <= json.loads(meter.usage_last).items()


@pytest.mark.recordings
@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize(
    "recording", [r for r in STREAMS if len(r.body) <= SHORT_MAX], ids=lambda r: r.file
)
def test_recorded_stream_may_be_cut_at_every_position(recording: Recording, strip: bool) -> None:
    """Two pieces, cut at every byte: the same figures, the same bytes forwarded."""
    stream, kind = recording.body, dialect(recording)
    whole, _ = fed(kind, [stream])
    expected = stream_oracle.read(kind, stream, strip=strip).forwarded
    for at in range(len(stream) + 1):
        meter, out = fed(kind, [stream[:at], stream[at:]], strip=strip)
        assert out == expected
        assert state(meter) == state(whole)


@pytest.mark.recordings
@pytest.mark.parametrize("recording", STREAMS, ids=lambda r: r.file)
def test_a_chunk_that_is_not_cut_leaves_as_the_same_object(recording: Recording) -> None:
    """Without stripping nothing is copied."""
    chunk = recording.body
    assert StreamMeter(dialect(recording), False).feed(chunk) is chunk


@pytest.mark.recordings
@pytest.mark.parametrize(
    "recording", recordings("zai-chat"), ids=lambda recording: recording.file
)  # fmt: skip
def test_usage_beside_a_choice_is_never_cut_out(recording: Recording) -> None:
    """Z.AI's last chunk carries usage and the finish reason: not a byte of its stream goes."""
    if recording.is_stream:
        meter, out = fed("chat", [recording.body], strip=True)
        assert out == recording.body
        assert meter.usage_last


# -- streams of every shape -------------------------------------------------------------------

DECOY = 'decoy "usage":{"prompt_tokens":9} \\" } ]\n\t/\u20ac\u00e9\U0001f600'
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "x": {"usage": {"y": [1, 2, "}"]}}}
CHUNKS = [
    {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": 'Hé "y"\n\u20ac'}}]},
    {"choices": [{"delta": {"content": "", "role": "assistant"}}], "usage": None},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [{"delta": {"content": DECOY}, "finish_reason": ""}]},
    {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": '{"a":'}}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"custom": {"name": "f", "input": DECOY}}]}}]},
    {"choices": [{"delta": {"content": ["x", {"text": "y"}], "usage": {"prompt_tokens": 7}}}]},
    {"choices": [], "usage": USAGE},
    {"usage": {"prompt_tokens": 1}, "choices": []},
    {"usage": {}, "choices": []},
    {"usage": [1], "choices": []},
    {"usage": "x", "choices": []},
    {"usage": {"prompt_tokens": 2}},
    {"usage": {"prompt_tokens": 2}, "choices": None},
    {"usage": {"prompt_tokens": 2}, "choices": {"a": 1}},
    {"usage": {"prompt_tokens": 2}, "choices": [1]},
    {"usage": {"prompt_tokens": 2}, "choices": ["x"]},
    {"usage": {"prompt_tokens": 2}, "choices": [[]]},
    {"usage": {"prompt_tokens": 5}, "choices": [{"delta": {"content": "z"}}]},
    {"message": {"usage": {"prompt_tokens": 6}, "content": "not here"}, "choices": []},
    {"choices": [], "prompt_filter_results": [], "content": "not here", "id": "", "model": ""},
    {"service_tier": "flex", "choices": [{"delta": {"service_tier": "not here"}}]},
    {"choices": [], "usage": USAGE, "service_tier": "default"},
    {"service_tier": None, "choices": []},
    {"message": {"service_tier": "not here"}, "choices": [], "service_tier": ["not", "here"]},
    {"error": {"message": "x", "usage": {"prompt_tokens": 8}}},
    {"error": "just a text"},
    {"error": True},
    {"error": {}},
    {"error": None},
    {"error": ""},
    {"error": [" "]},
    ["usage", {"choices": [], "usage": {"prompt_tokens": 1}}],
    "usage",
    {"a": [[[[[[{"usage": {"prompt_tokens": 9}, "choices": [], "text": "t"}]]]]]]},
]
START = {
    "type": "message_start",
    "message": {"id": "m1", "model": "c", "usage": {"input_tokens": 5, "output_tokens": 1}},
}
EVENTS = [
    START,
    {"type": "message_start", "message": {"id": "m2", "usage": None}, "usage": {"not": "here"}},
    {"message": {"usage": {"input_tokens": 7}, "model": "late"}, "type": "message_start"},
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_start", "content_block": {"type": "tool_use", "input": {}}},
    {"type": "content_block_start",
     "content_block": {"type": "tool_use", "name": "f", "input": {"text": DECOY, "a": [1, {}]}}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": DECOY}},
    {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm\u00e9"}},
    {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": '{"a"'}},
    {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "abc"}},
    {"type": "content_block_delta", "delta": {"usage": {"output_tokens": 9}}, "text": "not here"},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    {"type": "message_delta", "delta": {"stop_reason": None}, "usage": None},
    {"usage": {"output_tokens": 6}, "delta": {}, "type": "message_delta"},
    {"type": "other", "usage": {"output_tokens": 99}, "message": {"usage": {"input_tokens": 99}}},
    {"type": "error", "error": {"type": "overloaded_error", "message": "no"}, "request_id": "r"},
    {"type": "error"},
    {"type": "message_stop"},
]  # fmt: skip
RESPONSE = {
    "id": "r1", "model": "m", "status": "in_progress", "error": None, "usage": None,
    "service_tier": "auto", "output": [], "incomplete_details": None,
}  # fmt: skip
ENDED = {
    **RESPONSE,
    "status": "completed",
    "service_tier": "default",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "not here"}]}],
    "usage": {"input_tokens": 5, "output_tokens": 2, "x": {"usage": {"y": 1}}},
    "tool_usage": {"web_search": {"num_requests": 1}},
}
CALL = {"type": "function_call", "name": "f", "arguments": '{"a":1}', "call_id": "not here"}
RESPONSES = [
    {"type": "response.created", "sequence_number": 0, "response": RESPONSE},
    {"type": "response.in_progress", "sequence_number": 1, "response": RESPONSE},
    {"type": "response.output_item.added", "sequence_number": 2, "item": {**CALL, "arguments": ""}},
    {"type": "response.output_text.delta", "delta": DECOY, "sequence_number": 13},
    {"delta": "late", "sequence_number": 4, "type": "response.function_call_arguments.delta"},
    {"type": "response.output_text.delta", "delta": ""},
    {"type": "response.reasoning_summary_text.delta", "delta": "told, not made"},
    {"type": "response.reasoning_summary.delta", "delta": {"text": "not here"}},
    {"type": "response.output_text.done", "text": "not here"},
    {"type": "response.output_item.done", "item": CALL},
    {"item": {"type": "custom_tool_call", "input": DECOY}, "type": "response.output_item.done"},
    {"type": "response.output_item.done", "item": {
        "type": "reasoning", "summary": [{"text": "not here"}], "encrypted_content": "not here",
        "content": [{"text": "here"}]}},
    {"type": "response.output_item.done", "item": {"type": "program", "code": "x = 1"}},
    {"type": "response.completed", "sequence_number": 120, "response": ENDED},
    {"response": {**ENDED, "incomplete_details": {"reason": "max_output_tokens"}},
     "type": "response.incomplete"},
    {"type": "response.failed", "response": {**RESPONSE, "error": {"code": "insufficient_quota"}}},
    {"type": "response.cancelled", "response": RESPONSE},
    {"type": "error", "error": {"code": "server_error", "message": "no"}, "sequence_number": 2},
    {"type": "error", "code": "rate_limit_exceeded", "message": "no", "param": None},
    {"type": "response.web_search_call.searching", "item_id": "x"},
    {"response": {"usage": {"input_tokens": 9}}, "usage": {"input_tokens": 9}, "type": "other"},
]  # fmt: skip
TWICE = [
    '{"type":"response.completed","response":{"usage":{"a":1},"usage":{"a":2},"id":"x"}}',
    '{"type":"response.completed","response":{"usage":{"a":1}},"response":{"id":"y"}}',
    '{"type":"response.failed","error":{"a":1},"response":{"error":null}}',
    '{"type":"error","error":{"a":1},"response":{"error":{"b":1}}}',
    '{"sequence_number":7,"sequence_number":null,"delta":"a","delta":"b","type":"response.x"}',
    '{"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":2},"choices":[]}',
    '{"usage":{"prompt_tokens":1},"choices":[],"usage":null}',
    '{"usage":null,"choices":[],"usage":{"prompt_tokens":3}}',
    '{"choices":[{"delta":{"content":"x"}}],"choices":[],"usage":{"prompt_tokens":4}}',
    '{"choices":[],"choices":null,"usage":{"prompt_tokens":4}}',
    '{"error":{"message":"x"},"error":null,"choices":[]}',
    '{"type":"ping","type":"message_start","message":{"usage":{"input_tokens":1}}}',
    '{"type":"message_start","message":{"usage":{"input_tokens":1}},"message":{"id":"x"}}',
    '{"type":"message_delta","type":7,"usage":{"output_tokens":1}}',
    '{"us\\u0061ge":{"prompt_tokens":1},"choi\\u0063es":[],"\\type":"error"}',
    '{"\\u0074ype":"message_\\u0073top"}',
]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.text(max_size=6))
NAMES = st.sampled_from([
    "usage", "message", "choices", "delta", "content_block", "error", "type", "text", "input",
    "content", "id", "model", "finish_reason", "stop_reason", "service_tier", "x", "response",
    "item", "summary", "code", "reason", "incomplete_details", "tool_usage", "sequence_number",
])  # fmt: skip
ANY = st.recursive(
    st.one_of(
        SCALARS,
        st.sampled_from(["message_start", "message_delta", "message_stop"]),
        st.sampled_from(["response.completed", "response.output_item.done", "response.x"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(NAMES, inner, max_size=4)
    ),
    max_leaves=14,
)  # fmt: skip


def framed(payloads: list[Any], newline: str, style: random.Random) -> str:
    """SSE as any server may write it."""
    text = "\ufeff" if style.random() < 0.2 else ""
    for payload in payloads:
        if style.random() < 0.2:
            text += f": waiting{newline}{newline if style.random() < 0.5 else ''}"
        if style.random() < 0.3:
            text += f"event: whatever: data{newline}id{newline}"
        indent = style.choice([None, None, 1])
        body = payload
        if not isinstance(payload, str) or payload[:1] not in "{[":
            body = json.dumps(payload, ensure_ascii=style.random() < 0.5, indent=indent)
        if style.random() < 0.3 and body.endswith("}"):
            body = body[:-1] + "     }  "
        space = style.choice(["", " "])
        for line in body.split("\n"):
            text += f"data:{space}{line}{newline}"
        text += newline * style.choice([1, 1, 2])
    return text


@given(
    st.lists(
        st.one_of(
            st.sampled_from(CHUNKS),
            st.sampled_from(EVENTS),
            st.sampled_from(RESPONSES),
            st.sampled_from(TWICE),
            ANY,
        ),
        max_size=7,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["chat", "messages", "responses"]),
    st.booleans(),
    st.sampled_from(["", "data: [DONE]\n\n", "data:[DONE]\r\rdata: [DONE] x\r\r"]),
    st.lists(st.integers(0, 2500), max_size=9),
    st.integers(0, 999),
)
def test_any_stream_is_read_as_the_oracle_reads_it(
    payloads: list[Any], newline: str, kind: str, strip: bool, end: str, cuts: list[int], seed: int
) -> None:
    """Three line endings, comments, padding, several data lines, key order, cuts anywhere."""
    text = framed(payloads, newline, random.Random(seed))
    stream = (text + end).encode("utf-8", "replace")
    meter = check(kind, stream, cut(stream, cuts), strip=strip)
    assert meter.boundary


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("comment", ["", ": waiting", "event: x"])
@pytest.mark.parametrize("kind", ["chat", "messages", "responses"])
def test_every_shape_may_be_cut_at_every_position(newline: str, comment: str, kind: str) -> None:
    """Each event between two others, stripped and not, in two pieces cut at every byte."""
    lead = comment + newline if comment else ""
    for payload in [*CHUNKS, *EVENTS, *RESPONSES, *TWICE]:
        given_text = isinstance(payload, str) and payload[:1] == "{"
        body = payload if given_text else json.dumps(payload, ensure_ascii=False)
        event = f"{lead}data: {body}{newline}{newline}"
        last = f"data: [DONE]{newline}{newline}"
        stream = (f'data: {{"choices":[{{}}]}}{newline}{newline}' + event + last).encode()
        for strip in (False, True) if kind == "chat" else (False,):
            seen = stream_oracle.read(kind, stream, strip=strip)
            expected = state(seen)
            for at in range(len(stream) + 1):
                meter, out = fed(kind, [stream[:at], stream[at:]], strip=strip)
                assert out == seen.forwarded
                assert state(meter) == expected


@given(
    st.sampled_from([*CHUNKS, *EVENTS, *RESPONSES]),
    st.sampled_from(["chat", "messages", "responses"]),
    st.booleans(),
    st.lists(st.integers(0, 300), max_size=3),
)
def test_an_event_without_its_blank_line_counts_at_the_end(
    payload: Any, kind: str, strip: bool, cuts: list[int]
) -> None:
    """A body may end behind the last data: what it said is known, and it is forwarded or cut."""
    stream = b"data: " + json.dumps(payload).encode()
    check(kind, stream, cut(stream, cuts), strip=strip)


# -- single claims ----------------------------------------------------------------------------


def test_only_what_may_have_to_go_is_held_back() -> None:
    """A choice, or the end of the event, lets the bytes go; without stripping all go at once."""
    meter = StreamMeter("chat", True)
    assert meter.feed(b'data: {"id":"x","choices":[') == b""
    assert meter.feed(b'{"delta":') == b'data: {"id":"x","choices":[{"delta":'
    assert meter.feed(b'{"content":"a"}}]}\n') == b'{"content":"a"}}]}\n'
    assert meter.feed(b"\n") == b"\n"
    assert meter.feed(b'data: {"error":{}}\n') == b""
    assert meter.feed(b"\n") == b'data: {"error":{}}\n\n'
    assert meter.feed(b": waiting\n\n") == b": waiting\n\n"
    assert StreamMeter("chat", False).feed(b"data: {") == b"data: {"
    assert StreamMeter("messages", True).feed(b"data: {") == b"data: {"


def test_an_event_that_is_cut_short_leaves_at_the_end() -> None:
    """What was held back of an incomplete event is the client's."""
    meter = StreamMeter("chat", True)
    assert meter.feed(b'data: {"choices":[],"usage":{') == b""
    assert meter.finish() == b'data: {"choices":[],"usage":{'
    assert meter.finish() == b""


@given(st.lists(st.binary(max_size=60), max_size=8), st.booleans(), st.booleans())
def test_rubbish_never_raises_and_is_forwarded(
    pieces: list[bytes], messages: bool, strip: bool
) -> None:
    """Upstream rubbish is data."""
    meter, out = fed("messages" if messages else "chat", pieces, strip=strip)
    assert out == b"".join(pieces)
    assert meter.letters >= 0


@given(
    st.lists(st.sampled_from([*CHUNKS, *EVENTS, *RESPONSES]), min_size=1, max_size=4),
    st.integers(0, 600), st.integers(0, 255), st.booleans(), st.integers(0, 600),
)  # fmt: skip
def test_a_damaged_stream_is_forwarded_the_same_however_it_is_cut(
    payloads: list[Any], at: int, byte: int, messages: bool, place: int
) -> None:
    """One byte changed: nothing raises, nothing is lost, and a cut makes no difference."""
    stream = framed(payloads, "\n", random.Random(at)).encode()
    stream = stream[:at] + bytes([byte]) + stream[at + 1 :]
    kind = "messages" if messages else "chat"
    whole, out = fed(kind, [stream])
    pieces, same = fed(kind, [stream[:place], stream[place:]])
    assert out == same == stream
    assert state(pieces) == state(whole)
    stripped = [
        fed(kind, part, strip=True)[1] for part in ([stream], [stream[:place], stream[place:]])
    ]
    assert stripped[0] == stripped[1]


def test_rubbish_behind_a_stream_changes_no_usage() -> None:
    """What cannot be read does not count."""
    chunk = b'data: {"choices":[],"usage":{"prompt_tokens":3}}\n\n'
    meter, _ = fed("chat", [chunk, b'data: {"usage": [[[\xff\r\r\n\n: x\n\n', b'data: {"usage":{'])
    assert meter.usage_last == b'{"prompt_tokens":3}'


def test_two_message_starts_are_counted_and_the_last_one_holds() -> None:
    """A relay that retried inside its stream starts the message anew."""
    delta = b'data: {"type":"message_delta","usage":{"output_tokens":1}}\n\n'
    start = b'data: {"type":"message_start","message":{"id":"m%d","usage":{"input_tokens":%d}}}\n\n'
    meter, _ = fed("messages", [start % (5, 5), delta, start % (7, 7)])
    assert (meter.restarts, meter.upstream_id) == (1, "m7")
    assert (meter.usage_start, meter.usage_last) == (b'{"input_tokens":7}', b"")


def test_the_end_may_come_twice() -> None:
    """[DONE] sent again, or after an error, says nothing new."""
    meter, _ = fed("chat", [b'data: {"error":{"code":"x"}}\n\ndata: [DONE]\n\ndata: [DONE]\n\n'])
    assert (meter.ended, meter.failed, meter.error) == (True, True, b'{"code":"x"}')


def test_an_incomplete_event_is_no_boundary() -> None:
    """We write nothing of our own inside somebody else's event."""
    meter = StreamMeter("chat", False)
    assert meter.boundary
    meter.feed(b"data: {}\n")
    assert not meter.boundary
    meter.feed(b"\n")
    assert meter.boundary


@pytest.mark.parametrize("piece", [1 << 16, 1 << 22])
@pytest.mark.parametrize(("size", "overflow"), [(1048576, False), (1048577, True)])
def test_usage_beyond_1_mb_is_not_kept(size: int, overflow: bool, piece: int) -> None:
    """Memory stays bounded; what could not be read is told, and the chunk is not cut out."""
    usage = b'{"x":"' + b"y" * (size - 8) + b'"}'
    stream = b'data: {"choices":[],"usage":' + usage + b"}\n\n"
    meter, out = fed("chat", cut(stream, list(range(0, len(stream), piece))), strip=True)
    assert out == stream  # longer than what would be held back
    assert meter.overflow is overflow
    assert meter.usage_last == (b"" if overflow else usage)


@pytest.mark.parametrize("piece", [1 << 16, 1 << 22])
@pytest.mark.parametrize(("size", "overflow"), [(65536, False), (65537, True)])
def test_an_error_beyond_64_kb_is_not_kept(size: int, overflow: bool, piece: int) -> None:
    """It still is an error."""
    error = b'{"message":"' + b"y" * (size - 14) + b'"}'
    stream = b'data: {"error":' + error + b"}\n\n"
    meter, _ = fed("chat", cut(stream, list(range(0, len(stream), piece))))
    assert (meter.failed, meter.overflow) == (True, overflow)
    assert meter.error == (b"" if overflow else error)


@pytest.mark.parametrize("piece", [700, 1 << 16, 1 << 22])
@pytest.mark.parametrize(("size", "goes"), [(1048576, True), (1048577, False)])
def test_an_event_beyond_1_mb_is_no_usage_chunk(size: int, goes: bool, piece: int) -> None:
    """No more than that is held back, however the event arrives."""
    stream = b'data: {"choices":[],"usage":{"a":1}'
    stream += b" " * (size - len(stream) - 3) + b"}\n\n"
    meter = StreamMeter("chat", True)
    out = b"".join(meter.feed(part) for part in cut(stream, list(range(0, len(stream), piece))))
    assert out == (b"" if goes else stream)
    assert meter.usage_last == b'{"a":1}'


def test_depth_without_end_is_no_matter() -> None:
    """Levels beyond 64 are counted; what stands behind them is read."""
    deep = b"[" * 100_000 + b"]" * 100_000
    stream = b'data: {"a":' + deep + b',"usage":{"b":1},"choices":[]}\n\n'
    meter, _ = fed("chat", [stream])
    assert meter.usage_last == b'{"b":1}'


@pytest.mark.parametrize("arguments", [("embeddings", False), ("", True)])
def test_an_unknown_dialect_is_a_value_error(arguments: tuple[str, bool]) -> None:
    """Three dialects are metered here."""
    with pytest.raises(ValueError):
        StreamMeter(*arguments)


@pytest.mark.parametrize("chunk", [None, "text", bytearray(b"x")])
def test_only_bytes_are_fed(chunk: Any) -> None:
    """A None or a text is the caller's mistake, told by the type."""
    with pytest.raises(TypeError):
        StreamMeter("chat", False).feed(chunk)
