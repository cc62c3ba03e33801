"""A Messages request for a model that speaks chat: request to request. Pure.

Rule 1: what the model is told stays in order and whole; a system text stays where it stands, tool
        results come before the words beside them.
Rule 2: the same history gives the same bytes. A call's `input` is passed on as the bytes it is.
Rule 3: thinking of another provider's model is left out: nobody but its maker can read it.
"""

import hashlib
import re
from typing import Any

import msgspec

from corvus_proxy.catalogue.book import Model
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.translate.fields import (
    Fates,
    Json,
    check,
    decode,
    function_name,
    present,
    refusal,
    untranslatable,
)
from corvus_proxy.wire.translate.schemas import ANSWER_IN_SCHEMA, is_strict

FATES = Fates(
    carried=frozenset(
        {
            "max_tokens", "messages", "metadata", "model", "output_config", "output_format",
            "stop_sequences", "stream", "system", "temperature", "thinking", "tool_choice",
            "tools", "top_p",
        }
    ),
    dropped=frozenset({"cache_control", "context_management", "diagnostics"}),
    neutral={
        "container": (),
        "fallbacks": ([],),
        "inference_geo": ("global",),
        "mcp_servers": ([],),
        "service_tier": ("auto", "standard_only"),
        "speed": ("standard",),
    },
)  # fmt: skip

FAILED = "Error: "
"""Begins the text of a tool's result that failed: chat has no member that says so."""
STOPS_MAX = 4
ID_CHARACTERS = 40
"""The longest id of a call on chat."""
_ABOUT_THE_CLIENT = "x-anthropic-billing-header:"
"""Begins a system text by which one client tells Anthropic about itself; it changes from request to
request and would break the cached prefix at its very beginning."""
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_NO_REASONING_WITH_TOOLS = re.compile(r"gpt-(5\.[1-9]|[6-9])")
"""Models that refuse function tools on chat unless `reasoning_effort` is none."""
_NO_XHIGH = re.compile(r"gpt-5(\.1)?(-20\d\d.*)?\Z")
_BY_BUDGET = ((4_096, "low"), (16_384, "medium"))
"""Effort by the thinking budget that a request gives; a larger one is high."""


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")
    source: Json | None = None
    title: str | None = None
    context: str | None = None
    citations: Any = None
    tool_use_id: str | None = None
    tool_name: str | None = None
    content: "str | list[_Block] | None" = None
    is_error: bool | None = None


class _OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: Json | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Block]
    output_config: _OutputConfig | None = None


class _Tool(msgspec.Struct):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: Json | None = None
    strict: bool | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_tokens: int
    system: str | list[_Block] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    output_format: Json | None = None
    metadata: _Metadata | None = None


def request(body: bytes, model: Model) -> bytes:
    """The chat request that says what the Messages request `body` says. Raises InvalidRequest with
    the member that has no counterpart."""
    check(body, FATES, Dialect.CHAT)
    asked = decode(body, _Body)
    if asked.max_tokens < 1:
        raise refusal("max_tokens", "this model has no cache that could be filled without output.")
    if len(asked.stop_sequences or ()) > STOPS_MAX:
        raise refusal("stop_sequences", f"this model takes at most {STOPS_MAX}.")
    schema = _schema(asked)
    messages = _system(asked)
    if schema is not None and model.family == "glm":
        told = ANSWER_IN_SCHEMA + msgspec.json.encode(schema).decode()
        messages.append({"role": "system", "content": told})
    for at, message in enumerate(asked.messages):
        messages += _message(message, f"messages[{at}]")
    if not messages:
        raise refusal("messages", "there is no message.")
    choice, parallel = _choice(asked)
    user_id = asked.metadata.user_id if asked.metadata else None
    made = present(
        model=asked.model,
        max_completion_tokens=min(asked.max_tokens, model.output_tokens_max),
        stream=asked.stream,
        stream_options={"include_usage": True} if asked.stream else None,
        tools=_tools(asked.tools) if asked.tools else None,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=None if schema is None else _format(schema, model),
        temperature=asked.temperature,
        top_p=asked.top_p,
        stop=asked.stop_sequences or None,
        **_reasoning(asked, model),
        safety_identifier=_end_user(user_id) if user_id and model.family == "openai" else None,
        messages=messages,
    )
    return msgspec.json.encode(made)


