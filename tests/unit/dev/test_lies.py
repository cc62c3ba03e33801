"""Usage that is not what was made: what a simulated provider says of it, and what its log has."""

import json
from typing import Any

import pytest

from corvus_proxy.dev import frames, lies
from corvus_proxy.dev.answers import Model, Plan
from corvus_proxy.dev.faults import Asked, asked

MODELS = {"anthropic": "claude-haiku-5-5", "openai": "gpt-4o-mini", "glm": "glm-5.3-flash"}
EVERY = pytest.mark.parametrize("family", MODELS)


def plan_of(family: str) -> Plan:
    body = {
        "model": MODELS[family],
        "max_tokens": 100,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "Say it."}],
    }
    return Model(1).plan(family, body, Asked(tokens=6, reasoning=0), "c")


def said(family: str, words: str) -> list[tuple[str, dict[str, Any]]]:
    """What a stream says in turn: `text`, or `usage` with its counts."""
    wish = asked({}, words, {})
    found: list[tuple[str, dict[str, Any]]] = []
    for frame in lies.told(frames.stream(plan_of(family)), wish):
        data = lies.spoiled(frame, wish).rpartition(b"data: ")[2]
        if frame.tokens:
            found.append(("text", {}))
        if b'"usage":{' in data:
            body = json.loads(data)
            found.append(("usage", body.get("message", body)["usage"]))
    return found


def output(usage: dict[str, Any]) -> int:
    return int(usage.get("output_tokens", usage.get("completion_tokens")))


@EVERY
def test_twice(family: str) -> None:
    """At first with half the output, then as it is."""
    last_two = said(family, "lie=twice")[-2:]
    assert [kind for kind, _ in last_two] == ["usage", "usage"]
    assert [output(usage) for _, usage in last_two] == [3, 6]


@EVERY
def test_early(family: str) -> None:
    """The final counts once, ahead of all text."""
    found = said(family, "lie=early")
    assert [kind for kind, _ in found] == ["usage", *["text"] * 6]
    assert output(found[0][1]) == 6


@EVERY
@pytest.mark.parametrize(("words", "least", "most"), [
    ("lie=negative", -(10**6), -1), ("lie=huge", 10**12, 10**12)])  # fmt: skip
def test_counts_that_cannot_be_true(family: str, words: str, least: int, most: int) -> None:
    """Every count of every report."""
    reports = [usage for kind, usage in said(family, words) if kind == "usage"]
    assert reports
    for usage in reports:
        numbers = _numbers(usage)
        assert numbers
        assert all(least <= number <= most for number in numbers)


def _numbers(value: Any) -> list[int]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in _numbers(inner)]
    return [value] if isinstance(value, int) else []
