"""The bound against the providers' own counts: recorded answers as if they were prompts."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.gateway.quoting import input_bound
from corvus_proxy.settings import HoldSettings, PricingSettings
from corvus_proxy.wire import request
from corvus_proxy.wire.dialect import Dialect
from tests.recorded import Recording, recordings

FRAMING_TOKENS = 40
"""What an answer counts beside its text: its role and end, and the framing of a tool call."""
HIDDEN = ("thinking", "reasoning", "server tool", "web search", "compaction", "fallback", "MCP")
"""Answers with output that is not in them."""
SLUGS = {"anthropic": "claude-opus-5-5", "chat": "gpt-5.5", "zai-chat": "glm-5.3"}


def texts(value: Any) -> Iterator[str]:
    """What an answer says: its text, and the names and arguments of its tool calls."""
    if isinstance(value, dict):
        for name, held in value.items():
            said = name in ("text", "content", "arguments", "partial_json", "name")
            if said and isinstance(held, str):
                yield held
            elif name == "input" and held:
                yield json.dumps(held)
            else:
                yield from texts(held)
    elif isinstance(value, list):
        for held in value:
            yield from texts(held)


def said(recording: Recording) -> str:
    if not recording.is_stream:
        return "".join(texts(json.loads(recording.raw)))
    lines = recording.body.decode().splitlines()
    found = ""
    for line in lines:
        payload = line.removeprefix("data:").strip()
        if line.startswith("data:") and payload.startswith("{"):
            found += "".join(texts(json.loads(payload)))
    return found


def output_tokens(recording: Recording) -> int:
    usage = recording.usage or {}
    usage = usage.get("delta", usage)
    return int(usage.get("output_tokens") or usage.get("completion_tokens") or 0)


VISIBLE = [
    recording
    for recording in recordings(*SLUGS)
    if recording.status == 200
    and output_tokens(recording)
    and not any(word in recording.special for word in HIDDEN)
    and b'"thinking' not in recording.raw
]


@pytest.mark.recordings
@pytest.mark.parametrize("recording", VISIBLE, ids=[one.file for one in VISIBLE])
def test_no_recorded_answer_has_more_tokens_than_its_bound(recording: Recording) -> None:
    """The provider's own count of the text that it wrote, by its own tokenizer."""
    model = book.load(PricingSettings()).find(SLUGS[recording.dialect])
    assert model is not None
    body = {"model": "m", "messages": [{"role": "user", "content": said(recording)}]}
    asked = request.read(Dialect.CHAT, json.dumps(body).encode())
    bound = input_bound(asked, model, HoldSettings(base_tokens=0))
    print(f"{recording.file}: {output_tokens(recording)} tokens, bound {bound}")
    assert output_tokens(recording) <= bound + FRAMING_TOKENS
