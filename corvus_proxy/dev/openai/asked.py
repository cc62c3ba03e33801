"""A request for a response or for embeddings as the chat that says the same.

So one model answers all dialects, counts their prompts by one rule and finds the directives in
them.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_TEXTS = ("input_text", "output_text", "text", "refusal")


def as_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request. What is not there is left out, `messages` too, for the refusals to find."""
    given = body.get("input")
    items = given if isinstance(given, list) else [{"role": "user", "content": given}]
    messages = [message for item in items for message in _messages(item)] if given else []
    if body.get("instructions"):
        messages.insert(0, {"role": "system", "content": body["instructions"]})
    tools = [*(body.get("tools") or [])]
    for item in items:
        if isinstance(item, dict) and item.get("type") == "additional_tools":
            tools += item.get("tools") or []
    tools = list(_flat(tools))
    found = {name: body[name] for name in ("model", "stream", "service_tier") if name in body}
    found |= {"messages": messages, "tools": tools}
    found |= _choice(body.get("tool_choice"), tools)
    if body.get("max_output_tokens") is not None:
        found["max_completion_tokens"] = body["max_output_tokens"]
    effort = (body.get("reasoning") or {}).get("effort")
    return found | ({"reasoning_effort": effort} if effort else {})


def embedded(body: Mapping[str, Any]) -> list[str | list[int]]:
    """The texts, or tokens, of a request for embeddings, one entry for each answer."""
    given = body.get("input")
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given and all(type(one) is int for one in given):
        return [given]
    return list(given) if isinstance(given, list) else []


def _messages(item: Any) -> Iterator[dict[str, Any]]:
    """An item of the input as messages; a call is the model's own, its output a tool's."""
    if not isinstance(item, dict):
        return
    kind = str(item.get("type") or "message")
    if kind == "message":
        yield {"role": item.get("role"), "content": _content(item.get("content"))}
    elif kind.endswith("_output"):
        yield {"role": "tool", "content": _content(item.get("output"))}
    elif kind != "additional_tools":
        yield {"role": "assistant", "content": None, "tool_calls": [item]}


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [
        {"type": "text", "text": part.get("text", part.get("refusal", ""))}
        if part.get("type") in _TEXTS
        else part
        for part in content
        if isinstance(part, dict)
    ]


def _flat(tools: list[Any], namespace: str = "") -> Iterator[dict[str, Any]]:
    """Tools that have a name; those of a namespace remember it."""
    for tool in tools:
        if isinstance(tool, dict) and isinstance(tool.get("tools"), list):
            yield from _flat(tool["tools"], str(tool.get("name") or ""))
        elif isinstance(tool, dict) and tool.get("name"):
            yield {**tool, "namespace": namespace} if namespace else tool


def _choice(choice: Any, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """`tool_choice`, where it allows only some tools with those alone in `tools`."""
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return {"tool_choice": choice} if choice else {}
    names = [one.get("name") for one in choice.get("tools") or [] if isinstance(one, dict)]
    allowed = [tool for tool in tools if tool.get("name") in names]
    return {"tool_choice": choice.get("mode") or "auto", "tools": allowed}


def text_of(body: Mapping[str, Any]) -> str:
    """What stands in a request, for its directives."""
    return json.dumps(body.get("input") or "", ensure_ascii=False)
