"""What a simulated provider answers: its text, reasoning and tool calls. Deterministic by seed.

Rule 1: one delta, one token. Text is a word of four letters and a space; a tool call's arguments
        come in pieces of five characters. What is streamed is what usage says, beside OpenAI's
        reasoning, which nobody sees. (Z.AI sends a tool call's tokens in one delta.)
        A message of `run` and a line for a shell calls the tool that takes such a line.
Rule 2: an answer never exceeds the request's limit; one that the limit ends says so.
"""

import json
import random
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from corvus_proxy.dev import schema
from corvus_proxy.dev.faults import Asked
from corvus_proxy.dev.prompt import Cache, Counted
from corvus_proxy.dev.schema import WORDS

HIDDEN_REASONING_TOKENS = 16
SHOWN_REASONING_TOKENS = 8
ARGUMENT_CHARACTERS = 5
_REASONS = re.compile(r"(gpt-[5-9]|o\d)")
_CHARGES_WRITES = re.compile(r"gpt-(5\.[6-9]|[6-9])")
_RUNS = re.compile(r"run (\S[^\n]*)", re.IGNORECASE)
_ASKS_FOR_TOOL = re.compile(r"\b(use|call|run|weather|tool)\b", re.IGNORECASE)


class Tool(NamedTuple):
    """A tool call: the name and the arguments' JSON in pieces, cut short where the limit came."""

    name: str
    pieces: list[str]
    kind: str = "function"
    """`function`, or `custom` where the arguments are text of any form."""
    namespace: str = ""


class Plan(NamedTuple):
    """One answer before it is framed. Each of `choices` answers is the same."""

    family: str
    dialect: str
    """`messages`, `chat` or `responses`."""
    model: str
    answer_id: str
    stream: bool
    include_usage: bool
    obfuscate: bool
    choices: int
    prompt: Counted
    charges_writes: bool
    reasoning: list[str]
    """Shown reasoning, a token a piece (Claude's thinking, GLM's reasoning_content)."""
    hidden_reasoning: int
    text: list[str]
    tool: Tool | None
    finish: str
    """`stop`, `length`, `tool` or `refusal`."""
    tier: str = ""
    """OpenAI's service tier, or Anthropic's speed, that serves; empty where none is told."""
    geo: str = ""
    """Anthropic's place of inference."""
    stored: bool = False
    """Whether the provider was left to store the answer (responses)."""

    @property
    def reasoning_tokens(self) -> int:
        """All reasoning, of all choices."""
        return self.choices * (len(self.reasoning) + self.hidden_reasoning)

    @property
    def output_tokens(self) -> int:
        """All output, of all choices, reasoning included."""
        pieces = self.tool.pieces if self.tool else self.text
        return self.reasoning_tokens + self.choices * len(pieces)


