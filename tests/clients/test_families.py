"""Agents on models of other families, by translation: the same tool loops, the same output.

Claude Code on such models belongs to the gate (`test_agents.py`).
"""

import pytest

from tests.clients import agents
from tests.clients.desk import Desk
from tests.clients.test_agents import lines

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("slug", ["claude-opus-5-5", "glm-5.3"])
def test_codex_runs_a_command(desk: Desk, slug: str) -> None:
    desk.with_key()
    said = lines(agents.ask_codex(desk, slug))
    done = [line["item"] for line in said if line["type"] == "item.completed"]
    (ran,) = [item for item in done if item["type"] == "command_execution"]
    assert (ran["aggregated_output"], ran["exit_code"]) == ("corvus\n", 0)
    assert done[-1]["type"] == "agent_message"
    assert said[-1]["type"] == "turn.completed"
    desk.finished("/v1/responses", output="corvus")


def test_opencode_runs_a_command(desk: Desk) -> None:
    desk.with_key()
    said = lines(agents.ask_opencode(desk, "claude-opus-5-5"))
    (tool,) = [line["part"] for line in said if line["type"] == "tool_use"]
    assert tool["state"]["output"].strip() == "corvus"
    assert any(line["type"] == "text" for line in said)
    desk.finished("/v1/chat/completions", output="corvus", turns=3)


def test_llm_runs_a_tool(desk: Desk) -> None:
    desk.with_key()
    done = agents.ask_llm(desk, "claude-opus-5-5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "0.36" in done.stderr
    desk.finished("/v1/chat/completions", output="0.36")
