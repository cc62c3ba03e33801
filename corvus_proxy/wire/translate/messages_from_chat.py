"""A chat answer told as Messages: whole, or event by event. Pure.

Rule 1: blocks follow one another, each closed before the next is opened. A call is told as it
        comes; one that begins before the last one's arguments are whole waits until they are.
Rule 2: input is told as an estimate first and truly at the end, as clients' merge rule expects.
"""

import msgspec

from corvus_proxy.money.usage import Usage, UsageInvalid, from_chat
from corvus_proxy.wire.translate.events import Events, decoded, named
from corvus_proxy.wire.translate.fields import Json
from corvus_proxy.wire.translate.reply import Reply, Untold
from corvus_proxy.wire.translate.said import DECODER, Call, Choice, Said, read

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
    "sensitive": "refusal",
}


def whole(body: bytes, reply: Reply) -> bytes:
    """The Messages answer that says what the chat answer `body` says. Raises
    msgspec.DecodeError."""
    answer = DECODER.decode(body)
    choice = answer.choices[0] if answer.choices else Choice()
    said = choice.message or Said()
    content: list[Json] = []
    if said.reasoning_content and reply.thinks:
        content.append(_thinking(said.reasoning_content))
    text = (said.content or "") + (said.refusal or "")
    if text:
        content.append({"type": "text", "text": text})
    for call in said.tool_calls or ():
        arguments = (call.function.arguments if call.function else None) or "{}"
        # As the bytes they are: numbers keep their digits. What was cut short is no JSON.
        given: Json | msgspec.Raw = decoded(arguments.encode())
        if given:
            given = msgspec.Raw(arguments.encode())
        content.append(_tool_use(call, given, reply))
    reason = _stop_reason(choice.finish_reason, bool(said.tool_calls), bool(said.refusal))
    return msgspec.json.encode(
        {
            **_message(answer.id, reply),
            "content": content,
            "stop_reason": reason,
            "usage": usage(answer.usage),
        }
    )


def usage(counts: Json | None) -> Json:
    """Counts in Messages' arithmetic: what was read from the cache and written to it stands beside
    the rest of the input."""
    try:
        found = from_chat(counts or {})
    except UsageInvalid:
        found = Usage()
    written = found.cache_write_5m + found.cache_write_1h + found.cache_write_other
    return {
        "input_tokens": found.input,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": found.cache_read,
        "output_tokens": found.output,
        "output_tokens_details": {"thinking_tokens": found.reasoning},
    }


