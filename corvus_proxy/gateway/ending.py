"""How a request ended, and what is charged for it. Pure; the table of abnormal ends in
docs/money.md.

The customer pays for input that an upstream accepted and for output that reached the gateway before
it stopped asking for it: by the upstream's usage if it came, else by our meter rounded down.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec.structs import replace

from corvus_proxy.errors import OutOfBalance, RequestError, UpstreamTimeout, UpstreamUnavailable
from corvus_proxy.gateway.exchange import Ending
from corvus_proxy.money.pricing import Price, charge
from corvus_proxy.money.usage import Usage, UsageInvalid, from_chat, from_messages
from corvus_proxy.wire.dialect import Dialect

BYTES_PER_TOKEN_AT_LEAST = 8
"""No tokenizer's mean over real text is higher, so bytes / 8 never counts a token too many."""


class Stop(StrEnum):
    """Why the relay stopped reading the upstream."""

    ENDED = "ended"
    """The body ended cleanly."""
    CUT = "cut"
    TIMED_OUT = "timed_out"
    CLIENT_GONE = "client_gone"
    CLIENT_STALLED = "client_stalled"
    OUT_OF_BALANCE = "out_of_balance"
    LEDGER_AWAY = "ledger_away"


class Seen(NamedTuple):
    """What passed of an answer, from our meter and from the upstream's own words."""

    started: bool
    """The upstream began the answer: it has accepted the input."""
    complete: bool
    """The dialect's terminal event came, or a whole JSON body."""
    usage: Usage | None
    """The final usage; None where none came or it cannot be true."""
    input_usage: Usage | None
    """Input reported ahead of the final usage (`message_start`)."""
    counted_output: int
    """Output tokens by our meter, rounded down."""
    has_output: bool
    flags: tuple[str, ...] = ()
    blank: Usage = Usage()
    """No counts, at the terms that an estimate is charged by."""


def output_at_least(dialect: Dialect, deltas: int, text_bytes: int) -> int:
    """Tokens that the seen output surely has.

    A chat delta carries one token or more. Messages deltas carry several; there the bytes decide
    where they say more.
    """
    if dialect is Dialect.CHAT:
        return deltas
    return max(deltas, text_bytes // BYTES_PER_TOKEN_AT_LEAST)


def final_usage(
    dialect: Dialect,
    start: Mapping[str, Any] | None,
    last: Mapping[str, Any] | None,
    *,
    has_output: bool,
    hour_only: bool = False,
) -> tuple[Usage | None, tuple[str, ...]]:
    """The usage that an answer's own counts give, and flags about counts that cannot be true.

    A served answer has input; all-zero input beside output is treated as no report at all.
    """
    if last is None:
        return None, ()
    try:
        if dialect is Dialect.MESSAGES:
            usage = from_messages(start, last, hour_only=hour_only)
        else:
            usage = from_chat(last)
    except UsageInvalid:
        return None, ("usage_invalid",)
    if usage.input_total == 0 and (has_output or usage.output):
        return None, ("usage_zero",)
    return usage, usage.flags


def conclude(seen: Seen, stop: Stop, price: Price, *, input_tokens: int, limit: int) -> Ending:
    """Outcome, usage and charge of an answer that had begun.

    `input_tokens` is the estimate for input that nobody reported, `limit` the output limit that no
    estimate may pass (0: no output was asked for).
    """
    outcome, error = _outcome(seen, stop)
    if outcome == "completed" and _is_empty(seen) and limit:
        return Ending("zero_completion", Usage(), "upstream", 0, flags=seen.flags)
    if seen.usage is not None:
        return _ending(outcome, seen.usage, "upstream", price, error, seen.flags)
    if not seen.started:
        return Ending(outcome, Usage(), "counted", 0, error, seen.flags)
    if not seen.has_output and stop is not Stop.CLIENT_GONE:
        return Ending(outcome, Usage(), "counted", 0, error, seen.flags)
    if outcome == "completed":
        outcome = "usage_missing"
    counted = min(seen.counted_output, limit)
    if seen.input_usage is not None and seen.input_usage.input_total:
        usage = _with_output(seen.input_usage, counted)
        return _ending(outcome, usage, "counted", price, error, seen.flags)
    usage = replace(seen.blank, input=input_tokens, output=counted)
    return _ending(outcome, usage, "estimated", price, error, seen.flags)


def _is_empty(seen: Seen) -> bool:
    return not seen.has_output and (seen.usage is None or seen.usage.output == 0)


def _outcome(seen: Seen, stop: Stop) -> tuple[str, RequestError | None]:
    if seen.complete and stop is not Stop.OUT_OF_BALANCE:
        return "completed", None  # a client that closes after the terminal event has had it all
    match stop:
        case Stop.CLIENT_GONE:
            early = not seen.has_output
            return f"client_cancelled_{'before_first_byte' if early else 'midstream'}", None
        case Stop.CLIENT_STALLED:
            return "slow_reader_timeout", None
        case Stop.OUT_OF_BALANCE:
            return "out_of_balance_midstream", OutOfBalance(
                "Out of balance: the answer was ended where the balance of this key ended."
            )
        case Stop.LEDGER_AWAY:
            return "ledger_unavailable_midstream", UpstreamUnavailable(
                "The answer was ended: the ledger did not answer in time."
            )
        case Stop.TIMED_OUT:
            return "gateway_timeout", UpstreamTimeout(
                "The upstream fell silent; the answer is incomplete."
            )
        case _:
            return "upstream_cut_midstream", UpstreamUnavailable(
                "The upstream ended the answer before it was complete."
            )


def _with_output(usage: Usage, output: int) -> Usage:
    return replace(usage, output=output, searches=0, reasoning=0)


def _ending(
    outcome: str,
    usage: Usage,
    source: str,
    price: Price,
    error: RequestError | None,
    flags: tuple[str, ...],
) -> Ending:
    return Ending(outcome, usage, source, charge(usage, price), error, flags)
