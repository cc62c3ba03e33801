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

SLUGS = {
    "anthropic": "claude-opus-5-5",
    "chat": "gpt-5.5",
    "zai-chat": "glm-5.3",
    "responses": "gpt-6.1-sol",
    "embeddings": "text-embedding-3-small",
}
"""The current model of its family under which a dialect's recordings are asked for."""
COUNTED = {"anthropic:count": ("/v1/messages/count_tokens", "claude-opus-5-5")}
NOT_APPLICABLE = {
    "chat-other": "of vendors that are no family here",
    "responses-other": "of vendors that are no family here",
    "models": "the list of models is our own, whatever the upstream lists",
}
"""Dialects of the manifest whose recordings are not asked for, and why."""
COMMENT = re.compile(rb": corvus (\{[^\n]*\})\n\n\Z")
ALL = recordings(*SLUGS)
FREE = {
    "anthropic-13f671d692526645.sse": "a refusal without output: the vendor bills nothing",
    "chat-d7bc5d9eb8a2bb62.json": "status 400: nothing was served",
    "responses-83b85682260b84f6.json": "status 400: nothing was served",
    "embeddings-67cd35c742bca0dc.json": "status 404: nothing was served",
    "responses-9046a4b9521a02ee.txt": "the operator's account was empty: nothing was made",
}
"""Recordings that are charged nothing, and why."""
OUR_ACCOUNT = "responses-9046a4b9521a02ee.txt"
"""It fails ahead of any output, in words about the operator's account: none of it is passed on."""


def request(recording: Recording, *, include_usage: bool) -> tuple[str, dict[str, Any]]:
    slug = SLUGS[recording.dialect]
    status = f"; status={recording.status}" if recording.status != 200 else ""
    text = f"[[simulate: replay={recording.file}; chunk=random{status}]]"
    if recording.dialect == "embeddings":
        return "/v1/embeddings", {"model": slug, "input": text}
    if recording.dialect == "responses":
        return "/v1/responses", {
            "model": slug,
            "input": text,
            "stream": recording.is_stream,
            "max_output_tokens": 4000,
        }
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
    # Nobody asked for another tier than the ordinary one, so a dearer one is not charged for.
    mode = "flex" if tier == "flex" else ""
    if recording.dialect == "responses":
        assert usage is not None
        searches = bill.searches(recording.body, stream=recording.is_stream)
        return bill.responses_nanos(slug, usage, searches, mode)
    if usage is None:
        seen = stream_oracle.read("chat", recording.body, strip=False)
        size = len(json.dumps(sent).encode()) // 4
        usage = {"prompt_tokens": size, "completion_tokens": seen.deltas}
    return bill.chat_nanos(slug, usage, mode)


def charged(answer: httpx.Response, recording: Recording, *, strip: bool) -> int:
    """What the answer says it cost; its bytes are the recording's."""
    if not recording.is_stream:
        assert answer.content == recording.body
        return parse_usd(answer.headers["x-corvus-cost-usd"])
    found = COMMENT.search(answer.content)
    assert found, answer.content[-300:]
    kind = {"anthropic": "messages", "responses": "responses"}.get(recording.dialect, "chat")
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
    if recording.dialect not in ("chat", "zai-chat") and not include_usage:
        return  # these always report
    path, body = request(recording, include_usage=include_usage)
    answer = stack.ask(path, body)
    if recording.file == OUR_ACCOUNT:
        assert answer.status_code == 429
        assert b"quota" not in answer.content
        assert answer.json()["error"]["charged"] == "0.00"
        return
    assert answer.status_code == recording.status, answer.text
    if recording.status != 200:
        assert recording.file in FREE
        assert json.loads(answer.content)["error"] == json.loads(recording.body)["error"]
        return
    expected = 0 if recording.file in FREE else reckoned(recording, body)
    assert charged(answer, recording, strip=not include_usage) == expected
    assert (expected == 0) == (recording.file in FREE)


IN_OTHER_DIALECTS = {
    "anthropic": ("/v1/chat/completions", "/v1/responses"),
    "chat": ("/v1/messages",),
    "zai-chat": ("/v1/responses",),
}
"""Where a dialect's recordings are what the upstream says to a client of another one."""
TRANSLATED = [
    pytest.param(one, path, id=f"{one.file}{path.replace('/', '-')}")
    for one in ALL
    for path in IN_OTHER_DIALECTS.get(one.dialect, ())
    if one.status == 200 and (one.file in FREE or bill.reported(
        one.body, stream=one.is_stream)[0] is not None)
]  # fmt: skip


@pytest.mark.recordings
@pytest.mark.parametrize(("recording", "path"), TRANSLATED)
def test_a_recorded_answer_costs_the_same_in_another_dialect(
    stack: RunningStack, recording: Recording, path: str
) -> None:
    """Billed by what the upstream reports, whatever the client reads of it; and its client reads
    the end of its own dialect."""
    text = request(recording, include_usage=True)[1]["messages"][0]["content"]
    asked: dict[str, Any] = {"model": SLUGS[recording.dialect], "stream": recording.is_stream}
    if path == "/v1/responses":
        asked |= {"input": text, "max_output_tokens": 4000}
    else:
        asked |= {"messages": [{"role": "user", "content": text}], "max_tokens": 4000}
    answer = stack.ask(path, asked)
    assert answer.status_code == 200, answer.text
    cost = answer.headers.get("x-corvus-cost-usd")
    if recording.is_stream:
        found = COMMENT.search(answer.content)
        assert found, answer.content[-300:]
        cost = json.loads(found[1])["cost_usd"]
        ends = re.search(rb"\[DONE\]|message_stop|response\.(completed|incomplete)", answer.content)
        whole = stream_oracle.read(
            "messages" if recording.dialect == "anthropic" else "chat", recording.body, strip=False
        )
        assert bool(ends) == whole.ended
    expected = 0 if recording.file in FREE else reckoned(recording, asked)
    assert parse_usd(cost or "") == expected


@pytest.mark.recordings
@pytest.mark.parametrize("recording", recordings(*COUNTED), ids=lambda r: r.file)
def test_a_recorded_count_passes_untouched_and_is_free(
    stack: RunningStack, recording: Recording
) -> None:
    """Also with an empty balance: who only counts is never told to pay."""
    key = stack.new_key("0")
    path, slug = COUNTED[recording.dialect]
    text = f"[[simulate: replay={recording.file}]]"
    body = {"model": slug, "messages": [{"role": "user", "content": text}]}
    answer = stack.ask(path, body, key=key["secret"])
    assert answer.status_code == 200, answer.text
    assert answer.content == recording.body
    assert stack.ask_get("/v1/key", key=key["secret"]).json()["spent_nanos"] == 0


@pytest.mark.recordings
def test_every_recording_is_asked_for_or_named() -> None:
    """No row of the manifest is left out in silence."""
    known = {*SLUGS, *COUNTED, *NOT_APPLICABLE}
    found = recordings(*known)
    assert {one.dialect for one in found} == known
    left_out = {one.file for one in recordings(*NOT_APPLICABLE)}
    assert len(ALL) + len(recordings(*COUNTED)) + len(left_out) == len(found)
    assert len(recordings()) == len(found)


@pytest.mark.recordings
@pytest.mark.parametrize("recording", ALL, ids=lambda r: r.file)
def test_the_oracle_reads_what_the_manifest_says(recording: Recording) -> None:
    """The usage that the oracle finds in the bytes is the one that the manifest names."""
    if recording.usage is None or recording.status != 200:
        assert recording.file in FREE or recording.dialect == "chat"
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
