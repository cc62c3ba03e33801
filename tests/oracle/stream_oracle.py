"""The stream meter, slow and obvious: the whole stream at once, the whole tree of every event."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.oracle.json_tree import Node, classes, parse, plain

TEXT = {
    "content",
    "reasoning_content",
    "reasoning",
    "refusal",
    "arguments",
    "text",
    "thinking",
    "partial_json",
    "name",
    "input",
}
ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
OPENINGS = ("response.created", "response.in_progress", "response.queued")
USAGE_MAX = 1 << 20
ERROR_MAX = 1 << 16
BOM = b"\xef\xbb\xbf"


@dataclass
class Seen:
    """What `StreamMeter` should have found."""

    dialect: str
    letters: int = 0
    symbols: int = 0
    non_ascii: int = 0
    deltas: int = 0
    events: int = 0
    started: bool = False
    ended: bool = False
    finished: bool = False
    reason: str = ""
    failed: bool = False
    committed: bool = False
    overflow: bool = False
    restarts: int = 0
    usage_start: bytes = b""
    usage_last: bytes = b""
    tool_usage: bytes = b""
    sequence: int = -1
    item_deltas: int = 0
    error: bytes = b""
    model: str = ""
    upstream_id: str = ""
    service_tier: str = ""
    forwarded: bytes = b""
    cut: list[bytes] = field(default_factory=list)

    @property
    def generated(self) -> int:
        return self.letters + self.symbols + self.non_ascii + self.deltas


def split(stream: bytes) -> list[bytes]:
    """The events of a stream with their framing; the last piece may be incomplete."""
    pieces, running = [], b""
    for line in re.findall(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+", stream):
        running += line
        if (
            line.removeprefix(BOM) if running == stream[: len(running)] and not pieces else line
        ) in (b"\r\n", b"\n", b"\r"):
            pieces.append(running)
            running = b""
    return [*pieces, running] if running else pieces


def data_of(event: bytes) -> bytes | None:
    """The joined data lines of one event."""
    found = [
        line[5:].removeprefix(b" ")
        for line in re.split(rb"\r\n|\n|\r", event)
        if line == b"data" or line.startswith(b"data:")
    ]
    return b"\n".join(found) if found else None


def read(dialect: str, stream: bytes, *, strip: bool = False) -> Seen:
    """Everything the meter should know after the whole stream; its JSON has to be valid."""
    seen = Seen(dialect)
    for number, event in enumerate(split(stream)):
        data = data_of(event if number else event.removeprefix(BOM))
        seen.events += data is not None
        body = None
        if data is not None and data.startswith(b"[DONE]"):
            seen.ended = seen.ended or dialect == "chat"
        elif data:
            body = parse(data)
        if strip and dialect == "chat" and body is not None and only_usage(body):
            seen.cut.append(event)
        else:
            seen.forwarded += event
        if body is not None and body.members is not None:
            _take(seen, dialect, body)
    return seen


def only_usage(body: Node) -> bool:
    """Whether it is a chunk with `"choices": []` and usage, that never said it had a choice."""
    choices = [member.node for member in body.members or () if member.name == "choices"]
    usage = body.last("usage")
    return (
        bool(choices)
        and choices[-1].items == []
        and not any(c.items for c in choices)
        and (usage is not None and usage.members is not None and len(usage.raw) <= USAGE_MAX)
    )


def _take(seen: Seen, dialect: str, body: Node) -> None:
    if dialect == "responses":
        _take_text(seen, _response_texts(seen, body))
        _take_response(seen, body)
        _take_error(seen, body, _response_error(body))
        return
    _take_text(
        seen,
        [
            text
            for member in body.members or ()
            if member.name
            in (("delta", "content_block") if dialect == "messages" else ("choices",))
            for text in _texts(member.node)
            if text
        ],
    )
    (_take_messages if dialect == "messages" else _take_chat)(seen, body)
    _take_error(seen, body, body.last("error"))
    seen.committed = seen.started


def _take_error(seen: Seen, body: Node, error: Node | None) -> None:
    value = error.value if error is not None else None
    says = value is True or (isinstance(value, dict | list | str) and bool(value))
    if says or _word(body, "type") == "error":
        seen.failed = True
        seen.error = b""
        if says and error is not None and value is not True:
            seen.overflow = seen.overflow or len(error.raw) > ERROR_MAX
            seen.error = error.raw if len(error.raw) <= ERROR_MAX else b""
        elif seen.dialect == "responses":
            seen.error = _word(body, "code").encode()


def _take_text(seen: Seen, texts: list[bytes]) -> None:
    seen.deltas += bool(texts)
    for text in texts:
        letters, symbols, non_ascii = classes(text)
        seen.letters += letters
        seen.symbols += symbols
        seen.non_ascii += non_ascii


def _texts(node: Node, name: str = "") -> Iterator[bytes]:
    """Generated text: strings under its names, and what an `input` holds, as it stands."""
    if name == "input" and (node.members is not None or node.items is not None):
        yield node.raw[1:-1]
    elif node.is_text:
        yield plain(node.raw) if name in TEXT else b""
    else:
        for member in node.members or ():
            yield from _texts(member.node, member.name)
        for item in node.items or ():
            yield from _texts(item)


def _usage(seen: Seen, owner: Node | None) -> bytes:
    """The usage object among the members of `owner`, as it stands."""
    found = owner.last("usage") if owner is not None else None
    if found is None or found.members is None:
        return b""
    seen.overflow = seen.overflow or len(found.raw) > USAGE_MAX
    return found.raw if len(found.raw) <= USAGE_MAX else b""


def _word(owner: Node | None, name: str) -> str:
    found = owner.last(name) if owner is not None else None
    value: Any = found.value if found is not None else None
    return value if isinstance(value, str) else ""


def _take_reason(seen: Seen, found: Node) -> None:
    if found.is_text and found.value:
        seen.finished, seen.reason = True, str(found.value)


def _take_chat(seen: Seen, body: Node) -> None:
    choices = body.last("choices")
    if choices is not None and choices.items is not None:
        seen.started = True
    for choice in [
        c for m in body.members or () if m.name == "choices" for c in m.node.items or ()
    ]:
        for member in choice.members or ():
            if member.name == "finish_reason":
                _take_reason(seen, member.node)
    seen.usage_last = _usage(seen, body) or seen.usage_last
    for member in body.members or ():
        if member.name == "service_tier" and member.node.is_text:
            seen.service_tier = _as_a_word(member.node)
    seen.model = seen.model or _word(body, "model")
    seen.upstream_id = seen.upstream_id or _word(body, "id")


def _take_messages(seen: Seen, body: Node) -> None:
    kind, message = _word(body, "type"), body.last("message")
    for member in body.members or ():
        for inner in (member.node.members or ()) if member.name == "delta" else ():
            if inner.name == "stop_reason":
                _take_reason(seen, inner.node)
    inside, outside = _usage(seen, message), _usage(seen, body)
    if kind == "message_start":
        seen.restarts += seen.started
        seen.started = True
        seen.usage_start, seen.usage_last = inside, b""
        seen.model, seen.upstream_id = _word(message, "model"), _word(message, "id")
    elif kind == "message_delta":
        seen.usage_last = outside or seen.usage_last
    elif kind == "message_stop":
        seen.ended = True


def _response_texts(seen: Seen, body: Node) -> list[bytes]:
    """A delta's text; else that of an item which is done and of which no delta came."""
    kind = _word(body, "type")
    members = body.members or []
    deltas = [plain(m.node.raw) for m in members if m.name == "delta" and m.node.is_text]
    found = list(deltas)
    if not seen.item_deltas:
        for member in members:
            if member.name == "item":
                found += [text for text in _item_texts(member.node) if text]
    if kind.startswith("response.reasoning_summary") or not (
        deltas or kind == "response.output_item.done"
    ):
        found = []
    found = [text for text in found if text]
    seen.item_deltas += bool(found)
    if kind == "response.output_item.done":
        seen.item_deltas = 0
    return found


