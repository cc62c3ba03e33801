"""A chat request for a model that speaks Messages: request to request. Pure.

Rule 1: what the model is told stays in order and whole. System texts at the beginning go to the
        top, where Messages has them; later ones stay behind the user's words that they follow.
        Tool results of one round stand together, before the next words of the user.
Rule 2: the same history gives the same bytes, so that a prompt's cached prefix grows turn by turn.
        Arguments of a tool call are passed on as the bytes they are.
Rule 3: thinking comes back only with its signature (`thinking_blocks`); text without one is left
        out, for an upstream refuses it.
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
    present,
    refusal,
    untranslatable,
)
from corvus_proxy.wire.translate.schemas import enforceable

FATES = Fates(
    carried=frozenset(
        {
            "cache_control", "max_completion_tokens", "max_tokens", "messages", "model",
            "parallel_tool_calls", "reasoning_effort", "response_format", "safety_identifier",
            "stop", "stream", "stream_options", "temperature", "tool_choice", "tools", "top_p",
            "user",
        }
    ),
    dropped=frozenset(
        {
            "metadata", "prediction", "prompt_cache_key", "prompt_cache_options",
            "prompt_cache_retention", "verbosity",
        }
    ),
    neutral={
        "frequency_penalty": (0,),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "logit_bias": ({},),
        "logprobs": (False,),
        "modalities": (["text"],),
        "n": (1,),
        "presence_penalty": (0,),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "top_logprobs": (0,),
    },
)  # fmt: skip

JSON_ONLY = "Answer with one JSON object and nothing else."
"""Stands for `response_format` of type json_object, which Messages has no member for."""
BUDGETS = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384}
"""Thinking budgets of models that know no effort; more effort than high has high's."""
BUDGET_MIN = 1_024
_BY_BUDGET = re.compile(r"claude-(haiku|sonnet|opus)-4-5\b")
"""Models that think by budget and refuse `adaptive` (docs.claude.com, adaptive thinking)."""
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_LESS_EFFORT = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}
_TO_THE_MOST = re.compile(r"claude-(opus|sonnet)-4-6\b")
"""Models that think by effort and do not know `xhigh`."""
_SYSTEM_ON_TOP = re.compile(r"claude-(haiku|sonnet|opus)-4-[5-7]\b")
"""Models that refuse a system text inside the conversation (docs.claude.com, mid-conversation
system messages)."""
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.=-]+)*;base64,")
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


class _Url(msgspec.Struct):
    url: str


