"""The ways in which gateways misbill, one test each: those that need a wire.

The others, and the test that none of the 41 is missing, are in `tests/unit/money/test_cases.py`. A
case about something that is not served is the refusal that it is today.
"""

import asyncio
import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.gateway.ending import output_at_least
from corvus_proxy.ledger.explain import as_document
from corvus_proxy.money.amount import parse_usd
from corvus_proxy.ops.commands.common import Common, on_stores
from corvus_proxy.service import keys, ledger
from corvus_proxy.settings import Credential, PricingSettings, Upstream
from corvus_proxy.upstream.pool import Pool
from corvus_proxy.upstream.transport import HttptoolsTransport
from corvus_proxy.wire import headers
from corvus_proxy.wire.dialect import Dialect
from tests.oracle import bill
from tests.stack import RunningStack, corvus

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
COMMENT = re.compile(rb": corvus (\{[^\n]*\})\n\n\Z")
DOCS = Path(__file__).parents[2] / "docs"


class Asked:
    """One key and what its requests came to."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        # Not by the command line, which takes a second each time.
        self._common = Common(state=stack.state)
        self.key = on_stores(
            self._common, lambda stores: keys.create(stores, credit_nanos=5 * 10**9)
        )
        self._step: dict[str, Any] | None = None

    def ask(
        self, slug: str, text: str, *, stream: bool = True, headers: Any = None, **members: Any
    ) -> httpx.Response:
        """One request whose message is `text`."""
        body = {
            "model": slug,
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
            **members,
        }
        if slug.startswith("claude"):
            body.setdefault("max_tokens", 1000)
        path = MESSAGES if slug.startswith("claude") else CHAT
        return self.stack.ask(path, body, key=self.key.secret, **(headers or {}))

    def replay(self, slug: str, name: str, body: bytes, **members: Any) -> httpx.Response:
        """An answer of our own making, in pieces of one byte."""
        (self.stack.replay / name).write_bytes(body)
        stream = not name.endswith(".json")
        return self.ask(slug, f"[[simulate: replay={name}; chunk=1]]", stream=stream, **members)

    def step(self) -> dict[str, Any]:
        """What the one settled request came to; the key's money agrees with it."""
        deadline = time.monotonic() + 60
        while self._step is None:
            found = as_document(
                on_stores(self._common, lambda stores: ledger.explain(stores, self.key.key_id))
            )
            if found["held_nanos"] == 0:
                assert not found["problems"]
                steps = [step for step in found["steps"] if step["kind"] == "S"]
                assert len(steps) == 1, steps
                assert found["redis_nanos"] == 5 * 10**9 + steps[0]["delta_nanos"]
                self._step = steps[0]
            else:
                assert time.monotonic() < deadline, found
                time.sleep(0.05)
        return self._step

    def charged(self) -> int:
        return -int(self.step()["delta_nanos"])

    def served(self, since: int) -> list[dict[str, Any]]:
        """What the simulated providers have served since."""
        return self.stack.served()[since:]


@pytest.fixture
def asked(stack: RunningStack) -> Asked:
    return Asked(stack)


def told(answer: httpx.Response) -> int:
    """The charge that the answer itself names."""
    if "x-corvus-cost-usd" in answer.headers:
        return parse_usd(answer.headers["x-corvus-cost-usd"])
    found = COMMENT.search(answer.content)
    assert found, answer.content[-300:]
    return parse_usd(json.loads(found[1])["cost_usd"])


def event(kind: str, body: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **body})}\n\n".encode()


