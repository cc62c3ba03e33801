"""Outcome and charge of every kind of ending, as a table."""

import pytest

from corvus_proxy.gateway.ending import (
    Seen,
    Stop,
    conclude,
    counts_other_turns,
    final_usage,
    output_at_least,
)  # fmt: skip
from corvus_proxy.money.pricing import Price, Rates, charge
from corvus_proxy.money.usage import Part, Usage
from corvus_proxy.wire.dialect import Dialect

PRICE = Price("m", "v", Rates(1_000_000, 10_000_000, 100_000, 1_250_000, 2_000_000, 1_000_000))
MUTE = Usage(input=100)
TRUE = Usage(input=100, output=50)
STARTED = Usage(input=80)


def seen(
    *, started: bool = True, complete: bool = False, usage: Usage | None = None,
    reported: Usage | None = None, counted: int = 7, output: bool = True,
) -> Seen:  # fmt: skip
    return Seen(started, complete, usage, reported, counted, output)


@pytest.mark.parametrize(
    ("found", "stop", "outcome", "source", "usage"),
    [
        (seen(complete=True, usage=TRUE), Stop.ENDED, "completed", "upstream", TRUE),
        # It went ahead of the terminal event; the usage came while the upstream was read on.
        (seen(complete=True, usage=TRUE), Stop.CLIENT_GONE, "client_cancelled_midstream",
         "upstream", TRUE),
        (seen(complete=True), Stop.ENDED, "usage_missing", "estimated", Usage(33, output=7)),
        (seen(complete=True, reported=STARTED), Stop.ENDED, "usage_missing", "counted",
         Usage(80, output=7)),
        (seen(complete=True, usage=Usage(100), output=False), Stop.ENDED, "zero_completion",
         "upstream", Usage()),
        (seen(complete=True, output=False), Stop.ENDED, "zero_completion", "upstream", Usage()),
        # Reasoning that used up its limit says nothing and is billed all the same.
        (seen(complete=True, usage=TRUE, output=False), Stop.ENDED, "completed", "upstream", TRUE),
        (seen(reported=STARTED), Stop.CUT, "upstream_cut_midstream", "counted",
         Usage(80, output=7)),
        (seen(), Stop.CUT, "upstream_cut_midstream", "estimated", Usage(33, output=7)),
        (seen(usage=TRUE), Stop.CUT, "upstream_cut_midstream", "upstream", TRUE),
        (seen(output=False), Stop.CUT, "upstream_error_before_first_byte", "upstream", Usage()),
        (seen(output=False, reported=STARTED), Stop.TIMED_OUT, "gateway_timeout", "upstream",
         Usage()),
        # Samplings that a start names are no bill of what came behind it.
        (seen(reported=Usage(80, parts=(Part(Usage(80, output=1)),))), Stop.CUT,
         "upstream_cut_midstream", "counted", Usage(80, output=7)),
        # Our doing, or the client's: the input that was accepted is paid for.
        (seen(output=False, reported=STARTED, counted=0), Stop.OUT_OF_BALANCE,
         "out_of_balance_midstream", "counted", STARTED),
        (seen(), Stop.ENDED, "upstream_cut_midstream", "estimated", Usage(33, output=7)),
        (seen(started=False, output=False), Stop.CUT, "upstream_error_before_first_byte",
         "upstream", Usage()),
        (seen(started=False, output=False), Stop.CLIENT_GONE,
         "client_cancelled_before_first_byte", "upstream", Usage()),
        (seen(reported=STARTED, output=False, counted=0), Stop.CLIENT_GONE,
         "client_cancelled_before_first_byte", "counted", Usage(80)),
        (seen(reported=STARTED), Stop.CLIENT_GONE, "client_cancelled_midstream", "counted",
         Usage(80, output=7)),
        (seen(reported=Usage()), Stop.CLIENT_GONE, "client_cancelled_midstream", "estimated",
         Usage(33, output=7)),
        (seen(reported=STARTED), Stop.OUT_OF_BALANCE, "out_of_balance_midstream", "counted",
         Usage(80, output=7)),
        (seen(), Stop.TIMED_OUT, "gateway_timeout", "estimated", Usage(33, output=7)),
        (seen(), Stop.CLIENT_STALLED, "slow_reader_timeout", "estimated", Usage(33, output=7)),
        (seen(), Stop.CAP_REACHED, "cap_reached_midstream", "estimated", Usage(33, output=7)),
        (seen(), Stop.KEY_DISABLED, "key_disabled_midstream", "estimated", Usage(33, output=7)),
        (seen(), Stop.SHUTDOWN, "gateway_shutdown", "estimated", Usage(33, output=7)),
        # The chunk that was withheld may hold the terminal event: the client does not have it.
        (seen(complete=True, usage=TRUE), Stop.LEDGER_AWAY, "ledger_unavailable_midstream",
         "upstream", TRUE),
        (seen(), Stop.LEDGER_AWAY, "ledger_unavailable_midstream", "estimated",
         Usage(33, output=7)),
    ],
)  # fmt: skip
def test_ending(found: Seen, stop: Stop, outcome: str, source: str, usage: Usage) -> None:
    """Outcome, source, usage; the charge is the usage at the pinned price."""
    ending = conclude(found, stop, PRICE, input_tokens=33, limit=1000)
    assert (ending.outcome, ending.source, ending.usage) == (outcome, source, usage)
    assert ending.charge_nanos == charge(usage, PRICE)
    told = outcome not in (
        "completed",
        "usage_missing",
        "zero_completion",
        "client_cancelled_before_first_byte",
        "client_cancelled_midstream",
    )
    assert (ending.error is not None) == told


