"""The ways in which gateways misbill, one test each: those that are about counts and prices.

Those that need a wire are in `tests/flow/test_billing_cases.py`; the last test here asserts that no
case of the 41 is missing. Expected amounts are reckoned by hand, or by the oracle.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.catalogue.book import Model
from corvus_proxy.gateway import forwarding, quoting, reading
from corvus_proxy.gateway.ending import Seen, Stop, conclude, final_usage
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.money.price import Price, Rates, Terms
from corvus_proxy.money.pricing import Bound, ceiling, charge, lines
from corvus_proxy.money.usage import (
    Usage,
    UsageInvalid,
    from_chat,
    from_embeddings,
    from_messages,
    from_responses,
)
from corvus_proxy.settings import HoldSettings, PricingSettings
from corvus_proxy.wire import request
from corvus_proxy.wire.dialect import Dialect
from tests.oracle import bill
from tests.recorded import recordings

BOOK = book.load(PricingSettings())


def model(slug: str) -> Model:
    found = BOOK.find(slug)
    assert found is not None
    return found


def read(
    slug: str,
    last: dict[str, Any],
    *,
    start: dict[str, Any] | None = None,
    asked: Terms = Terms(),  # noqa: B008 -- a tuple
    answered_by: str = "",
    tier: str = "",
) -> reading.Reading:
    """An answer's counts as the gateway reads them."""
    dialect = Dialect.MESSAGES if slug.startswith("claude") else Dialect.CHAT
    report = reading.Report(dialect, start, last, answered_by or slug, tier)
    wanted = reading.Wanted(model(slug), asked, BOOK.find)
    return reading.read(report, wanted, has_output=True)


def nanos(slug: str, found: reading.Reading) -> int:
    assert found.usage is not None
    return charge(found.usage, model(slug).price)


def bill_of(slug: str, found: reading.Reading) -> dict[str, tuple[int, int]]:
    assert found.usage is not None
    made = lines(found.usage, model(slug).price)
    assert len({line.name for line in made}) == len(made)
    return {line.name: (line.count, line.picos) for line in made}


def recorded(dialect: str, file: str) -> dict[str, Any]:
    """The whole JSON of a recording that is one."""
    body = next(one for one in recordings(dialect) if one.file == file).body
    found: dict[str, Any] = json.loads(body)
    return found


# One prompt of 10,000 tokens: 6,000 read from the cache, 3,000 written to it; 500 of output.
SAME = Usage(input=1000, cache_read=6000, output=500, reasoning=400)
ANTHROPIC = {
    "input_tokens": 1000, "cache_read_input_tokens": 6000, "cache_creation_input_tokens": 3000,
    "output_tokens": 500, "output_tokens_details": {"thinking_tokens": 400},
}  # fmt: skip
CHAT = {
    "prompt_tokens": 10_000, "completion_tokens": 500, "total_tokens": 10_500,
    "prompt_tokens_details": {"cached_tokens": 6000, "cache_write_tokens": 3000},
    "completion_tokens_details": {"reasoning_tokens": 400},
}  # fmt: skip
RESPONSES = {
    "input_tokens": 10_000, "output_tokens": 500, "total_tokens": 10_500,
    "input_tokens_details": {"cached_tokens": 6000, "cache_write_tokens": 3000},
    "output_tokens_details": {"reasoning_tokens": 400},
}  # fmt: skip


def test_case_01_cache_counts_stand_outside_anthropics_input_and_inside_openais() -> None:
    """The same prompt is the same record from every dialect; the wrong arithmetic is no usage."""
    assert from_messages(None, ANTHROPIC) == msgspec.structs.replace(SAME, cache_write_5m=3000)
    openai = msgspec.structs.replace(SAME, cache_write_other=3000)
    assert from_chat(CHAT) == from_responses(RESPONSES) == openai
    zai = {**CHAT, "prompt_tokens_details": {"cached_tokens": 6000}}
    assert from_chat(zai) == msgspec.structs.replace(SAME, input=4000)
    inverted = {**CHAT, "prompt_tokens": 1000}
    with pytest.raises(UsageInvalid):
        from_chat(inverted)
    assert final_usage(Dialect.CHAT, None, inverted, has_output=True) == (None, ("usage_invalid",))


