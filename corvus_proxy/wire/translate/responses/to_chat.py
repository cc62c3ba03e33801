"""A request for a response, said as chat: function tools and what an agent's turn is made of. Pure.

It is the first half of every translation of this dialect: what speaks Messages is asked by
translating once more. What a model has thought comes back to it alone, inside `encrypted_content`
of our own making.
"""

import msgspec

from corvus_proxy.catalogue.book import Model
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.translate import chat_to_messages
from corvus_proxy.wire.translate.fields import (
    Fates,
    Json,
    check,
    decode,
    present,
    refusal,
    untranslatable,
)
from corvus_proxy.wire.translate.responses import sealed, tools
from corvus_proxy.wire.translate.schemas import ANSWER_IN_SCHEMA

FATES = Fates(
    carried=frozenset(
        {
            "input", "instructions", "max_output_tokens", "model", "parallel_tool_calls",
            "reasoning", "safety_identifier", "stream", "temperature", "text", "tool_choice",
            "tools", "top_p", "user",
        }
    ),
    dropped=frozenset(
        {
            "client_metadata", "include", "max_tool_calls", "metadata", "prompt_cache_key",
            "prompt_cache_options", "prompt_cache_retention", "store", "stream_options",
        }
    ),
    neutral={
        "background": (False,),
        "context_management": ([],),
        "service_tier": ("auto", "default"),
        "top_logprobs": (0,),
        "truncation": ("disabled",),
    },
)  # fmt: skip

_PICTURES_FOLLOW = "(What it shows follows.)"


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None


class _Item(msgspec.Struct):
    type: str = "message"
    role: str | None = None
    content: str | list[_Part] | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[_Part] | None = None
    encrypted_content: str | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Format(msgspec.Struct):
    type: str
    name: str | None = None
    schema: Json | None = None
    strict: bool | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None


class _Body(msgspec.Struct):
    model: str
    input: str | list[_Item] | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    tool_choice: str | _Choice | None = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    safety_identifier: str | None = None
    user: str | None = None


def request(body: bytes, model: Model, *, for_messages: bool = False) -> bytes:
    """The chat request that says what the request `body` says. Raises InvalidRequest.

    `for_messages`: it is translated once more, to Messages. That has results that show something
    (else their pictures follow as the user's), and what it cannot carry is refused here, where the
    member's own place is known.
    """
    check(body, FATES, Dialect.CHAT)
    asked = decode(body, _Body)
    history = _History(model, for_messages=for_messages)
    if asked.instructions:
        history.add({"role": "system", "content": asked.instructions})
    form = asked.text.format if asked.text else None
    if form is not None and form.type == "json_schema" and model.family == "glm":
        words = ANSWER_IN_SCHEMA + msgspec.json.encode(form.schema).decode()
        history.add({"role": "system", "content": words})
    if isinstance(asked.input, str):
        history.add({"role": "user", "content": asked.input})
    else:
        for at, item in enumerate(asked.input or ()):
            history.read(item, f"input[{at}]")
    history.flush()
    told = [one for one in history.messages if not for_messages or one["role"] != "system"]
    if not told:
        raise refusal("input", "there is no message in it.")
    offered = tools.functions(body)
    made = present(
        model=asked.model,
        max_completion_tokens=asked.max_output_tokens,
        stream=asked.stream,
        stream_options={"include_usage": True} if asked.stream else None,
        tools=offered or None,
        tool_choice=_choice(asked.tool_choice) if offered else None,
        parallel_tool_calls=asked.parallel_tool_calls if offered else None,
        response_format=_format(form, model) if form else None,
        temperature=asked.temperature,
        top_p=asked.top_p,
        **_reasoning(asked, model),
        safety_identifier=asked.safety_identifier if model.family != "glm" else None,
        user=asked.user if model.family != "glm" else None,
        messages=history.messages,
    )
    return msgspec.json.encode(made)


def _reasoning(asked: _Body, model: Model) -> Json:
    effort = asked.reasoning.effort if asked.reasoning else None
    if effort is None:
        return {}
    if effort not in chat_to_messages.EFFORTS:
        raise refusal("reasoning.effort", f"it is one of {', '.join(chat_to_messages.EFFORTS)}.")
    if model.family == "glm":
        return {"thinking": {"type": "disabled" if effort == "none" else "enabled"}}
    return {"reasoning_effort": effort}


# -- the history --------------------------------------------------------------------------------


