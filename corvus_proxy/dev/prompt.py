"""How a simulated provider counts and caches a prompt, by rules that anybody can recompute.

Rule 1: a token is four characters of text, the last one of a part possibly fewer. Every message and
        every system text adds three. Tools, tool calls and tool results count as compact JSON. An
        image is 1,000 tokens, a document 1,500, whatever its size.
Rule 2: Anthropic caches where the request sets `cache_control`: the longest prefix that this
        credential has written before is read, what follows up to a breakpoint is written with that
        breakpoint's lifetime. Prefixes under 256 tokens are not cached; the real limit is 1,024 to
        4,096 by model and would only make tests larger.
Rule 3: OpenAI caches by itself from 1,024 tokens on, in steps of 128; Z.AI from 128 in steps of 64.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

CHARACTERS_PER_TOKEN = 4
MESSAGE_TOKENS = 3
IMAGE_TOKENS = 1_000
DOCUMENT_TOKENS = 1_500
ANTHROPIC_CACHE_TOKENS_MIN = 256
AUTOMATIC = {"openai": (1_024, 128), "glm": (128, 64)}
"""Fewest cached tokens, and the step, where caching needs no breakpoint."""
_MEDIA = {
    "image": IMAGE_TOKENS,
    "image_url": IMAGE_TOKENS,
    "input_image": IMAGE_TOKENS,
    "document": DOCUMENT_TOKENS,
    "file": DOCUMENT_TOKENS,
    "input_file": DOCUMENT_TOKENS,
    "input_audio": DOCUMENT_TOKENS,
}


class Segment(NamedTuple):
    """A part of the prompt in its order: what it says, its tokens, and a breakpoint after it."""

    text: str
    tokens: int
    ttl: str
    """`5m`, `1h`, or empty where no breakpoint stands."""


class Counted(NamedTuple):
    """A prompt's tokens, and which of them the cache served or took."""

    tokens: int
    read: int
    write_5m: int
    write_1h: int


def segments(body: Mapping[str, Any]) -> list[Segment]:
    """The prompt of a request: tools, system, messages."""
    found = [_json_segment(tool) for tool in body.get("tools") or []]
    system = body.get("system")
    if system:
        found += _content(system)
    for message in body.get("messages") or []:
        found += _content(message.get("content"))
        found += [_json_segment(call) for call in message.get("tool_calls") or []]
    if body.get("cache_control") and found:
        found[-1] = found[-1]._replace(ttl=_ttl(body))
    return found


def count(body: Mapping[str, Any]) -> int:
    """Tokens of a request's prompt."""
    return sum(segment.tokens for segment in segments(body))


def _content(content: Any) -> Iterator[Segment]:
    """The segments of one message; its three own tokens stand in the first."""
    extra = MESSAGE_TOKENS
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    for block in blocks or [{"type": "text", "text": ""}]:
        kind = block.get("type")
        if kind in _MEDIA:
            segment = Segment(_digest(block), _MEDIA[kind], _ttl(block))
        elif isinstance(block.get("text"), str):
            segment = Segment(block["text"], tokens_of(block["text"]), _ttl(block))
        else:
            segment = _json_segment(block)
        yield segment._replace(tokens=segment.tokens + extra)
        extra = 0


def _json_segment(value: Mapping[str, Any]) -> Segment:
    text = json.dumps(
        {name: part for name, part in value.items() if name != "cache_control"},
        ensure_ascii=False,
        separators=(",", ":"),
    )
    return Segment(text, tokens_of(text), _ttl(value))


def tokens_of(text: str) -> int:
    """Tokens of a text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _ttl(value: Mapping[str, Any]) -> str:
    control = value.get("cache_control")
    return str(control.get("ttl") or "5m") if control else ""


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Cache:
    """Prefixes that were sent before, by credential and model. Nothing ever expires."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def count(self, family: str, body: Mapping[str, Any], credential: str) -> Counted:
        """Counts a prompt, reads what is cached of it and remembers the rest."""
        parts = segments(body)
        root = hashlib.sha256(f"{family}/{credential}/{body.get('model')}".encode())
        if family == "anthropic":
            return self._by_breakpoints(parts, root)
        total = sum(part.tokens for part in parts)
        least, step = AUTOMATIC[family]
        if total < least:
            return Counted(total, 0, 0, 0)
        prefixes = [(at, digest) for at, digest in _steps(parts, step, root) if at >= least]
        read = max((at for at, digest in prefixes if digest in self._seen), default=0)
        self._seen.update(digest for _, digest in prefixes)
        return Counted(total, read, total // step * step - read, 0)

    def _by_breakpoints(self, parts: list[Segment], root: "hashlib._Hash") -> Counted:
        at = 0
        cached = [0]
        breakpoints: list[tuple[int, bytes, str]] = []
        for part in parts:
            root.update(f"{len(part.text)}:{part.text}".encode())
            at += part.tokens
            if at < ANTHROPIC_CACHE_TOKENS_MIN:
                continue
            digest = root.digest()
            if digest in self._seen:
                cached.append(at)
            if part.ttl:
                breakpoints.append((at, digest, part.ttl))
        if not breakpoints:
            return Counted(at, 0, 0, 0)
        # What lies beyond the last breakpoint is not looked up.
        read = max(end for end in cached if end <= breakpoints[-1][0])
        written = {"5m": 0, "1h": 0}
        position = read
        for end, digest, ttl in breakpoints:
            if end > position:
                written["1h" if ttl == "1h" else "5m"] += end - position
                position = end
            self._seen.add(digest)
        return Counted(at, read, written["5m"], written["1h"])


def _steps(parts: list[Segment], step: int, root: "hashlib._Hash") -> Iterator[tuple[int, bytes]]:
    """The digest of the prompt's first 1, 2, 3 … steps of tokens."""
    tokens: list[str] = []
    for part in parts:
        pieces = [
            part.text[at : at + CHARACTERS_PER_TOKEN]
            for at in range(0, len(part.text), CHARACTERS_PER_TOKEN)
        ][: part.tokens]
        tokens += [""] * (part.tokens - len(pieces)) + pieces
    for at in range(step, len(tokens) + 1, step):
        root.update("\0".join(tokens[at - step : at]).encode())
        yield at, root.digest()
