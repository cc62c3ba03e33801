"""A tool that has to be called is called: in every dialect of every simulated family."""

import json
import re
from typing import Any

import httpx
import pytest

from corvus_proxy.dev.providers import serve

pytestmark = pytest.mark.anyio

KEY = {"authorization": "Bearer good-key"}
WEATHER = {"type": "object", "required": ["city", "days"], "properties": {
    "city": {"type": "string", "enum": ["Oslo"]}, "days": {"type": "integer"}}}  # fmt: skip
SURFACES = {
    "openai": ("/v1/chat/completions", "gpt-5.5"),
    "glm": ("/api/paas/v4/chat/completions", "glm-5.3"),
    "anthropic": ("/v1/messages", "claude-opus-5-5"),
    "glm messages": ("/api/anthropic/v1/messages", "glm-5.3"),
    "responses": ("/v1/responses", "gpt-5.5"),
}
LIST = {"type": "object", "required": ["code", "next"], "properties": {
    "code": {"type": "string", "pattern": r"^[A-Z]{2}-\d{3}$"},
    "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}  # fmt: skip


def offered(dialect: str, choice: str) -> dict[str, Any]:
    """Two tools, of which the second one has to be called, or any."""
    tools: list[Any] = []
    for name, schema in (("weather", WEATHER), ("list", LIST)):
        match dialect:
            case "messages":
                tools.append({"name": name, "input_schema": schema})
            case "responses":
                tools.append({"type": "function", "name": name, "parameters": schema})
            case _:
                function = {"name": name, "parameters": schema}
                tools.append({"type": "function", "function": function})
    wanted: Any = {"messages": {"type": "any"}}.get(dialect, "required")
    if choice == "named":
        wanted = {"type": "function", "name": "list", "function": {"name": "list"}}
        if dialect == "messages":
            wanted = {"type": "tool", "name": "list"}
    if choice == "allowed":
        wanted = {"type": "allowed_tools", "mode": "required", "allowed_tools": {
            "mode": "required", "tools": tools[1:]}, "tools": tools[1:]}  # fmt: skip
    return {"tools": tools, "tool_choice": wanted}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["any", "named", "allowed"])
@pytest.mark.parametrize(("path", "model"), SURFACES.values(), ids=SURFACES)
async def test_every_family_calls_the_tool_that_it_has_to(
    path: str, model: str, choice: str, stream: bool
) -> None:
    """In each of its dialects, with arguments that fit: a pattern, a list that contains itself."""
    dialect = path.rpartition("/")[2]
    if choice == "allowed" and dialect == "messages":
        return  # has no such choice
    asked: dict[str, Any] = {"model": model, "stream": stream, **offered(dialect, choice)}
    asked |= {"input": "hello"} if dialect == "responses" else {
        "messages": [{"role": "user", "content": "hello"}]}  # fmt: skip
    asked |= {"max_tokens": 900} if dialect == "messages" else {}
    async with serve(pace_ms=0) as (_, url), httpx.AsyncClient() as client:
        answer = await client.post(url + path, json=asked, headers=KEY)
    assert answer.status_code == 200, answer.text
    name = "weather" if choice == "any" else "list"
    names, arguments = called(answer, dialect, stream=stream)
    assert names == [name]
    filled = json.loads(arguments)
    if name == "weather":
        assert filled == {"city": "Oslo", "days": 1}
        return
    while filled is not None:
        assert re.fullmatch(r"[A-Z]{2}-\d{3}", filled["code"])
        filled = filled["next"]


def called(answer: httpx.Response, dialect: str, *, stream: bool) -> tuple[list[str], str]:
    """Names and arguments of the calls in an answer."""
    if stream:
        events = [json.loads(line[6:]) for line in answer.text.splitlines()
                  if line.startswith("data: {")]  # fmt: skip
    else:
        events = [answer.json()]
    names: list[str] = []
    text = ""
    for one in events:
        if dialect == "messages":
            blocks = [one.get("content_block")] if stream else one["content"]
            uses = [block for block in blocks if block and block["type"] == "tool_use"]
            names += [block["name"] for block in uses]
            text += (one.get("delta") or {}).get("partial_json") or ""
            text += "".join(json.dumps(block["input"]) for block in uses if not stream)
        elif dialect == "responses":
            items = [one.get("item") or {}] if stream else one["output"]
            done = one.get("type") == "response.output_item.done" or not stream
            calls = [item for item in items if done and item.get("type") == "function_call"]
            names += [item["name"] for item in calls]
            text += "".join(item["arguments"] for item in calls)
        else:
            for choice in one["choices"]:
                for call in choice["delta" if stream else "message"].get("tool_calls") or ():
                    function = call.get("function") or {}
                    names += [function["name"]] if function.get("name") else []
                    text += function.get("arguments") or ""
    return names, text
