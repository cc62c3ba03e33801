"""A chat answer as far as translation reads it: whole, or a chunk of a stream."""

from typing import Any

import msgspec

from corvus_proxy.wire.translate.fields import Json


class Called(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: Called | None = None


class Said(msgspec.Struct):
    """A message, or a delta of one."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    thinking_blocks: list[Json] | None = None
    tool_calls: list[Call] | None = None


class Choice(msgspec.Struct):
    index: int = 0
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None


class Answer(msgspec.Struct):
    id: str | None = None
    choices: list[Choice] = []
    usage: Json | None = None
    error: Any = None


DECODER = msgspec.json.Decoder(Answer)


def read(data: bytes) -> Answer | None:
    """A chunk of a stream; None for what is none."""
    try:
        return DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