def test_case_02_the_delta_replaces_the_start_and_is_not_added() -> None:
    """Both name the input; it is billed once."""
    start = {"input_tokens": 800, "output_tokens": 5}
    found = from_messages(start, {"input_tokens": 800, "output_tokens": 90})
    assert (found.input, found.output) == (800, 90)


def test_case_03_the_delta_wins_where_it_grew() -> None:
    """A server tool's loop: 2,068 at the start, 22,397 at the end."""
    start = {"input_tokens": 2068, "output_tokens": 1}
    assert from_messages(start, {"input_tokens": 22_397, "output_tokens": 7}).input == 22_397


def test_case_04_the_delta_wins_where_it_shrank() -> None:
    """After a compaction nothing was read from the cache, whatever the start had said."""
    start = {"input_tokens": 100, "cache_read_input_tokens": 55_096, "output_tokens": 7}
    last = {"input_tokens": 181, "cache_read_input_tokens": 0, "output_tokens": 8}
    assert from_messages(start, last) == Usage(input=181, output=8)


def test_case_05_a_start_of_zero_is_no_count_and_no_estimate() -> None:
    """The delta alone has the counts; a stream cut before it is estimated, not free."""
    start = {"input_tokens": 0, "output_tokens": 0}
    last = {"input_tokens": 700, "cache_read_input_tokens": 64, "output_tokens": 20}
    assert from_messages(start, last) == Usage(input=700, cache_read=64, output=20)
    seen = Seen(True, False, None, from_messages(start, None), 12, True)
    price = model("glm-5.3").price
    ending = conclude(seen, Stop.CUT, price, input_tokens=333, limit=100)
    assert (ending.source, ending.usage) == ("estimated", Usage(input=333, output=12))


@pytest.mark.recordings
def test_case_07_iterations_bill_each_entry_at_its_own_model() -> None:
    """An advisor by another model, at that model's price; the counts beside it leave it out."""
    answer = recorded("anthropic", "anthropic-9d1ce0b3dcd7fe89.json")
    found = read("claude-sonnet-5", answer["usage"])
    assert bill_of("claude-sonnet-5", found) == {
        "input": (1128 + 1262, 700_000),
        "output": (110 + 11, 3_500_000),
        "claude-opus-4-8/input": (2518, 1_750_000),
        "claude-opus-4-8/output": (22, 8_750_000),
    }
    assert nanos("claude-sonnet-5", found) == bill.messages_nanos(
        "claude-sonnet-5", answer["usage"], model="claude-sonnet-5"
    )
    assert found.flags == ()
    alone = {**answer["usage"], "iterations": None}
    assert nanos("claude-sonnet-5", found) > nanos(
        "claude-sonnet-5", read("claude-sonnet-5", alone)
    )


def test_case_07_a_compaction_is_billed_and_named_and_a_false_sum_is_flagged() -> None:
    """Its tokens stand in no other count; entries decide also where the counts beside them lie."""
    usage = {
        "input_tokens": 181, "output_tokens": 8,
        "iterations": [
            {"type": "compaction", "input_tokens": 100, "cache_read_input_tokens": 55_096,
             "output_tokens": 83},
            {"type": "message", "input_tokens": 181, "output_tokens": 8},
        ],
    }  # fmt: skip
    found = read("claude-sonnet-4-6", usage)
    assert bill_of("claude-sonnet-4-6", found) == {
        "compaction/input": (100, 1_050_000),
        "compaction/cache_read": (55_096, 105_000),
        "compaction/output": (83, 5_250_000),
        "input": (181, 1_050_000),
        "output": (8, 5_250_000),
    }
    assert found.flags == ()
    assert found.usage is not None
    assert (found.usage.input, found.usage.output) == (281, 91)
    lying = read("claude-sonnet-4-6", {**usage, "input_tokens": 9})
    assert bill_of("claude-sonnet-4-6", lying) == bill_of("claude-sonnet-4-6", found)
    assert lying.flags == ("iterations_differ",)