class _Named(msgspec.Struct):
    name: str | None = None


class _Offered(msgspec.Struct):
    tools: list[_Named] | None = None


def renamed(body: bytes) -> dict[str, str]:
    """By the names that chat has for them: the tools whose own names are too long. Raises
    InvalidRequest."""
    names = [tool.name or "" for tool in decode(body, _Offered).tools or ()]
    return {short: name for name in names if (short := function_name(name)) != name}


def call_id(given: str) -> str:
    """A call's id as chat allows it: the same one wherever it is short enough."""
    if len(given) <= ID_CHARACTERS:
        return given
    return "call_" + hashlib.sha256(given.encode()).hexdigest()[:32]


def _end_user(user_id: str) -> str:
    """Whom the answer is for, in the 64 characters that chat allows, and without saying who."""
    return hashlib.sha256(user_id.encode()).hexdigest()


# -- the history --------------------------------------------------------------------------------


def _system(asked: _Body) -> list[Json]:
    if asked.system is None:
        return []
    blocks = asked.system if isinstance(asked.system, list) else [_Block("text", asked.system)]
    texts = [_text(block, f"system[{at}]") for at, block in enumerate(blocks)]
    texts = [text for text in texts if text and not text.startswith(_ABOUT_THE_CLIENT)]
    return [{"role": "system", "content": _joined(texts)}] if texts else []


def _text(block: _Block, place: str) -> str:
    if block.type != "text" or block.text is None:
        raise untranslatable(f"{place}.type", Dialect.CHAT)
    return block.text


def _joined(texts: list[str]) -> str | list[Json]:
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]


def _message(message: _Message, place: str) -> list[Json]:
    content = message.content
    if isinstance(content, str):
        content = [_Block("text", content)]
    match message.role:
        case "user":
            return _user(content, place)
        case "assistant":
            return _assistant(content, place)
        case "system":
            texts = [_text(one, f"{place}.content[{at}]") for at, one in enumerate(content)]
            return [{"role": "system", "content": _joined(texts)}] if texts else []
        case _:
            raise untranslatable(f"{place}.role", Dialect.CHAT)


def _user(blocks: list[_Block], place: str) -> list[Json]:
    """Results as messages of their own, first; then the user's words and pictures."""
    results: list[Json] = []
    parts: list[Json] = []
    for at, block in enumerate(blocks):
        where = f"{place}.content[{at}]"
        if block.type == "tool_result":
            result, pictures = _result(block, where)
            results.append(result)
            parts += pictures
        else:
            parts += _parts(block, where)
    if len(parts) == 1 and parts[0]["type"] == "text":
        return [*results, {"role": "user", "content": parts[0]["text"]}]
    return [*results, {"role": "user", "content": parts}] if parts else results


def _parts(block: _Block, place: str) -> list[Json]:
    source = block.source or {}
    if isinstance(block.citations, dict) and block.citations.get("enabled"):
        raise untranslatable(f"{place}.citations", Dialect.CHAT)
    if block.type == "document" and block.context is not None:
        raise untranslatable(f"{place}.context", Dialect.CHAT)
    match block.type, source.get("type"):
        case "text", _:
            return [{"type": "text", "text": block.text or ""}]
        case "image", "base64":
            url = f"data:{source.get('media_type')};base64,{source.get('data')}"
            return [{"type": "image_url", "image_url": {"url": url}}]
        case "image", "url":
            return [{"type": "image_url", "image_url": {"url": source.get("url")}}]
        case "document", "text":
            lines = filter(None, (block.title, str(source.get("data") or "")))
            return [{"type": "text", "text": "\n".join(lines)}]
        case "document", "base64":
            data = f"data:{source.get('media_type')};base64,{source.get('data')}"
            file = {"filename": block.title or "document.pdf", "file_data": data}
            return [{"type": "file", "file": file}]
        case (("image" | "document"), _):
            raise untranslatable(f"{place}.source", Dialect.CHAT)
        case _:
            raise untranslatable(f"{place}.type", Dialect.CHAT)