def chunk(text: str | None, usage: dict[str, Any] | None = None, **more: Any) -> bytes:
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}}]
    body = {"id": "c", "object": "chat.completion.chunk", "model": "gpt-5.5", "choices": choices}
    return b"data: " + json.dumps({**body, "usage": usage, **more}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
COUNTS = {"prompt_tokens": 1234, "completion_tokens": 56, "total_tokens": 1290}


def test_case_06_all_zero_usage_beside_an_answer_is_no_report(asked: Asked) -> None:
    """Estimated and flagged, not free."""
    answer = asked.ask("gpt-4o-mini", "[[simulate: zero_usage; tokens=20]]")
    step = asked.step()
    assert step["outcome"] == "usage_missing"
    assert any(note.startswith("usage_zero") for note in step["notes"])
    assert told(answer) == -step["delta_nanos"] > 0
    assert "20 output" in step["formula"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("tier", ["flex", "priority", "ultrafast"])
def test_case_10_the_tier_that_served_is_billed_over_the_wire(
    asked: Asked, tier: str, stream: bool
) -> None:
    """Asked for and served: held, charged and told at that tier's price."""
    before = len(asked.stack.served())
    answer = asked.ask("gpt-6-astra", "[[simulate: tokens=9]]", stream=stream, service_tier=tier)
    assert answer.status_code == 200, answer.text
    (served,) = asked.served(before)
    assert asked.charged() == told(answer) == bill.chat_nanos("gpt-6-astra", served["usage"], tier)
    assert asked.step()["notes"] == [f"mode: {tier}"]


def test_case_10_a_speed_is_billed_and_one_without_a_price_is_refused(asked: Asked) -> None:
    """Anthropic says which speed served in message_start alone."""
    refused = asked.ask("claude-haiku-4-5", "hi", speed="fast")
    assert (refused.status_code, "speed" in refused.text) == (400, True)
    assert asked.ask("claude-haiku-4-5", "hi", inference_geo="us").status_code == 400
    assert asked.ask("glm-5.3", "hi", service_tier="flex").status_code == 400
    before = len(asked.stack.served())
    answer = asked.ask("claude-opus-5-5", "[[simulate: tokens=9]]", speed="fast")
    (served,) = asked.served(before)
    expected = bill.messages_nanos("claude-opus-5-5", served["usage"], mode="fast")
    assert asked.charged() == told(answer) == expected


@pytest.mark.parametrize("stream", [True, False])
def test_case_11_asked_flex_served_default_is_charged_as_default(
    asked: Asked, stream: bool
) -> None:
    """Not at half."""
    before = len(asked.stack.served())
    answer = asked.ask(
        "gpt-5.5", "[[simulate: tokens=9; tier=default]]", stream=stream, service_tier="flex"
    )
    (served,) = asked.served(before)
    assert asked.charged() == told(answer) == bill.chat_nanos("gpt-5.5", served["usage"])


def test_case_11_a_dearer_tier_that_nobody_asked_for_is_the_operators(asked: Asked) -> None:
    """Charged as asked, cost by what served, and a flag."""
    before = len(asked.stack.served())
    asked.ask("gpt-5.5", "[[simulate: tokens=9; tier=priority]]")
    (served,) = asked.served(before)
    step = asked.step()
    assert -step["delta_nanos"] == bill.chat_nanos("gpt-5.5", served["usage"])
    assert any(note.startswith("tier_not_asked") for note in step["notes"])
    assert "mode_served: priority" in step["notes"]
    cost = asyncio.run(cost_of(asked.stack, step["id"]))
    assert cost == bill.chat_nanos("gpt-5.5", served["usage"], "priority", whose="official")


async def cost_of(stack: RunningStack, request_id: str) -> int:
    import asyncpg

    connection = await asyncpg.connect(stack.facts["postgres"])
    try:
        for _ in range(100):
            found = await connection.fetchval(
                "select cost_nanos from request where request_id = $1", request_id
            )
            if found is not None:
                return int(found)
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
    raise AssertionError(f"{request_id} is not in the books")


def test_case_16_usage_is_asked_for_although_the_client_did_not(asked: Asked) -> None:
    """The upstream reports, the charge is its report, the client sees no chunk of it."""
    before = len(asked.stack.served())
    answer = asked.ask("gpt-4o-mini", "[[simulate: tokens=20]]")
    (served,) = asked.served(before)
    assert served["usage_sent"]
    assert b'"usage":{' not in answer.content
    assert b'"choices":[]' not in answer.content
    assert asked.charged() == told(answer) == bill.chat_nanos("gpt-4o-mini", served["usage"])
    assert asked.step()["outcome"] == "completed"


def test_case_17_a_usage_chunk_with_a_choice_keeps_its_finish_reason(asked: Asked) -> None:
    """Z.AI puts both into the last chunk; a client without it would wait for ever."""
    before = len(asked.stack.served())
    answer = asked.ask("glm-5.3", "[[simulate: tokens=20]]")
    (served,) = asked.served(before)
    assert b'"finish_reason":"stop"' in answer.content
    assert asked.charged() == bill.chat_nanos("glm-5.3", served["usage"])


def test_case_18_a_client_that_leaves_pays_for_what_it_got(asked: Asked) -> None:
    """Neither nothing nor the whole hold: the input as reported, the output that came."""
    body = {
        "model": "claude-opus-5-5", "max_tokens": 4000, "stream": True,
        "messages": [{"role": "user", "content": "[[simulate: tokens=3000; delay_ms=5]]"}],
    }  # fmt: skip
    before = len(asked.stack.served())
    key = {"authorization": f"Bearer {asked.key.secret}"}
    url = asked.stack.api + MESSAGES
    with httpx.stream("POST", url, json=body, headers=key, trust_env=False) as answer:
        received = b""
        for piece in answer.iter_raw():
            received += piece
            if received.count(b"text_delta") >= 30:
                break
    step = asked.step()
    deadline = time.monotonic() + 30
    while not (rows := asked.served(before)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (served,) = rows
    assert step["outcome"] == "client_cancelled_midstream"
    usage = served["usage"]
    most = {**usage, "output_tokens": served["tokens_made"]}
    least = {**usage, "output_tokens": output_at_least(Dialect.MESSAGES, 30, 0)}
    assert bill.messages_nanos("claude-opus-5-5", least) <= -step["delta_nanos"]
    assert -step["delta_nanos"] <= bill.messages_nanos("claude-opus-5-5", most)


@pytest.mark.parametrize("slug", ["claude-opus-5-5", "gpt-4o-mini", "glm-5.3"])
def test_case_19_a_clean_end_without_a_terminal_event_is_a_cut(asked: Asked, slug: str) -> None:
    """The client is told in-band, and pays for what came."""
    answer = asked.ask(slug, "[[simulate: end_after=12; reasoning=0]]")
    step = asked.step()
    assert step["outcome"] == "upstream_cut_midstream"
    assert b'"error"' in answer.content
    assert told(answer) == -step["delta_nanos"] > 0
    assert re.search(r"\b1[0-2] output", step["formula"])


@pytest.mark.parametrize("slug", ["claude-opus-5-5", "gpt-4o-mini"])
def test_case_20_an_error_event_after_partial_output_is_charged_for_what_came(
    asked: Asked, slug: str
) -> None:
    """Neither zero nor the whole."""
    answer = asked.ask(slug, "[[simulate: error_after=12; reasoning=0]]")
    step = asked.step()
    assert step["outcome"] != "completed"
    assert told(answer) == -step["delta_nanos"] > 0
    assert re.search(r"\b1[0-2] output", step["formula"])


def test_case_21_an_attempt_that_failed_is_not_on_the_customers_bill(asked: Asked) -> None:
    """A failed attempt settles at zero; the request that is repeated is charged once."""
    before = len(asked.stack.served())
    failed = asked.ask("gpt-4o-mini", "[[simulate: status=500]]")
    assert failed.status_code >= 500
    step = asked.step()
    assert (step["delta_nanos"], step["outcome"]) == (0, "upstream_error_before_first_byte")
    again = Asked(asked.stack)
    answer = again.ask("gpt-4o-mini", "[[simulate: tokens=5]]")
    *_, last = asked.served(before)
    assert again.charged() == told(answer) == bill.chat_nanos("gpt-4o-mini", last["usage"])


def test_case_22_an_unpriced_name_is_refused_before_the_call(asked: Asked) -> None:
    """No upstream sees it; an alias is charged as its row."""
    before = len(asked.stack.served())
    assert asked.ask("gpt-5.5-2031-01-01", "hi").status_code == 404
    assert asked.served(before) == []
    answer = asked.ask("gpt-4o-mini-2024-07-18", "[[simulate: tokens=5]]")
    (served,) = asked.served(before)
    assert served["model"] == "gpt-4o-mini"
    assert asked.charged() == told(answer) == bill.chat_nanos("gpt-4o-mini", served["usage"])


@pytest.mark.recordings
def test_case_23_a_fallbacks_answer_is_booked_under_the_model_that_made_it(asked: Asked) -> None:
    """Its lines are named in full, and the request's own tokens are their sum."""
    name = "anthropic-a36df175556cd5c9.txt"
    answer = asked.ask("claude-fable-5", f"[[simulate: replay={name}; chunk=random]]")
    step = asked.step()
    assert step["formula"] == (
        "412 claude-opus-4-8/input x 1750000 + 264 claude-opus-4-8/output x 8750000"
    )
    assert told(answer) == -step["delta_nanos"] == (412 * 1750 + 264 * 8750)
    row = asyncio.run(request_row(asked.stack, step["id"]))
    assert (row["input_tokens"], row["output_tokens"], row["slug"]) == (412, 264, "claude-fable-5")


async def request_row(stack: RunningStack, request_id: str) -> dict[str, Any]:
    import asyncpg

    await cost_of(stack, request_id)
    connection = await asyncpg.connect(stack.facts["postgres"])
    try:
        return dict(
            await connection.fetchrow("select * from request where request_id = $1", request_id)
        )
    finally:
        await connection.close()


def test_case_25_a_prewarm_pays_its_cache_writes_and_no_output(asked: Asked) -> None:
    """`max_tokens: 0`: usage as reported."""
    system = [{"type": "text", "text": "calm " * 900, "cache_control": {"type": "ephemeral"}}]
    before = len(asked.stack.served())
    answer = asked.ask("claude-opus-5-5", "warm", stream=False, max_tokens=0, system=system)
    assert answer.status_code == 200, answer.text
    (served,) = asked.served(before)
    assert served["usage"]["output_tokens"] == 0
    assert served["usage"]["cache_creation_input_tokens"] > 0
    assert asked.charged() == bill.messages_nanos("claude-opus-5-5", served["usage"]) > 0
    assert "output" not in asked.step()["formula"]


def test_case_26_three_answers_are_charged_as_three(asked: Asked) -> None:
    """`n` multiplies the output, as the vendor reports it."""
    before = len(asked.stack.served())
    answer = asked.ask("gpt-4o-mini", "[[simulate: tokens=10]]", n=3, max_tokens=20)
    (served,) = asked.served(before)
    assert served["usage"]["completion_tokens"] == 30
    assert asked.charged() == told(answer) == bill.chat_nanos("gpt-4o-mini", served["usage"])


def test_case_27_a_compressed_request_is_counted_as_what_it_says(stack: RunningStack) -> None:
    """Decoded first: where the upstream reports nothing, its input is charged as that of the same
    request in plain."""
    (stack.replay / "silent.sse").write_bytes(chunk("hi") + chunk(None) + DONE)
    text = "[[simulate: replay=silent.sse]]" + " some words" * 200
    messages = [{"role": "user", "content": text}]
    body = json.dumps({"model": "gpt-4o-mini", "messages": messages, "stream": True}).encode()
    charges = []
    for content, coding in ((body, {}), (gzip.compress(body), {"content-encoding": "gzip"})):
        asked = Asked(stack)
        answer = stack.ask(CHAT, content, key=asked.key.secret, **coding)
        assert answer.status_code == 200
        charges.append(asked.charged())
    assert charges[0] == charges[1] > 200 * 150


def test_case_28_the_upstream_is_asked_for_a_plain_body(tmp_path: Path) -> None:
    """Whatever the client accepts: compressed usage could not be read."""
    (tmp_path / "secret").write_text("k")
    credential = Credential("a", secret_file=str(tmp_path / "secret"))
    upstream = Upstream("openai", "http://127.0.0.1:9", credential=[credential])
    pool = Pool([upstream], {upstream.client: HttptoolsTransport()})
    passed = headers.to_upstream([(b"accept-encoding", b"gzip, br"), (b"user-agent", b"x")])
    sent = pool.choose("openai", Dialect.CHAT).request(passed, b"{}")
    found = [value for name, value in sent.headers if name == b"accept-encoding"]
    assert found == [b"identity"]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_case_29_usage_in_pieces_with_padding_and_any_order_is_read(
    asked: Asked, newline: bytes
) -> None:
    """A byte at a time, three kinds of line end, blanks in the JSON, the type last."""
    usage = {"output_tokens": 42, "cache_read_input_tokens": 11, "input_tokens": 7}
    body = (
        event("message_start", {"message": {"id": "m", "model": "x", "usage": {"input_tokens": 9}}})
        + event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "a"}})
        + b'event: message_delta\ndata:{ "usage" : '
        + json.dumps(usage, indent=1).replace("\n", " ").encode()
        + b' ,"delta": {"stop_reason": "end_turn"} , "type":"message_delta"     }\n\n'
        + event("message_stop", {})
    ).replace(b"\n", newline)
    answer = asked.replay("claude-opus-5-5", f"pieces-{len(newline)}{newline[0]}.sse", body)
    expected = 7 * 1400 + 11 * 70 + 42 * 7000
    assert asked.charged() == told(answer) == expected