def test_case_07_a_sampling_of_an_unpriced_model_is_listed_at_zero() -> None:
    """Nobody guesses its price; the customer pays the rest, the operator sees a flag."""
    usage = {
        "input_tokens": 10, "output_tokens": 5,
        "iterations": [
            {"type": "message", "input_tokens": 10, "output_tokens": 5},
            {"type": "advisor_message", "model": "claude-9", "input_tokens": 4, "output_tokens": 2},
        ],
    }  # fmt: skip
    found = read("claude-opus-5-5", usage)
    made = bill_of("claude-opus-5-5", found)
    assert made["claude-9/input"] == (4, 0)
    assert nanos("claude-opus-5-5", found) == (10 * 1_400_000 + 5 * 7_000_000) // 1000
    assert found.flags == ("model_unpriced",)


@pytest.mark.parametrize(
    ("counts", "hour_only", "writes"),
    [
        ({"cache_creation_input_tokens": 3000, "cache_creation": {
            "ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000}}, False,
         (1000, 2000)),
        ({"cache_creation_input_tokens": 3000}, False, (3000, 0)),
        ({"cache_creation_input_tokens": 3000}, True, (0, 3000)),
        # What the delta's total adds to the start's breakdown.
        ({"cache_creation_input_tokens": 3337, "cache_creation": {
            "ephemeral_5m_input_tokens": 3068, "ephemeral_1h_input_tokens": 0}}, False, (3337, 0)),
        ({"cache_creation_input_tokens": 3337, "cache_creation": {
            "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 3068}}, False, (0, 3337)),
        ({"cache_creation_input_tokens": 3337, "cache_creation": {
            "ephemeral_5m_input_tokens": 68, "ephemeral_1h_input_tokens": 3000}}, True,
         (337, 3000)),
    ],
)  # fmt: skip
def test_case_08_writes_of_an_hour_and_of_five_minutes_have_their_own_prices(
    counts: dict[str, Any], hour_only: bool, writes: tuple[int, int]
) -> None:
    """By the breakdown; the remainder at the request's only lifetime, else at five minutes."""
    found = from_messages(None, {**counts, "input_tokens": 5}, hour_only=hour_only)
    assert (found.cache_write_5m, found.cache_write_1h) == writes
    price = model("claude-opus-5-5").price
    assert charge(found, price) == (5 * 1400 + writes[0] * 1750 + writes[1] * 2800)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"cache_control":{"type":"ephemeral","ttl":"1h"}}', True),
        (b'{"cache_control": {"ttl" : "1h"}, "a": {"cache_control":{"type":"ephemeral"}}}', False),
        (b'{"cache_control":{"type":"ephemeral"}}', False),
        (b'{"cache_con\\u0074rol":{"type":"ephemeral"},"a":"1h"}', False),
        (b'{"cache_control":{"ttl":"1h"},"text":"\\"cache_control\\":{}"}', True),
    ],
)
def test_case_08_the_requests_only_lifetime_is_read_from_its_breakpoints(
    body: bytes, expected: bool
) -> None:
    """Every breakpoint names an hour, or it is not the only lifetime."""
    assert reading.asks_for_hours_only(body) is expected


def test_case_09_openais_cache_write_is_inside_the_input_at_one_and_a_quarter() -> None:
    """Input 4,020 of which 4,012 written: the vendor's own figure of that answer."""
    usage = from_chat({
        "prompt_tokens": 4020, "completion_tokens": 0,
        "prompt_tokens_details": {"cache_write_tokens": 4012},
    })  # fmt: skip
    price = Price("m", "v", Rates(5_000_000, 30_000_000, 500_000, 0, 0, 6_250_000))
    assert charge(usage, price) == 4012 * 6250 + 8 * 5000
    sold = model("gpt-5.6-sol").price
    assert charge(usage, sold) == 4012 * 2500 + 8 * 2000


@pytest.mark.parametrize(
    ("asked", "told", "paid", "flags"),
    [
        ("", "default", "", ()),
        ("priority", "priority", "priority", ()),
        ("priority", "fast", "priority", ()),
        ("priority", "default", "", ()),
        ("flex", "flex", "flex", ()),
        ("flex", "default", "", ()),
        ("", "flex", "flex", ()),
        ("", "priority", "", ("tier_not_asked",)),
        ("flex", "priority", "flex", ("tier_not_asked",)),
        ("priority", "ultrafast", "priority", ("tier_not_asked",)),
        ("", "scale", "", ("tier_unpriced",)),
        ("priority", "scale", "", ("tier_unpriced",)),
        ("flex", "scale", "flex", ("tier_unpriced",)),
        ("", "", "", ()),
        ("priority", "", "", ("tier_unreported",)),
        ("flex", "", "flex", ("tier_unreported",)),
    ],
)
def test_case_10_the_tier_that_served_is_billed(
    asked: str, told: str, paid: str, flags: tuple[str, ...]
) -> None:
    """By the answer's own word; a dearer one that nobody asked for is the operator's to pay."""
    slug = "gpt-6-astra"
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    found = read(slug, usage, asked=Terms(asked), tier=told)
    assert nanos(slug, found) == bill.chat_nanos(slug, usage, paid)
    assert found.flags == flags
    bound = Bound(1000, 100, asked=Terms(asked))
    assert nanos(slug, found) <= ceiling(bound, model(slug).price)


def test_case_11_flex_that_ran_at_the_ordinary_tier_costs_the_ordinary_price() -> None:
    """And the hold for it was made at the ordinary price."""
    price = model("gpt-5.5").price
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    found = read("gpt-5.5", usage, asked=Terms("flex"), tier="default")
    assert nanos("gpt-5.5", found) == 1000 * 2500 + 100 * 15_000
    assert ceiling(Bound(1000, 100, asked=Terms("flex")), price) == 1000 * 2500 + 100 * 15_000
    assert ceiling(Bound(1000, 100, asked=Terms("priority")), price) == 1000 * 6250 + 100 * 37_500


@pytest.mark.parametrize(
    ("asked", "told", "paid"),
    [
        ("priority", "priority", "priority"),
        ("priority", "", ""),
        ("flex", "", "flex"),
        ("", "", ""),
    ],
)
def test_case_11_what_is_estimated_is_charged_by_the_tier_that_the_chunks_name(
    asked: str, told: str, paid: str
) -> None:
    """No usage came; the tier did, or the cheaper of asked and ordinary holds."""
    report = reading.Report(Dialect.CHAT, None, None, "gpt-5.5", told)
    wanted = reading.Wanted(model("gpt-5.5"), Terms(asked), BOOK.find)
    found = reading.read(report, wanted, has_output=True)
    seen = Seen(True, False, found.usage, found.input_usage, 40, True, found.flags, found.blank)
    price = model("gpt-5.5").price
    ending = conclude(seen, Stop.CUT, price, input_tokens=100, limit=1000)
    usage = {"prompt_tokens": 100, "completion_tokens": 40}
    assert ending.charge_nanos == bill.chat_nanos("gpt-5.5", usage, paid)


def test_case_12_reasoning_is_inside_the_output() -> None:
    """It is shown and not added."""
    for usage in (from_chat(CHAT), from_responses(RESPONSES), from_messages(None, ANTHROPIC)):
        assert (usage.output, usage.reasoning) == (500, 400)
        assert sum(line.count for line in lines(usage, model("gpt-5.6-sol").price)) == 10_500


def test_case_13_rejected_predictions_are_paid_as_output() -> None:
    """They stand inside the completion, and stay there."""
    usage = from_chat({
        "prompt_tokens": 10, "completion_tokens": 90, "total_tokens": 100,
        "completion_tokens_details": {
            "accepted_prediction_tokens": 20, "rejected_prediction_tokens": 50},
    })  # fmt: skip
    assert usage == Usage(input=10, output=90)


@pytest.mark.recordings
def test_case_14_searches_are_lines_of_their_own() -> None:
    """Anthropic counts them inside its usage, Responses beside it; web fetches are free."""
    answer = recorded("anthropic", "anthropic-d344c919d046b98c.json")
    found = read("claude-sonnet-4-5", answer["usage"])
    assert bill_of("claude-sonnet-4-5", found)["searches"] == (1, 10_000_000_000)
    assert nanos("claude-sonnet-4-5", found) == bill.messages_nanos(
        "claude-sonnet-4-5", answer["usage"]
    )
    answer = recorded("responses", "responses-3e26556bd13231a5.json")
    usage = from_responses(answer["usage"], answer["tool_usage"])
    assert usage == Usage(
        input=8576 - 4418, cache_write_other=4418, output=52, reasoning=32, searches=1
    )
    price = model("gpt-5.6-sol").price
    assert charge(usage, price) == bill.responses_nanos("gpt-5.6-sol", answer["usage"], 1)


@pytest.mark.recordings
def test_case_14_every_recorded_response_converts_and_is_reckoned() -> None:
    """Whole answers and terminal events alike; three old ones report zeros, which is no report."""
    zeros = 0
    for one in recordings("responses"):
        if one.status != 200:
            continue
        if one.is_stream:
            events = [event.get("response") or {} for event in bill.payloads(one.body)]
            answer = next((event for event in reversed(events) if event.get("usage")), {})
        else:
            answer = json.loads(one.body)
        if not answer.get("usage"):
            continue
        usage = from_responses(answer["usage"], answer.get("tool_usage"))
        zeros += usage.input_total == 0
        assert usage.flags == (), one.file
        price = model("gpt-5.6-sol").price
        assert charge(usage, price) == bill.responses_nanos(
            "gpt-5.6-sol", answer["usage"], usage.searches
        )
    assert zeros < 4


@pytest.mark.parametrize(("read_tokens", "mode"), [(0, ""), (200_000, ""), (200_000, "flex")])
def test_case_15_the_long_price_begins_above_the_threshold_on_all_input(
    read_tokens: int, mode: str
) -> None:
    """Exactly 272,000 is short; one more moves every token, output too; cached input counts."""
    for total, above in ((272_000, False), (272_001, True)):
        usage = {
            "prompt_tokens": total, "completion_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": read_tokens},
        }  # fmt: skip
        found = read("gpt-5.5", usage, asked=Terms(mode), tier=mode or "default")
        assert nanos("gpt-5.5", found) == bill.chat_nanos("gpt-5.5", usage, mode)
        output = 22_500_000 if above else 15_000_000
        assert bill_of("gpt-5.5", found)["output"] == (10, output // 2 if mode else output)


def test_case_15_each_sampling_has_its_own_size() -> None:
    """Two of 60,000 are short where one of 120,000 is long; their lines do not mix."""
    entry = {"type": "message", "input_tokens": 60_000, "output_tokens": 1}
    usage = {"input_tokens": 120_000, "output_tokens": 2, "iterations": [entry, entry]}
    found = read("claude-haiku-5-5", usage)
    assert bill_of("claude-haiku-5-5", found)["input"] == (120_000, 35_000)
    longer = {"type": "message", "input_tokens": 100_001, "output_tokens": 1}
    usage = {"input_tokens": 160_001, "output_tokens": 2, "iterations": [entry, longer]}
    found = read("claude-haiku-5-5", usage)
    assert bill_of("claude-haiku-5-5", found) == {
        "input": (60_000, 35_000), "output": (1, 175_000),
        "long/input": (100_001, 175_000), "long/output": (1, 875_000),
    }  # fmt: skip
    assert nanos("claude-haiku-5-5", found) == bill.messages_nanos("claude-haiku-5-5", usage)


def test_case_22_a_name_that_is_not_in_the_book_has_no_price() -> None:
    """An alias leads to its row; anything else is refused before the call (see the flow test)."""
    assert model("gpt-5.5-2026-04-23").slug == "gpt-5.5"
    assert BOOK.find("gpt-5.5-2031-01-01") is None


@pytest.mark.parametrize("answered_by", ["claude-fable-5", "claude-opus-4-8"])
def test_case_23_a_fallback_is_billed_at_the_model_that_answered(answered_by: str) -> None:
    """The declined attempt said nothing and is free, whichever model the answer names on top."""
    usage = {
        "input_tokens": 412, "output_tokens": 264,
        "iterations": [
            {"type": "message", "model": "claude-fable-5", "input_tokens": 408, "output_tokens": 0},
            {"type": "fallback_message", "model": "claude-opus-4-8", "input_tokens": 412,
             "output_tokens": 264},
        ],
    }  # fmt: skip
    found = read("claude-fable-5", usage, answered_by=answered_by)
    assert bill_of("claude-fable-5", found) == {
        "claude-opus-4-8/input": (412, 1_750_000),
        "claude-opus-4-8/output": (264, 8_750_000),
    }
    assert "iterations_differ" not in found.flags
    usage["iterations"][0]["output_tokens"] = 7  # type: ignore[index]
    refused_late = read("claude-fable-5", usage, answered_by=answered_by)
    assert bill_of("claude-fable-5", refused_late)["output"] == (7, 17_500_000)


def test_case_23_a_fallbacks_earlier_turns_are_its_own() -> None:
    """A loop of the serving model has `message` entries under its name, before the last one."""
    turn = {"input_tokens": 100, "output_tokens": 10, "model": "claude-opus-4-8"}
    usage = {
        "input_tokens": 200, "output_tokens": 20,
        "iterations": [{"type": "message", **turn}, {"type": "fallback_message", **turn}],
    }  # fmt: skip
    found = read("claude-fable-5", usage, answered_by="claude-opus-4-8")
    assert bill_of("claude-fable-5", found) == {
        "claude-opus-4-8/input": (200, 1_750_000),
        "claude-opus-4-8/output": (20, 8_750_000),
    }


def test_case_23_another_model_on_top_is_billed_as_asked_and_flagged() -> None:
    """Nothing in the report says that the vendor bills it otherwise."""
    usage = {"input_tokens": 10, "output_tokens": 5}
    found = read("claude-opus-5-5", usage, answered_by="claude-haiku-4-5")
    assert nanos("claude-opus-5-5", found) == bill.messages_nanos("claude-opus-5-5", usage)
    assert found.flags == ("model_differs",)
    for own in ("claude-opus-5-5", "claude-opus-5-5-20261001", "somebody-elses-name"):
        assert read("claude-opus-5-5", usage, answered_by=own).flags == ()
    # One name may begin with another model's.
    assert read("claude-fable-5", usage, answered_by="claude-fable-5-2").flags == ("model_differs",)
    entries = [{"type": "message", **usage}, {"type": "fallback_message", **usage}]
    for made_by, name in (("claude-fable-5-20260601", "input"),
                          ("claude-fable-5-2", "claude-fable-5-2/input")):  # fmt: skip
        entries[1]["model"] = made_by
        found = read("claude-fable-5", {"input_tokens": 20, "output_tokens": 10,
                                        "iterations": entries})  # fmt: skip
        assert bill_of("claude-fable-5", found)[name][0] == (20 if name == "input" else 10)


@pytest.mark.parametrize("status", ["redeemed", {"type": "redeemed"}, {"type": "not_applied"}])
def test_case_24_a_redeemed_fallback_credit_moves_writes_to_the_read_price(status: Any) -> None:
    """Only if it was redeemed."""
    usage = {
        "input_tokens": 10, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 3000,
        "output_tokens": 5, "fallback_credit": {"status": status},
    }  # fmt: skip
    found = read("claude-opus-4-8", usage)
    redeemed = status in ("redeemed", {"type": "redeemed"})
    assert found.flags == (("fallback_credit",) if redeemed else ())
    made = bill_of("claude-opus-4-8", found)
    assert made["cache_read"] == (3020 if redeemed else 20, 175_000)
    assert nanos("claude-opus-4-8", found) == bill.messages_nanos("claude-opus-4-8", usage)


def test_case_26_several_answers_multiply_the_hold() -> None:
    """`n` times the output bound, input once."""

    def quoted(n: int) -> int:
        body = {"model": "gpt-4o-mini", "messages": [], "max_tokens": 100, "n": n}
        asked = request.read(Dialect.CHAT, json.dumps(body).encode())
        found = quoting.quote(asked, model("gpt-4o-mini"), HoldSettings(), clamp=True)
        assert found.bound.output_tokens == 100 * n
        return found.full_nanos

    assert quoted(3) - quoted(1) == 200 * model("gpt-4o-mini").price.base.output // 1000


def test_case_34_the_price_is_pinned_at_admission() -> None:
    """A book that changes while an answer runs changes neither its bill nor its version."""

    class Nobody:
        head_sent = gone = False

    dearer = book.load(PricingSettings(factor={"openai": "0.60"}))
    exchange = Exchange(Nobody(), Dialect.CHAT, "r", 0.0)  # type: ignore[arg-type]
    body = b'{"model":"gpt-4o-mini","messages":[]}'
    exchange.body, exchange.asked = body, request.read(Dialect.CHAT, body)
    exchange.model, exchange.book = model("gpt-4o-mini"), BOOK
    exchange.quote = quoting.quote(exchange.asked, exchange.model, HoldSettings(), clamp=True)
    held_at = forwarding.ask(exchange).price_version
    after = dearer.find("gpt-4o-mini")
    assert after is not None
    assert after.price.version != held_at
    wanted = reading.wanted(exchange)
    found = wanted.find("gpt-4o-mini")
    assert found is not None
    assert wanted.model.price.version == found.price.version == held_at
    usage = from_chat({"prompt_tokens": 1000, "completion_tokens": 10})
    seen = Seen(True, True, usage, None, 0, True)
    ending = conclude(seen, Stop.ENDED, exchange.model.price, input_tokens=1, limit=100)
    assert ending.charge_nanos == charge(usage, model("gpt-4o-mini").price)


@pytest.mark.parametrize(
    ("asked", "served", "paid", "flags"),
    [
        ("us", "us", "us", ()),
        ("us", "global", "", ()),
        ("us", None, "", ("tier_unreported",)),
        ("", "us", "", ("tier_not_asked",)),
        ("", "global", "", ()),
        ("", "not_available", "", ()),
        ("", None, "", ()),
    ],
)
def test_case_35_inference_in_the_us_costs_a_tenth_more_on_every_token(
    asked: str, served: str | None, paid: str, flags: tuple[str, ...]
) -> None:
    """On reads, writes and output, not on searches; beside a speed it multiplies its price."""
    counts = {
        "input_tokens": 1000, "cache_read_input_tokens": 700, "cache_creation_input_tokens": 300,
        "output_tokens": 50, "server_tool_use": {"web_search_requests": 2},
    }  # fmt: skip
    start = {"input_tokens": 1000, "inference_geo": served, "speed": "fast"}
    found = read("claude-opus-5-5", counts, start=start, asked=Terms("fast", asked))
    assert found.flags == flags
    assert nanos("claude-opus-5-5", found) == bill.messages_nanos(
        "claude-opus-5-5", counts, mode="fast", geo=paid
    )
    assert bill_of("claude-opus-5-5", found)["searches"] == (2, 10_000_000_000)
    assert bill_of("claude-opus-5-5", found)["input"][1] == (3_080_000 if paid else 2_800_000)


def test_case_35_every_sampling_costs_by_what_served() -> None:
    """Speed and place hold for each entry, at its own model's prices for them."""
    usage = {
        "input_tokens": 1000, "output_tokens": 50,
        "iterations": [
            {"type": "message", "input_tokens": 1000, "output_tokens": 50},
            {"type": "advisor_message", "model": "claude-sonnet-5", "input_tokens": 10,
             "output_tokens": 20},
        ],
    }  # fmt: skip
    start = {"input_tokens": 1000, "inference_geo": "us", "speed": "fast"}
    found = read("claude-opus-4-8", usage, start=start, asked=Terms("fast", "us"))
    assert bill_of("claude-opus-4-8", found) == {
        "input": (1000, 3_850_000), "output": (50, 19_250_000),
        "claude-sonnet-5/input": (10, 770_000), "claude-sonnet-5/output": (20, 3_850_000),
    }  # fmt: skip


def test_case_35_a_stream_that_is_cut_costs_by_what_served() -> None:
    """`message_start` names speed and place; the output is counted."""
    start = {"input_tokens": 1000, "inference_geo": "us", "speed": "fast", "output_tokens": 1}
    report = reading.Report(Dialect.MESSAGES, start, None, "claude-opus-5-5", "")
    wanted = reading.Wanted(model("claude-opus-5-5"), Terms("fast", "us"), BOOK.find)
    found = reading.read(report, wanted, has_output=True)
    seen = Seen(True, False, found.usage, found.input_usage, 40, True, found.flags, found.blank)
    price = model("claude-opus-5-5").price
    ending = conclude(seen, Stop.CUT, price, input_tokens=9, limit=1000)
    assert ending.source == "counted"
    assert ending.charge_nanos == bill.messages_nanos(
        "claude-opus-5-5", {**start, "output_tokens": 40}, mode="fast", geo="us"
    )


@pytest.mark.parametrize("mode", ["", "fast"])
@pytest.mark.parametrize("geo", ["", "us"])
def test_case_35_the_hold_covers_the_ordinary_speed_in_the_asked_place(mode: str, geo: str) -> None:
    """And the asked one: whichever of them serves."""
    price = model("claude-opus-5-5").price
    held = ceiling(Bound(1000, 100, asked=Terms(mode, geo)), price)
    charges = [
        charge(Usage(input=1000, output=100, terms=Terms(*paid)), price)
        for paid in ((mode, geo), ("", geo), (mode, ""), ("", ""))
    ]
    assert held == max(charges)
    flex = model("gpt-5.5").price
    priced = msgspec.structs.replace(flex, geos={"us": 110})
    cheap = ceiling(Bound(1000, 100, asked=Terms("flex", "us")), priced)
    assert cheap == charge(Usage(input=1000, output=100, terms=Terms("", "us")), priced)


def test_case_37_a_refusal_without_output_is_free_and_one_with_output_is_not() -> None:
    """Status 200, no content: the vendor bills nothing, and nothing is passed on."""
    price = model("claude-opus-4-7").price
    usage = from_messages({"input_tokens": 20, "output_tokens": 1}, {"output_tokens": 0})
    seen = Seen(True, True, usage, None, 0, False)
    ending = conclude(seen, Stop.ENDED, price, input_tokens=5, limit=100)
    assert (ending.outcome, ending.charge_nanos) == ("zero_completion", 0)
    late = Seen(True, True, Usage(input=20, output=5), None, 5, True)
    assert conclude(late, Stop.ENDED, price, input_tokens=5, limit=100).charge_nanos > 0


def test_case_38_embeddings_are_input_alone() -> None:
    """At the endpoint's own price line; a reported total that is another is flagged."""
    usage = from_embeddings({"prompt_tokens": 8, "total_tokens": 8})
    assert usage == Usage(input=8)
    assert charge(usage, model("text-embedding-3-small").price) == 80
    odd = from_embeddings({"prompt_tokens": 8, "total_tokens": 9, "images": 3})
    assert (odd.input, odd.flags) == (8, ("usage_unknown", "total_differs"))


def test_all_41_cases_have_a_test() -> None:
    """Here or in the flow tests: exactly 01 to 41."""
    root = Path(__file__).parents[2]
    found = set()
    for path in (Path(__file__), root / "flow" / "test_billing_cases.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                number = re.match(r"test_case_(\d\d)_[a-z]", node.name)
                found |= {int(number[1])} if number else set()
    assert found == set(range(1, 42))
