"""The stream meter, slow and obvious: the whole stream at once, `json.loads` for every event."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

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
}


@dataclass
class Seen:
    """What `StreamMeter` should have found."""

    letters: int = 0
    symbols: int = 0
    non_ascii: int = 0
    deltas: int = 0
    events: int = 0
    started: bool = False
    ended: bool = False
    failed: bool = False
    restarts: int = 0
    usage_start: Any = None
    usage_last: Any = None
    model: str = ""
    upstream_id: str = ""
    forwarded: bytes = b""
    cut: list[bytes] = field(default_factory=list)


def split(stream: bytes) -> list[bytes]:
    """The events of a stream with their framing; the last piece may be incomplete."""
    pieces, running = [], b""
    for line in re.findall(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+", stream):
        running += line
        if line in (b"\r\n", b"\n", b"\r"):
            pieces.append(running)
            running = b""
    return [*pieces, running] if running else pieces


def data_of(event: bytes) -> str | None:
    """The joined data lines of one event."""
    lines = re.split(r"\r\n|\n|\r", event.decode("utf-8", "replace").removeprefix("\ufeff"))
    found = [line[5:].removeprefix(" ") for line in lines if line.startswith("data:")]
    return "\n".join(found) if found else None


def _strings(value: Any, name: str = "") -> list[str]:
    if isinstance(value, str):
        return [value] if name in TEXT else []
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in _strings(inner, key)]
    if isinstance(value, list):
        return [text for inner in value for text in _strings(inner)]
    return []


def read(dialect: str, stream: bytes, *, strip: bool = False) -> Seen:
    """Everything the meter should know after the whole stream."""
    seen = Seen()
    for event in split(stream):
        data = data_of(event)
        if data is None:
            seen.forwarded += event
            continue
        seen.events += 1
        if data.startswith("[DONE]"):
            seen.ended = seen.ended or dialect == "chat"
            seen.forwarded += event
            continue
        body = json.loads(data)
        only_usage = dialect == "chat" and body.get("choices") == [] and bool(body.get("usage"))
        if strip and only_usage:
            seen.cut.append(event)
        else:
            seen.forwarded += event
        _take(seen, dialect, body)
    return seen


def _take(seen: Seen, dialect: str, body: dict[str, Any]) -> None:
    parts = ("delta", "content_block") if dialect == "messages" else ("choices",)
    texts = [text for part in parts for text in _strings(body.get(part)) if text]
    for text in texts:
        for character in text:
            raw = len(character.encode("utf-8", "surrogatepass"))
            if raw > 1:
                seen.non_ascii += raw
            elif character.isalpha():
                seen.letters += 1
            else:
                seen.symbols += 1
    seen.deltas += bool(texts)
    kind = body.get("type")
    if dialect == "messages":
        if kind == "message_start":
            seen.restarts += seen.started
            seen.started = True
            seen.usage_start, seen.usage_last = body["message"].get("usage"), None
            seen.model = seen.model or body["message"].get("model", "")
            seen.upstream_id = seen.upstream_id or body["message"].get("id", "")
        elif kind == "message_delta":
            seen.usage_last = body.get("usage") or seen.usage_last
        elif kind == "message_stop":
            seen.ended = True
    else:
        seen.started = seen.started or "choices" in body
        seen.usage_last = body.get("usage") or seen.usage_last
        seen.model = seen.model or body.get("model", "")
        seen.upstream_id = seen.upstream_id or body.get("id", "")
    seen.failed = seen.failed or kind == "error" or bool(body.get("error"))
