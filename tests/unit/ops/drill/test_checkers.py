"""Each checker finds the violation that is planted, and nothing in a history that is sound."""

import dataclasses
from collections.abc import Callable

import msgspec
import pytest

from corvus_proxy.dev.providers import Served
from corvus_proxy.ledger.verify import VerifyReport
from corvus_proxy.money.event import Event, Meta, encode_meta
from corvus_proxy.money.pricing import Price, Rates
from corvus_proxy.ops.drill import checkers
from corvus_proxy.ops.drill.checkers import STRICT, Bounds, check
from corvus_proxy.ops.drill.client import Answer, Wish
from corvus_proxy.ops.drill.logs import Acked, Evidence, PaidRow, Receipt
from corvus_proxy.ops.drill.workload import Move
from corvus_proxy.till.journal import Line
from corvus_proxy.till.reply import WalletState

RATES = Rates(75_000, 300_000, 37_500, 75_000, 75_000, 75_000)
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 0},
}
CHARGE = 20 * 75 + 10 * 300
RID = "req_1"


def meta(**changes: object) -> bytes:
    fields = {
        "price_version": "v1",
        "picos": {"input": 75_000, "output": 300_000},
        "usage": {"input": 20, "output": 10},
        "source": "upstream",
        "upstream_request_id": "up_1",
    }
    return encode_meta(Meta(**{**fields, **changes}))


def settle(**changes: object) -> Event:
    fields = {
        "partition": 1, "epoch": 1, "seq": 2, "type": "S", "id": RID, "wallet": "w", "key": "k",
        "slug": "m", "delta_nanos": -CHARGE, "balance_nanos": 10_000 - CHARGE, "wallet_seq": 2,
        "actual_nanos": CHARGE, "shortfall_nanos": 0, "outcome": "completed", "meta": meta(),
    }  # fmt: skip
    return Event(**{**fields, **changes})


def credit(**changes: object) -> Event:
    fields = {
        "partition": 1, "epoch": 1, "seq": 1, "type": "C", "id": "grant:1", "wallet": "w",
        "delta_nanos": 10_000, "balance_nanos": 10_000, "wallet_seq": 1, "actual_nanos": 10_000,
        "shortfall_nanos": 0, "outcome": "credit", "counter": "grants", "reason": "start",
    }  # fmt: skip
    return Event(**{**fields, **changes})


def answer(**changes: object) -> Answer:
    fields = {
        "wish": Wish("tag", "sk", "w", "chat", "m", stream=True),
        "gateway": "a", "began_s": 10.0, "head_s": 10.1, "ended_s": 10.5, "status": 200,
        "request_id": RID, "cost_nanos": CHARGE, "settled": True, "whole": True,
    }  # fmt: skip
    return Answer(**{**fields, **changes})


def served(*, usage: dict[str, object] = USAGE, usage_sent: bool = True) -> Served:
    return Served(
        0, "openai", "c", "up_1", "chat", "m", stream=True, usage=usage, usage_sent=usage_sent,
        usage_made=USAGE, tokens_made=10, tag="tag",
    )  # fmt: skip


def sound() -> Evidence:
    """One wallet, one credit, one completed request; every log agrees."""
    return Evidence(
        answers=[answer()],
        served=[served()],
        acked=[Acked("settle", RID, CHARGE, 0, 1, 2)],
        moves=[Move("credit", "w", 10_000, "start", 1, 1)],
        journal=[
            Line("S", RID, ("w", "k", "m", str(CHARGE), "completed", "{}")),
            Line("D", RID, ("1", "1", "2")),
        ],
        events=[credit(), settle()],
        receipts=[Receipt(RID, CHARGE, 0, "v1")],
        accounts={"grants": -10_000, "revenue:p01": CHARGE},
        wallets={"w": WalletState(10_000 - CHARGE, 0, 2, "1", CHARGE)},
        report=VerifyReport(True, 1, 2, 0, 0, 0, []),
        prices={("m", "v1"): Price("m", "v1", RATES)},
    )


