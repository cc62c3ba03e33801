"""What a simulated provider answers: its tokens, its usage, its tool calls. Deterministic by seed.

Tokens are counted by a simple rule that anybody can recompute: a prompt has one token for every four
characters of its messages, system text and tools as compact JSON, and three more. An answer's tokens
are the pieces it is streamed in: one delta, one token. Prompts of at least 256 tokens are cached;
real providers start at 1,024 or 4,096, which would only make tests larger.
"""

import hashlib
import json
import random
import re
from typing import Any, NamedTuple

CACHE_TOKENS_MIN = 256
CACHE_STEP_TOKENS = 128
DEFAULT_TOKENS = 64
REASONING_TOKENS = 16
WORDS = ("able", "bird", "calm", "dawn", "each", "fern", "gold", "hill", "iris", "jade", "kite",
         "lark", "moss", "noon", "opal", "pine", "quay", "rain", "sand", "tide")
_DIRECTIVE = re.compile(r"\[\[simulate:([^\]]*)\]\]")


class Plan(NamedTuple):
    """One answer before it is framed."""

    family: str
    model: str
    answer_id: str
    stream: bool
    include_usage: bool
    prompt_tokens: int
    cache_read: int
    cache_write: int
    cache_1h: bool
    reasoning: list[str]
    """Shown reasoning, a token a piece (Claude's thinking, GLM's reasoning_content)."""
    hidden_reasoning: int
    text: list[str]
    tool: tuple[str, str] | None
    """Name and arguments (JSON) of a tool call."""
    finish: str
    """`stop`, `length` or `tool`."""

    @property
    def pieces(self) -> list[str]:
        """The visible pieces of the answer proper."""
        return split_arguments(self.tool[1]) if self.tool else self.text

    @property
    def output_tokens(self) -> int:
        """All output, reasoning included."""
        return len(self.reasoning) + self.hidden_reasoning + len(self.pieces)


def split_arguments(arguments: str) -> list[str]:
    """A tool call's arguments in pieces of five characters: its tokens."""
    return [arguments[at:at + 5] for at in range(0, len(arguments), 5)]


def directives(body: dict[str, Any], header: str) -> dict[str, str]:
    """`[[simulate: status=500 cut_after=3]]` in the last message, or the header x-simulate."""
    text = header
    messages = body.get("messages") or []
    if messages and isinstance(messages[-1], dict):
        for found in _DIRECTIVE.finditer(json.dumps(messages[-1].get("content", ""))):
            text += " " + found[1]
    pairs = (part.partition("=") for part in re.split(r"[;\s]+", text) if "=" in part)
    return {name: value for name, _, value in pairs}