class _File(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _Url | None = None
    file: _File | None = None
    cache_control: Any = None


class _Called(msgspec.Struct):
    name: str
    arguments: str = ""


class _Call(msgspec.Struct):
    id: str
    type: str = "function"
    function: _Called | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    thinking_blocks: list[Json] | None = None
    function_call: Any = None
    audio: Any = None
    cache_control: Any = None


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None
    cache_control: Any = None


class _Name(msgspec.Struct):
    name: str


class _Choice(msgspec.Struct):
    type: str
    function: _Name | None = None


class _Schema(msgspec.Struct):
    schema: Json | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    cache_control: Any = None


def request(body: bytes, model: Model) -> bytes:
    """The Messages request that says what the chat request `body` says.

    Without an output limit it has the model's own, for Messages requires one. Raises InvalidRequest
    with the member that has no counterpart.
    """
    check(body, FATES, Dialect.MESSAGES)
    asked = decode(body, _Body)
    system, turns = _history(asked, model)
    if not turns:
        raise refusal("messages", "there is no message of the user.")
    if asked.temperature is not None and asked.temperature > 1:
        raise refusal("temperature", "this model takes at most 1.")
    output: Json = {}
    if asked.response_format is not None:
        _format(asked.response_format, output, system)
    limit = asked.max_completion_tokens or asked.max_tokens or model.output_tokens_max
    limit = min(limit, model.output_tokens_max)
    choice = _choice(asked)
    thinking = _thinking(asked, model, limit, output, forced=_forces(choice))
    end_user = asked.safety_identifier or asked.user
    made = present(
        model=asked.model,
        max_tokens=limit,
        stream=asked.stream,
        system=system or None,
        tools=_tools(asked.tools) if asked.tools else None,
        tool_choice=choice,
        thinking=thinking,
        output_config=output or None,
        temperature=asked.temperature,
        top_p=asked.top_p,
        stop_sequences=[asked.stop] if isinstance(asked.stop, str) else asked.stop,
        metadata={"user_id": end_user} if end_user else None,
        cache_control=asked.cache_control,
        messages=turns,
    )
    return msgspec.json.encode(made)


# -- the history --------------------------------------------------------------------------------


def _history(asked: _Body, model: Model) -> tuple[list[Json], list[Json]]:
    """The system's blocks, and turns that alternate.

    A system text that comes later stays where it is, so that what is cached of the turns before
    stays cached. Messages takes it behind a turn of the user's alone: where others of the user's
    words follow, it stands behind those.
    """
    system: list[Json] = []
    turns: list[Json] = []
    later: list[Json] = []
    on_top = _SYSTEM_ON_TOP.search(model.upstream_model) is not None
    for at, message in enumerate(asked.messages):
        place = f"messages[{at}]"
        match message.role:
            case "system" | "developer":
                told = system if on_top or not turns else later
                told += _content(message, place)
            case "user":
                _add(turns, "user", _content(message, place))
            case "assistant":
                said = _said(message, place)
                if said:
                    later = _placed(later, turns, system)
                _add(turns, "assistant", said)
            case "tool":
                _add(turns, "user", [_result(message, place)])
            case _:
                raise untranslatable(f"{place}.role", Dialect.MESSAGES)
    _placed(later, turns, system)
    return system, turns


def _placed(later: list[Json], turns: list[Json], system: list[Json]) -> list[Json]:
    """Ends the user's turn with the system texts `later`; between two turns of the model's there
    is no place for them but the top. What is left to place: nothing."""
    if later and turns[-1]["role"] == "user":
        turns.append({"role": "system", "content": later})
    else:
        system += later
    return []


def _add(turns: list[Json], role: str, blocks: list[Json]) -> None:
    """Adds to the last turn where it is of the same role; tool results stand first in a turn."""
    if not blocks:
        return
    if not turns or turns[-1]["role"] != role:
        turns.append({"role": role, "content": blocks})
        return
    content: list[Json] = turns[-1]["content"]
    if blocks[0]["type"] == "tool_result":
        at = sum(block["type"] == "tool_result" for block in content)
        content[at:at] = blocks
    else:
        content += blocks


def _content(message: _Message, place: str) -> list[Json]:
    """A message's blocks; texts without a letter, which Messages refuses, left out."""
    if message.content is None:
        return []
    if isinstance(message.content, str):
        said = message.content.strip()
        return [_text(message.content, message.cache_control)] if said else []
    found = []
    for at, part in enumerate(message.content):
        block = _block(part, f"{place}.content[{at}]")
        if block["type"] != "text" or block["text"].strip():
            found.append(block)
    return found


def _text(text: str, cache_control: Any = None) -> Json:
    return {"type": "text", "text": text, **present(cache_control=cache_control)}


def _block(part: _Part, place: str) -> Json:
    match part.type:
        case "text":
            return _text(part.text or "", part.cache_control)
        case "refusal":
            return _text(part.refusal or "")
        case "image_url" if part.image_url is not None:
            shown = source(part.image_url.url, f"{place}.image_url.url")
            return {"type": "image", "source": shown, **present(cache_control=part.cache_control)}
        case "file" if part.file is not None and part.file.file_data is not None:
            return {
                "type": "document",
                "source": source(part.file.file_data, f"{place}.file.file_data"),
                **present(title=part.file.filename, cache_control=part.cache_control),
            }
        case "file":
            raise untranslatable(f"{place}.file.file_id", Dialect.MESSAGES)
        case _:
            raise untranslatable(f"{place}.type", Dialect.MESSAGES)


def source(url: str, place: str) -> Json:
    """Where a picture or a document is. Raises InvalidRequest where Messages cannot say it."""
    data = _DATA_URL.match(url)
    if data is not None:
        return {"type": "base64", "media_type": data[1], "data": url[data.end() :]}
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    raise refusal(place, "it is neither a data: URL with base64 nor an http(s) URL.")


def _said(message: _Message, place: str) -> list[Json]:
    """A turn of the model: its thinking, its text, its calls."""
    for name in ("function_call", "audio"):
        if getattr(message, name) is not None:
            raise untranslatable(f"{place}.{name}", Dialect.MESSAGES)
    found = [block for block in message.thinking_blocks or () if _is_signed(block)]
    found += _content(message, place)
    if message.refusal:
        found.append(_text(message.refusal))
    for at, call in enumerate(message.tool_calls or ()):
        where = f"{place}.tool_calls[{at}]"
        if call.function is None:
            raise untranslatable(f"{where}.type", Dialect.MESSAGES)
        found.append(
            {
                "type": "tool_use",
                "id": tool_id(call.id),
                "name": call.function.name,
                "input": arguments(call.function.arguments, f"{where}.function.arguments"),
            }
        )
    return found


def _is_signed(block: Json) -> bool:
    if block.get("type") == "thinking":
        return bool(block.get("signature")) and isinstance(block.get("thinking"), str)
    return block.get("type") == "redacted_thinking" and isinstance(block.get("data"), str)


def arguments(text: str, place: str) -> msgspec.Raw:
    """A call's arguments as they are written. Raises InvalidRequest where they are no object."""
    raw = text.strip() or "{}"
    try:
        if isinstance(msgspec.json.decode(raw), dict):
            return msgspec.Raw(raw.encode())
    except (msgspec.DecodeError, RecursionError):
        pass
    raise refusal(place, "it is not a JSON object.")


def tool_id(given: str) -> str:
    """A call's id as Messages allows it: the same one wherever the letters are allowed."""
    if _TOOL_ID.match(given):
        return given
    return "toolu_" + hashlib.sha256(given.encode()).hexdigest()[:32]


def _result(message: _Message, place: str) -> Json:
    if message.tool_call_id is None:
        raise refusal(f"{place}.tool_call_id", "it is missing.")
    if message.content is None or isinstance(message.content, str):
        content: str | list[Json] | None = message.content or None
    else:
        content = _content(message, place) or None
    control = None if isinstance(content, list) else message.cache_control
    return {
        "type": "tool_result",
        "tool_use_id": tool_id(message.tool_call_id),
        **present(content=content, cache_control=control),
    }


# -- what is asked for --------------------------------------------------------------------------


def _tools(tools: list[_Tool]) -> list[Json]:
    found = []
    for at, tool in enumerate(tools):
        function = tool.function
        if tool.type != "function" or function is None:
            raise untranslatable(f"tools[{at}].type", Dialect.MESSAGES)
        schema = {"type": "object", **(function.parameters or {"properties": {}})}
        if function.strict:
            schema = enforceable(schema)
        found.append(
            present(
                name=function.name,
                description=function.description,
                input_schema=schema,
                strict=function.strict or None,
                cache_control=tool.cache_control,
            )
        )
    return found


def _choice(asked: _Body) -> Json | None:
    if not asked.tools:
        return None
    choice = asked.tool_choice
    one_at_a_time = (
        {"disable_parallel_tool_use": True} if asked.parallel_tool_calls is False else {}
    )
    if isinstance(choice, _Choice):
        if choice.type != "function" or choice.function is None:
            raise untranslatable("tool_choice", Dialect.MESSAGES)
        return {"type": "tool", "name": choice.function.name, **one_at_a_time}
    match choice:
        case None:
            return {"type": "auto", **one_at_a_time} if one_at_a_time else None
        case "none":
            return {"type": "none"}
        case "auto" | "required":
            return {"type": "any" if choice == "required" else "auto", **one_at_a_time}
        case _:
            raise refusal("tool_choice", "it is none, auto, required or a named function.")


def _forces(choice: Json | None) -> bool:
    return choice is not None and choice["type"] in ("any", "tool")


def _format(wanted: _Format, output: Json, system: list[Json]) -> None:
    match wanted.type:
        case "text":
            return
        case "json_object":
            system.append(_text(JSON_ONLY))
        case "json_schema":
            if wanted.json_schema is None or wanted.json_schema.schema is None:
                raise refusal("response_format.json_schema.schema", "it is missing.")
            schema = enforceable(wanted.json_schema.schema)
            output["format"] = {"type": "json_schema", "schema": schema}
        case _:
            raise untranslatable("response_format.type", Dialect.MESSAGES)


def _thinking(asked: _Body, model: Model, limit: int, output: Json, *, forced: bool) -> Json | None:
    """`thinking`, and the effort inside `output`. A call that is forced allows no thinking."""
    effort = asked.reasoning_effort
    if effort is None or effort == "none":
        return None
    if effort not in EFFORTS:
        raise refusal("reasoning_effort", f"it is one of {', '.join(EFFORTS)}.")
    if not _BY_BUDGET.search(model.upstream_model):
        knows = effort != "xhigh" or not _TO_THE_MOST.search(model.upstream_model)
        output["effort"] = _LESS_EFFORT.get(effort, effort if knows else "high")
        return None if forced else {"type": "adaptive"}
    budget = min(BUDGETS.get(effort, BUDGETS["high"]), limit - 1)
    if forced or budget < BUDGET_MIN or _is_inside_a_round(asked.messages):
        return None
    return {"type": "enabled", "budget_tokens": budget}


def _is_inside_a_round(messages: list[_Message]) -> bool:
    """Whether a tool's result comes last and the turn that called it has lost its thinking: models
    that think by budget refuse to go on thinking then."""
    for message in reversed(messages):
        if message.role == "tool":
            continue
        calls = message.role == "assistant" and bool(message.tool_calls)
        return calls and not any(_is_signed(block) for block in message.thinking_blocks or ())
    return False
