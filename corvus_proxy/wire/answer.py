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


class _Details(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    usage: dict[str, Any] | None = None
    tool_usage: dict[str, Any] | None = None
    error: Any = None
    incomplete_details: _Details | None = None
    output: msgspec.Raw = msgspec.Raw(b"[]")


class _Embeddings(msgspec.Struct):
    model: str | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    data: msgspec.Raw = msgspec.Raw(b"[]")


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
    """The `service_tier` beside the usage (chat, responses)."""
    tool_usage: Mapping[str, Any] | None = None
    """What stands beside the usage under that name (responses)."""


_CHAT = msgspec.json.Decoder(_Chat)
_MESSAGES = msgspec.json.Decoder(_Messages)
_RESPONSE = msgspec.json.Decoder(_Response)
_EMBEDDINGS = msgspec.json.Decoder(_Embeddings)
_BLANKS = bytes.maketrans(b"\r\n", b"  ")
_COUNTS = msgspec.json.Decoder(dict[str, Any])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoder raises for an upstream's rubbish: no UTF-8 is no error of its own."""


def read_whole(dialect: Dialect, body: bytes) -> Whole | None:
    """The answer in `body`, or None when it is not the JSON of this dialect."""
    try:
        return _READERS[dialect](body)
    except _UNREADABLE:
        return None


def _read_chat(body: bytes) -> Whole:
    found = _CHAT.decode(body)
    part = bytes(found.choices)
    said, reason = _chat_says(part)
    return _whole(found, part, reason, said=said, tier=found.service_tier or "")


def _read_messages(body: bytes) -> Whole:
    found = _MESSAGES.decode(body)
    return _whole(found, bytes(found.content), found.stop_reason or "")


def _read_response(body: bytes) -> Whole:
    found = _RESPONSE.decode(body)
    reason = found.incomplete_details.reason if found.incomplete_details else ""
    return _whole(
        found,
        bytes(found.output),
        reason or "",
        tier=found.service_tier or "",
        tools=found.tool_usage,
    )


def _read_embeddings(body: bytes) -> Whole:
    found = _EMBEDDINGS.decode(body)
    # Numbers are no text: nothing is counted in them.
    return _whole(found, b"", "", said=_says(bytes(found.data)))


def _whole(
    found: Any,
    part: bytes,
    reason: str,
    *,
    said: bool | None = None,
    tier: str = "",
    tools: Mapping[str, Any] | None = None,
) -> Whole:
    is_error = bool(found.error) and found.usage is None
    said = _says(part) if said is None else said
    name = plain_word(getattr(found, "id", None) or "")
    model = found.model or ""
    return Whole(name, found.usage, said, part, reason, is_error, model, tier, tools)


def _says(part: bytes) -> bool:
    return len(part.strip(b"[] \n\r\t")) > 0


_READERS = {
    Dialect.CHAT: _read_chat,
    Dialect.MESSAGES: _read_messages,
    Dialect.RESPONSES: _read_response,
    Dialect.EMBEDDINGS: _read_embeddings,
}
_FRAMES = {
    Dialect.CHAT: (b'{"choices":', b"}\n\n"),
    Dialect.MESSAGES: (b'{"delta":{"content":', b"}}\n\n"),
    Dialect.RESPONSES: (b'{"type":"response.output_item.done","item":{"content":', b"}}\n\n"),
}
"""The event in which a whole answer's generated part is read."""


def text_of(dialect: Dialect, part: bytes) -> StreamMeter:
    """The meter's classes of the text in a whole answer: read as a stream of one event."""
    name, end = _FRAMES[dialect]
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
