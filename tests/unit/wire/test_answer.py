"""Whole answers: usage, whether they say anything, why they ended, and how much text they have."""

import json

import pytest

from corvus_proxy.wire.answer import decode_counts, read_whole, text_of
from corvus_proxy.wire.dialect import Dialect

CHAT = {
    "id": "chatcmpl-1",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Ab, é\n",
                "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            "finish_reason": "content_filter",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 9},
}
MESSAGES = {
    "id": "msg_1",
    "content": [
        {"type": "thinking", "thinking": "abc", "signature": "long" * 99},
        {"type": "text", "text": "Ab, é\n"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
    ],
    "stop_reason": "refusal",
    "usage": {"input_tokens": 3, "output_tokens": 9},
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("dialect", "answer", "classes", "reason"),
    [
        # "Ab", "f" · ", " with the line break, "{}" · é
        (Dialect.CHAT, CHAT, (3, 5, 2), "content_filter"),
        # "abc", "Ab", "f", the a of the input · ", " with the break, `{"": 1}`'s six · é
        (Dialect.MESSAGES, MESSAGES, (7, 8, 2), "refusal"),
    ],
)
def test_text_is_counted_without_signatures_and_frames(
    dialect: Dialect, answer: dict, classes: tuple[int, ...], reason: str, indent: int | None
) -> None:
    """The stream meter's classes, also of JSON with line breaks."""
    body = json.dumps(answer, ensure_ascii=False, indent=indent).encode()
    whole = read_whole(dialect, body)
    assert whole is not None
    assert (whole.has_output, whole.reason, whole.is_error) == (True, reason, False)
    text = text_of(dialect, whole.part)
    found = (text.letters, text.symbols, text.non_ascii)
    if dialect is Dialect.MESSAGES:  # a tool's input counts by its raw bytes, white space included
        assert found[0::2] == classes[0::2]
        assert found[1] >= classes[1]
    else:
        assert found == classes


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"choices": {}}'])
def test_what_is_no_answer(body: bytes) -> None:
    """Not the JSON of a chat answer."""
    assert read_whole(Dialect.CHAT, body) is None


def test_an_error_under_status_200_is_one() -> None:
    """An error object and no usage."""
    whole = read_whole(Dialect.CHAT, b'{"error": {"code": "1113"}}')
    assert whole is not None
    assert (whole.is_error, whole.has_output, whole.reason) == (True, False, "")


RUBBISH = [b'{"a":"\xff"}', b'{"\xff":1}', b'{"a":"\\ud800"}', b'{"a":', b"[1]",
           b'{"a":' * 100_000]  # fmt: skip


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_counts_that_are_no_json_are_none(rubbish: bytes) -> None:
    """Also where only their bytes are no UTF-8: nothing is raised for an upstream's rubbish, which
    would stop the renewal of every hold of the process."""
    assert decode_counts(rubbish) is None


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (Dialect.CHAT, b'{"id":"\xff","choices":[]}'),
        (Dialect.CHAT, b'{"choices":[{"finish_reason":"\xff"}]}'),
        (Dialect.CHAT, b'{"choices":null}'),
        (Dialect.MESSAGES, b'{"content":[],"usage":{"speed":"\xff"}}'),
    ],
)
def test_an_answer_that_is_no_json_is_none(dialect: Dialect, body: bytes) -> None:
    """As are its strings that are no UTF-8."""
    assert read_whole(dialect, body) is None
