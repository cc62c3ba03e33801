"""Packages of other languages and frameworks, unmodified: two streamed turns around a tool."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients import table
from tests.clients.desk import Desk
from tests.clients.table import Client

PATHS = {
    "chat": "/v1/chat/completions",
    "compatible": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
}
LOOPS = [
    (table.JAVASCRIPT, "openai_chat.js", "chat", "gpt-5.5"),
    (table.JAVASCRIPT, "anthropic_messages.js", "messages", "claude-opus-5-5"),
    (table.JAVASCRIPT, "openai_chat.js", "chat", "glm-5.3"),
    # The model of another family, translated.
    (table.JAVASCRIPT, "openai_chat.js", "chat", "claude-opus-5-5"),
    (table.JAVASCRIPT, "anthropic_messages.js", "messages", "gpt-5.5"),
    (table.JAVASCRIPT, "vercel_ai.js", "messages", "glm-5.3"),
    (table.JAVASCRIPT, "vercel_ai.js", "chat", "gpt-5.5"),
    (table.JAVASCRIPT, "vercel_ai.js", "compatible", "glm-5.3"),
    (table.JAVASCRIPT, "vercel_ai.js", "messages", "claude-opus-5-5"),
    (table.JAVASCRIPT, "openai_responses.js", "responses", "gpt-5.5"),
    (table.JAVASCRIPT, "vercel_ai.js", "responses", "gpt-6.1-sol"),
    (table.PYDANTIC_AI, "pydantic_ai_loop.py", "responses", "gpt-5.5"),
    (table.LANGCHAIN, "langchain_loop.py", "responses", "gpt-5.5"),
    (table.PYDANTIC_AI, "pydantic_ai_loop.py", "chat", "gpt-5.5"),
    (table.PYDANTIC_AI, "pydantic_ai_loop.py", "messages", "claude-opus-5-5"),
    (table.LANGCHAIN, "langchain_loop.py", "chat", "gpt-5.5"),
    (table.LANGCHAIN, "langchain_loop.py", "messages", "claude-opus-5-5"),
    (table.OLDER_SDKS, "older_openai.py", "chat", "gpt-5.5"),
]


def _row(client: Client, program: str, dialect: str, slug: str) -> Any:
    marks = () if client.gate else (pytest.mark.slow,)
    return pytest.param(
        client, program, dialect, slug, marks=marks, id=f"{Path(program).stem}-{dialect}-{slug}"
    )


@pytest.mark.parametrize(("client", "program", "dialect", "slug"), [_row(*loop) for loop in LOOPS])
def test_a_tool_loop_is_finished(
    desk: Desk, client: Client, program: str, dialect: str, slug: str
) -> None:
    """The tool ran what the model said, the model was told, its answer has text and usage."""
    desk.with_key()
    said = desk.script(client, program, slug, dialect)
    assert said["text"].strip()
    assert said["output"] > 0
    bodies = desk.finished(PATHS[dialect], output="ran echo corvus")
    assert all(body["stream"] for body in bodies)