@pytest.mark.parametrize("stop", [Stop.ENDED, Stop.CLIENT_GONE, Stop.SHUTDOWN])
@pytest.mark.parametrize("output", [0, 3])
def test_a_refusal_that_the_vendor_does_not_bill_is_free_whoever_went(
    stop: Stop, output: int
) -> None:
    """Anthropic bills no refusal without output; behind some output it does."""
    usage = Usage(100, output=output)
    found = seen(complete=True, usage=usage, output=output > 0)._replace(refusal="refusal")
    ending = conclude(found, stop, PRICE, input_tokens=33, limit=1000)
    assert ending.charge_nanos == (charge(usage, PRICE) if output else 0)
    assert ending.billed == (usage if output else Usage())


def believed(
    output: int, most: int | None, *, reasoning: int = 0, silent: bool = False, counted: int = 0,
    complete: bool = True, limit: int = 5000,
) -> tuple[str, int, tuple[str, ...]]:  # fmt: skip
    """Outcome, output charged and flags of an answer that reports `output`."""
    found = Seen(True, complete, Usage(input=9, output=output, reasoning=reasoning), None, counted,
                 True, output_at_most=most, silent=silent)  # fmt: skip
    ending = conclude(found, Stop.ENDED, PRICE, input_tokens=1, limit=limit)
    assert ending.billed == found.usage
    return ending.outcome, ending.usage.output, ending.flags


def test_a_usage_that_contradicts_its_text_is_alarmed_and_lowered_to_the_limit() -> None:
    """Four times the most that the text can have, and 256 for what no text shows; never where
    reasoning is silent and not counted, or where other turns are counted, too."""
    above = ("usage_contradiction", 657, ("usage_above_text",))
    assert believed(656, 100) == ("completed", 656, ())
    assert believed(657, 100) == above
    assert believed(756, 100, reasoning=100) == ("completed", 756, ())
    assert believed(900, 100, reasoning=100) == ("usage_contradiction", 900, above[2])
    assert believed(4000, 100, silent=True) == ("completed", 4000, ())
    assert believed(4000, 100, silent=True, reasoning=10)[0] == "usage_contradiction"
    assert believed(4000, None) == ("completed", 4000, ())
    lowered = ("usage_above_text", "usage_lowered")
    assert believed(6000, 100) == ("usage_contradiction", 5000, lowered)
    assert believed(6000, 100, silent=True) == ("completed", 6000, ())
    assert believed(9, 100, counted=10) == ("usage_contradiction", 9, ("usage_below_text",))
    assert believed(10, 100, counted=10) == ("completed", 10, ())


