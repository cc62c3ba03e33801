"""Agents, unmodified and pointed at the gateway as their users do: a prompt, a tool, an answer."""

import json
import subprocess
from typing import Any

import pytest

from tests.clients import agents
from tests.clients.desk import Desk


def lines(done: subprocess.CompletedProcess[str]) -> list[Any]:
    """The JSON values that an agent printed, one a line."""
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_claude_code_runs_a_command(desk: Desk) -> None:
    """Its tool's output is in its own account of the session, and the model was told it."""
    desk.with_key()
    said = lines(agents.ask_claude_code(desk, "claude-opus-5-5"))
    results = [
        block
        for line in said
        if line["type"] == "user"
        for block in line["message"]["content"]
        if block["type"] == "tool_result"
    ]
    assert [block["content"] for block in results] == ["corvus"]
    assert said[-1]["type"] == "result"
    assert said[-1]["subtype"] == "success"
    assert said[-1]["result"].strip()
    desk.finished("/v1/messages", output="corvus")


@pytest.mark.slow
def test_llm_runs_a_tool(desk: Desk) -> None:
    """Its own version, which the tool tells, is printed and told to the model."""
    desk.with_key()
    done = agents.ask_llm(desk, "gpt-5.5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "0.36" in done.stderr
    desk.finished("/v1/chat/completions", output="0.36")
