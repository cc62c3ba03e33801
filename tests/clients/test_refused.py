"""An empty balance costs one HTTP call, whichever client asks: none of them tries again."""

import pytest

from tests.clients import table
from tests.clients.agents import ask_claude_code, ask_codex
from tests.clients.desk import Desk
from tests.sdks import anthropic_client, openai_client


@pytest.mark.parametrize(
    ("dialect", "slug"),
    [("chat", "gpt-5.5"), ("responses", "gpt-5.5"), ("messages", "claude-opus-5-5")],
)
def test_node_asks_once(desk: Desk, dialect: str, slug: str) -> None:
    """OpenAI's and Anthropic's packages for Node raise their error for limits."""
    desk.with_key(0)
    said = desk.script(table.JAVASCRIPT, "refused.js", slug, dialect)
    assert said == {"kind": "RateLimitError", "status": 429}
    assert [call.statuses for call in desk.tap.calls] == [[429]]


def test_python_asks_once(desk: Desk) -> None:
    """OpenAI's and Anthropic's packages for Python, the same."""
    import anthropic
    import openai

    secret = desk.with_key(0)
    chat, _ = openai_client(desk.tap.url, secret)
    with pytest.raises(openai.RateLimitError):
        chat.chat.completions.create(model="gpt-5.5", messages=[{"role": "user", "content": "hi"}])
    assert [call.statuses for call in desk.tap.calls] == [[429]]
    messages, _ = anthropic_client(desk.tap.url, secret)
    with pytest.raises(anthropic.RateLimitError):
        messages.messages.create(
            model="claude-opus-5-5", max_tokens=64, messages=[{"role": "user", "content": "hi"}]
        )
    assert [call.statuses for call in desk.tap.calls] == [[429], [429]]


def test_claude_code_asks_once(desk: Desk) -> None:
    """It shows the gateway's own words and ends."""
    desk.with_key(0)
    done = ask_claude_code(desk, "claude-opus-5-5")
    assert done.returncode != 0
    assert "Out of balance" in done.stdout + done.stderr
    assert [call.statuses for call in desk.tap.calls] == [[429]]


@pytest.mark.slow
def test_codex_asks_once(desk: Desk) -> None:
    """It says in its own words that the quota is used up."""
    desk.with_key(0)
    done = ask_codex(desk, "gpt-5.5")
    assert done.returncode != 0
    assert "quota" in (done.stdout + done.stderr).lower()
    assert [call.statuses for call in desk.tap.calls] == [[429]]
