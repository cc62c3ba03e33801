"""Requests that real clients send, asked of a model of another family."""

import json
from typing import Any

import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.settings import PricingSettings
from corvus_proxy.wire import request as requests
from corvus_proxy.wire import translate
from corvus_proxy.wire.dialect import Dialect
from tests.unit.wire.test_clients import captured

BOOK = book.load(PricingSettings())
ASKED = {
    Dialect.CHAT: (("claude-opus-5-5", Dialect.MESSAGES), ("claude-haiku-4-5", Dialect.MESSAGES)),
    Dialect.MESSAGES: (("gpt-5.5", Dialect.CHAT), ("gpt-4o-mini", Dialect.CHAT)),
    Dialect.RESPONSES: (("claude-opus-5-5", Dialect.MESSAGES), ("glm-5.3", Dialect.CHAT)),
}


def restored(value: Any) -> Any:
    """A captured body as it was: texts that were JSON are texts again, tools have a schema."""
    if isinstance(value, list):
        return [restored(one) for one in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"<json string of>"}:
        return json.dumps(value["<json string of>"])
    found = {name: restored(one) for name, one in value.items() if name != "keys"}
    for name in set(value.get("keys", ())) - set(found):
        if name in ("input_schema", "parameters"):
            found[name] = {"type": "object", "properties": {}}
        elif name == "function":
            found[name] = {"name": found.pop("name")}
        elif name == "description":
            found[name] = "what it does"
    return found


def runs(tools: Any) -> int:
    """How many tools the client runs; a namespace of which only the name was kept holds none."""
    found = 0
    for tool in tools or ():
        if tool.get("type") == "namespace":
            found += runs(tool.get("tools"))
        else:
            found += tool.get("type") not in ("web_search", "tool_search")
    return found


@pytest.mark.clients
@pytest.mark.parametrize(("dialect", "body"), [one for one in captured() if one.values[0] in ASKED])
def test_a_captured_request_is_translated(dialect: Any, body: Any) -> None:
    """Whatever agents send; every tool that the client runs is offered."""
    for slug, upstream in ASKED[dialect]:
        model = BOOK.find(slug)
        assert model is not None
        raw = json.dumps({**restored(body), "model": slug}).encode()
        requests.read(dialect, raw)
        made = translate.request(dialect, upstream, raw, model)
        asked = requests.read(upstream, made)
        assert asked.stream == bool(body.get("stream"))
        found = json.loads(made)
        brought = [item for item in body.get("input") or () if isinstance(item, dict)]
        offered = runs(body.get("tools")) + sum(runs(item.get("tools")) for item in brought)
        assert len(found.get("tools", ())) == offered
        assert found["messages"]