def test_a_contradiction_does_not_hide_how_an_answer_ended() -> None:
    """One that was cut stays cut: the flag alone tells."""
    outcome, output, flags = believed(900, 10, complete=False, counted=2)
    assert (outcome, output, flags) == ("upstream_cut_midstream", 900, ("usage_above_text",))


@pytest.mark.parametrize(
    ("reason", "reported", "output", "charged", "billed"),
    [
        ("refusal", TRUE, True, TRUE, TRUE),
        ("refusal", TRUE, False, TRUE, TRUE),
        ("refusal", MUTE, False, Usage(), Usage()),
        ("content_filter", MUTE, False, Usage(), MUTE),
    ],
)
def test_a_refusal_is_charged_by_usage_and_free_without_output(
    reason: str, reported: Usage, output: bool, charged: Usage, billed: Usage
) -> None:
    """Anthropic bills no refusal ahead of its output; a filter's input is the operator's. Output
    that is reported and not shown is output."""
    found = Seen(True, True, reported, None, 7, output, refusal=reason)
    ending = conclude(found, Stop.ENDED, PRICE, input_tokens=1, limit=100)
    assert ending.outcome == "content_refusal"
    assert (ending.usage, ending.billed) == (charged, billed)
    assert ending.charge_nanos == charge(charged, PRICE)


def test_what_counts_other_turns_is_not_compared() -> None:
    """Compaction, advisors and server tools are in the usage and not in the text."""
    assert counts_other_turns({"iterations": [{"type": "message"}]})
    assert counts_other_turns({"server_tool_use": {"web_search_requests": 1}})
    assert not counts_other_turns({"server_tool_use": {"web_search_requests": 0}})
    assert not counts_other_turns({"iterations": None, "output_tokens": 5})
    assert not counts_other_turns(None)


def test_no_estimate_passes_the_limit_and_no_output_is_not_an_empty_answer() -> None:
    """The client's own limit bounds the count; a prewarm without output is billed as reported."""
    ending = conclude(seen(counted=5000), Stop.CUT, PRICE, input_tokens=1, limit=10)
    assert ending.usage.output == 10
    warm = seen(complete=True, usage=Usage(cache_write_5m=900), output=False, counted=0)
    ending = conclude(warm, Stop.ENDED, PRICE, input_tokens=1, limit=0)
    assert (ending.outcome, ending.usage.cache_write_5m) == ("completed", 900)


@pytest.mark.parametrize(
    ("raw", "has_output", "flags", "missing"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2}, True, (), False),
        ({"prompt_tokens": 0, "completion_tokens": 0}, True, ("usage_zero",), True),
        ({"prompt_tokens": 0, "completion_tokens": 3}, False, ("usage_zero",), True),
        ({"prompt_tokens": -1, "completion_tokens": 3}, True, ("usage_invalid",), True),
        (None, True, (), True),
    ],
)
def test_usage_that_cannot_be_true_is_missing(
    raw: dict[str, int] | None, has_output: bool, flags: tuple[str, ...], missing: bool
) -> None:
    """All zeros beside an answer, or nonsense: estimated and flagged, never free."""
    usage, told = final_usage(Dialect.CHAT, None, raw, has_output=has_output)
    assert (usage is None, told) == (missing, flags)


def test_the_meter_that_charges_counts_down() -> None:
    """One token a chat delta; on messages the bytes where they say more."""
    assert output_at_least(Dialect.CHAT, 3, 9000) == 3
    assert output_at_least(Dialect.MESSAGES, 3, 80) == 10
    assert output_at_least(Dialect.MESSAGES, 30, 80) == 30