def planted(**changes: object) -> Evidence:
    return dataclasses.replace(sound(), **changes)


def test_a_sound_history_has_no_violation() -> None:
    assert check(sound(), STRICT) == []
    assert checkers.defined_answers(sound().answers, STRICT) == []


UNSETTLED = ("w", "k", "m", "5", "completed", "{}")
COUNTED = meta(source="counted", usage={"output": 11})
COUNTED_INPUT = meta(source="counted", usage={"input": 21, "output": 10})
ESTIMATED = meta(source="estimated", usage={"input": 999})
TWICE_LATE = [credit(), settle(), settle(type="L", id="r:L"), settle(type="L", id="r:L")]
LOST = Move("credit", "w", 5, "lost", 1, 1)
START = Move("credit", "w", 10_000, "start", 1, 1)
BOUGHT = credit(
    seq=3, id="pay:btcpay:inv:tx-0", delta_nanos=700, balance_nanos=10_700 - CHARGE, wallet_seq=3,
    actual_nanos=700, counter="clearing:btcpay", reason="order o",
)  # fmt: skip
SEEN = PaidRow("btcpay", "o", "inv:tx-0", "seen", "BTC", "0.01", 699, False, "0.01", 700)
CONFIRMED = SEEN._replace(state="confirmed")
BACK = credit(
    seq=4, type="D", id="rev:btcpay:inv:tx-0:1", delta_nanos=-500, wallet_seq=4,
    balance_nanos=10_200 - CHARGE, shortfall_nanos=200, counter="chargebacks", reason="order o",
)  # fmt: skip
AGAIN = credit(
    seq=5, id="won:btcpay:inv:tx-0:1", delta_nanos=500, balance_nanos=10_700 - CHARGE, wallet_seq=5,
    counter="chargebacks", reason="order o",
)  # fmt: skip


def changed(event: Event, **changes: object) -> Event:
    return msgspec.structs.replace(event, **changes)


def bought(*further: Event, paid: PaidRow = CONFIRMED, **changes: object) -> dict[str, object]:
    """An order of 700 nanos beside the rest; `further` are what its payment moved later."""
    fields = {
        "events": [credit(), settle(), BOUGHT, *further],
        "paid": [SEEN, CONFIRMED, paid],
        "orders": {"o": "w"},
    }
    return {**fields, **changes}