class _History:
    """Messages out of items: what the model thought, said and called in a row is one message."""

    def __init__(self, model: Model, *, for_messages: bool) -> None:
        self.messages: list[Json] = []
        self._family = model.family
        self._for_messages = for_messages
        self._turn: Json = {}
        """The model's, while it may still go on."""
        self._pictures: list[Json] = []
        """Of results, to follow the last of them."""

    def add(self, message: Json) -> None:
        """A message that is no turn of the model's."""
        self.flush()
        self.messages.append(message)

    def flush(self) -> None:
        """Ends what is being gathered."""
        if self._turn:
            turn, self._turn = self._turn, {}
            self.messages.append({"role": "assistant", "content": None, **turn})
        if self._pictures:
            pictures, self._pictures = self._pictures, []
            self.messages.append({"role": "user", "content": pictures})

    def read(self, item: _Item, place: str) -> None:
        """Takes the next item. Raises InvalidRequest."""
        match item.type:
            case tools.ADDITIONAL:
                return  # stands among the tools
            case "message":
                self._message(item, place)
            case "reasoning":
                self._thought(item)
            case "function_call" | "custom_tool_call":
                self._call(item, place)
            case "function_call_output" | "custom_tool_call_output":
                self._result(item, place)
            case _:
                raise untranslatable(f"{place}.type", Dialect.CHAT)

    def _message(self, item: _Item, place: str) -> None:
        content = item.content or ""
        if item.role == "assistant":
            if "content" in self._turn or "tool_calls" in self._turn:
                self.flush()
            said = content if isinstance(content, str) else _said(content, place)
            self._turn["content"] = said
            return
        if item.role not in ("user", "system", "developer"):
            raise untranslatable(f"{place}.role", Dialect.CHAT)
        role = "user" if item.role == "user" else "system"
        parts = content if isinstance(content, str) else self._shown(content, f"{place}.content")
        self.add({"role": role, "content": parts})

    def _thought(self, item: _Item) -> None:
        thought = sealed.opened(item.encrypted_content or "", self._family)
        if thought:
            self.flush()
            self._turn.update(thought)

    def _call(self, item: _Item, place: str) -> None:
        if item.call_id is None or item.name is None:
            raise refusal(f"{place}.{'name' if item.call_id else 'call_id'}", "it is missing.")
        arguments = item.arguments or ""
        if item.type == "custom_tool_call":
            arguments = msgspec.json.encode({tools.CUSTOM_INPUT: item.input or ""}).decode()
        if self._for_messages:
            chat_to_messages.arguments(arguments, f"{place}.arguments")
        name = tools.function_of(item.namespace, item.name)
        function = {"name": name, "arguments": arguments}
        calls = self._turn.setdefault("tool_calls", [])
        calls.append({"id": item.call_id, "type": "function", "function": function})

    def _result(self, item: _Item, place: str) -> None:
        if item.call_id is None:
            raise refusal(f"{place}.call_id", "it is missing.")
        if self._turn:
            self.flush()
        content: str | list[Json] = item.output if isinstance(item.output, str) else ""
        if isinstance(item.output, list):
            content = self._shown(item.output, f"{place}.output")
            if not self._for_messages:
                content = self._without_pictures(content)
        message = {"role": "tool", "tool_call_id": item.call_id, "content": content}
        self.messages.append(message)

    def _shown(self, parts: list[_Part], place: str) -> list[Json]:
        for at, part in enumerate(parts if self._for_messages else ()):
            for member in ("image_url", "file_data"):
                url = getattr(part, member)
                if url is not None:
                    chat_to_messages.source(url, f"{place}[{at}].{member}")
        return _parts(parts, place)

    def _without_pictures(self, parts: list[Json]) -> str:
        texts = [part["text"] for part in parts if part["type"] == "text"]
        pictures = [part for part in parts if part["type"] != "text"]
        self._pictures += pictures
        return "\n".join([*texts, *([_PICTURES_FOLLOW] if pictures else ())])


def _said(parts: list[_Part], place: str) -> str:
    texts = []
    for at, part in enumerate(parts):
        if part.type not in ("output_text", "refusal", "input_text"):
            raise untranslatable(f"{place}.content[{at}].type", Dialect.CHAT)
        texts.append(part.text or part.refusal or "")
    return "".join(texts)


def _parts(parts: list[_Part], place: str) -> list[Json]:
    return [_part(part, f"{place}[{at}]") for at, part in enumerate(parts)]


def _part(part: _Part, place: str) -> Json:
    match part.type:
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": part.text or ""}
        case "input_image" if part.image_url is not None:
            return {
                "type": "image_url",
                "image_url": {"url": part.image_url, **present(detail=part.detail)},
            }
        case "input_file" if part.file_data is not None:
            file = {"file_data": part.file_data, "filename": part.filename or "document.pdf"}
            return {"type": "file", "file": file}
        case "input_image" | "input_file":
            member = "file_id" if part.file_url is None else "file_url"
            raise untranslatable(f"{place}.{member}", Dialect.CHAT)
        case _:
            raise untranslatable(f"{place}.type", Dialect.CHAT)


# -- what is asked for --------------------------------------------------------------------------


def _choice(choice: str | _Choice | None) -> str | Json | None:
    if not isinstance(choice, _Choice):
        return choice
    if choice.type not in ("function", "custom") or choice.name is None:
        raise untranslatable("tool_choice", Dialect.CHAT)
    return {"type": "function", "function": {"name": choice.name}}


def _format(form: _Format, model: Model) -> Json:
    if form.type in ("text", "json_object"):
        return {"type": form.type}
    if form.type != "json_schema":
        raise untranslatable("text.format.type", Dialect.CHAT)
    if form.schema is None:
        raise refusal("text.format.schema", "it is missing.")
    if model.family == "glm":
        return {"type": "json_object"}
    schema = present(name=form.name or "answer", schema=form.schema, strict=form.strict)
    return {"type": "json_schema", "json_schema": schema}
