"""A day's traffic beside what its providers report of it, by the command line."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.stack import CONFIG, RunningStack, corvus

RECONCILE = """
[reconcile]
drift_percent = "0.5"
drift_usd = "0.0001"
timeout_s = 2
"""
SAY = [{"role": "user", "content": "[[simulate: tokens=200]] Say something."}]
CHAT = {"model": "gpt-5.5", "max_completion_tokens": 256, "messages": SAY}
MESSAGES = {"model": "claude-sonnet-5-5", "max_tokens": 256, "messages": SAY}
PREFIX = {"type": "text", "text": "word " * 6000, "cache_control": {"type": "ephemeral"}}
CACHED = {**MESSAGES, "system": [PREFIX]}


class Reported(RunningStack):
    """A stack whose credentials have admin keys."""

    def _start_providers(self) -> None:
        super()._start_providers()
        (self.folder / "admin").write_text("admin-sim-key")
        path = self.folder / "config.toml"
        named = f'admin_secret_file = "{self.folder / "admin"}"\n'
        path.write_text(
            re.sub(r'(name = "(?:openai|anthropic)-1"\n)', rf"\1{named}", path.read_text())
        )

    def wrong(self, **wish: Any) -> None:
        """What the reports have wrong from now on."""
        done = httpx.post(
            f"{self.providers}/__control", json={"reports": wish or {"status": 0}}, trust_env=False
        )
        assert done.status_code == 200, done.text

    def reconcile(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code, and each credential's document."""
        done = corvus("reconcile", *words, "--json", "--state", str(self.state), check=False)
        assert done.stdout, done.stderr
        return done.returncode, {one["credential"]: one for one in json.loads(done.stdout)["days"]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reported]:
    running = Reported(tmp_path_factory.mktemp("reconcile"), config=CONFIG + RECONCILE)
    running.up()
    yield running
    running.down()


def traffic(stack: Reported, key: str) -> None:
    """Whole answers and streams, three dialects and embeddings, cached and not."""
    for number in range(6):
        stream = bool(number % 2)
        for path, body in (
            ("/v1/chat/completions", CHAT),
            ("/v1/messages", MESSAGES if number < 3 else CACHED),
            ("/v1/responses", {"model": "gpt-5.5", "input": "Say something."}),
        ):
            answer = stack.ask(path, {**body, "stream": stream}, key=key)
            assert answer.status_code == 200, answer.text
    embedded = {"model": "text-embedding-3-small", "input": "some text"}
    assert stack.ask("/v1/embeddings", embedded, key=key).status_code == 200


@pytest.mark.slow
def test_a_day_agrees_and_what_a_provider_loses_or_doubles_is_found(
    stack: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a nano a request where all is right; else exit code 3 and a sentence with model and class.
    A provider that is slow, absent, or turns its pages in a circle is no report."""
    made = stack.new_key("20")
    day = datetime.now(UTC).date()
    traffic(stack, made["secret"])
    charged = stack.settled(made["key_id"])["spent_nanos"]
    stack.command("ledger", "verify")
    monkeypatch.setenv("CORVUS_CLOCK_OFFSET_S", str(36 * 3600))
    code, found = stack.reconcile("run", "--day", str(day))
    assert code == 0, found
    assert set(found) == {"openai-1", "anthropic-1"}
    for name, requests in (("openai-1", 13), ("anthropic-1", 6)):
        one = found[name]
        assert (one["state"], one["requests"]) == ("agrees", requests)
        assert one["reported_nanos"] > 100_000
        assert abs(one["drift_nanos"]) <= requests
        assert one["margin_nanos"] == one["charged_nanos"] - one["reported_nanos"]
    assert sum(one["charged_nanos"] for one in found.values()) == charged

    stack.wrong(double_every=2)
    code, found = stack.reconcile("run", "--day", str(day))
    assert (code, found["openai-1"]["state"]) == (3, "differs")
    assert found["openai-1"]["drift_nanos"] > 0
    code, told = stack.reconcile("explain", str(day), "--family", "openai")
    assert code == 3
    assert list(told) == ["openai-1"]
    text = " ".join(told["openai-1"]["sentences"])
    assert re.search(r"OpenAI counts [\d,]+ more output tokens of gpt-5\.5 than the books", text)
    assert re.search(r"nearly all between \d\d:00 and \d\d:00 UTC", text)

    stack.wrong(lose_every=2)
    code, found = stack.reconcile("run", "--day", str(day), "--credential", "anthropic-1")
    assert (code, list(found)) == (3, ["anthropic-1"])
    _, told = stack.reconcile("explain", str(day), "--credential", "anthropic-1")
    text = " ".join(told["anthropic-1"]["sentences"])
    assert re.search(r"Anthropic counts [\d,]+ fewer .* of claude-sonnet-5-5", text)

    stack.wrong(price_percent=200)
    _, found = stack.reconcile("run", "--day", str(day), "--family", "openai")
    _, told = stack.reconcile("explain", str(day), "--family", "openai")
    text = " ".join(told["openai-1"]["sentences"])
    assert "than the books" not in text
    assert found["openai-1"]["state"] == "differs"

    for wish, why in (({"circle": True}, "in a circle"), ({"status": 429}, "asked later")):
        stack.wrong(**wish)
        code, found = stack.reconcile("run", "--day", str(day))
        assert code == 5
        assert all(why in one["problem"] for one in found.values())
    stack.wrong()
    assert stack.reconcile("run", "--day", str(day))[0] == 0
    assert stack.reconcile("status")[0] == 0