def _result(block: _Block, place: str) -> tuple[Json, list[Json]]:
    """A tool's result as chat has it, text alone; pictures in it follow as the user's."""
    if block.tool_use_id is None:
        raise refusal(f"{place}.tool_use_id", "it is missing.")
    texts: list[str] = []
    pictures: list[Json] = []
    content = block.content
    if isinstance(content, str):
        content = [_Block("text", content)]
    for at, inner in enumerate(content or ()):
        if inner.type == "tool_reference":
            texts.append(f"The tool {inner.tool_name} can be called.")
        elif inner.type == "text":
            texts.append(inner.text or "")
        else:
            pictures += _parts(inner, f"{place}.content[{at}]")
    if pictures:
        texts.append("(What it shows follows.)")
    text = "\n".join(texts)
    if block.is_error:
        text = FAILED + text
    return {"role": "tool", "tool_call_id": call_id(block.tool_use_id), "content": text}, pictures


def _assistant(blocks: list[_Block], place: str) -> list[Json]:
    texts: list[str] = []
    calls: list[Json] = []
    for at, block in enumerate(blocks):
        match block.type:
            case "text":
                texts.append(block.text or "")
            case "thinking" | "redacted_thinking":
                continue
            case "tool_use":
                name = function_name(block.name or "")
                function = {"name": name, "arguments": bytes(block.input).decode()}
                calls.append(
                    {"id": call_id(block.id or ""), "type": "function", "function": function}
                )
            case _:
                raise untranslatable(f"{place}.content[{at}].type", Dialect.CHAT)
    if not texts and not calls:
        return []
    said = {"role": "assistant", "content": "".join(texts) if texts else None}
    return [{**said, **({"tool_calls": calls} if calls else {})}]


# -- what is asked for --------------------------------------------------------------------------


def _tools(tools: list[_Tool]) -> list[Json]:
    found = []
    for at, tool in enumerate(tools):
        if tool.type not in (None, "custom"):
            raise untranslatable(f"tools[{at}].type", Dialect.CHAT)
        function = present(
            name=function_name(tool.name),
            description=tool.description,
            parameters=tool.input_schema or {"type": "object", "properties": {}},
            strict=(tool.strict and is_strict(tool.input_schema or {})) or None,
        )
        found.append({"type": "function", "function": function})
    return found


def _choice(asked: _Body) -> tuple[str | Json | None, bool | None]:
    """`tool_choice` and `parallel_tool_calls`."""
    choice = asked.tool_choice
    if choice is None or not asked.tools:
        return None, None
    parallel = False if choice.disable_parallel_tool_use else None
    match choice.type:
        case "auto" | "none":
            return choice.type, parallel
        case "any":
            return "required", parallel
        case "tool" if choice.name is not None:
            return {"type": "function", "function": {"name": function_name(choice.name)}}, parallel
        case _:
            raise refusal("tool_choice", "it is auto, any, none, or a named tool.")


def _schema(asked: _Body) -> Json | None:
    """The schema that the answer has to fit."""
    form = asked.output_format or (asked.output_config.format if asked.output_config else None)
    if form is None:
        return None
    schema = form.get("schema")
    if form.get("type") != "json_schema" or not isinstance(schema, dict):
        raise refusal("output_config.format", "only json_schema with its schema is served.")
    return schema


def _format(schema: Json, model: Model) -> Json:
    if model.family == "glm":
        return {"type": "json_object"}
    told = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
    return {"type": "json_schema", "json_schema": told}


def _reasoning(asked: _Body, model: Model) -> Json:
    """How much to reason, in the words of the model's family."""
    effort = asked.output_config.effort if asked.output_config else None
    for message in asked.messages:
        if message.output_config is not None and message.output_config.effort is not None:
            effort = message.output_config.effort
    if effort is not None and effort not in _EFFORTS:
        raise refusal("output_config.effort", f"it is one of {', '.join(_EFFORTS)}.")
    thinking = asked.thinking
    off = thinking is None or thinking.type == "disabled"
    if model.family == "glm":
        return {"thinking": {"type": "disabled" if off else "enabled"}}
    if not model.silent_reasoning:
        return {}
    name = model.upstream_model
    if asked.tools and _NO_REASONING_WITH_TOOLS.match(name):
        return {"reasoning_effort": "none"}
    if thinking is not None and thinking.budget_tokens is not None and effort is None:
        budget = thinking.budget_tokens
        effort = next((word for most, word in _BY_BUDGET if budget <= most), "high")
    if effort is None:
        return {}
    if effort in ("xhigh", "max"):
        effort = "high" if _NO_XHIGH.match(name) else "xhigh"
    return {"reasoning_effort": effort}