def _message(answer_id: str | None, reply: Reply) -> Json:
    own = (answer_id or reply.request_id).removeprefix("chatcmpl-")
    return {
        "id": f"msg_{own}",
        "type": "message",
        "role": "assistant",
        "model": reply.slug,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _thinking(text: str) -> Json:
    return {"type": "thinking", "thinking": text, "signature": ""}


def _tool_use(call: Call, given: Json | msgspec.Raw, reply: Reply) -> Json:
    name = (call.function.name if call.function else None) or ""
    name = reply.renamed.get(name, name)
    return {"type": "tool_use", "id": call.id, "name": name, "input": given}


def _stop_reason(finish: str | None, calls: bool, refused: bool) -> str:
    if refused:
        return "refusal"
    if calls and finish in (None, "stop"):
        return "tool_use"
    return STOP_REASONS.get(finish or "stop", "end_turn")


class _Block:
    """A block of the answer: told, or waiting until it is its turn."""

    __slots__ = ("arguments", "key", "opening", "waiting")

    def __init__(self, key: tuple[str, int], opening: Json) -> None:
        self.key = key
        self.opening = opening
        self.arguments = ""
        self.waiting: list[Json] = []
        """Deltas that have not been told."""

    @property
    def is_whole(self) -> bool:
        """Nothing can come that belongs to it, once another has begun."""
        if self.key[0] != "tool":
            return True
        text = self.arguments.strip()
        return text == "{}" or (text.endswith("}") and bool(decoded(text.encode())))


class Stream(Untold):
    """The Messages stream of a chat stream. An error event gives nothing: the end is told by who
    knows what it costs."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._events = Events()
        self._started = False
        self._ended = False
        self._index = 0
        """Of the block that is being told."""
        self._blocks: list[_Block] = []
        """The block that is being told, and those that wait behind it."""
        self._closed: set[tuple[str, int]] = set()
        """Calls that have been told to their end."""
        self._finish: str | None = None
        self._usage: Json | None = None
        self._called = False
        self._refused = False

    def feed(self, chunk: bytes) -> bytes:
        """What to send on for the next bytes of the upstream's."""
        return b"".join(self._event(data) for data in self._events.feed(chunk))

    def finish(self) -> bytes:
        """What to send on where the upstream's bytes have ended."""
        return b"".join(self._event(data) for data in self._events.finish())

    def _event(self, data: bytes) -> bytes:
        if data.startswith(b"[DONE]"):
            return self._end()
        chunk = read(data)
        if chunk is None or chunk.error or self._ended:
            return b""
        self._usage = chunk.usage or self._usage
        told = b"" if self._started else self._start(chunk.id)
        for choice in chunk.choices:
            if choice.index == 0:
                self._finish = choice.finish_reason or self._finish
                told += self._said(choice.delta or Said())
        return told

    def _start(self, answer_id: str | None) -> bytes:
        self._started = True
        counts = {
            "input_tokens": self._reply.input_estimate,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        }
        message = {**_message(answer_id, self._reply), "usage": counts}
        return named("message_start", {"message": message})

    def _said(self, said: Said) -> bytes:
        told = b""
        if said.reasoning_content and self._reply.thinks:
            delta = {"type": "thinking_delta", "thinking": said.reasoning_content}
            told += self._tell("thinking", _thinking(""), delta)
        for text in (said.content, said.refusal):
            if text:
                delta = {"type": "text_delta", "text": text}
                told += self._tell("text", {"type": "text", "text": ""}, delta)
        self._refused |= bool(said.refusal)
        for call in said.tool_calls or ():
            self._called = True
            arguments = call.function.arguments if call.function else None
            delta = {"type": "input_json_delta", "partial_json": arguments or ""}
            told += self._tell("tool", _tool_use(call, {}, self._reply), delta, number=call.index)
        return told

    def _tell(self, kind: str, opening: Json, delta: Json, *, number: int = 0) -> bytes:
        """Tells a delta of a block, or lets it wait until the blocks before are closed."""
        key = (kind, number)
        if key in self._closed:
            return b""  # space behind arguments that were whole
        blocks = self._blocks
        same = blocks[-1] if blocks and blocks[-1].key == key else None
        if same is None and kind == "tool":
            same = next((block for block in blocks if block.key == key), None)
        told = b""
        if same is None:
            same = _Block(key, opening)
            blocks.append(same)
            told = self._open(same) if len(blocks) == 1 else b""
        same.arguments += delta.get("partial_json", "")
        if same is blocks[0]:
            told += self._delta(delta)
        else:
            same.waiting.append(delta)
        while len(blocks) > 1 and blocks[0].is_whole:
            told += self._next()
        return told

    def _open(self, block: _Block) -> bytes:
        told = named("content_block_start", {"index": self._index, "content_block": block.opening})
        return told + b"".join(self._delta(delta) for delta in block.waiting)

    def _delta(self, delta: Json) -> bytes:
        if delta.get("partial_json") == "":
            return b""
        return named("content_block_delta", {"index": self._index, "delta": delta})

    def _next(self) -> bytes:
        """Closes the block that is being told and opens the one behind it."""
        told = named("content_block_stop", {"index": self._index})
        block = self._blocks.pop(0)
        if block.key[0] == "tool":
            self._closed.add(block.key)
        self._index += 1
        return told + (self._open(self._blocks[0]) if self._blocks else b"")

    def _end(self) -> bytes:
        if self._ended or not self._started:
            return b""
        self._ended = True
        told = b""
        while self._blocks:
            told += self._next()
        reason = _stop_reason(self._finish, self._called, self._refused)
        delta = {"stop_reason": reason, "stop_sequence": None}
        counts = self._reply.with_cost(usage(self._usage))
        told += named("message_delta", {"delta": delta, "usage": counts})
        return told + named("message_stop", {})
