"""Requests that real clients send are read, priced and edited as the design allows."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.gateway import quoting
from corvus_proxy.settings import HoldSettings, PricingSettings
from corvus_proxy.wire import edits, request
from corvus_proxy.wire.dialect import PATHS

SLUGS = {"messages": "claude-opus-5-5", "embeddings": "text-embedding-3-small"}
BOOK = book.load(PricingSettings())


def captured() -> list[Any]:
    """Every captured inference request on a served path."""
    folder = os.environ.get("CORVUS_CLIENTS")
    found = []
    for path in sorted(Path(folder).glob("*.json")) if folder else ():
        for number, one in enumerate(json.loads(path.read_text())["requests"]):
            served = str(one.get("path", "")).removeprefix("/anthropic")
            if one.get("method") == "POST" and served in PATHS and one.get("body"):
                found.append(pytest.param(PATHS[served], one["body"], id=f"{path.stem}-{number}"))
    return found


@pytest.mark.clients
@pytest.mark.parametrize(("dialect", "body"), captured())
def test_captured_request_is_served_with_no_edit_but_the_allowed(dialect: Any, body: Any) -> None:
    """Nothing that real clients send is refused; only usage reporting is asked for, and nothing is
    stored or searched for at the upstream."""
    raw = json.dumps(body).encode()
    asked = request.read(dialect, raw)
    edited = edits.apply(raw, [*asked.splices, *request.usage_splices(asked, raw)])
    expected = dict(body)
    if dialect.value == "responses":
        expected["store"] = False
        tools = [tool for tool in body.get("tools", ()) if tool["type"] != "web_search"]
        expected |= {"tools": tools} if "tools" in body else {}
    if dialect.value == "chat" and body.get("stream"):
        expected["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    assert json.loads(edited) == expected
    assert edited == raw or expected != body
    model = BOOK.find(SLUGS.get(dialect.value, "gpt-5.5"))
    assert model is not None
    quote = quoting.quote(asked, model, HoldSettings(), clamp=True)
    assert 0 < quote.least_nanos <= quote.most_nanos <= max(quote.full_nanos, quote.most_nanos)
