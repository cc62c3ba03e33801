"""A chat answer told as a response: whole, or event by event. Pure.

Every item is announced, told and told again when it is done, and every event is numbered: agents
hang on `response.output_item.done`, and so do the calls in it.
"""

from typing import Any

import msgspec

from corvus_proxy.money.usage import Usage, UsageInvalid, from_chat
from corvus_proxy.wire.openai.failed import Told
from corvus_proxy.wire.translate.events import Events, decoded, named
from corvus_proxy.wire.translate.fields import Json
from corvus_proxy.wire.translate.reply import Reply
from corvus_proxy.wire.translate.responses import sealed
from corvus_proxy.wire.translate.responses.tools import CUSTOM_INPUT
from corvus_proxy.wire.translate.said import DECODER, Call, Called, Choice, Said, read

INCOMPLETE = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
}
"""Why a response is incomplete, by chat's finish reason."""


def whole(body: bytes, reply: Reply) -> bytes:
    """The response that says what the chat answer `body` says. Raises msgspec.DecodeError."""
    answer = DECODER.decode(body)
    choice = answer.choices[0] if answer.choices else Choice()
    said = choice.message or Said()
    for index, call in enumerate(said.tool_calls or ()):
        call.index = index  # a whole message numbers none
    made = _Making(reply)
    made.begin(answer.id)
    made.say(said)
    made.close(choice.finish_reason)
    return msgspec.json.encode(made.response(choice.finish_reason, answer.usage))


def usage(counts: Json | None) -> Json:
    """Counts in the words of Responses, whose arithmetic is chat's."""
    try:
        found = from_chat(counts or {})
    except UsageInvalid:
        found = Usage()
    written = found.cache_write_5m + found.cache_write_1h + found.cache_write_other
    return {
        "input_tokens": found.input_total,
        "input_tokens_details": {
            "cached_tokens": found.cache_read,
            "cache_write_tokens": written,
        },
        "output_tokens": found.output,
        "output_tokens_details": {"reasoning_tokens": found.reasoning},
        "total_tokens": found.input_total + found.output,
    }


class _Item:
    """An item of the output while it is being told."""

    __slots__ = ("at", "blocks", "item", "key", "text")

    def __init__(self, at: int, key: tuple[str, int], item: Json) -> None:
        self.at = at
        self.key = key
        self.item = item
        self.text = ""
        """Its text, arguments or thinking so far."""
        self.blocks: list[Json] = []
        """Signed thinking."""


