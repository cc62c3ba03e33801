"""Money: the vectors, the conversions, and the arithmetic against exact fractions."""

from fractions import Fraction
from math import floor
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy.money.amount import (
    NANOS_MAX,
    format_usd,
    parse_usd,
    round_to_nanos,
)  # fmt: skip
from corvus_proxy.money.price import Mode, Terms
from corvus_proxy.money.pricing import (
    Bound,
    Price,
    Rates,
    affordable_output,
    ceiling,
    charge,
    lines,
)  # fmt: skip
from corvus_proxy.money.usage import Part, Usage, UsageInvalid, from_chat, from_messages


def rates(usd_in: str, usd_out: str, *, read: str = "0.10", family: str = "anthropic") -> Rates:
    """Rates by the service's own rule: shares of the input price, USD per million."""
    given = Fraction(usd_in) * 10**6

    def picos(value: Fraction) -> int:
        assert value.denominator == 1
        return value.numerator

    return Rates(
        input=picos(given),
        output=picos(Fraction(usd_out) * 10**6),
        cache_read=picos(given * Fraction(read)),
        cache_write_5m=picos(given * Fraction("1.25")),
        cache_write_1h=picos(given * 2),
        cache_write_other=picos(given * (Fraction("1.25") if family == "openai" else 1)),
    )


@pytest.mark.parametrize(
    ("base", "usage", "usd"),
    [
        (rates("1.75", "8.75"), Usage(12_000, 200_000, 8_000, 0, 0, 1_500), "0.086625"),
        (rates("1.75", "8.75"), Usage(12_000, 200_000, 0, 8_000, 0, 1_500), "0.097125"),
        (
            rates("5", "30"),
            from_chat(
                {
                    "prompt_tokens": 10_000,
                    "completion_tokens": 400,
                    "prompt_tokens_details": {"cached_tokens": 8_000},
                }
            ),
            "0.026",
        ),
        (rates("1.00", "3", read="0.20"), Usage(cache_read=100_000), "0.020"),
    ],
)
def test_vectors(base: Rates, usage: Usage, usd: str) -> None:
    """The published examples, to the nano-dollar."""
    assert charge(usage, Price("m", "v", base)) == parse_usd(usd)


def test_the_older_read_share_does_not_appear() -> None:
    """0.0875 is what a quarter of the input price for reads would have cost."""
    usage = Usage(12_000, 200_000, 8_000, 0, 0, 1_500)
    assert charge(usage, Price("m", "v", rates("1.75", "8.75"))) != parse_usd("0.0875")


START = {"input_tokens": 100, "cache_read_input_tokens": 50, "output_tokens": 1}


@pytest.mark.parametrize(
    ("start", "last", "usage"),
    [
        (START, {"output_tokens": 9}, Usage(100, 50, output=9)),
        (START, {"output_tokens": 9, "input_tokens": None}, Usage(100, 50, output=9)),
        # The delta wins, also when it is smaller.
        (START, {"input_tokens": 2000, "output_tokens": 9}, Usage(2000, 50, output=9)),
        (START, {"cache_read_input_tokens": 0, "output_tokens": 9}, Usage(100, 0, output=9)),
        ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 7, "output_tokens": 3},
         Usage(7, output=3)),
        (None, {"input_tokens": 7, "output_tokens": 3}, Usage(7, output=3)),
        # Cache writes: unsplit, split, grown past the split, shrunk below it.
        (None, {"cache_creation_input_tokens": 8, "output_tokens": 0}, Usage(cache_write_5m=8)),
        (None, {"cache_creation_input_tokens": 8, "cache_creation": {
            "ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 5}},
         Usage(cache_write_5m=3, cache_write_1h=5)),
        ({"cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 5}},
         {"cache_creation_input_tokens": 8}, Usage(cache_write_1h=8)),
        ({"cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_5m_input_tokens": 5}},
         {"cache_creation_input_tokens": 8}, Usage(cache_write_5m=8)),
        ({"cache_creation_input_tokens": 8, "cache_creation": {
            "ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 5}},
         {"cache_creation_input_tokens": 2}, Usage(cache_write_5m=2)),
        (None, {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4},
                "server_tool_use": {"web_search_requests": 2}},
         Usage(output=9, reasoning=4, searches=2)),
    ],
)  # fmt: skip
def test_messages_usage(start: Any, last: Any, usage: Usage) -> None:
    """Start and delta become one disjoint record."""
    assert from_messages(start, last) == usage


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5}, Usage(10, output=5)),
        ({"prompt_tokens": 10_000, "completion_tokens": 500,
          "prompt_tokens_details": {"cached_tokens": 6_000, "cache_write_tokens": 3_000},
          "completion_tokens_details": {"reasoning_tokens": 400}},
         Usage(1_000, 6_000, 0, 0, 3_000, 500, reasoning=400)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": None},
         Usage(10, output=5)),
        # Rejected predictions are billed as output, and stand inside it.
        ({"prompt_tokens": 1, "completion_tokens": 9,
          "completion_tokens_details": {"rejected_prediction_tokens": 4}}, Usage(1, output=9)),
    ],
)  # fmt: skip
def test_chat_usage(raw: Any, usage: Usage) -> None:
    """Cached and written tokens stand inside the prompt's; reasoning inside the output."""
    assert from_chat(raw) == usage