class Model:
    """The one that answers: seeded, with a memory for prompts."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._cache = Cache()
        self._serial = 0

    def plan(
        self,
        family: str,
        body: Mapping[str, Any],
        asked: Asked,
        credential: str,
        *,
        dialect: str = "",
    ) -> Plan:
        """The answer to `body`, which has passed `refusals.judge`; of a response it is the
        chat that says the same (`openai.asked`)."""
        self._serial += 1
        source = random.Random(f"{self._seed}/{json.dumps(body, sort_keys=True)}")  # noqa: S311
        model = str(body["model"])
        limit = _limit(body)
        shown, hidden = _reasoning(family, body, asked, limit)
        room = limit - shown - hidden
        tool, text, finish = _called(body, source), [], "tool"
        if tool is None:
            text = [source.choice(WORDS) + " " for _ in range(min(asked.tokens, room))]
            finish = "length" if room < asked.tokens else "stop"
        elif len(tool.pieces) > room:
            tool, finish = tool._replace(pieces=tool.pieces[:room]), "length"
        if asked.refusal:
            finish = "refusal"
        options = body.get("stream_options") or {}
        return Plan(
            family=family,
            dialect=dialect or ("messages" if family == "anthropic" else "chat"),
            model=model,
            answer_id=f"{source.getrandbits(88):022x}{self._serial:x}",
            stream=bool(body.get("stream")),
            include_usage=bool(options.get("include_usage")),
            obfuscate=options.get("include_obfuscation") is not False,
            choices=body.get("n") or 1,
            prompt=self._cache.count(family, body, credential),
            charges_writes=bool(_CHARGES_WRITES.match(model)),
            reasoning=[source.choice(WORDS) + " " for _ in range(shown)],
            hidden_reasoning=hidden,
            text=text,
            tool=tool,
            finish=finish,
            tier=_tier(family, body, asked),
            geo=asked.geo or str(body.get("inference_geo") or "global"),
        )


def _tier(family: str, body: Mapping[str, Any], asked: Asked) -> str:
    """The tier that serves: what was asked for, unless the fault says otherwise."""
    if asked.tier:
        return "" if asked.tier == "none" else asked.tier
    if family == "anthropic":
        return str(body.get("speed") or "standard")
    tier = str(body.get("service_tier") or "default")
    return {"auto": "default", "fast": "priority"}.get(tier, tier)


def _limit(body: Mapping[str, Any]) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        if body.get(name) is not None:
            return int(body[name])
    return 1 << 30


def _reasoning(family: str, body: Mapping[str, Any], asked: Asked, limit: int) -> tuple[int, int]:
    """Tokens of shown and of hidden reasoning."""
    kind = (body.get("thinking") or {}).get("type")
    shows = kind in ("enabled", "adaptive") if family == "anthropic" else kind != "disabled"
    if family == "openai":
        hides = _REASONS.match(str(body["model"])) and body.get("reasoning_effort") != "none"
        wanted = HIDDEN_REASONING_TOKENS if asked.reasoning < 0 else asked.reasoning
        return 0, min(limit, wanted) if hides else 0
    wanted = SHOWN_REASONING_TOKENS if asked.reasoning < 0 else asked.reasoning
    return min(limit, wanted) if shows else 0, 0


def _called(body: Mapping[str, Any], source: random.Random) -> Tool | None:
    """A call where one is required or plainly asked for, unless the last message is a result."""
    tools = [
        tool.get("function") or {**tool, **(tool.get("custom") or {})}
        for tool in body.get("tools") or []
    ]
    choice, tools = _allowed(body.get("tool_choice") or "auto", tools)
    kind = choice if isinstance(choice, str) else choice.get("type", "auto")
    last = _last(body["messages"])
    text = json.dumps(last.get("content", ""))
    if not tools or kind == "none" or last.get("role") == "tool" or '"tool_result"' in text:
        return None
    if kind == "auto" and not _ASKS_FOR_TOOL.search(text):
        return None
    if kind in ("auto", "any", "required"):
        running = _running(tools, last.get("content"), source)
        if running:
            return running
    wanted = named(choice)
    found = next((tool for tool in tools if tool.get("name") == wanted), tools[0])
    if found.get("type") == "custom":
        pieces = [source.choice(WORDS) + " " for _ in range(4)]
        return _call(found, "")._replace(kind="custom", pieces=pieces)
    return _call(found, schema.arguments(_schema(found), source))


def named(choice: Any) -> str:
    """The tool that a `tool_choice` of any dialect names, or nothing."""
    if not isinstance(choice, Mapping):
        return ""
    inner = choice.get("function") or choice.get("custom") or {}
    return str(choice.get("name") or inner.get("name") or "")


def _allowed(choice: Any, tools: list[Any]) -> tuple[Any, list[Any]]:
    """Choice and tools, where only some are allowed by those alone (chat)."""
    if not isinstance(choice, Mapping) or choice.get("type") != "allowed_tools":
        return choice, tools
    allowed = choice.get("allowed_tools") or {}
    names = [named(one) for one in allowed.get("tools") or []]
    return allowed.get("mode") or "auto", [one for one in tools if one.get("name") in names]


def _schema(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return tool.get("parameters") or tool.get("input_schema") or {}


def _call(tool: Mapping[str, Any], filled: str) -> Tool:
    return Tool(
        str(tool.get("name", "tool")),
        [
            filled[at : at + ARGUMENT_CHARACTERS]
            for at in range(0, len(filled), ARGUMENT_CHARACTERS)
        ],
        namespace=str(tool.get("namespace", "")),
    )


def _last(messages: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last message that is no instruction: agents repeat theirs behind what a person says."""
    told = (one for one in reversed(messages) if one.get("role") not in ("system", "developer"))
    return next(told, messages[-1])


def _running(tools: list[Mapping[str, Any]], content: Any, source: random.Random) -> Tool | None:
    """The call that runs what the message says, where it says so and a tool can."""
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [str(part.get("text") or "").strip("\"'` \n") for part in parts]
    said = next(filter(None, map(_RUNS.fullmatch, texts)), None)
    if said is None:
        return None
    for tool in tools:
        filled = schema.command(_schema(tool), said[1], source)
        if filled:
            return _call(tool, filled)
    return None
