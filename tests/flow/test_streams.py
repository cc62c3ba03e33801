"""Many streams at once, a third of them cut by their clients: the money adds up to the nano."""

import asyncio
import json
import random
import re
from typing import Any

import httpx
import pytest

from corvus_proxy._fast import StreamMeter
from corvus_proxy.gateway.ending import output_at_least
from corvus_proxy.wire.dialect import Dialect
from tests.oracle import bill
from tests.stack import RunningStack

pytestmark = pytest.mark.anyio
SLUGS = ("claude-opus-5-5", "gpt-5.5", "glm-5.3", "gpt-4o-mini")
COMMENT = re.compile(rb": corvus (\{[^\n]*\})\n\n\Z")


def request_for(slug: str, number: int, *, tokens: int = 150) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {
        "model": slug,
        "stream": True,
        "messages": [
            {
                "role": "user",
                "content": f"number {number} [[simulate: tokens={tokens}]] " + "word " * 400,
            }
        ],
    }
    if slug.startswith("claude"):
        body |= {
            "max_tokens": 4000,
            "system": [
                {"type": "text", "text": "calm " * 700, "cache_control": {"type": "ephemeral"}}
            ],
        }
        return "/v1/messages", body
    return "/v1/chat/completions", body


async def one(
    client: httpx.AsyncClient,
    stack: RunningStack,
    secret: str,
    slug: str,
    number: int,
    cut_s: float | None,
    *,
    tokens: int = 150,
    enough: int = 0,
) -> tuple[str, str, bytes, bool]:
    """Slug, upstream request id, bytes received, and whether the stream came to its end; it is cut
    after `cut_s`, or when it has `enough` deltas."""
    path, body = request_for(slug, number, tokens=tokens)
    received = b""
    upstream_id = ""
    try:
        async with (
            asyncio.timeout(cut_s),
            client.stream(
                "POST",
                stack.api + path,
                json=body,
                headers={"authorization": f"Bearer {secret}"},
            ) as answer,
        ):
            assert answer.status_code == 200
            upstream_id = answer.headers["x-upstream-request-id"]
            async for chunk in answer.aiter_raw():
                received += chunk
                if enough and received.count(b"text_delta") >= enough:
                    return slug, upstream_id, received, False
    except TimeoutError:
        return slug, upstream_id, received, False
    return slug, upstream_id, received, True


async def test_64_streams_with_a_third_cut_leave_books_that_balance(stack: RunningStack) -> None:
    """Holds end at zero; Redis = books = credit - charges; each charge is what the log allows."""
    key = stack.new_key("20")
    source = random.Random(7)
    verifying = asyncio.create_task(verify_for(stack, 4))
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        results = await asyncio.gather(
            *(
                one(
                    client,
                    stack,
                    key["secret"],
                    SLUGS[n % 4],
                    n,
                    source.uniform(0.05, 1.2) if n % 3 == 0 else None,
                )
                for n in range(64)
            )
        )
    assert all(await verifying)
    standing = await asyncio.to_thread(stack.settled, key["key_id"])
    rows = {row["upstream_request_id"]: row for row in await booked(stack, key["wallet"])}
    served = {row["request_id"]: row for row in stack.served()}
    charged = sum(row["charge_nanos"] for row in rows.values())
    assert standing["balance_nanos"] == 20_000_000_000 - charged
    assert standing["spent_nanos"] == charged
    complete = 0
    for slug, upstream_id, received, whole in results:
        if not upstream_id:
            continue
        row, log = rows[upstream_id], served[upstream_id]
        if whole:
            found = COMMENT.search(received)
            assert found
            assert json.loads(found[1])["request_id"] == row["request_id"]
            complete += 1
        check(slug, row, log, received)
    assert complete >= 42
    report = stack.command("ledger", "verify")
    assert (report["ok"], report["drift_nanos"]) == (True, 0)


async def verify_for(stack: RunningStack, times: int) -> list[bool]:
    """`ledger verify`, again and again while streams run."""
    return [
        (await asyncio.to_thread(stack.command, "ledger", "verify"))["ok"] for _ in range(times)
    ]


def check(slug: str, row: dict[str, Any], log: dict[str, Any], received: bytes) -> None:
    """One charge against the provider's log and the bytes that its client has."""
    messages = slug.startswith("claude")
    if row["source"] == "upstream":
        reckon = bill.messages_nanos if messages else bill.chat_nanos
        assert row["charge_nanos"] == reckon(slug, log["usage"]), (row, log)
        return
    if row["source"] == "upstream" or not row["output_tokens"]:
        return
    assert row["source"] in ("counted", "estimated")
    dialect = Dialect.MESSAGES if messages else Dialect.CHAT
    meter = StreamMeter(dialect.value, False)
    meter.feed(received)
    text = meter.letters + meter.symbols + meter.non_ascii
    usage = log["usage"]
    most = usage["output_tokens"] if messages else usage["completion_tokens"]
    assert output_at_least(dialect, meter.deltas, text) <= row["output_tokens"] <= most
    if row["source"] == "counted":
        assert row["input_tokens"] == usage["input_tokens"]