@pytest.mark.parametrize(
    "raw",
    [
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}},
        {"prompt_tokens": -1},
        {"prompt_tokens": 10**12},
        {"prompt_tokens": "5"},
        {"prompt_tokens": 1.0},
        {"prompt_tokens": True},
        {"prompt_tokens": 5, "prompt_tokens_details": [1]},
    ],
)
def test_counts_that_cannot_be_true_are_no_usage(raw: Any) -> None:
    """Wrong arithmetic or lies raise instead of making a charge."""
    with pytest.raises(UsageInvalid):
        from_chat(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {"input_tokens": -1},
        {"cache_creation": [1]},
        {"cache_creation": {"ephemeral_5m_input_tokens": 0.5}},
        {"output_tokens_details": "many"},
        {"server_tool_use": {"web_search_requests": True}},
        {"output_tokens": 10**9 + 1},
    ],
)
def test_the_same_holds_for_messages(raw: Any) -> None:
    """In the delta as in the start."""
    for start, last in ((raw, None), (None, raw), (START, raw)):
        with pytest.raises(UsageInvalid):
            from_messages(start, last)


@pytest.mark.parametrize(
    ("usage", "long"),
    [
        (Usage(272_000), False),
        (Usage(272_001), True),
        (Usage(1, 271_999), False),
        (Usage(1, 271_999, cache_write_other=1), True),
        (Usage(272_000, output=500_000), False),
    ],
)
def test_the_long_tier_moves_the_whole_request(usage: Usage, long: bool) -> None:
    """Tested on all input, cached or not; the threshold itself is still short."""
    low, high = Rates(1, 2, 3, 4, 5, 6), Rates(10, 20, 30, 40, 50, 60)
    price = Price("m", "v", low, high, 272_000)
    assert {line.picos for line in lines(usage, price)} <= set(
        msgspec.structs.astuple(high if long else low)
    )


COUNT = st.integers(0, 2_000_000)
PICOS = st.integers(0, 60_000_000)
USAGES = st.builds(Usage, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT, st.integers(0, 50))
RATES = st.builds(Rates, PICOS, PICOS, PICOS, PICOS, PICOS, PICOS, st.integers(0, 10**11))
PRICES = st.builds(
    Price, st.just("m"), st.just("v"), RATES, st.none() | RATES, st.integers(0, 3_000_000),
    st.booleans(),
)  # fmt: skip


TERMS = st.builds(Terms, st.sampled_from(["", "flex", "priority"]), st.sampled_from(["", "us"]))


def with_modes(price: Price, percents: tuple[int, int], geo_percent: int) -> Price:
    """A price with a cheaper and a dearer mode and a place, as the book would let it pass."""

    def whole(rates: Rates) -> Rates:
        return Rates(*(getattr(rates, name) * 10_000 for name in Rates.__struct_fields__))

    base, long = whole(price.base), None
    if price.long is not None:
        long = base.worst(whole(price.long))
    flex, priority = (
        Mode(base.times(percent), long.times(percent) if long else None) for percent in percents
    )
    return Price(
        "m", "v", base, long, price.long_above, price.charges_writes,
        {"flex": flex, "priority": priority}, {"us": geo_percent},
    )  # fmt: skip


@given(
    st.integers(0, 400_000), st.integers(0, 400_000), st.integers(0, 128_000), PRICES,
    st.tuples(st.integers(1, 100), st.integers(100, 600)), st.integers(100, 200), TERMS, TERMS,
)  # fmt: skip
def test_whatever_serves_no_charge_exceeds_the_hold_for_what_was_asked(
    plain: int, read: int, output: int, price: Price, percents: tuple[int, int], geo: int,
    asked: Terms, served: Terms,
) -> None:  # fmt: skip
    """The customer's tier is one of asked, ordinary and cheaper; the hold covers each."""
    price = with_modes(price, percents, geo)
    mode = served.mode if served.mode in (asked.mode, "", "flex") else asked.mode
    paid = Terms(mode, served.geo if served.geo in (asked.geo, "") else asked.geo)
    usage = Usage(plain, read, output=output, terms=paid)
    bound = Bound(usage.input_total, output, asked=asked)
    assert charge(usage, price) <= ceiling(bound, price)
    nanos = ceiling(bound, price)
    assert affordable_output(nanos, bound, price) >= output