def test_case_30_usage_inside_the_models_own_text_is_text(asked: Asked) -> None:
    """In a string, and in an object that the model made, at the wrong depth."""
    fake = '"usage":{"prompt_tokens":1,"completion_tokens":1},"choices":[]'
    body = (
        chunk("{" + fake + "}")
        + chunk("x", function_call={"usage": {"prompt_tokens": 2, "completion_tokens": 2}})
        + chunk(None, COUNTS)
        + chunk("late") .replace(b'"usage": null', b'"usage": null, "note": "usage"')
        + DONE
    )  # fmt: skip
    answer = asked.replay("gpt-5.5", "decoy.sse", body)
    assert asked.charged() == told(answer) == bill.chat_nanos("gpt-5.5", COUNTS)


@pytest.mark.recordings
def test_case_31_the_last_of_two_message_starts_counts(asked: Asked) -> None:
    """A relay retried inside its stream: what the second message reports is billed, and flagged."""
    name = "anthropic-f843d01a0c20c1a1.txt"
    answer = asked.ask("claude-opus-5-5", f"[[simulate: replay={name}; chunk=random]]")
    step = asked.step()
    assert told(answer) == -step["delta_nanos"] == 17 * 1400 + 65 * 7000
    assert any(note.startswith("message_restarted") for note in step["notes"])


