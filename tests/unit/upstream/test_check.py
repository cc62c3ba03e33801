"""Whether a credential is accepted: asked of the upstream, and never an exception."""

from pathlib import Path

import pytest

from corvus_proxy.settings import Credential, Upstream
from corvus_proxy.upstream.check import Question, check_credential
from tests.unit.upstream.test_transport import OK, replies, serving

pytestmark = pytest.mark.anyio
ANSWER = OK + b"content-length: 2\r\n\r\n{}"


@pytest.mark.parametrize(("client", "accepted"), [("httptools", True), ("httpx", False)])
async def test_it_is_asked_the_way_that_requests_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str, accepted: bool
) -> None:
    """A proxy that only one of the two clients uses says nothing of the other's credentials."""
    (tmp_path / "s").write_text("k")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    credential = Credential("a", secret_file=str(tmp_path / "s"))
    async with serving(replies(ANSWER)) as origin:
        base = f"http://127.0.0.1:{origin.port}"
        found = await check_credential(Upstream("anthropic", base, client=client), credential)
    assert found.ok is accepted


@pytest.mark.parametrize(
    ("base", "key"),
    [("https://a..b", "k"), ("https://[x", "k"), ("http://127.0.0.1:9", "schlüssel")],
)
async def test_what_cannot_be_asked_is_a_refusal(tmp_path: Path, base: str, key: str) -> None:
    """An address or a key that HTTP does not know, a file that is not there."""
    (tmp_path / "s").write_text(key)
    for path in (tmp_path / "s", tmp_path / "nowhere"):
        credential = Credential("a", secret_file=str(path))
        found = await check_credential(Upstream("openai", base), credential)
        assert not found.ok
        assert found.detail


@pytest.mark.parametrize(
    ("family", "messages", "asked"),
    [
        ("anthropic", False, ("GET", "/v1/models", "x-api-key")),
        ("openai", False, ("GET", "/v1/models", "authorization")),
        ("glm", False, ("POST", "/chat/completions", "authorization")),
        ("glm", True, ("POST", "/m/v1/messages", "authorization")),
    ],
)
async def test_what_is_asked_costs_nothing(
    tmp_path: Path, family: str, messages: bool, asked: tuple[str, str, str]
) -> None:
    """A list, or an empty request that is refused to who may ask; each where its requests go."""
    (tmp_path / "s").write_text("k")
    seen: list[Question] = []

    async def ask(question: Question, through_proxy: bool) -> int:
        seen.append(question)
        return 400 if question.method == "POST" else 200

    upstream = Upstream(family, "http://h/", messages_base_url="http://h/m/")
    credential = Credential("a", secret_file=str(tmp_path / "s"))
    found = await check_credential(upstream, credential, messages=messages, ask=ask)
    assert found.ok
    (question,) = seen
    assert (question.method, question.url.removeprefix("http://h")) == asked[:2]
    assert asked[2] in question.headers
    assert question.content in (None, b"{}")