@given(
    st.lists(
        st.tuples(
            USAGES,
            st.sampled_from(["", "a", "b"]),
            st.sampled_from(["message", "compaction", "advisor_message"]),
        ),
        min_size=1,
        max_size=6,
    ),
    PRICES,
    PRICES,
)
def test_a_bill_of_samplings_is_the_sum_of_its_lines(
    parts: list[tuple[Usage, str, str]], price: Price, other: Price
) -> None:
    """Each sampling at its own model and size, rounded once; `b` has no price and costs nothing.
    No two lines have one name, so that an event's own record adds up to its charge."""
    prices = {"": price, "a": other, "b": None}
    made = tuple(
        Part(usage, kind, model, prices[model] if model else None) for usage, model, kind in parts
    )
    whole = Usage(parts=made)
    exact = Fraction(0)
    for usage, model, _ in parts:
        own = prices[model]
        if own is not None:
            alone = msgspec.structs.replace(usage, searches=0)
            exact += sum(line.amount_picos for line in lines(alone, own))
    bill = lines(whole, price)
    names = [line.name for line in bill]
    assert len(set(names)) == len(names)
    assert sum(line.amount_picos for line in bill) == exact
    assert charge(whole, price) == floor(exact / 1000 + Fraction(1, 2))
    kept = {line.name: (line.count, line.picos) for line in bill}
    assert round_to_nanos(sum(a * b for a, b in kept.values())) == charge(whole, price)


@given(USAGES, PRICES)
def test_charge_is_the_exact_sum_rounded_once(usage: Usage, price: Price) -> None:
    """Against fractions of a dollar."""
    long = price.long is not None and usage.input_total > price.long_above
    table = price.long if long and price.long else price.base
    exact = sum(
        Fraction(getattr(usage, name) * getattr(table, name), 10**12)
        for name in ("input", "cache_read", "cache_write_5m", "cache_write_1h",
                     "cache_write_other", "output", "searches")
    )  # fmt: skip
    assert charge(usage, price) == floor(exact * 10**9 + Fraction(1, 2))
    assert sum(line.amount_picos for line in lines(usage, price)) == exact * 10**12


@given(
    st.integers(0, 400_000), st.integers(0, 400_000), st.integers(0, 128_000), PRICES,
    st.booleans(), st.data(),
)  # fmt: skip
def test_no_usage_within_the_bound_costs_more_than_the_ceiling(
    plain: int, read: int, output: int, price: Price, writes: bool, data: st.DataObject
) -> None:
    """The hold covers whatever the upstream may report within the bound.

    A price book's long tier is never cheaper than its base, as the catalogue's test asserts.
    """
    written = data.draw(st.integers(0, 100_000)) if writes else 0
    other = data.draw(st.integers(0, 100_000)) if price.charges_writes else 0
    if price.long is not None:
        dearer = Rates(*(
            max(getattr(price.base, name), getattr(price.long, name))
            for name in Rates.__struct_fields__
        ))  # fmt: skip
        price = Price("m", "v", price.base, dearer, price.long_above, price.charges_writes)
    usage = Usage(plain, read, 0, written, other, output)
    bound = Bound(usage.input_total, output, writes_cache=writes)
    assert charge(usage, price) <= ceiling(bound, price)


@given(st.integers(0, 10**13), st.integers(0, 500_000), PRICES)
def test_affordable_output_is_the_inverse_of_the_ceiling(
    nanos: int, tokens: int, price: Price
) -> None:
    """What is affordable fits; one token more does not."""
    bound = Bound(tokens, 0)
    output = affordable_output(nanos, bound, price)
    if price.rates(tokens).output:
        if output >= 0:
            assert ceiling(bound._replace(output_tokens=output), price) <= nanos
        assert ceiling(bound._replace(output_tokens=max(0, output + 1)), price) > nanos or (
            output < -1
        )


@given(st.integers(-NANOS_MAX, NANOS_MAX))
def test_usd_text_round_trips(nanos: int) -> None:
    """Exact, no exponent, at least two decimals."""
    text = format_usd(nanos)
    assert parse_usd(text) == nanos
    assert len(text.partition(".")[2]) >= 2


@pytest.mark.parametrize(
    "text",
    ["", "1e3", "1.", ".5", "1,5", "0.0000000001", "NaN", "--1", "1 2", "+1", "٣", "1_0", "1" * 13],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    """Only plain decimals."""
    with pytest.raises(ValueError, match="not an amount"):
        parse_usd(text)


@pytest.mark.parametrize(("picos", "nanos"), [(0, 0), (499, 0), (500, 1), (1499, 1), (1500, 2)])
def test_the_one_rounding_is_half_up(picos: int, nanos: int) -> None:
    """Half a nano is a nano."""
    assert round_to_nanos(picos) == nanos


@pytest.mark.parametrize(("tokens", "nanos"), [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)])
def test_a_ceiling_is_never_rounded_down(tokens: int, nanos: int) -> None:
    """One pico above a nano holds another nano."""
    assert ceiling(Bound(tokens, 0), Price("m", "v", Rates(1, 1, 0, 0, 0, 0))) == nanos
