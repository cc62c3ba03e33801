"""A Messages answer told as chat: whole, or event by event. Pure.

The answer's thinking is told twice: as `reasoning_content`, which clients show, and as
`thinking_blocks` with signatures, which a client may send back and Claude then goes on from.
"""

from typing import Any

import msgspec

from corvus_proxy.money.usage import Usage, UsageInvalid, from_messages
from corvus_proxy.wire.translate.events import Events, data_of, decoded
from corvus_proxy.wire.translate.fields import Json, present
from corvus_proxy.wire.translate.reply import Reply, Untold

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Called(msgspec.Struct):
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Answer(msgspec.Struct):
    content: list[msgspec.Raw] = []
    id: str | None = None
    stop_reason: str | None = None
    usage: Json | None = None


def whole(body: bytes, reply: Reply) -> bytes:
    """The chat answer that says what the Messages answer `body` says. Raises
    msgspec.DecodeError."""
    answer = msgspec.json.decode(body, type=_Answer)
    texts: list[str] = []
    thoughts: list[Json] = []
    calls: list[Json] = []
    for raw in answer.content:
        block = msgspec.json.decode(raw, type=Json)
        match block.get("type"):
            case "text":
                texts.append(str(block.get("text") or ""))
            case "thinking" | "redacted_thinking":
                thoughts.append(block)
            case "tool_use":
                # As the bytes they are: numbers keep their digits.
                given = (
                    msgspec.json.decode(raw, type=_Called).input if block.get("input") else b"{}"
                )
                arguments = bytes(given).decode()
                calls.append(_call(block, arguments))
    thought = "".join(str(block.get("thinking") or "") for block in thoughts)
    message = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": None,
        **present(
            reasoning_content=thought or None,
            thinking_blocks=thoughts or None,
            tool_calls=calls or None,
        ),
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": FINISH.get(answer.stop_reason or "", "stop"),
    }
    return msgspec.json.encode(
        {
            **_head(answer.id, "chat.completion", reply),
            "choices": [choice],
            "usage": usage(None, answer.usage),
        }
    )


def usage(start: Json | None, last: Json | None) -> Json:
    """Counts in chat's arithmetic: what was read from the cache and written to it is part of the
    prompt."""
    try:
        found = from_messages(start, last)
    except UsageInvalid:
        found = Usage()
    written = found.cache_write_5m + found.cache_write_1h + found.cache_write_other
    return {
        "prompt_tokens": found.input_total,
        "completion_tokens": found.output,
        "total_tokens": found.input_total + found.output,
        "prompt_tokens_details": {
            "cached_tokens": found.cache_read,
            "cache_write_tokens": written,
        },
        "completion_tokens_details": {"reasoning_tokens": found.reasoning},
    }


def _head(answer_id: str | None, kind: str, reply: Reply) -> Json:
    return {
        "id": f"chatcmpl-{answer_id or reply.request_id}",
        "object": kind,
        "created": reply.created_s,
        "model": reply.slug,
    }


def _call(block: Json, arguments: str) -> Json:
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": arguments},
    }


class Stream(Untold):
    """The chat stream of a Messages stream. An error event gives nothing: the end is told by who
    knows what it costs."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._events = Events()
        self._head = _head(None, "chat.completion.chunk", reply)
        self._started = False
        self._ended = False
        self._stop_reason = ""
        self._usage_start: Json | None = None
        self._usage_last: Json | None = None
        self._calls = 0
        self._open: Json = {}
        """The block that is being told."""
        self._argued = False
        """Some of the open call's arguments have been told."""

    def feed(self, chunk: bytes) -> bytes:
        """What to send on for the next bytes of the upstream's."""
        return b"".join(self._event(decoded(data)) for data in self._events.feed(chunk))

    def finish(self) -> bytes:
        """What to send on where the upstream's bytes have ended."""
        return b"".join(self._event(decoded(data)) for data in self._events.finish())

    def _event(self, event: Json) -> bytes:
        if self._ended:
            return b""
        match event.get("type"):
            case "message_start":
                return self._start(_object(event.get("message")))
            case "content_block_start":
                return self._begin(_object(event.get("content_block")))
            case "content_block_delta":
                return self._delta(_object(event.get("delta")))
            case "content_block_stop":
                return self._end_block()
            case "message_delta":
                reason = _object(event.get("delta")).get("stop_reason")
                self._stop_reason = str(reason or self._stop_reason)
                self._usage_last = event.get("usage") or self._usage_last
                return b""
            case "message_stop":
                return self._end()
        return b""

    def _start(self, message: Json) -> bytes:
        self._usage_start = message.get("usage")
        if self._started:
            return b""
        self._started = True
        self._head = _head(message.get("id"), "chat.completion.chunk", self._reply)
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _begin(self, block: Json) -> bytes:
        self._open, self._argued = block, False
        match block.get("type"):
            case "text" if block.get("text"):
                return self._chunk({"content": block["text"]})
            case "tool_use":
                self._calls += 1
                call = {"index": self._calls - 1, **_call(block, "")}
                told = self._chunk({"tool_calls": [call]})
                given = block.get("input")
                return told + self._argue(msgspec.json.encode(given).decode()) if given else told
        return b""

    def _delta(self, delta: Json) -> bytes:
        match delta.get("type"):
            case "text_delta" if delta.get("text"):
                return self._chunk({"content": delta["text"]})
            case "input_json_delta" if self._open.get("type") == "tool_use":
                given = str(delta.get("partial_json") or "")  # of a call that is the client's
                return self._argue(given) if given else b""
            case "thinking_delta" if delta.get("thinking"):
                thought = str(delta["thinking"])
                self._open["thinking"] = str(self._open.get("thinking") or "") + thought
                return self._chunk({"reasoning_content": thought})
            case "signature_delta":
                self._open["signature"] = delta.get("signature")
        return b""

    def _argue(self, text: str) -> bytes:
        self._argued = True
        call = {"index": self._calls - 1, "function": {"arguments": text}}
        return self._chunk({"tool_calls": [call]})

    def _end_block(self) -> bytes:
        block, self._open = self._open, {}
        match block.get("type"):
            case "tool_use" if not self._argued:
                return self._argue("{}")  # a call without arguments is still one of an object
            case "thinking" | "redacted_thinking":
                return self._chunk({"thinking_blocks": [block]})
        return b""

    def _end(self) -> bytes:
        self._ended = True
        told = self._chunk({}, FINISH.get(self._stop_reason, "stop"))
        if self._reply.include_usage:
            counts = self._reply.with_cost(usage(self._usage_start, self._usage_last))
            told += data_of({**self._head, "choices": [], "usage": counts})
        return told + b"data: [DONE]\n\n"

    def _chunk(self, delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        nothing: Json = {"usage": None} if self._reply.include_usage else {}
        return data_of({**self._head, "choices": [choice], **nothing})


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