def test_case_32_a_websocket_is_answered_with_an_upgrade_required(stack: RunningStack) -> None:
    """Nothing that could carry several answers is opened; clients fall back after one probe."""
    answer = httpx.get(
        f"{stack.api}/v1/responses",
        headers={"upgrade": "websocket", "connection": "upgrade"},
        trust_env=False,
    )
    assert answer.status_code == 426


def test_case_33_background_work_is_refused(asked: Asked) -> None:
    """It would report no usage and finish later."""
    answer = asked.ask("gpt-4o-mini", "hi", background=True)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "background")


def test_case_34_the_version_that_was_pinned_is_told_and_booked(asked: Asked) -> None:
    """The header's version is the book's, and the event's."""
    answer = asked.ask("gpt-4o-mini", "[[simulate: tokens=5]]")
    found = book.load(PricingSettings()).find("gpt-4o-mini")
    assert found is not None
    version = answer.headers["x-corvus-price-version"]
    assert version == found.price.version == asked.step()["price_version"]


@pytest.mark.parametrize(("wish", "geo"), [("", "us"), ("; geo=global", "")])
def test_case_35_us_inference_is_billed_where_it_served(asked: Asked, wish: str, geo: str) -> None:
    """A tenth more on every token if the answer says so."""
    before = len(asked.stack.served())
    text = f"[[simulate: tokens=9{wish}]]"
    answer = asked.ask("claude-opus-5-5", text, inference_geo="us")
    (served,) = asked.served(before)
    expected = bill.messages_nanos("claude-opus-5-5", served["usage"], geo=geo)
    assert asked.charged() == told(answer) == expected