class Cache:
    """Prompt prefixes that a credential has sent before."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def look(self, credential: str, prefix: str, tokens: int) -> tuple[int, int]:
        """Tokens read and written for a cacheable prefix."""
        if tokens < CACHE_TOKENS_MIN:
            return 0, 0
        key = hashlib.sha256(f"{credential}\0{prefix}".encode()).hexdigest()
        if key in self._seen:
            return tokens, 0
        self._seen.add(key)
        return 0, tokens


def count(value: Any) -> int:
    """Tokens of a JSON value."""
    return -(-len(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) // 4)


def plan(
    family: str, body: dict[str, Any], asked: dict[str, str], *, seed: int, credential: str,
    cache: Cache, serial: int,
) -> Plan:
    """The answer to `body`."""
    source = random.Random(f"{seed}/{json.dumps(body, sort_keys=True)}")  # noqa: S311
    parts = {name: body[name] for name in ("system", "tools", "messages") if body.get(name)}
    prompt_tokens = count(parts) + 3
    read, written, hour = _cached(family, body, parts, prompt_tokens, credential, cache)
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or 1 << 30
    if body.get("max_tokens") == 0:
        limit = 0
    wanted = int(asked.get("tokens", DEFAULT_TOKENS))
    shown, hidden = _reasoning(family, body, source, limit)
    room = max(0, limit - len(shown) - hidden)
    tool = _tool(body, source)
    finish = "tool" if tool else "stop"
    text: list[str] = []
    if tool is None:
        text = [source.choice(WORDS) + " " for _ in range(min(wanted, room))]
        if room < wanted:
            finish = "length"
    return Plan(
        family=family, model=str(body["model"]), answer_id=f"{source.getrandbits(96):024x}{serial:x}",
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        prompt_tokens=prompt_tokens, cache_read=read, cache_write=written, cache_1h=hour,
        reasoning=shown, hidden_reasoning=hidden, text=text, tool=tool, finish=finish)


def _cached(
    family: str, body: dict[str, Any], parts: dict[str, Any], prompt_tokens: int, credential: str,
    cache: Cache,
) -> tuple[int, int, bool]:
    text = json.dumps(parts, sort_keys=True)
    if family == "anthropic":
        if '"cache_control": {' not in text:
            return 0, 0, False
        hour = '"ttl": "1h"' in text
        return (*cache.look(credential, text, prompt_tokens - prompt_tokens // 8), hour)
    tokens = prompt_tokens // CACHE_STEP_TOKENS * CACHE_STEP_TOKENS
    read, written = cache.look(credential, text, tokens)
    charges_writes = bool(re.match(r"gpt-(5\.[6-9]|[6-9])", str(body["model"])))
    return read, written if charges_writes else 0, False


def _reasoning(
    family: str, body: dict[str, Any], source: random.Random, limit: int
) -> tuple[list[str], int]:
    words = [source.choice(WORDS) + " " for _ in range(REASONING_TOKENS // 2)]
    if family == "anthropic":
        kind = (body.get("thinking") or {}).get("type")
        return (words[:limit] if kind in ("enabled", "adaptive") else []), 0
    if family == "glm":
        kind = (body.get("thinking") or {}).get("type")
        return (words[:limit] if kind != "disabled" else []), 0
    silent = bool(re.match(r"(gpt-[5-9]|o\d)", str(body["model"])))
    effort = body.get("reasoning_effort")
    return [], min(limit, REASONING_TOKENS) if silent and effort != "none" else 0


def _tool(body: dict[str, Any], source: random.Random) -> tuple[str, str] | None:
    """A call when one is required or plainly asked for, and the last message is no tool's result."""
    tools = body.get("tools") or []
    if not tools:
        return None
    named = [(tool.get("function") or tool) for tool in tools]
    choice = body.get("tool_choice") or "auto"
    kind = choice if isinstance(choice, str) else choice.get("type", "auto")
    if kind == "none":
        return None
    wanted = "" if isinstance(choice, str) else (
        choice.get("name") or (choice.get("function") or {}).get("name") or "")
    last = (body.get("messages") or [{}])[-1]
    text = json.dumps(last.get("content", ""))
    if last.get("role") == "tool" or '"tool_result"' in text:
        return None
    asked_for = re.search(r"\b(use|call|run|weather|tool)\b", text, re.IGNORECASE)
    if kind == "auto" and not asked_for:
        return None
    found = next((tool for tool in named if tool.get("name") == wanted), named[0])
    schema = found.get("parameters") or found.get("input_schema") or {}
    return str(found.get("name", "tool")), json.dumps(fill(schema, source))


def fill(schema: dict[str, Any], source: random.Random, depth: int = 0) -> Any:
    """A value that fits a JSON schema: its required members, its enums, its bounds."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return source.choice(schema["enum"])
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return fill(schema[name][0], source, depth)
    kind = schema.get("type", "object" if "properties" in schema or depth == 0 else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    match kind:
        case "object":
            properties = schema.get("properties") or {}
            names = schema.get("required") or list(properties)
            return {name: fill(properties.get(name, {}), source, depth + 1) for name in names}
        case "array":
            size = max(1, schema.get("minItems", 1))
            return [fill(schema.get("items") or {}, source, depth + 1) for _ in range(size)]
        case "integer" | "number":
            low = schema.get("minimum", 1)
            return int(low) if kind == "integer" else float(low)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            text = source.choice(WORDS)
            return (text * 20)[: max(schema.get("minLength", 0), len(text))]
