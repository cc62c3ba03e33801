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


@pytest.mark.parametrize("slug", ["claude-opus-5-5", "gpt-5.5", "glm-5.3"])
def test_claude_code_runs_a_command(desk: Desk, slug: str) -> None:
    """Its tool's output is in its own account of the session, and the model was told it."""
    desk.with_key()
    said = lines(agents.ask_claude_code(desk, slug))
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


@pytest.mark.slow
def test_codex_runs_a_command(desk: Desk) -> None:
    """Its shell's output is in its own account of the session, and the model was told it."""
    desk.with_key()
    said = lines(agents.ask_codex(desk, "gpt-5.5"))
    done = [line["item"] for line in said if line["type"] == "item.completed"]
    (ran,) = [item for item in done if item["type"] == "command_execution"]
    assert (ran["aggregated_output"], ran["exit_code"]) == ("corvus\n", 0)
    assert done[-1]["type"] == "agent_message"
    assert said[-1]["type"] == "turn.completed"
    assert said[-1]["usage"]["output_tokens"] > 0
    desk.finished("/v1/responses", output="corvus")


@pytest.mark.slow
def test_opencode_runs_a_command(desk: Desk) -> None:
    """Its tool's output is in its own account; beside the two turns it asks for a title."""
    desk.with_key()
    said = lines(agents.ask_opencode(desk, "gpt-5.5"))
    (tool,) = [line["part"] for line in said if line["type"] == "tool_use"]
    assert tool["state"]["output"].strip() == "corvus"
    assert any(line["type"] == "text" for line in said)
    bodies = desk.finished("/v1/chat/completions", output="corvus", turns=3)
    assert sum("tools" in body for body in bodies) == 2
