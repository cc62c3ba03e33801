"""Every way a request may end, through a real gateway: charge, source, event, row, metric, client.

Charges are reckoned here, from the simulated provider's own log or from what the client has, with
the price book's text as exact fractions. Each outcome code has its test, named after it.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx
import pytest

from corvus_proxy.gateway.front.asgi import application
from corvus_proxy.money.amount import format_usd
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.money.period import ends_at
from corvus_proxy.ops.commands.common import Common, on_stores
from corvus_proxy.roles.gateway import Process
from corvus_proxy.service import keys
from corvus_proxy.service.keys.types import ServiceRefused
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import load
from tests.oracle import bill
from tests.stack import RunningStack

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
MINI, OPUS = "gpt-4o-mini", "claude-opus-5-5"
BOTH = pytest.mark.parametrize("slug", [MINI, OPUS])
COMMENT = re.compile(rb": corvus (\{[^\n]*\})\n\n\Z")
CONFIG = """
[redis]
timeout_ms = 5000
[gateway]
drain_s = 1
[ledger]
journal_stall_ms = 10000
lease_s = 5
[relay]
cancel_drain_s = 2
keepalive_s = 1
client_stall_s = 3
[timeouts]
silence_s = 4
[hold]
slice_tokens = 200
floor_tokens = 100
"""
RICH = "50"
WITHHELD: list[int] = []
"""Tokens that streams were charged at their slice's end beyond what their clients have: one chunk,
which is one token but where the machine stood still."""


class Key(NamedTuple):
    key_id: str
    secret: str
    wallet: str


class Seen(NamedTuple):
    """What a client has of an answer."""

    status: int
    request_id: str
    upstream_id: str
    content: bytes

    @property
    def deltas(self) -> int:
        texts = self.content.count(b'"content":"') - self.content.count(b'"content":""')
        told = self.content.count(b'"type":"response.output_text.delta"')
        return texts + told + self.content.count(b'"text_delta"')

    @property
    def comment(self) -> dict[str, Any]:
        found = COMMENT.search(self.content)
        assert found, self.content[-400:]
        facts: dict[str, Any] = json.loads(found[1])
        return facts

    @property
    def error(self) -> dict[str, Any]:
        """The in-band error: the last event ahead of the final comment."""
        event = self.content.split(b"\n\n")[-3]
        data = json.loads(event.partition(b"data: ")[2])
        facts: dict[str, Any] = data.get("response", data)["error"]
        return facts


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack with small slices and little patience."""
    running = RunningStack(tmp_path_factory.mktemp("ends"), config=CONFIG)
    running.up()
    yield running
    running.down()
    assert statistics.median(WITHHELD or [0]) <= 1, WITHHELD


def new_key(stack: RunningStack, usd: str) -> Key:
    made = stack.new_key(usd)
    return Key(made["key_id"], made["secret"], made["wallet"])


@pytest.fixture(scope="module")
def key(ends: RunningStack) -> Key:
    """A key that can pay for everything."""
    return new_key(ends, RICH)


# -- asking ---------------------------------------------------------------------------------------


def request(slug: str, wish: str, *, limit: int | None = 1000, **more: Any) -> tuple[str, bytes]:
    """Path and body of a request that asks the simulated provider for something."""
    body = {"model": slug, "messages": [{"role": "user", "content": f"[[simulate: {wish}]] hi"}]}
    if limit is not None:
        body["max_tokens"] = limit
    path = MESSAGES if slug.startswith("claude") else CHAT
    return path, json.dumps({**body, **more}).encode()


def ask(
    stack: RunningStack,
    key: Key,
    path: str,
    body: bytes,
    then: Callable[[bytes], bool] | None = None,
) -> Seen:
    """Asks and reads to the end, or until `then` says of what has come that it is enough."""
    content = b""
    head = {"authorization": f"Bearer {key.secret}", "content-type": "application/json"}
    with (
        httpx.Client(trust_env=False, timeout=30) as client,
        client.stream("POST", stack.api + path, content=body, headers=head) as answer,
    ):
        for chunk in answer.iter_raw():
            content += chunk
            if then is not None and then(content):
                break
        ids = (
            answer.headers.get("x-request-id", ""),
            answer.headers.get("x-upstream-request-id", ""),
        )
        return Seen(answer.status_code, *ids, content)


def has_deltas(number: int) -> Callable[[bytes], bool]:
    return lambda content: Seen(200, "", "", content).deltas >= number


class Running(threading.Thread):
    """A request in a thread of its own; `seen` when it has ended."""

    def __init__(self, stack: RunningStack, key: Key, path: str, body: bytes) -> None:
        super().__init__(daemon=True)
        self._ask = lambda: ask(stack, key, path, body, self._look)
        self.content = b""
        self.seen: Seen
        self.start()

    def _look(self, content: bytes) -> bool:
        self.content = content
        return False

    def run(self) -> None:
        self.seen = self._ask()

    def await_deltas(self, number: int) -> None:
        deadline = time.monotonic() + 60
        while not has_deltas(number)(self.content):
            assert time.monotonic() < deadline, self.content
            time.sleep(0.01)

    def end(self) -> Seen:
        self.join(30)
        assert not self.is_alive(), self.content[-300:]
        return self.seen


def connect(
    stack: RunningStack, key: Key, path: str, body: bytes, *, room: int = 0
) -> socket.socket:
    """A request on a plain socket; `room` makes its receive buffer small."""
    url = httpx.URL(stack.api)
    plain = socket.socket()
    if room:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    plain.settimeout(20)
    plain.connect((url.host, url.port))
    plain.sendall(
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key.secret}\r\n"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return plain


# -- looking --------------------------------------------------------------------------------------


def metric(stack: RunningStack, name: str, **labels: str) -> int:
    """A counter's figure over all series that have these labels."""
    total = 0
    for line in httpx.get(f"{stack.facts['console']}/metrics", trust_env=False).text.splitlines():
        if re.match(rf"{name}[ {{]", line) and all(
            f'{label}="{value}"' in line for label, value in labels.items()
        ):
            total += round(float(line.rpartition(" ")[2]))
    return total