async def booked(stack: RunningStack, wallet: str) -> list[dict[str, Any]]:
    """The wallet's request rows, once the writer has all events."""
    import asyncpg

    connection = await asyncpg.connect(stack.facts["postgres"])
    try:
        for _ in range(600):
            report = await asyncio.to_thread(stack.command, "ledger", "verify")
            if not report["undrained"]:
                break
            await asyncio.sleep(0.05)
        rows = await connection.fetch("select * from request where wallet = $1", wallet)
        return [dict(row) for row in rows]
    finally:
        await connection.close()


async def test_a_client_that_leaves_before_the_answer_pays_nothing(stack: RunningStack) -> None:
    """The upstream is given up a moment later, and the hold is free again."""
    key = stack.new_key("1")
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "[[simulate: ttfb_ms=20000]]"}],
    }
    for stream in (True, False):
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            with pytest.raises(httpx.TimeoutException):
                await client.post(
                    f"{stack.api}/v1/chat/completions",
                    json={**body, "stream": stream},
                    headers={"authorization": f"Bearer {key['secret']}"},
                )
    await asyncio.to_thread(stack.settled, key["key_id"])
    rows = await booked(stack, key["wallet"])
    assert [row["outcome"] for row in rows] == ["client_cancelled_before_first_byte"] * 2
    assert [row["charge_nanos"] for row in rows] == [0, 0]


async def test_a_client_that_leaves_pays_for_what_it_got(stack: RunningStack) -> None:
    """Cut before the end: outcome, source and bounds; nothing stays held."""
    key = stack.new_key("1")
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        _, _, received, whole = await one(
            client, stack, key["secret"], "claude-opus-5-5", 1, None, tokens=3000, enough=10
        )
    assert not whole
    await asyncio.to_thread(stack.settled, key["key_id"])
    (row,) = await booked(stack, key["wallet"])
    assert row["outcome"] == "client_cancelled_midstream"
    assert row["source"] == "counted"
    assert 0 < row["output_tokens"] < 3000
    assert received.count(b"text_delta") <= row["output_tokens"]


@pytest.mark.parametrize(
    ("directive", "outcome", "free"),
    [
        ("cut_after=5", "upstream_cut_midstream", False),
        ("error_after=5", "upstream_cut_midstream", False),
        ("end_after=5", "upstream_cut_midstream", False),
        ("no_usage", "usage_missing", False),
        ("zero_usage", "usage_missing", False),
        ("tokens=0", "zero_completion", True),
    ],
)
@pytest.mark.parametrize("slug", ["claude-opus-5-5", "gpt-4o-mini"])
async def test_upstream_faults_end_in_band_and_charge_by_rule(
    stack: RunningStack, slug: str, directive: str, outcome: str, free: bool
) -> None:
    """A stream that was cut ends with the dialect's error and no terminal event."""
    key = stack.new_key("1")
    path, body = request_for(slug, 1)
    body["messages"] = [{"role": "user", "content": f"[[simulate: {directive}]] " + "w " * 200}]
    answer = await asyncio.to_thread(stack.ask, path, body, key=key["secret"])
    await asyncio.to_thread(stack.settled, key["key_id"])
    (row,) = await booked(stack, key["wallet"])
    assert row["outcome"] == outcome
    assert (row["charge_nanos"] == 0) is free
    if outcome == "upstream_cut_midstream":
        assert b'"error"' in answer.content
        assert b"[DONE]" not in answer.content
        assert b"message_stop" not in answer.content


@pytest.mark.parametrize(
    ("directive", "status"),
    [
        ("status=500", 502),
        ("status=401", 502),
        ("status=400; code=insufficient_quota", 502),
        ("status=429", 429),
        ("status=400", 400),
        ("status=429; code=insufficient_quota", 429),
        ("no_answer", 502),
        ("status=529", 429),
    ],
)
async def test_refusals_of_the_upstream_are_free_and_mapped_by_fault(
    stack: RunningStack, directive: str, status: int
) -> None:
    """The customer pays nothing and never reads about the operator's account."""
    key = stack.new_key("1")
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": f"[[simulate: {directive}]]"}],
    }
    answer = await asyncio.to_thread(stack.ask, "/v1/chat/completions", body, key=key["secret"])
    assert answer.status_code == status
    assert "insufficient_quota" not in answer.text
    standing = await asyncio.to_thread(stack.settled, key["key_id"])
    assert standing["balance_nanos"] == 1_000_000_000