PLANTED: list[tuple[str, str, dict[str, object]]] = [
    ("C1", "stands at", {"events": [credit(delta_nanos=9, balance_nanos=9), settle()]}),
    ("C1", "sum to", {"events": [credit(), settle(balance_nanos=9)]}),
    ("C1", "event 3 follows 1", {"events": [credit(), settle(wallet_seq=3)]}),
    ("C1", "6 held of 5", {"wallets": {"w": WalletState(5, 6, 2, "1", 0)}}),
    ("C2", "revenue", {"accounts": {"grants": -10_000, "revenue:p01": CHARGE - 1}}),
    ("C2", "grants", {"accounts": {"grants": -9_999, "revenue:p01": CHARGE}}),
    ("C2", "in all wallets", {"wallets": {"w": WalletState(10_001 - CHARGE, 0, 2, "1", 0)}}),
    ("C3", "ended 2 times", {"events": [credit(), settle(), settle(seq=3)]}),
    ("C3", "charged 2 times", {"events": TWICE_LATE}),
    ("C3", "tag was paid as", {"events": [credit(), settle(), settle(id="req_2")]}),
    ("C4", "not in the books", {"events": [credit()]}),
    ("C4", "was acknowledged", {"acked": [Acked("settle", RID, CHARGE + 1, 0, 1, 2)]}),
    ("C4", "the client was told", {"answers": [answer(cost_nanos=CHARGE - 1)]}),
    ("C4", "was told a charge", {"answers": [answer(request_id="req_9")]}),
    ("C4", "in a journal, nothing", {"journal": [Line("S", "req_7", UNSETTLED)]}),
    ("C4", "5 in a journal", {"journal": [Line("S", RID, UNSETTLED)]}),
    ("C4", "was told", {"journal": [Line("D", "req_7", ("1", "1", "9"))]}),
    ("C5", "0 times", {"moves": [START, LOST]}),
    ("C5", "2 times", {"events": [credit(), credit(seq=2), settle()]}),
    ("C5", "nobody moved", {"moves": []}),
    ("C5", "booked as", {"moves": [START._replace(nanos=9_999)]}),
    ("C5", "1 times", {"moves": [START._replace(least=0, most=0)]}),
    ("C6", "7 apart", {"report": VerifyReport(False, 1, 2, 7, 0, 0, ["w: 7 apart"])}),
    ("C6", "nothing was compared", {"report": None}),
    ("C7", "still holds 3", {"wallets": {"w": WalletState(10_000 - CHARGE, 3, 2, "1", 0)}}),
    ("C7", "1 holds", {"holds": 1}),
    ("C8", "refused with 503", {"answers": [answer(status=503, settled=False)]}),
    ("C8", "its usage costs", {"events": [credit(), settle(actual_nanos=CHARGE + 1)]}),
    ("C8", "no provider made", {"served": []}),
    ("C8", "which nobody set", {"prices": {}}),
    ("C8", "charged at", {"events": [credit(), settle(meta=meta(picos={"input": 75_001}))]}),
    ("C8", "were made", {"events": [credit(), settle(meta=COUNTED)]}),
    ("C8", "at most", {"events": [credit(), settle(meta=ESTIMATED)]}),
    ("C8", "never reported", {"served": [served(usage_sent=False)]}),
    ("C8", "cannot be true", {"served": [served(usage={**USAGE, "completion_tokens": 10**12})]}),
    ("C8", "cannot be true", {"served": [served(usage={**USAGE, "prompt_tokens": -1})]}),
    ("C8", "were lowered", {"events": [credit(), settle(meta=meta(flags=["usage_lowered"]))]}),
    ("C8", "for zero_completion", {"events": [credit(), settle(outcome="zero_completion")]}),
    ("C8", "more than there were", {"events": [credit(), settle(meta=COUNTED_INPUT)]}),
    ("C9", "no row", {"receipts": []}),
    ("C9", "the row says", {"receipts": [Receipt(RID, CHARGE - 1, 0, "v1")]}),
    ("C9", "no event", {"receipts": [Receipt(RID, CHARGE, 0, "v1"), Receipt("x", 0, 0, "")]}),
    ("C9", "its lines give", {"events": [credit(), settle(meta=meta(usage={"input": 20}))]}),
    ("C2", "clearing:btcpay: 3", {"accounts": {"clearing:btcpay": 3}}),
    ("C2", "chargebacks: 3", {"accounts": {"chargebacks": 3}}),
    ("C12", "moved 2 times", bought(BOUGHT)),
    ("C12", "stands 0 times", bought(events=[credit(), settle()])),
    ("C12", "never confirmed", bought(paid=SEEN) | {"paid": [SEEN]}),
    ("C12", "is reversed, and stands 1 times", bought(paid=CONFIRMED._replace(state="reversed"))),
    ("C12", "stands 0 times", bought(BACK)),
    ("C12", "its order is of 'x'", bought(orders={"o": "x"})),
    ("C12", "700 credited, 701 paid", bought(paid=CONFIRMED._replace(quoted_nanos=701))),
    ("C12", "700 credited, 699 paid", bought(paid=CONFIRMED._replace(late=True))),
    ("C12", "taken back", bought(changed(BACK, shortfall_nanos=199), AGAIN)),
    ("C12", "499 given again", bought(BACK, changed(AGAIN, delta_nanos=499))),
    ("C12", "nobody paid", {**bought(), "paid": []}),
]


