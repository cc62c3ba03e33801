"""The tools of a request for a response, as functions of chat, and back by their names. Pure.

Three things become functions: functions, custom tools (of one text), and what stands in a namespace
(under both names). Agents also bring tools inside the input, in items of type `additional_tools`.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.openai.responses import REMOVABLE_TOOLS
from corvus_proxy.wire.translate.fields import Json, decode, function_name, present, untranslatable

LEFT_OUT = (*REMOVABLE_TOOLS, "tool_search")
"""Beginnings of the types of tools that agents offer unasked and work without."""
ADDITIONAL = "additional_tools"
"""The type of an input item that brings tools."""
CUSTOM_INPUT = "input"
"""The one parameter of a function that stands for a custom tool."""


class Tool(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None
    format: Json | None = None
    tools: "list[Tool] | None" = None


class Extras(NamedTuple):
    """What of a request's tools its answer has to know."""

    custom: frozenset[str] = frozenset()
    """Functions that stand for custom tools, whose calls are told as such."""
    left_out: tuple[str, ...] = ()
    """Types of tools that are not offered to the model."""
    namespaced: Mapping[str, tuple[str, str]] = {}
    """Functions that stand in a namespace: it, and their name in it."""
    renamed: Mapping[str, str] = {}
    """Functions whose own names are too long for the upstream: by the name there, their own."""


class _Item(msgspec.Struct):
    type: str = "message"
    tools: list[Tool] | None = None


class _Request(msgspec.Struct):
    tools: list[Tool] | None = None
    input: str | list[_Item] | None = None


class Offered(NamedTuple):
    """A tool of a request."""

    place: str
    namespace: str
    tool: Tool


def function_of(namespace: str | None, name: str) -> str:
    """The name of a function for a tool, in a namespace or in none; the same one each time."""
    return function_name(f"{namespace}__{name}") if namespace else name


def extras(body: bytes) -> Extras:
    """What the answer to `body` has to know. Raises InvalidRequest."""
    custom: list[str] = []
    left_out: list[str] = []
    namespaced: dict[str, tuple[str, str]] = {}
    for _, namespace, tool in _offered(body):
        if tool.type.startswith(LEFT_OUT):
            left_out.append(tool.type)
        if not tool.name:
            continue
        name = function_of(namespace, tool.name)
        if tool.type == "custom":
            custom.append(name)
        if namespace:
            namespaced[name] = (namespace, tool.name)
    return Extras(frozenset(custom), tuple(dict.fromkeys(left_out)), namespaced)


def functions(body: bytes) -> list[Json]:
    """Chat's tools for those of `body`. Raises InvalidRequest."""
    found = []
    for place, namespace, tool in _offered(body):
        if tool.type.startswith(LEFT_OUT):
            continue
        if tool.type not in ("function", "custom") or tool.name is None:
            raise untranslatable(f"{place}.type", Dialect.CHAT)
        name = function_of(namespace, tool.name)
        function = _custom(tool, name) if tool.type == "custom" else _function(tool, name)
        found.append({"type": "function", "function": function})
    return found


def _offered(body: bytes) -> Iterator[Offered]:
    asked = decode(body, _Request)
    yield from _flat(asked.tools, "tools")
    for at, item in enumerate(asked.input if isinstance(asked.input, list) else ()):
        if item.type == ADDITIONAL:
            yield from _flat(item.tools, f"input[{at}].tools")


def _flat(tools: list[Tool] | None, place: str) -> Iterator[Offered]:
    for at, tool in enumerate(tools or ()):
        if tool.type != "namespace":
            yield Offered(f"{place}[{at}]", "", tool)
            continue
        for inside, one in enumerate(tool.tools or ()):
            yield Offered(f"{place}[{at}].tools[{inside}]", tool.name or "", one)


def _function(tool: Tool, name: str) -> Json:
    return present(
        name=name,
        description=tool.description,
        parameters=tool.parameters,
        strict=tool.strict or None,
    )


def _custom(tool: Tool, name: str) -> Json:
    """A function of one text; its grammar, which nobody enforces here, is told."""
    described = tool.description or ""
    definition = (tool.format or {}).get("definition")
    if definition:
        described += f"\nIts input follows this grammar:\n{definition}"
    return {
        "name": name,
        "description": described,
        "parameters": {
            "type": "object",
            "properties": {CUSTOM_INPUT: {"type": "string"}},
            "required": [CUSTOM_INPUT],
        },
    }
