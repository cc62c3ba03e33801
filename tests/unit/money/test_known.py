"""Counts that are known, and those that are not: kept under their path, flagged, never billed."""

import json
from typing import Any

import pytest

from corvus_proxy.money import known
from corvus_proxy.money.event import Meta, decode_meta, encode_meta
from corvus_proxy.money.flags import FLAGS
from corvus_proxy.money.usage import from_chat, from_messages, from_responses
from tests.oracle import bill
from tests.recorded import recordings

UNKNOWN, UNPRICED = "usage_unknown", "usage_unpriced"


@pytest.mark.parametrize(
    ("report", "kept", "flags"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 1}, {}, ()),
        ({"new_tokens": 7}, {"new_tokens": 7}, (UNKNOWN,)),
        ({"new_tokens": 0, "more": None, "name": "x", "yes": True, "none": {"a": 0}}, {}, ()),
        ({"cost": 0.5}, {"cost": 0.5}, (UNKNOWN,)),
        ({"prompt_tokens_details": {"audio_tokens": 3}},
         {"prompt_tokens_details.audio_tokens": 3}, (UNPRICED,)),
        ({"prompt_tokens_details": {"audio_tokens": 3, "smell_tokens": 4}},
         {"prompt_tokens_details.audio_tokens": 3, "prompt_tokens_details.smell_tokens": 4},
         (UNPRICED, UNKNOWN)),
        ({"list": [1, {"a": 2}, {"a": 3}]}, {"list[]": 1, "list[].a": 3}, (UNKNOWN,)),
        ({"x" * 300: 1}, {"x" * 100: 1}, (UNKNOWN,)),
        ({"a\0\n": 1, "big": 10**40, "bigger": -1e300},
         {"a": 1, "big": 2**53, "bigger": 2**53}, (UNKNOWN,)),
        ({"prompt_tokens": {"deep": 4}}, {"prompt_tokens.deep": 4}, (UNKNOWN,)),
    ],
)  # fmt: skip
def test_a_number_that_no_line_bills_is_kept(
    report: dict[str, Any], kept: dict[str, Any], flags: tuple[str, ...]
) -> None:
    """At any depth; zeros, texts and truths are no counts."""
    assert known.strangers(known.CHAT, report) == (kept, flags)


def test_an_endless_report_is_kept_in_part() -> None:
    """Twenty paths, eight levels: an upstream cannot fill an event; the flag is there all the
    same."""
    found, flags = known.strangers(known.CHAT, {f"n{i}": 1 for i in range(1000)})
    assert (len(found), flags) == (20, (UNKNOWN,))
    deep: Any = {"a": 1}
    for _ in range(5000):
        deep = {"a": deep}
    assert known.strangers(known.CHAT, deep) == ({}, (UNKNOWN,))


@pytest.mark.parametrize(
    ("convert", "report", "kept"),
    [
        (from_chat, {"prompt_tokens": 9, "completion_tokens": 2, "completion_tokens_details":
                     {"audio_tokens": 1}}, {"completion_tokens_details.audio_tokens": 1}),
        (from_responses, {"input_tokens": 9, "output_tokens": 2, "input_tokens_details":
                          {"cache_write_tokens": 3, "cache_write_tokens_details":
                           {"ttl_30m_tokens": 1, "ttl_12h_tokens": 2}}},
         {"input_tokens_details.cache_write_tokens_details.ttl_12h_tokens": 2}),
        (lambda report: from_messages(None, report),
         {"input_tokens": 9, "output_tokens": 2, "server_tool_use": {
             "web_fetch_requests": 4, "code_execution_requests": 5}},
         {"server_tool_use.code_execution_requests": 5}),
        (lambda report: from_messages(None, report),
         {"input_tokens": 9, "output_tokens": 2, "iterations": [
             {"type": "message", "input_tokens": 9, "output_tokens": 2, "gpu_seconds": 1}]},
         {"iterations[].gpu_seconds": 1}),
        (lambda report: from_responses(report, {"image_gen": {"output_tokens": 4}, "dice": 1}),
         {"input_tokens": 9, "output_tokens": 2}, {"image_gen.output_tokens": 4, "dice": 1}),
    ],
)  # fmt: skip
def test_what_is_kept_changes_no_count(convert: Any, report: Any, kept: dict[str, Any]) -> None:
    """The rest of the report is billed as ever."""
    found = convert(report)
    assert found.unbilled == kept
    assert set(found.flags) <= {UNKNOWN, UNPRICED}
    assert (found.input_total, found.output) == (9, 2)


def test_an_event_keeps_what_was_not_billed() -> None:
    """Verbatim, and in its shortest form where there is nothing."""
    meta = Meta(unbilled={"a.b": 5, "c": 0.25}, terms={"mode": "flex"})
    assert decode_meta(encode_meta(meta)) == meta
    assert json.loads(encode_meta(meta)) == {"ub": {"a.b": 5, "c": 0.25}, "tm": {"mode": "flex"}}
    assert encode_meta(Meta()) == b"{}"


@pytest.mark.recordings
@pytest.mark.parametrize(
    "recording",
    [one for one in recordings("anthropic", "chat", "zai-chat") if one.status == 200],
    ids=lambda one: one.file,
)
def test_no_recorded_report_holds_a_stranger(recording: Any) -> None:
    """The tables know every count that real answers have."""
    usage, _, _ = bill.reported(recording.body, stream=recording.is_stream)
    if usage is None:
        return
    table = known.MESSAGES if recording.dialect == "anthropic" else known.CHAT
    assert known.strangers(table, bill.merged(usage)) == ({}, ())


def test_every_flag_has_a_sentence() -> None:
    """Short enough for a receipt."""
    assert all(meaning and len(meaning) < 200 for meaning in FLAGS.values())