@pytest.mark.parametrize("slug", ["glm-5.3", "claude-opus-5-5"])
def test_case_36_an_error_under_status_200_is_a_failure(asked: Asked, slug: str) -> None:
    """No usage and an error object: not a served answer, and free."""
    body = b'{"type":"error","error":{"code":"1305","type":"overloaded_error","message":"busy"}}'
    answer = asked.replay(slug, "error-200.json", body)
    assert answer.status_code == (429 if slug == "glm-5.3" else 529)
    assert asked.step()["delta_nanos"] == 0


@pytest.mark.recordings
def test_case_37_a_refusal_without_output_costs_nothing(asked: Asked) -> None:
    """The customer has the refusal, unpaid."""
    name = "anthropic-13f671d692526645.sse"
    answer = asked.ask("claude-opus-4-7", f"[[simulate: replay={name}]]")
    assert b'"stop_reason":"refusal"' in answer.content
    assert told(answer) == 0
    assert (asked.step()["delta_nanos"], asked.step()["outcome"]) == (0, "content_refusal")


def test_case_38_an_embeddings_model_is_not_metered_as_a_chat(asked: Asked) -> None:
    """On the chat path it is refused by name."""
    answer = asked.ask("text-embedding-3-small", "hi")
    assert answer.status_code in (400, 404)
    assert "text-embedding-3-small" in answer.text


