"""Outcome and charge of every kind of ending, as a table."""

import pytest

from corvus_proxy.gateway.ending import (
    Seen,
    Stop,
    conclude,
    final_usage,
    output_at_least,
)  # fmt: skip
from corvus_proxy.money.pricing import Price, Rates, charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.wire.dialect import Dialect

PRICE = Price("m", "v", Rates(1_000_000, 10_000_000, 100_000, 1_250_000, 2_000_000, 1_000_000))
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
        (seen(complete=True, usage=TRUE), Stop.CLIENT_GONE, "completed", "upstream", TRUE),
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
        (seen(output=False), Stop.CUT, "upstream_cut_midstream", "counted", Usage()),
        (seen(), Stop.ENDED, "upstream_cut_midstream", "estimated", Usage(33, output=7)),
        (seen(started=False, output=False), Stop.CUT, "upstream_cut_midstream", "counted",
         Usage()),
        (seen(started=False, output=False), Stop.CLIENT_GONE,
         "client_cancelled_before_first_byte", "counted", Usage()),
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
        (seen(), Stop.LEDGER_AWAY, "ledger_unavailable_midstream", "estimated",
         Usage(33, output=7)),
    ],
)  # fmt: skip
def test_ending(found: Seen, stop: Stop, outcome: str, source: str, usage: Usage) -> None:
    """Outcome, source, usage; the charge is the usage at the pinned price."""
    ending = conclude(found, stop, PRICE, input_tokens=33, limit=1000)
    assert (ending.outcome, ending.source, ending.usage) == (outcome, source, usage)
    assert ending.charge_nanos == charge(usage, PRICE)
    told = stop in (Stop.CUT, Stop.TIMED_OUT, Stop.OUT_OF_BALANCE, Stop.LEDGER_AWAY) or (
        stop is Stop.ENDED and not found.complete
    )
    assert (ending.error is not None) == told


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
