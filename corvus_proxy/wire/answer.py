"""Reading a whole answer: its usage, whether it says anything, and whether it is an error."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from corvus_proxy._fast import StreamMeter
from corvus_proxy.wire.dialect import Dialect


class _Chat(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    choices: msgspec.Raw = msgspec.Raw(b"[]")


class _Messages(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    content: msgspec.Raw = msgspec.Raw(b"[]")
    stop_reason: str | None = None


class Whole(NamedTuple):
    """One JSON answer."""

    id: str
    usage: Mapping[str, Any] | None
    has_output: bool
    part: bytes
    """The generated part as JSON: `text_of` tells what it says."""
    reason: str
    """The stop reason; on chat the last choice's."""
    is_error: bool
    """An error object under status 200, without usage."""
    model: str = ""
    tier: str = ""
    """The `service_tier` beside the usage (chat)."""


_CHAT = msgspec.json.Decoder(_Chat)
_MESSAGES = msgspec.json.Decoder(_Messages)
_BLANKS = bytes.maketrans(b"\r\n", b"  ")
_COUNTS = msgspec.json.Decoder(dict[str, Any])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoder raises for an upstream's rubbish: no UTF-8 is no error of its own."""


def read_whole(dialect: Dialect, body: bytes) -> Whole | None:
    """The answer in `body`, or None when it is not the JSON of this dialect."""
    try:
        if dialect is Dialect.CHAT:
            chat = _CHAT.decode(body)
            part, answer_id, usage, error = chat.choices, chat.id, chat.usage, chat.error
            model, tier = chat.model or "", chat.service_tier or ""
            said, reason = _chat_says(bytes(part))
        else:
            messages = _MESSAGES.decode(body)
            part, answer_id = messages.content, messages.id
            usage, error = messages.usage, messages.error
            model, tier = messages.model or "", ""
            reason = messages.stop_reason or ""
            said = len(bytes(part).strip(b"[] \n\r\t")) > 0
    except _UNREADABLE:
        return None
    is_error = bool(error) and usage is None
    answer_id = plain_word(answer_id or "")
    return Whole(answer_id, usage, said, bytes(part), reason, is_error, model, tier)


def text_of(dialect: Dialect, part: bytes) -> StreamMeter:
    """The meter's classes of the text in a whole answer: read as a stream of one event."""
    name = b'{"choices":' if dialect is Dialect.CHAT else b'{"delta":{"content":'
    end = b"}\n\n" if dialect is Dialect.CHAT else b"}}\n\n"
    meter = StreamMeter(dialect.value, strip_usage=False)
    # A line break is white space between members, and would end the event's line.
    meter.feed(b"data: " + name + part.translate(_BLANKS) + end)
    return meter


def plain_word(text: str) -> str:
    """A name or id of an upstream's as the books can take it: no control characters (Postgres has
    no NUL), at most 100 characters."""
    text = text[:100]
    return text if text.isprintable() else "".join(c for c in text if c.isprintable())


def decode_counts(raw: bytes) -> Mapping[str, Any] | None:
    """The usage object in `raw`, or None when there is none or it is not JSON."""
    if not raw:
        return None
    try:
        return _COUNTS.decode(raw)
    except _UNREADABLE:
        return None


class _Message(msgspec.Struct):
    content: Any = None
    tool_calls: Any = None
    function_call: Any = None
    reasoning_content: Any = None
    refusal: Any = None
    audio: Any = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str | None = None


_CHOICES = msgspec.json.Decoder(list[_Choice])


def _chat_says(part: bytes) -> tuple[bool, str]:
    """Whether one of the choices says anything, and the last one's finish reason."""
    choices = _CHOICES.decode(part)
    says = any(
        message.content
        or message.tool_calls
        or message.function_call
        or message.reasoning_content
        or message.refusal
        or message.audio
        for message in [choice.message for choice in choices]
        if message is not None
    )
    return says, (choices[-1].finish_reason or "") if choices else ""
