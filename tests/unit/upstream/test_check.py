"""Whether a credential is accepted: asked of the upstream, and never an exception."""

from pathlib import Path

import pytest

from corvus_proxy.settings import Credential, Upstream
from corvus_proxy.upstream.check import check_credential
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
