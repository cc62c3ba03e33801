"""Recorded answers through the whole gateway: bytes untouched, charges exact."""

import json
import re

import httpx
import pytest

from corvus_proxy.money.amount import parse_usd
from tests.oracle import bill, stream_oracle
from tests.recorded import Recording, recordings
from tests.stack import RunningStack

SLUGS = {"anthropic": "claude-opus-5-5", "chat": "gpt-5.5", "zai-chat": "glm-5.3"}
COMMENT = re.compile(rb": corvus (\{[^\n]*\})\n\n\Z")


def billable(recording: Recording) -> bool:
    """Answers with a whole report of ordinary tokens; the others have tests of their own."""
    usage = recording.usage
    if recording.status != 200 or not usage:
        return False
    flat = (
        {**usage.get("start", {}), **usage.get("delta", {})}
        if ("start" in usage or "delta" in usage)
        else usage
    )
    searches = (flat.get("server_tool_use") or {}).get("web_search_requests", 0)
    has_input = any(
        flat.get(name)
        for name in (
            "input_tokens",
            "prompt_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        )
    )
    return bool(has_input) and not searches and not flat.get("iterations")


FREE = {"anthropic-b526e91f260f6b38.json"}
"""A refusal without output reports counts, and nobody is billed for it."""
ALL = [r for r in recordings(*SLUGS) if billable(r)]


def ask(stack: RunningStack, recording: Recording, *, include_usage: bool) -> httpx.Response:
    slug = SLUGS[recording.dialect]
    text = f"[[simulate: replay={recording.file}; chunk=random]]"
    body: dict[str, object] = {
        "model": slug,
        "messages": [{"role": "user", "content": text}],
        "stream": recording.is_stream,
    }
    if recording.dialect == "anthropic":
        return stack.ask("/v1/messages", {**body, "max_tokens": 4000})
    if recording.is_stream and include_usage:
        body["stream_options"] = {"include_usage": True}
    return stack.ask(
        "/v1/chat/completions",
        {**body, "max_completion_tokens": 4000} if slug.startswith("gpt") else body,
    )


@pytest.mark.recordings
@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("recording", ALL, ids=lambda r: r.file)
def test_recorded_answer_passes_untouched_and_is_charged_exactly(
    stack: RunningStack, recording: Recording, include_usage: bool
) -> None:
    """The client has the recording's bytes, and pays the manifest's usage to the nano-dollar."""
    if recording.dialect == "anthropic" and not include_usage:
        return  # messages streams always report
    answer = ask(stack, recording, include_usage=include_usage)
    assert answer.status_code == 200, answer.text
    if not recording.is_stream:
        assert answer.content == recording.body
        charged = answer.headers["x-corvus-cost-usd"]
    else:
        found = COMMENT.search(answer.content)
        assert found, answer.content[-300:]
        kind = "messages" if recording.dialect == "anthropic" else "chat"
        expected = stream_oracle.read(kind, recording.body, strip=not include_usage).forwarded
        assert answer.content[: found.start()] == expected
        charged = json.loads(found[1])["cost_usd"]
    slug, usage = SLUGS[recording.dialect], recording.usage
    assert usage is not None
    reckoned = (
        bill.messages_nanos(slug, usage)
        if recording.dialect == "anthropic"
        else (bill.chat_nanos(slug, usage))
    )
    assert parse_usd(charged) == (0 if recording.file in FREE else reckoned)
