"""A running gateway measured from outside: the purse, answers as they are read, the verdicts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.target import books, run
from bench.target.books import Account
from bench.target.client import Answer, Caller
from bench.target.purse import Purse
from corvus_proxy.errors import ConfigurationError

CHUNK = {"choices": [{"delta": {"content": "tide "}}]}
USAGE = {"choices": [], "usage": {"completion_tokens": 2}}
BEGIN = {"as_of": "2026-11-26T03:00:00.000Z"}


@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.integers(1, 500), st.none() | st.floats(0, 1), st.booleans())),
)
def test_a_purse_is_never_overdrawn(
    most: int, requests: list[tuple[int, float | None, bool]]
) -> None:
    """Whatever ends in which order, at whatever cost up to its ceiling, told or not."""
    purse, running, spent = Purse(most), [], 0
    for ceiling, share, ends in requests:
        if purse.take(ceiling):
            running.append((ceiling, share))
        if ends and running:
            taken, part = running.pop(0)
            cost = None if part is None else int(taken * part)
            spent += taken if cost is None else cost
            purse.give_back(taken, cost)
        assert spent + sum(one for one, _ in running) <= most
        assert purse.spent_nanos == spent


def test_a_purse_leaves_what_is_kept_for_later() -> None:
    """Half of the money is the streams'."""
    purse = Purse(100)
    assert purse.take(50, keep_nanos=50)
    assert not purse.take(1, keep_nanos=50)
    assert purse.full
    assert purse.take(50)


def streamed(*documents: Any, tail: str = "data: [DONE]\n\n", name: str = "req_1") -> Answer:
    """A stream as it was read to its end."""
    text = "".join(f"data: {json.dumps(document)}\n\n" for document in documents) + tail
    headers = {"content-type": "text/event-stream; charset=utf-8", "x-request-id": name}
    return Answer(0.0, 1.0, 200, headers, bytearray(text.encode()), [0.2, 0.5], complete=True)


def plain(name: str, cost: str, *, tokens: int = 64) -> Answer:
    """A plain answer as it was read."""
    document = {
        "choices": [{"message": {"content": "tide"}}],
        "usage": {"completion_tokens": tokens},
    }
    headers = {"x-request-id": name, "x-corvus-cost-usd": cost}
    return Answer(0.0, 1.0, 200, headers, bytearray(json.dumps(document).encode()), [0.9], True)


def test_a_stream_is_whole_with_its_terminal_event_and_tells_its_cost_last() -> None:
    """The final comment after `[DONE]`; text and tokens from its events."""
    comment = ': corvus {"request_id":"req_1","cost_usd":"0.000029"}\n\n'
    answer = streamed(CHUNK, CHUNK, USAGE, tail=f"data: [DONE]\n\n{comment}")
    assert answer.whole
    assert answer.cost_nanos == 29_000
    assert answer.text() == "tide tide "
    assert answer.output_tokens() == 2


def test_what_is_wrong_with_an_answer_is_said() -> None:
    """Cut, without its terminal event, refused, not there."""
    assert streamed(CHUNK, tail="").why == "no terminal event"
    cut = streamed(CHUNK)
    cut.complete = False
    assert cut.why == "cut"
    assert cut.cost_nanos is None
    error = {"error": {"code": "insufficient_balance", "charged": "0.00"}}
    refused = Answer(0.0, 1.0, 429, {}, bytearray(json.dumps(error).encode()), [], complete=True)
    assert refused.why == "429 insufficient_balance"
    assert refused.cost_nanos == 0
    assert Answer(0.0, broken="connection refused").why == "connection refused"


@pytest.mark.anyio
async def test_a_gateway_that_is_not_there_is_an_answer() -> None:
    """Nothing raises; what broke stands in it."""
    answer = await Caller("http://127.0.0.1:1", "sk").ask("GET", "/v1/key")
    assert not answer.whole
    assert answer.why


class Told(Account):
    """An account that says what it is told to."""

    def __init__(self, nanos: int, **wrong: int) -> None:
        self.nanos, self.wrong = nanos, wrong

    async def get(self, path: str) -> dict[str, Any]:
        if path.startswith("/v1/requests/"):
            lines = [{"name": "output", "tokens": self.wrong.get("tokens", 64)}]
            charge = self.wrong.get("explained", self.nanos)
            return {"charge_nanos": charge, "agrees": True, "lines": lines}
        if path.startswith("/v1/usage"):
            charge = self.wrong.get("usage", 2 * self.nanos)
            return {"total": {"requests": 2, "charge_nanos": charge}}
        return {"key_spent_nanos": self.wrong.get("spent", 2 * self.nanos)}

    async def rows(self, path: str) -> list[dict[str, Any]]:
        names = ("req_1", "req_2")
        if path.startswith("/v1/ledger"):
            balances = (90, self.wrong.get("balance", 90 - self.nanos))
            return [
                {
                    "request_id": name,
                    "amount_nanos": -self.wrong.get("entry", self.nanos),
                    "seq": seq,
                    "balance_nanos": balances[seq],
                }
                for seq, name in enumerate(names)
            ]
        charge = self.wrong.get("listed", self.nanos)
        return [{"request_id": name, "charge_nanos": charge} for name in names]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("wrong", "failed"),
    [
        ({}, set()),
        (
            {"listed": 11},
            {
                "cost told = request's charge",
                "dashboard's figures = sum of requests",
                "key's spending grew by the charges",
            },
        ),
        ({"explained": 11}, {"/v1/requests/{id} explains the charge"}),
        ({"tokens": 63}, {"/v1/requests/{id} explains the charge"}),
        ({"entry": 11}, {"cost told = ledger entry", "ledger's balances add up"}),
        ({"balance": 81}, {"ledger's balances add up"}),
        ({"usage": 21}, {"dashboard's figures = sum of requests"}),
        ({"spent": 21}, {"key's spending grew by the charges"}),
    ],
)
async def test_every_disagreement_is_a_verdict(wrong: dict[str, int], failed: set[str]) -> None:
    """A figure that is off by one nano, wherever it stands, is found by the check of its place."""
    answers = [plain("req_1", "0.00000001"), plain("req_2", "0.00000001")]
    verdicts = await books.compare(
        Told(10, **wrong), answers, begin=BEGIN, key={"key_spent_nanos": 0}
    )
    assert {one.name for one in verdicts if one.good is False} == failed
    assert all(one.good is not None for one in verdicts)


def test_a_wish_needs_key_model_and_limit() -> None:
    """Said before anything is asked."""
    with pytest.raises(ConfigurationError, match="--key, --max-usd"):
        run.wish("http://127.0.0.1:1", "", "m", "", seconds=0, connections=4)
    with pytest.raises(ConfigurationError, match="amount"):
        run.wish("http://127.0.0.1:1", "k", "m", "much", seconds=0, connections=4)
    asked = run.wish("http://127.0.0.1:1", "k", "m", "0.5", seconds=0, connections=4)
    assert (asked.max_nanos, asked.seconds) == (500_000_000, run.SECONDS)
