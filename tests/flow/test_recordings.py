"""Every recorded answer through the whole gateway: bytes untouched, charges exact.

What is expected is reckoned by the oracle from the recorded bytes alone.
"""

import json
import re
from typing import Any

import httpx
import pytest

from corvus_proxy.money.amount import parse_usd
from tests.oracle import bill, stream_oracle
from tests.recorded import Recording, recordings
from tests.stack import RunningStack

SLUGS = {"anthropic": "claude-opus-5-5", "chat": "gpt-5.5", "zai-chat": "glm-5.3"}
COMMENT = re.compile(rb": corvus (\{[^\n]*\})\n\n\Z")
ALL = recordings(*SLUGS)
FREE = {
    "anthropic-13f671d692526645.sse": "a refusal without output: the vendor bills nothing",
    "anthropic-b526e91f260f6b38.json": "the same, although it reports counts",
    "chat-d7bc5d9eb8a2bb62.json": "status 400: nothing was served",
}
"""Recordings that are charged nothing, and why."""


def request(recording: Recording, *, include_usage: bool) -> tuple[str, dict[str, Any]]:
    slug = SLUGS[recording.dialect]
    status = f"; status={recording.status}" if recording.status != 200 else ""
    text = f"[[simulate: replay={recording.file}; chunk=random{status}]]"
    body: dict[str, Any] = {
        "model": slug,
        "messages": [{"role": "user", "content": text}],
        "stream": recording.is_stream,
    }
    if recording.dialect == "anthropic":
        return "/v1/messages", {**body, "max_tokens": 4000}
    if recording.is_stream and include_usage:
        body["stream_options"] = {"include_usage": True}
    if slug.startswith("gpt"):
        body["max_completion_tokens"] = 4000
    return "/v1/chat/completions", body


def reckoned(recording: Recording, sent: dict[str, Any]) -> int:
    """Nano-dollars of a recording, by what it reports; what it does not report is estimated: a
    quarter of the request's bytes in, a token a delta out."""
    slug = SLUGS[recording.dialect]
    usage, model, tier = bill.reported(recording.body, stream=recording.is_stream)
    if recording.dialect == "anthropic":
        assert usage is not None
        return bill.messages_nanos(slug, usage, model=model)
    if usage is None:
        seen = stream_oracle.read("chat", recording.body, strip=False)
        size = len(json.dumps(sent).encode()) // 4
        usage = {"prompt_tokens": size, "completion_tokens": seen.deltas}
    # Nobody asked for another tier than the ordinary one, so a dearer one is not charged for.
    return bill.chat_nanos(slug, usage, "flex" if tier == "flex" else "")


def charged(answer: httpx.Response, recording: Recording, *, strip: bool) -> int:
    """What the answer says it cost; its bytes are the recording's."""
    if not recording.is_stream:
        assert answer.content == recording.body
        return parse_usd(answer.headers["x-corvus-cost-usd"])
    found = COMMENT.search(answer.content)
    assert found, answer.content[-300:]
    kind = "messages" if recording.dialect == "anthropic" else "chat"
    expected = stream_oracle.read(kind, recording.body, strip=strip).forwarded
    assert answer.content[: found.start()] == expected
    return parse_usd(json.loads(found[1])["cost_usd"])


@pytest.mark.recordings
@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("recording", ALL, ids=lambda r: r.file)
def test_recorded_answer_passes_untouched_and_is_charged_exactly(
    stack: RunningStack, recording: Recording, include_usage: bool
) -> None:
    """The client has the recording's bytes, and pays what they report to the nano-dollar."""
    if recording.dialect == "anthropic" and not include_usage:
        return  # messages streams always report
    path, body = request(recording, include_usage=include_usage)
    answer = stack.ask(path, body)
    assert answer.status_code == recording.status, answer.text
    if recording.status != 200:
        assert recording.file in FREE
        assert json.loads(answer.content)["error"] == json.loads(recording.body)["error"]
        return
    expected = 0 if recording.file in FREE else reckoned(recording, body)
    assert charged(answer, recording, strip=not include_usage) == expected
    assert (expected == 0) == (recording.file in FREE)


@pytest.mark.recordings
@pytest.mark.parametrize("recording", ALL, ids=lambda r: r.file)
def test_the_oracle_reads_what_the_manifest_says(recording: Recording) -> None:
    """The usage that the oracle finds in the bytes is the one that the manifest names."""
    if recording.usage is None or recording.status != 200:
        assert recording.file.startswith("chat-")
        return
    found, _, _ = bill.reported(recording.body, stream=recording.is_stream)
    assert found is not None
    counts = bill.merged(found)
    for name, value in bill.merged(recording.usage).items():
        assert counts[name] == value, name


@pytest.mark.recordings
def test_a_refused_request_costs_nothing(stack: RunningStack) -> None:
    """The books have the upstream's refusal at zero."""
    key = stack.new_key("1")
    recording = next(one for one in ALL if one.status == 400)
    path, body = request(recording, include_usage=False)
    assert stack.ask(path, body, key=key["secret"]).status_code == 400
    standing = stack.settled(key["key_id"])
    assert (standing["balance_nanos"], standing["spent_nanos"]) == (10**9, 0)
