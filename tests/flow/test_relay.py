"""What a client sees of slices, clamps, silence, a stop and two processes."""

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stack import RunningStack

CHAT = "/v1/chat/completions"


def body(text: str, *, slug: str = "gpt-5.5", **more: Any) -> dict[str, Any]:
    return {"model": slug, "messages": [{"role": "user", "content": text}], **more}


def test_the_output_limit_is_lowered_to_what_the_balance_affords(stack: RunningStack) -> None:
    """Announced, obeyed by the upstream, and the wallet ends at or above zero."""
    key = stack.new_key("0.03")
    answer = stack.ask(CHAT, body("[[simulate: tokens=5000 delay_ms=0]]", stream=True),
                       key=key["secret"])  # fmt: skip
    assert answer.status_code == 200
    limit = int(answer.headers["x-corvus-max-tokens"])
    assert 1024 <= limit < 2000
    assert b'"finish_reason":"length"' in answer.content
    standing = stack.settled(key["key_id"])
    assert 0 <= standing["balance_nanos"] < 10_000_000
    refused = stack.ask(CHAT, body("x"), key=stack.new_key("0.03")["secret"],
                        **{"x-corvus-clamp": "off"})  # fmt: skip
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert error["code"] == "insufficient_balance"
    assert float(error["required"]) > 1.9
    assert error["affordable_max_tokens"] > 1000


def test_a_long_stream_is_paid_slice_by_slice(stack: RunningStack) -> None:
    """Ten slices' worth of output on a balance that covers it: nothing is cut, all is charged."""
    key = stack.new_key("1")
    answer = stack.ask(
        CHAT,
        body("[[simulate: tokens=6000 delay_ms=0]]", stream=True, max_completion_tokens=7000),
        key=key["secret"],
    )
    assert answer.content.count(b'"content":"') >= 6000
    standing = stack.settled(key["key_id"])
    cost = json.loads(answer.content.rsplit(b": corvus ", 1)[1])["cost_usd"]
    assert 1_000_000_000 - standing["balance_nanos"] == round(float(cost) * 1e9)
    assert standing["spent_nanos"] > 6000 * 15_000


def test_parallel_streams_never_overdraw(stack: RunningStack) -> None:
    """Twenty at once on a balance for a few: some refused, none below zero, books agree."""
    key = stack.new_key("0.05")

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            return await asyncio.gather(*(
                client.post(stack.api + CHAT,
                            json=body("[[simulate: tokens=900]]", stream=True),
                            headers={"authorization": f"Bearer {key['secret']}"})
                for _ in range(20)))  # fmt: skip

    answers = asyncio.run(run())
    assert {answer.status_code for answer in answers} == {200, 429}
    standing = stack.settled(key["key_id"])
    assert 0 <= standing["balance_nanos"] <= 50_000_000
    assert standing["balance_nanos"] + standing["spent_nanos"] == 50_000_000
    assert stack.command("ledger", "verify")["ok"]


@pytest.mark.parametrize("slug", ["claude-opus-5-5", "gpt-4o-mini"])
def test_silence_is_filled_and_then_ended(stack: RunningStack, slug: str) -> None:
    """A keep-alive between events, then the dialect's error; charged by the meter."""
    key = stack.new_key("1")
    messages = slug.startswith("claude")
    more: dict[str, Any] = {"max_tokens": 500} if messages else {}
    answer = stack.ask(
        "/v1/messages" if messages else CHAT,
        body("[[simulate: stall_after=3]]", slug=slug, stream=True, **more),
        key=key["secret"],
    )
    alive = b'event: ping\ndata: {"type": "ping"}\n\n' if messages else b": keep-alive\n\n"
    assert answer.content.count(alive) >= 2
    assert b'"upstream_timeout"' in answer.content
    assert stack.settled(key["key_id"])["spent_nanos"] > 0


def test_clear_answers_to_wrong_paths_and_upgrades(stack: RunningStack) -> None:
    """404 with the right URL, 405, 426, and a key for /v1/models."""
    with httpx.Client(base_url=stack.api, trust_env=False) as client:
        assert "ends in /v1" in client.post("/chat/completions").json()["error"]["message"]
        assert "has no /v1" in client.post("/v1/v1/messages").json()["error"]["message"]
        assert client.get(CHAT).status_code == 405
        upgrade = client.get("/v1/responses", headers={"upgrade": "websocket"})
        assert upgrade.status_code == 426
        assert upgrade.json()["error"]["code"] == "upgrade_refused"
        # What Java's client offers on every plain connection is no WebSocket.
        offered = {"upgrade": "h2c", "connection": "Upgrade, HTTP2-Settings",
                   "http2-settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
                   "x-api-key": stack.demo_key}  # fmt: skip
        assert client.get("/v1/models", headers=offered).status_code == 200
        for path in ("/api/hello", "/api/hello?x=1"):
            hello = client.head(path)
            assert (hello.status_code, hello.content) == (200, b"")
        wrong = client.head("/v1/nothing")
        assert (wrong.status_code, wrong.content) == (404, b"")
        assert client.get("/v1/models").status_code == 401
        assert client.get("/livez").status_code == 200
        both = client.get("/v1/key", headers={
            "authorization": f"Bearer {stack.demo_key}", "x-api-key": "sk-corvus_x"})  # fmt: skip
        assert both.status_code == 401
        own = client.get("/v1/key", headers={"x-api-key": stack.demo_key}).json()
        assert own["balance_nanos"] == own["available_nanos"] + own["held_nanos"]


def test_streams_finish_on_a_stop_and_nothing_is_left(tmp_path: Path) -> None:
    """SIGTERM: the running stream ends whole; journals are handed over; two processes serve."""
    stack = RunningStack(tmp_path)
    stack.up("--workers", "2")
    journals = stack.state / "journal"
    deadline = time.monotonic() + 30
    while len(list(journals.glob("*.journal"))) != 2:  # `up` waits for one of the two
        assert time.monotonic() < deadline
        time.sleep(0.05)
    received = b""
    with httpx.stream(
        "POST", stack.api + CHAT,
        json=body("[[simulate: tokens=400 delay_ms=5]]", slug="gpt-4o-mini", stream=True),
        headers={"authorization": f"Bearer {stack.demo_key}"}, timeout=30, trust_env=False,
    ) as answer:  # fmt: skip
        stopping = None
        for chunk in answer.iter_raw():
            received += chunk
            if stopping is None:
                stopping = threading.Thread(target=stack.down)
                stopping.start()
    assert stopping is not None
    stopping.join(120)
    assert b"data: [DONE]" in received
    assert b": corvus {" in received
    assert {path.name for path in journals.iterdir()} == {"node", "speaker.lock"}


@pytest.mark.slow
def test_after_a_kill_of_everything_the_next_start_serves(tmp_path: Path) -> None:
    """kill -9 of the launcher in the middle of streams: up again, drift 0, no hold left."""
    stack = RunningStack(tmp_path)
    stack.up()
    pids = list(stack.facts["pids"].values())

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            stack.ask(CHAT, body("[[simulate: tokens=800]]", slug="gpt-4o-mini", stream=True))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    os.kill(stack.facts["pids"]["launcher"], signal.SIGKILL)
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stack.restart()
    try:
        key_id = stack.ask_get("/v1/key").json()["key_id"]
        stack.settled(key_id, timeout_s=12)
        report = stack.command("ledger", "verify")
        assert (report["ok"], report["held_nanos"]) == (True, 0)
        assert stack.ask(CHAT, body("hi")).status_code == 200
    finally:
        stack.down()