@contextlib.contextmanager
def moves(stack: RunningStack, name: str, by: int = 1, **labels: str) -> Iterator[None]:
    """A metric moves by exactly so much while the block runs."""
    before = metric(stack, name, **labels)
    yield
    deadline = time.monotonic() + 30
    while (moved := metric(stack, name, **labels) - before) < by and time.monotonic() < deadline:
        time.sleep(0.05)
    assert moved == by, (name, labels)


def counted(
    stack: RunningStack, code: Outcome, by: int = 1
) -> contextlib.AbstractContextManager[None]:
    """The outcome's own metric moves."""
    return moves(stack, "corvus_requests_total", by, outcome=code.value)


def fetch(
    stack: RunningStack, query: str, *values: Any, rows: int = 1, within_s: float = 30
) -> Any:
    """Rows of the books, once there are so many."""

    async def look() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(stack.facts["postgres"])
        try:
            deadline = time.monotonic() + within_s
            while True:
                found = [dict(row) for row in await connection.fetch(query, *values)]
                if len(found) >= rows:
                    return found
                assert time.monotonic() < deadline, (query, values, found)
                await asyncio.sleep(0.03)
        finally:
            await connection.close()

    return asyncio.run(look())


def standing(stack: RunningStack, key: Key) -> dict[str, Any]:
    found: dict[str, Any] = stack.ask_get("/v1/key", key=key.secret).json()
    return found


