"""The stream meter against its oracle: whole, cut anywhere, with every framing."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy._fast import StreamMeter
from tests.oracle import stream_oracle
from tests.recorded import Recording, recordings

STREAMS = [r for r in recordings("anthropic", "chat", "zai-chat", "chat-other") if r.is_stream]
FIELDS = (
    "letters",
    "symbols",
    "non_ascii",
    "deltas",
    "events",
    "started",
    "ended",
    "failed",
    "restarts",
    "model",
    "upstream_id",
)


def dialect(recording: Recording) -> str:
    return "messages" if recording.dialect == "anthropic" else "chat"


def fed(kind: str, pieces: list[bytes], *, strip: bool = False) -> tuple[StreamMeter, bytes]:
    meter = StreamMeter(kind, strip)
    out = b"".join([meter.feed(piece) for piece in pieces]) + meter.finish()
    return meter, out


def state(meter: StreamMeter) -> tuple[object, ...]:
    return (*(getattr(meter, name) for name in FIELDS), meter.usage_start, meter.usage_last)


def check(kind: str, stream: bytes, meter: StreamMeter) -> None:
    seen = stream_oracle.read(kind, stream)
    assert {name: getattr(meter, name) for name in FIELDS} == {
        name: getattr(seen, name) for name in FIELDS
    }
    assert (json.loads(meter.usage_start) if meter.usage_start else None) == seen.usage_start
    assert (json.loads(meter.usage_last) if meter.usage_last else None) == seen.usage_last


@pytest.mark.recordings
@pytest.mark.parametrize("recording", STREAMS, ids=lambda r: r.file)
def test_recorded_stream_is_read_as_the_oracle_reads_it(recording: Recording) -> None:
    """Fed whole, byte by byte and with rubbish behind it, every figure is the oracle's."""
    stream, kind = recording.body, dialect(recording)
    whole, out = fed(kind, [stream])
    check(kind, stream, whole)
    assert out == stream
    single, out = fed(kind, [stream[i : i + 1] for i in range(len(stream))])
    assert state(single) == state(whole)
    assert out == stream
    spoiled, _ = fed(kind, [stream, b'data: {"usage": [[[\xff\r\r\n\n: x\n\n'])
    assert spoiled.usage_last == whole.usage_last


@pytest.mark.recordings
@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize(
    "recording", [r for r in STREAMS if len(r.body) <= 9000], ids=lambda r: r.file
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


CHUNKS = [
    {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": 'Hé "y"\n\u20ac'}}]},
    {"choices": [{"delta": {"content": "", "role": "assistant"}}], "usage": None},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [{"delta": {"content": 'decoy "usage":{"prompt_tokens":9} \\" }'}}]},
    {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": '{"a":'}}]}}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "x": {"y": [1, 2]}}},
    {"usage": {"prompt_tokens": 1}, "choices": []},
    {"usage": {"prompt_tokens": 5}, "choices": [{"delta": {"content": "z"}}]},
    {"choices": [], "prompt_filter_results": []},
    {"error": {"message": "x"}},
]
ENDS = ["\n", "\r\n", "\r"]


@given(
    chunks=st.lists(st.sampled_from(CHUNKS), min_size=1, max_size=6),
    newline=st.sampled_from(ENDS),
    ascii_only=st.booleans(),
    comment=st.booleans(),
    bom=st.booleans(),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
    strip=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_any_chat_stream_is_read_as_the_oracle_reads_it(
    chunks, newline, ascii_only, comment, bom, cuts, strip, indent
) -> None:
    """Three line endings, comments, a byte-order mark, several data lines, cuts anywhere."""
    text = "\ufeff" if bom else ""
    for chunk in chunks:
        if comment:
            text += f": waiting{newline}"
        for line in json.dumps(chunk, ensure_ascii=ascii_only, indent=indent).split("\n"):
            text += f"data: {line}{newline}"
        text += newline
    stream = (text + f"data: [DONE]{newline}{newline}").encode()
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    meter, out = fed("chat", pieces, strip=strip)
    check("chat", stream, meter)
    assert out == stream_oracle.read("chat", stream, strip=strip).forwarded
    assert meter.boundary


@given(st.lists(st.binary(max_size=60), max_size=8), st.booleans())
def test_rubbish_never_raises_and_is_forwarded(pieces: list[bytes], messages: bool) -> None:
    """Upstream rubbish is data."""
    meter, out = fed("messages" if messages else "chat", pieces)
    assert out == b"".join(pieces)
    assert meter.letters >= 0


def test_two_message_starts_are_counted_and_the_last_one_holds() -> None:
    """A relay that retried inside its stream starts the message anew."""
    start = (
        b"event: message_start\n"
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":%d}}}\n\n'
    )
    meter, _ = fed("messages", [start % 5, start % 7])
    assert meter.restarts == 1
    assert json.loads(meter.usage_start) == {"input_tokens": 7}


def test_an_incomplete_event_is_no_boundary() -> None:
    """We write nothing of our own inside somebody else's event."""
    meter = StreamMeter("chat", False)
    assert meter.boundary
    meter.feed(b"data: {}\n")
    assert not meter.boundary
    meter.feed(b"\n")
    assert meter.boundary