@pytest.mark.parametrize(("name", "word", "changes"), PLANTED)
def test_a_planted_violation_is_found(name: str, word: str, changes: dict[str, object]) -> None:
    found = check(planted(**changes), STRICT)
    assert any(one.startswith(f"{name}: ") and word in one for one in found), found


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"status": 500, "code": "internal_error"}, "status 500"),
        ({"status": 503, "head_s": 10.1}, "without Retry-After"),
        ({"status": 503, "retry_after": "2", "head_s": 11.5}, "refused after 1.50 s"),
        ({"whole": False}, "just ended"),
        ({"status": 0, "broken": "reset"}, "reset"),
        ({"broken": "no end after 40 s"}, "no end"),
    ],
)
def test_an_undefined_answer_is_found(changes: dict[str, object], word: str) -> None:
    (found,) = checkers.defined_answers([answer(**changes)], STRICT)
    assert word in found


def test_a_fault_allows_what_it_says_and_no_more() -> None:
    """Broken connections where gateways are killed, losses up to the lag, smaller re-charges."""
    killed = Bounds(broken=True)
    assert checkers.defined_answers([answer(status=0, broken="reset")], killed) == []
    assert checkers.defined_answers([answer(broken="no end after 40 s")], killed)
    unheard = Bounds(unheard=True)
    assert checkers.defined_answers([answer(status=0, broken="refused")], unheard) == []
    assert checkers.defined_answers([answer(broken="reset")], unheard)
    lost = planted(events=[credit()], answers=[], journal=[])
    assert checkers.acked_kept(lost, Bounds(lost_max=1)) == []
    assert checkers.acked_kept(lost, Bounds(lost_max=0))
    told_and_acked = planted(events=[credit()], journal=[])
    assert checkers.acked_kept(told_and_acked, Bounds(lost_max=1)) == []  # it is one charge
    less = planted(answers=[], events=[credit(), settle(delta_nanos=5 - CHARGE, shortfall_nanos=5)])
    assert checkers.acked_kept(less, Bounds(recharged=True)) == []
    assert checkers.acked_kept(less, STRICT)


def test_every_checker_has_been_seen_to_fail() -> None:
    """The list above plants something for each of them."""
    names: dict[str, Callable[..., list[str]]] = checkers.CHECKERS
    assert {name for name, _, _ in PLANTED} == set(names)


@pytest.mark.parametrize(
    "changes",
    [
        bought(),
        bought(BACK, paid=CONFIRMED._replace(state="reversed")),
        bought(BACK, AGAIN),
        {"paid": [SEEN], "orders": {"o": ""}},
        {"paid": [CONFIRMED], "orders": {}},
        {"paid": [CONFIRMED, CONFIRMED._replace(state="reversed")], "orders": {"o": ""}},
    ],
)
def test_a_sound_payment_is_no_violation(changes: dict[str, object]) -> None:
    """Credited; taken back; given again; only seen; of no order; gone before anybody looked."""
    assert checkers.paid_once(planted(**changes)) == []


def test_many_violations_are_counted() -> None:
    told = checkers.told("C1", [str(number) for number in range(12)])
    assert (len(told), told[-1]) == (checkers.TOLD_MAX + 1, "C1: and 7 more")


def test_what_is_above_the_limit_is_charged_at_the_limit() -> None:
    """The provider claims 5,000 tokens where 200 were allowed: 200 are charged, and no other
    number."""
    claimed = {"served": [served(usage={**USAGE, "completion_tokens": 5000})]}
    flagged = meta(flags=["usage_lowered"], usage={"input": 20, "output": 200})
    due = 20 * 75 + 200 * 300
    right = settle(meta=flagged, actual_nanos=due)
    assert checkers.fair_charges(planted(events=[credit(), right], **claimed)) == []
    wrong = settle(meta=flagged, actual_nanos=due + 1)
    assert checkers.fair_charges(planted(events=[credit(), wrong], **claimed))