def await_held(stack: RunningStack, key: Key) -> None:
    """Until a request of the key was let in."""
    deadline = time.monotonic() + 30
    while not standing(stack, key)["held_nanos"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def served(stack: RunningStack, upstream_id: str) -> dict[str, Any]:
    """The provider's own log of one request, once it is written."""
    deadline = time.monotonic() + 30
    while True:
        for row in stack.served():
            if row["request_id"] == upstream_id:
                return row
        assert time.monotonic() < deadline, upstream_id
        time.sleep(0.05)


def nanos(slug: str, tokens_in: int, tokens_out: int, kind: str = "price") -> int:
    """What so many plain tokens cost at our price, or at the official one."""
    models = tomllib.loads(bill.BOOK.read_text())["model"]
    price = next(row for row in models if row["slug"] == slug)[kind]
    usd = tokens_in * Fraction(price["input"]) + tokens_out * Fraction(price["output"])
    return bill.rounded(usd / 1_000_000)


def usage(log: dict[str, Any]) -> tuple[int, int]:
    """Input and output tokens as the provider reported, or would have."""
    counts = log["usage"]
    if "input_tokens" in counts:
        return counts["input_tokens"], counts["output_tokens"]
    return counts["prompt_tokens"], counts["completion_tokens"]


def check(
    stack: RunningStack,
    key: Key,
    code: Outcome,
    request_id: str,
    *,
    slug: str,
    tokens: tuple[int, int],
    source: str,
    billed: tuple[int, int] | None = None,
    flags: tuple[str, ...] = (),
    shortfall: int = 0,
    kind: str = "S",
) -> dict[str, Any]:
    """The row and the event of a request to the nano-dollar; nothing is held any more. `billed`:
    what the upstream bills, where that is not what is charged."""
    (row,) = fetch(stack, "select * from request where request_id = $1", request_id)
    (event,) = fetch(stack, "select * from event where ext_id = $1", request_id)
    charge = nanos(slug, *tokens)
    assert (row["outcome"], event["outcome"], event["type"]) == (code, code, kind)
    assert (row["input_tokens"], row["output_tokens"]) == tokens
    assert event["actual_nanos"] == charge
    assert row["charge_nanos"] == -event["delta_nanos"] == charge - shortfall
    assert row["shortfall_nanos"] == event["shortfall_nanos"] == shortfall
    assert row["cost_nanos"] == nanos(slug, *(billed or tokens), kind="official")
    meta = json.loads(event["meta"])
    assert (row["source"], meta["src"]) == (source, source)
    assert tuple(row["flags"]) == tuple(meta.get("fl", ())) == flags
    assert {name: meta["t"][name] for name in meta.get("t", {})} == {
        name: count for name, count in zip(("input", "output"), tokens, strict=True) if count
    }
    postings = fetch(
        stack,
        "select debit, credit, amount_nanos from posting where part = $1 and epoch = $2"
        " and seq = $3 order by line",
        event["part"], event["epoch"], event["seq"], rows=0,
    )  # fmt: skip
    revenue = f"revenue:p{event['part']:02d}"
    paid = [(f"wallet:{key.wallet}", revenue, charge - shortfall)] if charge - shortfall else []
    lost = [(f"loss:p{event['part']:02d}", revenue, shortfall)] if shortfall else []
    assert [tuple(posting.values()) for posting in postings] == paid + lost
    assert standing(stack, key)["held_nanos"] == 0
    return row


def ended_in_band(seen: Seen, slug: str, code: str, charge: int) -> None:
    """The dialect's error, no terminal event, then the comment with the cost."""
    assert seen.status == 200
    assert seen.error["code"] == code, seen.content[-500:]
    assert round(float(seen.error["charged"]) * 1e9) == charge
    assert (b"event: error\n" in seen.content) is slug.startswith("claude")
    assert b"[DONE]" not in seen.content
    assert b"message_stop" not in seen.content
    assert seen.comment["request_id"] == seen.request_id
    assert round(float(seen.comment["cost_usd"]) * 1e9) == charge


def ended_whole(seen: Seen, slug: str, charge: int) -> None:
    """The terminal event, no error, the comment with the cost."""
    assert seen.status == 200
    assert (b"message_stop" if slug == OPUS else b"data: [DONE]") in seen.content
    assert b'"error"' not in seen.content
    assert round(float(seen.comment["cost_usd"]) * 1e9) == charge


# -- whole answers to the end ---------------------------------------------------------------------


@BOTH
def test_completed(ends: RunningStack, key: Key, slug: str) -> None:
    """Usage at the pinned price; the balance falls by it."""
    before = standing(ends, key)["balance_nanos"]
    with counted(ends, Outcome.COMPLETED):
        seen = ask(ends, key, *request(slug, "tokens=40", stream=True))
    tokens = usage(served(ends, seen.upstream_id))
    assert tokens[1] == 40
    check(ends, key, Outcome.COMPLETED, seen.request_id, slug=slug, tokens=tokens,
          source="upstream")  # fmt: skip
    ended_whole(seen, slug, nanos(slug, *tokens))
    assert before - standing(ends, key)["balance_nanos"] == nanos(slug, *tokens)


def test_completed_when_the_client_closes_behind_the_terminal_event(
    ends: RunningStack, key: Key
) -> None:
    """It has had it all: no cancellation, whatever it does not wait for."""
    path, body = request(OPUS, "tokens=20", stream=True)
    with counted(ends, Outcome.COMPLETED):
        seen = ask(ends, key, path, body, lambda content: b"message_stop" in content)
    tokens = usage(served(ends, seen.upstream_id))
    check(ends, key, Outcome.COMPLETED, seen.request_id, slug=OPUS, tokens=tokens,
          source="upstream")  # fmt: skip


@BOTH
def test_usage_missing(ends: RunningStack, key: Key, slug: str) -> None:
    """Input as reported at the start, else a quarter of the body's bytes; output by the meter."""
    path, body = request(slug, "tokens=30; no_usage", stream=True)
    with counted(ends, Outcome.USAGE_MISSING):
        seen = ask(ends, key, path, body)
    # Without any usage object both inputs are estimated: the start's was taken out, too.
    tokens = (len(body) // 4, 30)
    check(ends, key, Outcome.USAGE_MISSING, seen.request_id, slug=slug, tokens=tokens,
          source="estimated")  # fmt: skip
    ended_whole(seen, slug, nanos(slug, *tokens))


@pytest.mark.parametrize("stream", [True, False])
def test_usage_missing_where_all_counts_are_zero(
    ends: RunningStack, key: Key, *, stream: bool
) -> None:
    """Zeros beside an answer are no report; a whole answer's text is counted down, too."""
    path, body = request(MINI, "tokens=30; zero_usage", stream=stream)
    with (
        counted(ends, Outcome.USAGE_MISSING),
        moves(ends, "corvus_usage_flags_total", flag="usage_zero"),
    ):
        seen = ask(ends, key, path, body)
    tokens = (len(body) // 4, 30 if stream else 30 * 5 // 8)
    check(ends, key, Outcome.USAGE_MISSING, seen.request_id, slug=MINI, tokens=tokens,
          source="estimated", flags=("usage_zero",))  # fmt: skip


@BOTH
@pytest.mark.parametrize("stream", [True, False])
def test_usage_contradiction_above_the_text(
    ends: RunningStack, key: Key, slug: str, *, stream: bool
) -> None:
    """Ten tokens of text and 900 reported: alarmed, and charged as reported below the limit."""
    path, body = request(slug, "tokens=10; report_output=900", stream=stream)
    with (
        counted(ends, Outcome.USAGE_CONTRADICTION),
        moves(ends, "corvus_usage_flags_total", flag="usage_above_text"),
    ):
        seen = ask(ends, key, path, body)
    tokens = usage(served(ends, seen.upstream_id))
    assert tokens[1] == 900
    check(ends, key, Outcome.USAGE_CONTRADICTION, seen.request_id, slug=slug, tokens=tokens,
          source="upstream", flags=("usage_above_text",))  # fmt: skip


@BOTH
def test_usage_contradiction_above_the_limit_is_lowered_to_it(
    ends: RunningStack, key: Key, slug: str
) -> None:
    """No more output than the upstream was allowed; what it bills beyond is the operator's."""
    path, body = request(slug, "tokens=10; report_output=50000", stream=True)
    with (
        counted(ends, Outcome.USAGE_CONTRADICTION),
        moves(ends, "corvus_usage_flags_total", flag="usage_lowered"),
    ):
        seen = ask(ends, key, path, body)
    billed = usage(served(ends, seen.upstream_id))
    tokens = (billed[0], 1000)
    check(ends, key, Outcome.USAGE_CONTRADICTION, seen.request_id, slug=slug, tokens=tokens,
          source="upstream", billed=billed,
          flags=("usage_above_text", "usage_lowered"))  # fmt: skip
    ended_whole(seen, slug, nanos(slug, *tokens))


@BOTH
def test_usage_contradiction_below_the_text(ends: RunningStack, key: Key, slug: str) -> None:
    """Fewer tokens reported than surely came: the lower figure is charged, the alarm goes off."""
    path, body = request(slug, "tokens=40; report_output=3", stream=True)
    with (
        counted(ends, Outcome.USAGE_CONTRADICTION),
        moves(ends, "corvus_usage_flags_total", flag="usage_below_text"),
    ):
        seen = ask(ends, key, path, body)
    tokens = usage(served(ends, seen.upstream_id))
    assert tokens[1] == 3
    check(ends, key, Outcome.USAGE_CONTRADICTION, seen.request_id, slug=slug, tokens=tokens,
          source="upstream", flags=("usage_below_text",))  # fmt: skip


def test_usage_contradiction_beyond_the_balance_is_the_operators_loss(ends: RunningStack) -> None:
    """A charge above hold and free balance ends the balance at zero; the rest is a loss row."""
    poor = new_key(ends, "1")
    path, body = request(MINI, "tokens=40; delay_ms=120; report_output=900", stream=True)
    with counted(ends, Outcome.USAGE_CONTRADICTION):
        running = Running(ends, poor, path, body)
        running.await_deltas(2)
        held = take_free(ends, poor)
        seen = running.end()
    tokens = usage(served(ends, seen.upstream_id))
    lost = nanos(MINI, *tokens) - held
    assert lost > 0
    check(ends, poor, Outcome.USAGE_CONTRADICTION, seen.request_id, slug=MINI, tokens=tokens,
          source="upstream", flags=("usage_above_text",), shortfall=lost)  # fmt: skip
    ended_whole(seen, MINI, held)
    assert standing(ends, poor)["balance_nanos"] == 0
    assert metric(ends, "corvus_shortfall_nanos_total") == lost


def test_usage_contradiction_is_not_judged_where_reasoning_is_silent(
    ends: RunningStack, key: Key
) -> None:
    """A silently reasoning model without a count of it may report any output."""
    path, body = request("gpt-5.5", "tokens=10; reasoning=0; report_output=900", limit=None,
                         max_completion_tokens=1000, stream=True)  # fmt: skip
    with counted(ends, Outcome.COMPLETED):
        seen = ask(ends, key, path, body)
    tokens = usage(served(ends, seen.upstream_id))
    check(ends, key, Outcome.COMPLETED, seen.request_id, slug="gpt-5.5", tokens=tokens,
          source="upstream")  # fmt: skip


@BOTH
@pytest.mark.parametrize("stream", [True, False])
def test_content_refusal(ends: RunningStack, key: Key, slug: str, *, stream: bool) -> None:
    """The upstream says no behind twelve tokens: charged by usage like any answer."""
    path, body = request(slug, "tokens=12; refusal", stream=stream)
    with counted(ends, Outcome.CONTENT_REFUSAL):
        seen = ask(ends, key, path, body)
    tokens = usage(served(ends, seen.upstream_id))
    assert tokens[1] == 12
    check(ends, key, Outcome.CONTENT_REFUSAL, seen.request_id, slug=slug, tokens=tokens,
          source="upstream")  # fmt: skip


@pytest.mark.parametrize("stream", [True, False])
def test_content_refusal_without_output_is_free(
    ends: RunningStack, key: Key, *, stream: bool
) -> None:
    """Status 200 and a refusal ahead of any output: Anthropic bills nothing, and so do we."""
    path, body = request(OPUS, "tokens=0; refusal", stream=stream)
    with counted(ends, Outcome.CONTENT_REFUSAL):
        seen = ask(ends, key, path, body)
    check(ends, key, Outcome.CONTENT_REFUSAL, seen.request_id, slug=OPUS, tokens=(0, 0),
          source="upstream")  # fmt: skip
    assert b'"refusal"' in seen.content


@BOTH
@pytest.mark.parametrize("stream", [True, False])
def test_zero_completion(ends: RunningStack, key: Key, slug: str, *, stream: bool) -> None:
    """An answer without content is free; its input is the operator's."""
    path, body = request(slug, "tokens=0", stream=stream)
    with counted(ends, Outcome.ZERO_COMPLETION):
        seen = ask(ends, key, path, body)
    billed = usage(served(ends, seen.upstream_id))
    assert billed[1] == 0
    assert billed[0] > 0
    check(ends, key, Outcome.ZERO_COMPLETION, seen.request_id, slug=slug, tokens=(0, 0),
          source="upstream", billed=billed)  # fmt: skip


def test_zero_completion_is_not_what_a_prewarm_is(ends: RunningStack, key: Key) -> None:
    """Who asks for no output has got what it asked for: the input is charged."""
    path, body = request(OPUS, "tokens=5", limit=0)
    with counted(ends, Outcome.COMPLETED):
        seen = ask(ends, key, path, body)
    tokens = usage(served(ends, seen.upstream_id))
    assert tokens[1] == 0
    check(ends, key, Outcome.COMPLETED, seen.request_id, slug=OPUS, tokens=tokens,
          source="upstream")  # fmt: skip


# -- nothing begins -------------------------------------------------------------------------------


def test_refused_admission(ends: RunningStack) -> None:
    """No hold, no event, no row: the metric and one line of the log."""
    poor = new_key(ends, "0.000001")
    with moves(ends, "corvus_refusals_total", dialect="chat", code="insufficient_balance"):
        seen = ask(ends, poor, *request(MINI, "tokens=5"))
    assert seen.status == 429
    assert json.loads(seen.content)["error"]["charged"] == "0.00"
    log = (ends.state / "logs" / "gateway.log").read_text()
    (line,) = [line for line in log.splitlines() if seen.request_id in line]
    assert "refused_admission" in line
    assert "insufficient_balance" in line
    assert standing(ends, poor)["balance_nanos"] == 1000
    assert fetch(ends, "select 1 from event where ext_id = $1", seen.request_id, rows=0) == []


@BOTH
def test_upstream_refused(ends: RunningStack, key: Key, slug: str) -> None:
    """The upstream's own 4xx is passed on as it came, and is free."""
    with counted(ends, Outcome.UPSTREAM_REFUSED):
        seen = ask(ends, key, *request(slug, "status=400", stream=True))
    assert seen.status == 400
    assert b"Simulated failure." in seen.content
    check(ends, key, Outcome.UPSTREAM_REFUSED, seen.request_id, slug=slug, tokens=(0, 0),
          source="upstream")  # fmt: skip


@pytest.mark.parametrize(
    ("wish", "stream", "status"),
    [
        ("status=500", True, 502),
        ("no_answer", True, 502),
        ("cut_after=1", False, 502),
        ("no_answer", False, 502),
    ],
)
def test_upstream_error_before_first_byte(
    ends: RunningStack, key: Key, wish: str, status: int, *, stream: bool
) -> None:
    """Nothing that a client could use came: an error with its status, and free."""
    with counted(ends, Outcome.UPSTREAM_ERROR):
        seen = ask(ends, key, *request(MINI, wish, stream=stream))
    assert seen.status == status
    assert json.loads(seen.content)["error"]["charged"] == "0.00"
    check(ends, key, Outcome.UPSTREAM_ERROR, seen.request_id, slug=MINI, tokens=(0, 0),
          source="upstream")  # fmt: skip


def test_upstream_error_before_first_byte_in_a_stream_that_had_a_head(
    ends: RunningStack, key: Key
) -> None:
    """The head is out and no output came: an error in-band, free; the input is the operator's."""
    path, body = request(OPUS, "error_after=0", stream=True)
    with counted(ends, Outcome.UPSTREAM_ERROR):
        seen = ask(ends, key, path, body)
    billed = (usage(served(ends, seen.upstream_id))[0], 1)  # as message_start reports it
    ended_in_band(seen, OPUS, "upstream_cut", 0)
    check(ends, key, Outcome.UPSTREAM_ERROR, seen.request_id, slug=OPUS, tokens=(0, 0),
          source="upstream", billed=billed, flags=("upstream_error_event",))  # fmt: skip


# -- in the middle --------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("wish", ["cut_after=7", "end_after=7", "error_after=7"])
def test_upstream_cut_midstream(ends: RunningStack, key: Key, slug: str, wish: str) -> None:
    """A broken connection, a clean end or an error event: input and what came, by the meter."""
    path, body = request(slug, wish, stream=True)
    with counted(ends, Outcome.UPSTREAM_CUT):
        seen = ask(ends, key, path, body)
    log = served(ends, seen.upstream_id)
    assert (seen.deltas, log["deltas_sent"]) == (7, 7)
    messages = slug == OPUS  # its start reports the input; on chat nobody has
    tokens = (usage(log)[0] if messages else len(body) // 4, 7)
    check(ends, key, Outcome.UPSTREAM_CUT, seen.request_id, slug=slug, tokens=tokens,
          source="counted" if messages else "estimated",
          flags=("upstream_error_event",) if "error" in wish else ())  # fmt: skip
    ended_in_band(seen, slug, "upstream_cut", nanos(slug, *tokens))


@BOTH
def test_upstream_cut_midstream_behind_the_usage_is_charged_by_it(
    ends: RunningStack, key: Key, slug: str
) -> None:
    """The report came, the terminal event did not."""
    path, body = request(slug, "tokens=9; cut_late", stream=True)
    with counted(ends, Outcome.UPSTREAM_CUT):
        seen = ask(ends, key, path, body)
    tokens = usage(served(ends, seen.upstream_id))
    check(ends, key, Outcome.UPSTREAM_CUT, seen.request_id, slug=slug, tokens=tokens,
          source="upstream")  # fmt: skip
    ended_in_band(seen, slug, "upstream_cut", nanos(slug, *tokens))


@BOTH
def test_upstream_cut_midstream_by_the_operators_own_account_is_not_told(
    ends: RunningStack, key: Key, slug: str
) -> None:
    """An error event about the operator's credit reaches nobody; the client reads ours."""
    path, body = request(slug, "error_after=5; code=insufficient_quota", stream=True)
    with counted(ends, Outcome.UPSTREAM_CUT):
        seen = ask(ends, key, path, body)
    assert seen.deltas == 5
    assert b"quota" not in seen.content.lower()
    assert b"credit balance" not in seen.content
    log = served(ends, seen.upstream_id)
    tokens = (usage(log)[0] if slug == OPUS else len(body) // 4, 5)
    ended_in_band(seen, slug, "upstream_cut", nanos(slug, *tokens))


@pytest.mark.parametrize("stream", [True, False])
def test_client_cancelled_before_first_byte(ends: RunningStack, key: Key, *, stream: bool) -> None:
    """The upstream is given up a moment later; nothing is charged."""
    path, body = request(MINI, "ttfb_ms=20000", stream=stream)
    before = {row["request_id"] for row in wallet_rows(ends, key)}
    with counted(ends, Outcome.CANCELLED_EARLY):
        plain = connect(ends, key, path, body)
        await_held(ends, key)
        plain.close()
    row = new_row(ends, key, before)
    check(ends, key, Outcome.CANCELLED_EARLY, row["request_id"], slug=MINI, tokens=(0, 0),
          source="upstream")  # fmt: skip
    assert row["total_ms"] < 15_000


def test_client_cancelled_before_first_byte_of_a_stream_that_has_begun(
    ends: RunningStack, key: Key
) -> None:
    """The upstream has accepted the input and says so: the input is charged."""
    path, body = request(OPUS, "stall_after=0", stream=True)
    with counted(ends, Outcome.CANCELLED_EARLY):
        seen = ask(ends, key, path, body, lambda content: b"message_start" in content)
    tokens = (usage(served(ends, seen.upstream_id))[0], 0)
    check(ends, key, Outcome.CANCELLED_EARLY, seen.request_id, slug=OPUS, tokens=tokens,
          source="counted")  # fmt: skip


@BOTH
def test_client_cancelled_midstream(ends: RunningStack, key: Key, slug: str) -> None:
    """What reached the gateway within the short drain is charged by the meter, no more."""
    path, body = request(slug, "tokens=900; delay_ms=20", stream=True)
    with counted(ends, Outcome.CANCELLED):
        seen = ask(ends, key, path, body, has_deltas(6))
    log = served(ends, seen.upstream_id)
    (row,) = fetch(ends, "select * from request where request_id = $1", seen.request_id)
    assert seen.deltas <= row["output_tokens"] <= log["tokens_made"] < 900
    assert row["output_tokens"] <= seen.deltas + 3 * 2 / 0.02
    messages = slug == OPUS
    tokens = (usage(log)[0] if messages else len(body) // 4, row["output_tokens"])
    check(ends, key, Outcome.CANCELLED, seen.request_id, slug=slug, tokens=tokens,
          source="counted" if messages else "estimated")  # fmt: skip


@BOTH
def test_client_cancelled_midstream_shortly_before_the_end_is_charged_by_usage(
    ends: RunningStack, key: Key, slug: str
) -> None:
    """The true usage came within the drain."""
    path, body = request(slug, "tokens=12; delay_ms=20", stream=True)
    with counted(ends, Outcome.CANCELLED):
        seen = ask(ends, key, path, body, has_deltas(6))
    tokens = usage(served(ends, seen.upstream_id))
    check(ends, key, Outcome.CANCELLED, seen.request_id, slug=slug, tokens=tokens,
          source="upstream")  # fmt: skip


def test_client_cancelled_midstream_is_read_on_to_the_end_of_its_slice_at_most(
    ends: RunningStack, key: Key
) -> None:
    """A quick upstream could make 400 tokens within the drain; the slice has room for 100."""
    path, body = request(OPUS, "tokens=900; delay_ms=1", stream=True)
    with counted(ends, Outcome.CANCELLED):
        seen = ask(ends, key, path, body, has_deltas(2))
    (row,) = fetch(ends, "select * from request where request_id = $1", seen.request_id)
    assert seen.deltas <= row["output_tokens"] <= 110
    tokens = (usage(served(ends, seen.upstream_id))[0], row["output_tokens"])
    check(ends, key, Outcome.CANCELLED, seen.request_id, slug=OPUS, tokens=tokens,
          source="counted")  # fmt: skip


def test_client_cancelled_midstream_of_a_whole_answer_that_was_made(
    ends: RunningStack, key: Key
) -> None:
    """A whole answer that the upstream finishes within the drain is charged by its usage."""
    path, body = request(MINI, "tokens=30; ttfb_ms=1500")
    before = {row["request_id"] for row in wallet_rows(ends, key)}
    with counted(ends, Outcome.CANCELLED):
        plain = connect(ends, key, path, body)
        await_held(ends, key)
        plain.close()
    row = new_row(ends, key, before)
    tokens = usage(served(ends, row["upstream_request_id"]))
    check(ends, key, Outcome.CANCELLED, row["request_id"], slug=MINI, tokens=tokens,
          source="upstream")  # fmt: skip


@pytest.mark.parametrize("reads_again", [True, False])
def test_slow_reader_timeout(ends: RunningStack, key: Key, *, reads_again: bool) -> None:
    """A client that takes nothing is let go: input and what came to us, by the meter. If it reads
    again in time it finds the error; later, a body that ends without its terminal event."""
    path, body = request(OPUS, "tokens=100000; delay_ms=0", limit=128_000, stream=True)
    before = {row["request_id"] for row in wallet_rows(ends, key)}
    with counted(ends, Outcome.SLOW_READER):
        plain = connect(ends, key, path, body, room=4096)
        row = new_row(ends, key, before)
        if not reads_again:
            time.sleep(6)
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += plain.recv(1 << 20)
        plain.close()
    log = served(ends, row["upstream_request_id"])
    # What was made may all lie in the system's buffers; what came to us ended at the stall.
    assert 0 < row["output_tokens"] < 100_000
    assert row["output_tokens"] <= log["tokens_made"]
    check(ends, key, Outcome.SLOW_READER, row["request_id"], slug=OPUS,
          tokens=(usage(log)[0], row["output_tokens"]), source="counted")  # fmt: skip
    assert b"message_stop" not in received
    assert (b'"slow_reader"' in received) is reads_again


def test_out_of_balance_midstream(ends: RunningStack) -> None:
    """The free balance goes while a stream runs: it ends at its slice, charged what was metered."""
    poor = new_key(ends, "1")
    path, body = request(MINI, "tokens=900; delay_ms=40", limit=5000, stream=True)
    with counted(ends, Outcome.OUT_OF_BALANCE), moves(ends, "corvus_shortfall_nanos_total", by=0):
        running = Running(ends, poor, path, body)
        running.await_deltas(3)
        held = take_free(ends, poor)
        seen = running.end()
    tokens = row_tokens(ends, seen, (len(body) // 4, seen.deltas))
    row = check(ends, poor, Outcome.OUT_OF_BALANCE, seen.request_id, slug=MINI, tokens=tokens,
                source="estimated")  # fmt: skip
    ended_in_band(seen, MINI, "insufficient_balance", row["charge_nanos"])
    assert 0 <= standing(ends, poor)["balance_nanos"] < held


def test_out_of_balance_midstream_of_a_response(ends: RunningStack) -> None:
    """The same in that dialect: the code at which agents stop, under the response's own id and the
    next number."""
    poor = new_key(ends, "1")
    wish = "[[simulate: tokens=900; delay_ms=40]] hi"
    body = {"model": MINI, "input": wish, "max_output_tokens": 5000, "stream": True}
    with counted(ends, Outcome.OUT_OF_BALANCE):
        running = Running(ends, poor, "/v1/responses", json.dumps(body).encode())
        running.await_deltas(3)
        held = take_free(ends, poor)
        seen = running.end()
    tokens = row_tokens(ends, seen, (len(json.dumps(body)) // 4, seen.deltas))
    row = check(ends, poor, Outcome.OUT_OF_BALANCE, seen.request_id, slug=MINI, tokens=tokens,
                source="estimated")  # fmt: skip
    ended_in_band(seen, MINI, "insufficient_quota", row["charge_nanos"])
    assert seen.error["reason"] == "insufficient_balance"
    numbers = [int(one) for one in re.findall(rb'"sequence_number":(\d+)', seen.content)]
    assert numbers == list(range(len(numbers)))
    assert 0 <= standing(ends, poor)["balance_nanos"] < held


def test_out_of_balance_midstream_in_another_dialect(ends: RunningStack) -> None:
    """The same where the answer is translated: the error is the caller's, no event is torn."""
    poor = new_key(ends, "1")
    _, body = request(MINI, "tokens=4000; delay_ms=40", limit=5000, stream=True)
    asked = {**json.loads(body), "max_tokens": 5000}
    asked.pop("stream_options", None)
    path, body = "/v1/messages", json.dumps(asked).encode()
    with counted(ends, Outcome.OUT_OF_BALANCE), moves(ends, "corvus_shortfall_nanos_total", by=0):
        running = Running(ends, poor, path, body)
        running.await_deltas(3)
        held = take_free(ends, poor)
        seen = running.end()
    *_, last, comment, _ = seen.content.split(b"\n\n")
    assert last.startswith(b"event: error\ndata: ")
    error = json.loads(last.partition(b"data: ")[2])["error"]
    assert (error["type"], error["code"]) == ("billing_error", "insufficient_balance")
    assert comment.startswith(b": corvus {")
    assert b"message_stop" not in seen.content
    assert 0 <= standing(ends, poor)["balance_nanos"] < held


def sub_key(stack: RunningStack, key: Key, *words: str) -> Key:
    """A key that spends from the same wallet."""
    made = stack.command("keys", "create", "--parent", key.key_id, *words)
    return Key(made["key_id"], made["secret"], made["wallet"])


def post(stack: RunningStack, key: Key, asked: tuple[str, bytes]) -> httpx.Response:
    return stack.ask(*asked, key=key.secret)


def test_cap_reached_midstream(ends: RunningStack) -> None:
    """The cap falls below what a stream will cost: it ends at its slice, charged what was metered;
    the next request is refused with the cap's figures, and the wallet still serves its main key."""
    main = new_key(ends, "1")
    sub = sub_key(ends, main, "--cap", "0.5", "--period", "day")
    path, body = request(MINI, "tokens=900; delay_ms=40", limit=5000, stream=True)
    with counted(ends, Outcome.CAP_REACHED), moves(ends, "corvus_shortfall_nanos_total", by=0):
        running = Running(ends, sub, path, body)
        running.await_deltas(3)
        ends.command("keys", "limit", sub.key_id, "--cap", "0.000001", "--period", "day")
        seen = running.end()
    tokens = row_tokens(ends, seen, (len(body) // 4, seen.deltas))
    row = check(ends, sub, Outcome.CAP_REACHED, seen.request_id, slug=MINI, tokens=tokens,
                source="estimated")  # fmt: skip
    ended_in_band(seen, MINI, "cap_reached", row["charge_nanos"])
    for slug, kind in ((MINI, "insufficient_quota"), (OPUS, "billing_error")):
        refused = post(ends, sub, request(slug, "tokens=9"))
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["type"]) == (429, "cap_reached", kind)
        assert (refused.headers["x-should-retry"], refused.headers["retry-after"]) == (
            "false",
            "61",
        )
        assert (error["cap"], error["held"], error["charged"]) == ("0.000001", "0.00", "0.00")
        assert error["spent"] == format_usd(row["charge_nanos"])
        assert error["resets_at"] == str(ends_at("day", datetime.now(UTC))).replace(" ", "T")
        assert error["resets_at"] in error["message"]
    assert post(ends, main, request(MINI, "tokens=9")).status_code == 200


def test_an_expired_key_is_refused_by_its_own_code(ends: RunningStack) -> None:
    """And works again once its end is moved."""
    main = new_key(ends, "1")
    sub = sub_key(ends, main, "--cap", "0.5")
    ends.command("keys", "limit", sub.key_id, "--expires", "2020-01-01T00:00:00")
    refused = post(ends, sub, request(OPUS, "tokens=9"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "key_expired")
    ends.command("keys", "limit", sub.key_id)
    assert post(ends, sub, request(OPUS, "tokens=9")).status_code == 200
    ends.command("keys", "revoke", sub.key_id)
    refused = post(ends, sub, request(OPUS, "tokens=9"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "key_disabled")


def test_key_disabled_midstream(ends: RunningStack) -> None:
    """A key that is frozen keeps what is held: the stream ends with its slice."""
    mine = new_key(ends, "1")
    path, body = request(OPUS, "tokens=900; delay_ms=15", limit=5000, stream=True)
    with counted(ends, Outcome.KEY_DISABLED):
        running = Running(ends, mine, path, body)
        running.await_deltas(3)
        ends.command("keys", "freeze", mine.key_id)
        seen = running.end()
    ends.command("keys", "unfreeze", mine.key_id)
    tokens = row_tokens(ends, seen, (usage(served(ends, seen.upstream_id))[0], seen.deltas))
    row = check(ends, mine, Outcome.KEY_DISABLED, seen.request_id, slug=OPUS, tokens=tokens,
                source="counted")  # fmt: skip
    ended_in_band(seen, OPUS, "key_disabled", row["charge_nanos"])


@BOTH
def test_gateway_timeout(ends: RunningStack, key: Key, slug: str) -> None:
    """The upstream falls silent behind four tokens: these and the input are charged."""
    path, body = request(slug, "stall_after=4", stream=True)
    with counted(ends, Outcome.GATEWAY_TIMEOUT):
        seen = ask(ends, key, path, body)
    messages = slug == OPUS
    tokens = (usage(served(ends, seen.upstream_id))[0] if messages else len(body) // 4, 4)
    check(ends, key, Outcome.GATEWAY_TIMEOUT, seen.request_id, slug=slug, tokens=tokens,
          source="counted" if messages else "estimated")  # fmt: skip
    ended_in_band(seen, slug, "upstream_timeout", nanos(slug, *tokens))


# -- the gateway's own ----------------------------------------------------------------------------


def test_ledger_unavailable_midstream(ends: RunningStack, key: Key) -> None:
    """Redis freezes: the stream ends at its slice, and the journal's charge goes through later."""
    path, body = request(OPUS, "tokens=900; delay_ms=10", stream=True)
    redis = ends.facts["pids"]["redis"]
    with counted(ends, Outcome.LEDGER_UNAVAILABLE):
        running = Running(ends, key, path, body)
        running.await_deltas(3)
        os.kill(redis, signal.SIGSTOP)
        try:
            seen = running.end()
        finally:
            os.kill(redis, signal.SIGCONT)
    assert seen.comment["settled"] is False
    tokens = row_tokens(ends, seen, (usage(served(ends, seen.upstream_id))[0], seen.deltas))
    row = check(ends, key, Outcome.LEDGER_UNAVAILABLE, seen.request_id, slug=OPUS, tokens=tokens,
                source="counted")  # fmt: skip
    ended_in_band(seen, OPUS, "ledger_unavailable", row["charge_nanos"])


def test_gateway_shutdown(ends: RunningStack, key: Key) -> None:
    """SIGTERM, and `drain_s` is over: a stream ends in-band with what came, a whole answer with
    503, and the next process serves."""
    path, body = request(OPUS, "tokens=900; delay_ms=20", stream=True)
    with counted(ends, Outcome.GATEWAY_SHUTDOWN, by=2):
        running = Running(ends, key, path, body)
        whole = Running(ends, key, *request(MINI, "ttfb_ms=20000"))
        running.await_deltas(3)
        began = time.monotonic()
        os.kill(gateway_master(ends), signal.SIGTERM)
        seen, refused = running.end(), whole.end()
        assert 0.8 < time.monotonic() - began < 15
    tokens = (usage(served(ends, seen.upstream_id))[0], seen.deltas)
    wait_served(ends, key)
    row = check(ends, key, Outcome.GATEWAY_SHUTDOWN, seen.request_id, slug=OPUS, tokens=tokens,
                source="counted")  # fmt: skip
    ended_in_band(seen, OPUS, "gateway_stopping", row["charge_nanos"])
    assert refused.status == 503
    assert json.loads(refused.content)["error"]["code"] == "gateway_stopping"
    check(ends, key, Outcome.GATEWAY_SHUTDOWN, refused.request_id, slug=MINI, tokens=(0, 0),
          source="upstream")  # fmt: skip


def test_gateway_crash(ends: RunningStack, key: Key) -> None:
    """kill -9 of the process: the lease runs out, and the last checkpoint is charged."""
    path, body = request(OPUS, "tokens=900; delay_ms=10", stream=True)
    before = {row["request_id"] for row in wallet_rows(ends, key)}
    plain = connect(ends, key, path, body)
    received = b""
    with moves(ends, "corvus_holds_expired_total"):
        while received.count(b'"text_delta"') < 130:  # beyond the first slice: a checkpoint is made
            received += plain.recv(65536)
        for pid in children_of(gateway_master(ends)):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ConnectionError):
            while piece := plain.recv(65536):
                received += piece
        plain.close()
        row = new_row(ends, key, before)
    assert b"message_stop" not in received
    log = served(ends, row["upstream_request_id"])
    assert 0 < row["output_tokens"] <= log["tokens_made"]
    wait_served(ends, key)
    check(ends, key, Outcome.GATEWAY_CRASH, row["request_id"], slug=OPUS,
          tokens=(usage(log)[0], row["output_tokens"]), source="checkpoint", kind="X")  # fmt: skip


def test_gateway_fault(
    ends: RunningStack, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours once the upstream has answered: 500, free, the hold given back. The process
    under test is this one, with the stack's Redis, books and providers."""
    from prometheus_client import REGISTRY

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("corvus_proxy.gateway.answering.stream_headers", broken)
    monkeypatch.setenv("CORVUS_LEDGER_JOURNAL_DIR", str(tmp_path / "journal"))
    (tmp_path / "journal").mkdir()
    labels = {"family": "anthropic", "dialect": "messages", "outcome": Outcome.GATEWAY_FAULT.value}
    count = REGISTRY.get_sample_value("corvus_requests_total", labels) or 0

    async def run() -> httpx.Response:
        process = Process(load(ends.state / "up.toml"), since=())
        await process.start()
        try:
            app = application(process.engine, process.start, process.stop)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                for _ in range(200):
                    if (await client.get("/readyz")).status_code == 200:
                        break
                    await asyncio.sleep(0.05)
                path, body = request(OPUS, "tokens=5", stream=True)
                head = {"authorization": f"Bearer {key.secret}"}
                return await client.post(path, content=body, headers=head)
        finally:
            await process.stop()

    answer = asyncio.run(run())
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert REGISTRY.get_sample_value("corvus_requests_total", labels) == count + 1
    check(ends, key, Outcome.GATEWAY_FAULT, answer.headers["x-request-id"], slug=OPUS,
          tokens=(0, 0), source="upstream")  # fmt: skip


def test_every_outcome_has_its_test_and_the_books_agree(ends: RunningStack) -> None:
    """By name; and after all of this there is no drift and no hold."""
    names = [name.removeprefix("test_") for name in globals() if name.startswith("test_")]
    assert [code for code in Outcome if not any(name.startswith(code) for name in names)] == []
    report = ends.command("ledger", "verify")
    assert (report["ok"], report["drift_nanos"], report["held_nanos"]) == (True, 0, 0), report


# -- helpers of the last part ---------------------------------------------------------------------


def take_free(stack: RunningStack, key: Key) -> int:
    """Takes all that is free from a key whose request runs; what is left is what is held. Not by
    the command line: in the time that takes, a running stream asks for another slice."""

    async def take(stores: Stores) -> int:
        for _ in range(50):
            free = (await keys.show(stores, key.key_id)).available_nanos
            with contextlib.suppress(ServiceRefused):  # less is free by now
                return await keys.debit(stores, key.key_id, free, reason="test")
        raise AssertionError("what is free changes too quickly")

    return on_stores(Common(state=stack.state), take)


def wallet_rows(stack: RunningStack, key: Key) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fetch(
        stack, "select * from request where wallet = $1", key.wallet, rows=0
    )
    return found


def new_row(stack: RunningStack, key: Key, before: set[str]) -> dict[str, Any]:
    """The one row that was not there before, once it is."""
    deadline = time.monotonic() + 60
    while True:
        found = [row for row in wallet_rows(stack, key) if row["request_id"] not in before]
        if found:
            (row,) = found
            return row
        assert time.monotonic() < deadline
        time.sleep(0.1)


def row_tokens(stack: RunningStack, seen: Seen, tokens: tuple[int, int]) -> tuple[int, int]:
    """Tokens of a stream that ended at its slice: what the client has, and at most the chunk that
    was withheld beyond it, where that still lay within the hold by the lower count. It has one
    token, or those of the seconds for which the machine stood still."""
    (row,) = fetch(stack, "select * from request where request_id = $1", seen.request_id)
    WITHHELD.append(row["output_tokens"] - tokens[1])
    assert 0 <= WITHHELD[-1] <= 50
    return tokens[0], row["output_tokens"]


def children_of(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, rest = stat.read_text().split(" ", 1)
            if int(rest.rpartition(")")[2].split()[1]) == parent:
                found.append(int(pid))
    return found


def gateway_master(stack: RunningStack) -> int:
    """The present one: the launcher starts another when it ends."""
    for pid in children_of(stack.facts["pids"]["launcher"]):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"corvus_proxy.ops.role" in words and b"gateway" in words:
            return pid
    raise AssertionError("no gateway runs")


def wait_served(stack: RunningStack, key: Key) -> None:
    """A new gateway process answers about the key."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if stack.ask_get("/v1/key", key=key.secret).status_code == 200:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)
