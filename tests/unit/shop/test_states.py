"""The states of an order: every row of the table by its name, and what no sequence may do."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corvus_proxy.shop.price import Price
from corvus_proxy.shop.provider import Paid, Standing
from corvus_proxy.shop.states import (
    AWAITING,
    EXPIRED,
    FOLLOWS,
    INVALID,
    PAID,
    SEEN,
    STATES,
    Facts,
    Judgement,
    Known,
    judge,
)

USD = 10**9
NOW = datetime(2026, 11, 25, tzinfo=UTC)
LINES = Price(20 * USD, USD, 0)
TOTAL = LINES.total_nanos
ORDER = Facts(AWAITING, "", LINES, USD // 10, "BTC", "0.0021", "inv", NOW + timedelta(hours=1), ())


def paid(
    value: int = TOTAL,
    state: str = "confirmed",
    *,
    reference: str = "tx-0",
    late: bool = False,
    amount: str = "",
) -> Paid:
    """A payment at 10,000 USD for one bitcoin."""
    bitcoin = amount or f"{value / 1e13:.13f}"
    return Paid(reference, state, "BTC", bitcoin, "10000", value, "a", "tx", 1, 2, late)


def standing(status: str, *payments: Paid, by_hand: bool = False, due: str = "") -> Standing:
    return Standing(status, by_hand, due, payments)


def after(order: Facts, told: Standing, now: datetime = NOW) -> tuple[Facts, Judgement]:
    """The order as it is booked after an answer."""
    judgement = judge(order, told, now)
    known = {one.paid.reference: one for one in order.payments}
    for change in judgement.changes:
        was = known.get(change.paid.reference)
        known[change.paid.reference] = Known(
            change.paid,
            change.state,
            change.share.credit_nanos if change.share else was.credited_nanos if was else 0,
            change.share is not None or (was is not None and was.counted),
        )
    booked = order._replace(
        status=judgement.status, exception=judgement.exception, payments=tuple(known.values())
    )
    return booked, judgement


class Row(NamedTuple):
    """One row of the table: what the service has said, one answer after the other."""

    state: tuple[str, str]
    credited_nanos: int
    answers: list[Standing]
    later: timedelta = timedelta()


HALF = TOTAL // 2
ROWS = {
    "waits": Row((AWAITING, ""), 0, [standing("open")]),
    "seen": Row((SEEN, ""), 0, [standing("seen", paid(state="seen"))]),
    "seen, no payment named yet": Row((SEEN, ""), 0, [standing("seen")]),
    "seen, less than due": Row((SEEN, "underpaid"), 0, [standing("open", paid(HALF, "seen"))]),
    "confirmed, less than due": Row((SEEN, "underpaid"), 10 * USD, [standing("open", paid(HALF))]),
    "paid": Row((PAID, ""), 20 * USD, [standing("settled", paid())]),
    "paid in two": Row(
        (PAID, ""),
        20 * USD,
        [
            standing("open", paid(HALF, reference="one")),
            standing("settled", paid(HALF, reference="one"), paid(HALF, reference="two")),
        ],
    ),
    "overpaid": Row((PAID, "overpaid"), 40 * USD, [standing("settled", paid(2 * TOTAL))]),
    "late": Row((PAID, "late"), 20 * USD, [standing("expired", paid(late=True))]),
    "late and less": Row(
        (EXPIRED, "underpaid"), 10 * USD, [standing("expired", paid(HALF, late=True))]
    ),
    "marked by hand": Row((PAID, "manual"), 20 * USD, [standing("settled", by_hand=True)]),
    "half paid and marked by hand": Row(
        (PAID, "manual"), 20 * USD, [standing("settled", paid(HALF), by_hand=True)]
    ),
    "expired": Row((EXPIRED, ""), 0, [standing("expired")]),
    "its time is over": Row((EXPIRED, ""), 0, [standing("open")], timedelta(hours=1)),
    "expired, less than due": Row(
        (EXPIRED, "underpaid"), 10 * USD, [standing("expired", paid(HALF))]
    ),
    "a payment on its way outlives the quote": Row(
        (SEEN, ""), 0, [standing("expired", paid(state="seen"))], timedelta(hours=2)
    ),
    "failed": Row((INVALID, ""), 0, [standing("invalid", paid(state="invalid"))]),
    "double spent": Row(
        (INVALID, ""),
        20 * USD,
        [standing("settled", paid()), standing("invalid", paid(state="reversed"))],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str) -> None:
    """The state that the answers lead to, and what they have credited."""
    row, order, credited = ROWS[name], ORDER, 0
    for answer in row.answers:
        order, judgement = after(order, answer, NOW + row.later)
        credited += sum(one.share.credit_nanos for one in judgement.changes if one.share)
    assert (order.status, order.exception) == row.state
    assert credited == row.credited_nanos == sum(one.credited_nanos for one in order.payments)


def test_the_table_has_a_row_for_every_state() -> None:
    assert {row.state for row in ROWS.values()} == set(STATES) == set(FOLLOWS)


def test_a_payment_that_is_taken_back_is_reversed_once_and_may_be_restored_once() -> None:
    order, _ = after(ORDER, standing("settled", paid()))
    for state, undo, disputed in (
        ("reversed", "reverse", True),
        ("reversed", "", True),
        ("confirmed", "restore", False),
        ("confirmed", "", False),
    ):
        order, judgement = after(order, standing("settled", paid(state=state)))
        assert [one.undo for one in judgement.changes] == ([undo] if undo else [])
        assert judgement.disputed is disputed
        assert all(one.share is None for one in judgement.changes)
    assert (order.status, order.exception) == (PAID, "")


@pytest.mark.parametrize("state", ["seen", "invalid"])
def test_a_confirmed_payment_does_not_become_unseen(state: str) -> None:
    """To go back to `seen` is an old answer; to become invalid is to be taken back."""
    order, _ = after(ORDER, standing("settled", paid()))
    order, judgement = after(order, standing("seen", paid(state=state)))
    assert order.payments[0].state == ("confirmed" if state == "seen" else "reversed")
    assert judgement.disputed is (state == "invalid")


def test_a_payment_that_came_and_went_unwatched_is_nothing() -> None:
    order, judgement = after(ORDER, standing("invalid", paid(state="reversed")))
    assert (order.status, judgement.disputed) == (INVALID, False)
    assert [(one.state, one.undo, one.share) for one in judgement.changes] == [
        ("invalid", "", None)
    ]


def test_a_payment_that_its_service_forgets_stays() -> None:
    order, _ = after(ORDER, standing("settled", paid()))
    order, judgement = after(order, standing("open"))
    assert (order.status, judgement.changes) == (PAID, ())
    order, judgement = after(order, standing("invalid"))
    assert (order.status, [one.undo for one in judgement.changes]) == (INVALID, ["reverse"])


def test_settled_without_any_payment_credits_nothing() -> None:
    """A service that lies, or that tells its news in pieces."""
    order, judgement = after(ORDER, standing("settled"))
    assert (order.status, judgement.changes) == (AWAITING, ())
    assert "names no payment" in judgement.problem


def test_what_was_quoted_is_the_total_whatever_the_coin_makes_of_it() -> None:
    """A satoshi is more than a nano-dollar: 0.0021 bitcoin need not be 21 USD to the nano."""
    for value in (TOTAL - 40, TOTAL + 40):
        order, judgement = after(ORDER, standing("settled", paid(value, amount="0.00210000")))
        assert [one.share for one in judgement.changes] == [(20 * USD, USD, 0)]
        assert (order.status, order.exception) == (PAID, "")


def test_dust_waits_for_more() -> None:
    """Too little to be credited by itself is left to people, until more comes."""
    dust = USD // 20
    order, judgement = after(ORDER, standing("open", paid(dust, reference="a")))
    assert (order.status, order.exception) == (SEEN, "underpaid")
    assert judgement.problem
    assert judgement.changes[0].share is None
    order, judgement = after(
        order, standing("open", paid(dust, reference="a"), paid(dust, reference="b"))
    )
    assert not judgement.problem
    given = [one.share.credit_nanos for one in judgement.changes if one.share]
    assert sum(given) == 2 * dust * LINES.amount_nanos // TOTAL


def test_the_value_of_a_credited_payment_does_not_change_with_the_rate() -> None:
    order, _ = after(ORDER, standing("open", paid(HALF)))
    order, judgement = after(order, standing("open", paid(HALF * 3), paid(HALF, reference="two")))
    assert [one.share.credit_nanos for one in judgement.changes if one.share] == [10 * USD]
    assert (order.status, order.exception) == (PAID, "")


def test_who_paid_in_time_and_then_again_has_overpaid() -> None:
    order, _ = after(ORDER, standing("settled", paid(reference="a")))
    order, _ = after(
        order, standing("settled", paid(reference="a"), paid(HALF, reference="b", late=True))
    )
    assert (order.status, order.exception) == (PAID, "overpaid")


_PAIDS: Callable[..., st.SearchStrategy[Paid]] = st.builds
standings = st.builds(
    lambda status, by_hand, payments: Standing(
        status, by_hand, "", tuple({one.reference: one for one in payments}.values())
    ),
    st.sampled_from(["open", "seen", "settled", "expired", "invalid"]),
    st.booleans(),
    st.lists(
        st.builds(
            lambda value, state, reference, late: paid(
                value, state, reference=reference, late=late
            ),
            st.sampled_from([0, 1, 7, USD // 20, HALF, TOTAL - 1, TOTAL, TOTAL + 1, 3 * TOTAL]),
            st.sampled_from(["seen", "confirmed", "reversed", "invalid"]),
            st.sampled_from(["a", "b", "c"]),
            st.booleans(),
        ),
        max_size=4,
    ),
)


@settings(max_examples=600, deadline=None)
@given(st.lists(st.tuples(standings, st.integers(0, 300)), max_size=12))
def test_no_sequence_of_answers_lowers_a_credit_or_credits_twice(
    answers: list[tuple[Standing, int]],
) -> None:
    """Whatever is said, in whatever order: a payment is credited once, never less than nothing, in
    all not more than everything that was ever confirmed is worth; each step is in the table."""
    order, credited = ORDER, {}
    values: dict[str, int] = {}
    taken: set[str] = set()
    for answer, minutes in answers:
        before = (order.status, order.exception)
        order, judgement = after(order, answer, NOW + timedelta(minutes=minutes))
        assert (order.status, order.exception) in FOLLOWS[before]
        for change in judgement.changes:
            reference = change.paid.reference
            if change.share is not None:
                assert reference not in credited
                assert min(change.share) >= 0
                credited[reference] = change.share.credit_nanos
                values[reference] = change.paid.value_nanos
            if change.undo == "reverse":
                assert credited.get(reference)
                assert reference not in taken
                taken.add(reference)
            if change.undo == "restore":
                taken.remove(reference)
        assert judgement.disputed == bool(taken)
        assert {
            one.paid.reference: one.credited_nanos for one in order.payments if one.counted
        } == (credited)
    worth = sum(values.values()) * LINES.amount_nanos // TOTAL
    assert worth - len(credited) <= sum(credited.values()) <= worth
    if order.status == PAID:
        assert credited


@pytest.mark.parametrize("more", [[], [paid(HALF, "seen", reference="b")]])
def test_what_was_taken_back_stays_so_until_something_is_confirmed(more: list[Paid]) -> None:
    order, _ = after(ORDER, Standing("settled", False, "", (paid(TOTAL),)))
    back = paid(TOTAL, "reversed")
    for _ in range(2):
        order, _ = after(order, Standing("seen", False, "", (back, *more)))
        assert order.status == "invalid"
    order, _ = after(order, Standing("open", False, "", (back, paid(HALF, reference="b"))))
    assert (order.status, order.exception) == ("payment_seen", "underpaid")


@settings(max_examples=200, deadline=None)
@given(st.lists(standings, max_size=6), standings)
def test_the_same_answer_twice_changes_nothing(answers: list[Standing], last: Standing) -> None:
    order = ORDER
    for answer in (*answers, last):
        order, _ = after(order, answer)
    again, judgement = after(order, last)
    assert again == order
    assert not any(one.share or one.undo for one in judgement.changes)