@pytest.mark.parametrize(
    "tail",
    [DONE + DONE, DONE + b'data: {"error":{"message":"late"}}\n\n' + DONE, DONE + chunk("x")],
)
def test_case_39_a_second_finish_settles_nothing_more(asked: Asked, tail: bytes) -> None:
    """One event, one charge."""
    body = chunk("hello") + chunk(None, COUNTS) + tail
    answer = asked.replay("gpt-5.5", "twice.sse", body)
    assert asked.charged() == told(answer) == bill.chat_nanos("gpt-5.5", COUNTS)


def test_case_40_a_prompt_too_short_to_be_cached_says_so(asked: Asked) -> None:
    """The receipt names the reason, and so does the document."""
    system = [{"type": "text", "text": "calm", "cache_control": {"type": "ephemeral"}}]
    asked.ask("claude-opus-5-5", "[[simulate: tokens=5]]", system=system)
    (note,) = asked.step()["notes"]
    assert note.startswith("cache_unused: ")
    assert "4,096" in note
    text = (DOCS / "money.md").read_text()
    assert "4,096" in text
    assert "1,024" in text


def test_case_41_the_receipt_says_whose_prices_it_is_made_of(asked: Asked) -> None:
    """Beside each charge stands the version; what a client reckons itself is another figure."""
    answer = asked.ask("claude-opus-5-5", "[[simulate: tokens=5]]")
    said = corvus("ledger", "explain", asked.key.key_id, "--state", str(asked.stack.state))
    version = answer.headers["x-corvus-price-version"]
    assert f"picos, prices {version}\n" in said.stdout
    assert "Prices are this service's own" in said.stdout
    text = " ".join((DOCS / "money.md").read_text().split())
    assert "*Why does my client show another cost?*" in text
    assert "`x-corvus-cost-usd`" in text


def test_a_count_that_nobody_knows_is_kept_flagged_and_not_billed(asked: Asked) -> None:
    """On the event, in the metric, under its path; the charge is as without it."""
    counts = {**COUNTS, "video_seconds": 7, "prompt_tokens_details": {"audio_tokens": 9}}
    answer = asked.replay("gpt-5.5", "stranger.sse", chunk("hi") + chunk(None, counts) + DONE)
    step = asked.step()
    assert -step["delta_nanos"] == told(answer) == bill.chat_nanos("gpt-5.5", COUNTS)
    assert "not billed: video_seconds = 7" in step["notes"]
    assert "not billed: prompt_tokens_details.audio_tokens = 9" in step["notes"]
    console = str(asked.stack.facts["console"])
    for flag in ("usage_unknown", "usage_unpriced"):
        deadline = time.monotonic() + 30
        line = f'corvus_usage_flags_total{{family="openai",flag="{flag}"}}'
        while line not in httpx.get(f"{console}/metrics", trust_env=False).text:
            assert time.monotonic() < deadline
            time.sleep(0.1)
