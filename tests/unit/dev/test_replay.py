"""Recordings served again."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy.dev.providers import serve

pytestmark = pytest.mark.anyio

STREAM = b'data: {"id":"a","choices":[]}\r\n\r\ndata: [DONE]\r\n\r\n'
LINES = b'{"type":"message_start"}\n\n{"type":"message_stop"}\n'


async def replayed(root: Path, name: str, path: str, model: str, chunk: str) -> httpx.Response:
    wish = f"[[simulate: replay={root / name}; chunk={chunk}]]"
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": wish}]}
    if model.startswith("claude"):
        asked["max_tokens"] = 10
    async with serve(replay_root=root) as (_, url), httpx.AsyncClient(base_url=url) as client:
        return await client.post(path, json=asked, headers={"x-api-key": "k"})


@pytest.mark.parametrize("chunk", ["", "1", "7", "random"])
async def test_streams_come_verbatim(tmp_path: Path, chunk: str) -> None:
    """However it is cut, the recording's bytes arrive, odd line ends included."""
    (tmp_path / "one.sse").write_bytes(STREAM)
    answer = await replayed(tmp_path, "one.sse", "/v1/chat/completions", "gpt-5.5", chunk)
    assert answer.content == STREAM
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_lists_of_payloads_get_their_framing_back(tmp_path: Path) -> None:
    """Payloads without framing become events: named for Anthropic, ended by [DONE] for chat."""
    (tmp_path / "two.txt").write_bytes(LINES)
    ours = await replayed(tmp_path, "two.txt", "/v1/messages", "claude-opus-5-5", "")
    chat = await replayed(tmp_path, "two.txt", "/api/paas/v4/chat/completions", "glm-5.3", "")
    assert ours.content == (
        b'event: message_start\ndata: {"type":"message_start"}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    assert chat.content.endswith(b'data: {"type":"message_stop"}\n\ndata: [DONE]\n\n')


async def test_a_json_body_is_one_body(tmp_path: Path) -> None:
    """A recorded JSON answer is served with its own content type."""
    (tmp_path / "three.json").write_bytes(b'{ "usage": null }')
    answer = await replayed(tmp_path, "three.json", "/v1/chat/completions", "gpt-5.5", "1")
    assert (answer.content, answer.headers["content-type"]) == (
        b'{ "usage": null }',
        "application/json",
    )


async def test_nothing_outside_the_folder(tmp_path: Path) -> None:
    """Only what lies below the root is served."""
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.json").write_text("{}")
    answer = await replayed(
        tmp_path / "in", "../secret.json", "/v1/chat/completions", "gpt-5.5", ""
    )
    assert answer.status_code == 404