class _Making:
    """A response in the making: what is said becomes items, and events that tell them."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._own = reply.request_id
        self._open: list[_Item] = []
        self._count = 0
        self._done: dict[int, Json] = {}
        self._status = "completed"
        """Of items that end."""
        self.sequence = -1

    @property
    def response_id(self) -> str:
        return f"resp_{self._own}"

    def event(self, name: str, **body: Any) -> bytes:
        self.sequence += 1
        return named(name, {"sequence_number": self.sequence, **body})

    def begin(self, answer_id: str | None) -> bytes:
        self._own = (answer_id or self._own).removeprefix("chatcmpl-")
        opened = self.response(None, None)
        return self.event("response.created", response=opened) + self.event(
            "response.in_progress", response=opened
        )

    def response(self, finish: str | None, counts: Json | None) -> Json:
        """The object; with neither finish reason nor counts it is one that is in progress."""
        why = INCOMPLETE.get(finish or "")
        ended = finish is not None or counts is not None
        return {
            "id": self.response_id,
            "object": "response",
            "created_at": self._reply.created_s,
            "status": ("incomplete" if why else "completed") if ended else "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": {"reason": why} if why else None,
            "instructions": None,
            "max_output_tokens": None,
            "model": self._reply.slug,
            "output": [self._done[at] for at in sorted(self._done)],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": None,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "truncation": "disabled",
            "usage": self._reply.with_cost(usage(counts)) if ended else None,
            "metadata": {},
        }

    # -- what is said ---------------------------------------------------------------------------

    def say(self, said: Said) -> bytes:
        told = b""
        if said.reasoning_content:
            told += self._think(said.reasoning_content)
        for block in said.thinking_blocks or ():
            item, opened = self._item("reasoning", 0)
            item.blocks.append(block)
            told += opened
        if said.content:
            told += self._text("output_text", said.content)
        if said.refusal:
            told += self._text("refusal", said.refusal)
        for call in said.tool_calls or ():
            told += self._call(call)
        return told

    def close(self, finish: str | None) -> bytes:
        """Ends every item that is open; the last is incomplete where the answer is."""
        told = b""
        while self._open:
            if len(self._open) == 1 and finish in INCOMPLETE:
                self._status = "incomplete"
            told += self._end(self._open.pop(0))
        return told

    def _item(self, kind: str, number: int, **members: Any) -> tuple[_Item, bytes]:
        """The open item of that kind and number; a new one ends those before it, but calls, of
        which more may come interleaved."""
        key = (kind, number)
        for item in self._open:
            if item.key == key:
                return item, b""
        told = b""
        for item in [one for one in self._open if one.key[0] != "call"]:
            self._open.remove(item)
            told += self._end(item)
        item = _Item(self._count, key, _blank(kind, f"{self._own}_{self._count}", members))
        self._count += 1
        self._open.append(item)
        told += self.event("response.output_item.added", output_index=item.at, item=item.item)
        return item, told

    def _inside(self, item: _Item, name: str, **more: Any) -> bytes:
        return self.event(name, item_id=item.item["id"], output_index=item.at, **more)

    def _think(self, text: str) -> bytes:
        item, told = self._item("reasoning", 0)
        if not item.text:
            part = {"type": "summary_text", "text": ""}
            told += self._inside(
                item, "response.reasoning_summary_part.added", summary_index=0, part=part
            )
        item.text += text
        return told + self._inside(
            item, "response.reasoning_summary_text.delta", summary_index=0, delta=text
        )

    def _text(self, kind: str, text: str) -> bytes:
        item, told = self._item(kind, 0)
        if not item.text:
            part = _part(kind, "")
            told += self._inside(item, "response.content_part.added", content_index=0, part=part)
        item.text += text
        more: Json = {"logprobs": []} if kind == "output_text" else {}
        return told + self._inside(
            item, f"response.{kind}.delta", content_index=0, delta=text, **more
        )

    def _call(self, call: Call) -> bytes:
        function = call.function or Called()
        name = function.name or ""
        namespace, own = self._reply.namespaced.get(name, ("", name))
        told_as = {
            "call_id": call.id,
            "name": own,
            **({"namespace": namespace} if namespace else {}),
        }
        custom = name in self._reply.custom_tools
        item, told = self._item("call", call.index, told_as=told_as, custom=custom)
        arguments = function.arguments or ""
        item.text += arguments
        if item.item["type"] == "function_call" and arguments:
            told += self._inside(item, "response.function_call_arguments.delta", delta=arguments)
        return told

    # -- ends -----------------------------------------------------------------------------------

    def _end(self, item: _Item) -> bytes:
        told = b""
        match item.item["type"]:
            case "reasoning":
                told = self._end_thought(item)
            case "message":
                told = self._end_text(item)
            case "function_call":
                item.item = {**item.item, "arguments": item.text or "{}", "status": self._status}
                told = self._inside(
                    item, "response.function_call_arguments.done", arguments=item.text or "{}"
                )
            case "custom_tool_call":
                given = str(decoded(item.text.encode()).get(CUSTOM_INPUT) or "")
                item.item = {**item.item, "input": given, "status": self._status}
                told = self._inside(item, "response.custom_tool_call_input.delta", delta=given)
                told += self._inside(item, "response.custom_tool_call_input.done", input=given)
        self._done[item.at] = item.item
        return told + self.event("response.output_item.done", output_index=item.at, item=item.item)

    def _end_thought(self, item: _Item) -> bytes:
        word = sealed.closed(self._reply.family, item.blocks, item.text)
        item.item = {**item.item, "encrypted_content": word}
        if not item.text:
            return b""
        part = {"type": "summary_text", "text": item.text}
        item.item["summary"] = [part]
        told = self._inside(
            item, "response.reasoning_summary_text.done", summary_index=0, text=item.text
        )
        return told + self._inside(
            item, "response.reasoning_summary_part.done", summary_index=0, part=part
        )

    def _end_text(self, item: _Item) -> bytes:
        kind = item.key[0]
        part = _part(kind, item.text)
        item.item = {**item.item, "content": [part], "status": self._status}
        member = "refusal" if kind == "refusal" else "text"
        more: Json = {} if kind == "refusal" else {"logprobs": []}
        told = self._inside(
            item, f"response.{kind}.done", content_index=0, **{member: item.text}, **more
        )
        return told + self._inside(item, "response.content_part.done", content_index=0, part=part)


def _part(kind: str, text: str) -> Json:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _blank(kind: str, own: str, members: Json) -> Json:
    """An item that has just begun."""
    if kind == "reasoning":
        return {"id": f"rs_{own}", "type": "reasoning", "summary": [], "encrypted_content": None}
    if kind != "call":
        return {
            "id": f"msg_{own}",
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
    named_by = {**members["told_as"], "status": "in_progress"}
    if members["custom"]:
        return {"id": f"ctc_{own}", "type": "custom_tool_call", **named_by, "input": ""}
    return {"id": f"fc_{own}", "type": "function_call", **named_by, "arguments": ""}


class Stream:
    """The Responses stream of a chat stream. An error event gives nothing: the end is told by who
    knows what it costs."""

    def __init__(self, reply: Reply) -> None:
        self._events = Events()
        self._making = _Making(reply)
        self._model = reply.slug
        self._started = False
        self._ended = False
        self._finish: str | None = None
        self._usage: Json | None = None

    def feed(self, chunk: bytes) -> bytes:
        """What to send on for the next bytes of the upstream's."""
        return b"".join(self._event(data) for data in self._events.feed(chunk))

    def finish(self) -> bytes:
        """What to send on where the upstream's bytes have ended."""
        return b"".join(self._event(data) for data in self._events.finish())

    @property
    def told(self) -> Told:
        """What the client has read so far."""
        if not self._started:
            return Told(model=self._model)
        return Told(self._making.response_id, self._model, self._making.sequence)

    def _event(self, data: bytes) -> bytes:
        if data.startswith(b"[DONE]"):
            return self._end()
        chunk = read(data)
        if chunk is None or chunk.error or self._ended:
            return b""
        self._usage = chunk.usage or self._usage
        told = b""
        if not self._started:
            self._started = True
            told = self._making.begin(chunk.id)
        for choice in chunk.choices:
            if choice.index == 0:
                self._finish = choice.finish_reason or self._finish
                told += self._making.say(choice.delta or Said())
        return told

    def _end(self) -> bytes:
        if self._ended or not self._started:
            return b""
        self._ended = True
        told = self._making.close(self._finish)
        response = self._making.response(self._finish or "stop", self._usage)
        return told + self._making.event(f"response.{response['status']}", response=response)