def _item_texts(node: Node, name: str = "") -> Iterator[bytes]:
    """As `_texts`; code is text, too, and a summary is none."""
    if name == "summary" and (node.members is not None or node.items is not None):
        return
    if name == "input" and (node.members is not None or node.items is not None):
        yield node.raw[1:-1]
    elif node.is_text:
        yield plain(node.raw) if name in TEXT or name == "code" else b""
    else:
        for member in node.members or ():
            yield from _item_texts(member.node, member.name)
        for item in node.items or ():
            yield from _item_texts(item)


def _response_error(body: Node) -> Node | None:
    """The last error, at the top or in the response."""
    found: Node | None = None
    for member in body.members or ():
        if member.name == "error":
            found = member.node
        for inner in (member.node.members or ()) if member.name == "response" else ():
            if inner.name == "error":
                found = inner.node if inner.node.raw[:1] in b"{[" else None
    return found


def _last_word(owner: Node | None, name: str) -> str:
    """The last of the members of that name that is a text."""
    texts = [_as_a_word(m.node) for m in (owner.members if owner else None) or ()
             if m.name == name and m.node.is_text]  # fmt: skip
    return texts[-1] if texts else ""


def _as_a_word(node: Node) -> str:
    """A text in which an escape of a character beyond ASCII is a question mark: no word that is
    looked for has one."""
    text: str = json.loads(re.sub(rb"\\\\|\\u([0-9a-fA-F]{4})", _plain_escape, node.raw))
    return text


def _plain_escape(found: re.Match[bytes]) -> bytes:
    return b"?" if found[1] and int(found[1], 16) >= 0x80 else found[0]


def _object(owner: Node | None, name: str) -> bytes:
    found = owner.last(name) if owner is not None else None
    return found.raw if found is not None and found.members is not None else b""


def _take_response(seen: Seen, body: Node) -> None:
    kind, response = _word(body, "type"), body.last("response")
    if kind.startswith("response."):
        seen.started = True
        failed = kind in ("response.failed", "response.cancelled")
        seen.committed = seen.committed or not (failed or kind in OPENINGS)
    number = body.last("sequence_number")
    if number is not None and number.raw.isdigit():
        seen.sequence = int(number.raw)
    seen.upstream_id = seen.upstream_id or _last_word(response, "id")
    seen.model = seen.model or _last_word(response, "model")
    details = response.last("incomplete_details") if response is not None else None
    for member in (details.members if details is not None else None) or ():
        if member.name == "reason":
            _take_reason(seen, member.node)
    usage, tools = _usage(seen, response), _object(response, "tool_usage")
    tier = _last_word(response, "service_tier")
    if kind in ENDS:
        seen.ended = True
        seen.failed = seen.failed or kind not in ENDS[:2]
        seen.usage_last = usage or seen.usage_last
        seen.tool_usage = tools or seen.tool_usage
        seen.service_tier = tier if response is not None else seen.service_tier
    elif not seen.ended:
        seen.service_tier = ""
    elif response is not None:
        seen.service_tier = tier
