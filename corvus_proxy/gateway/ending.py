"""How a request ended, and what is charged for it. Pure; the table is `money.outcome`.

The customer pays for input that an upstream accepted and for output that reached the gateway before
it stopped asking for it: by the upstream's usage if it came, else by our meter rounded down.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec.structs import replace

from corvus_proxy.errors import (
    CapReached,
    GatewayStopping,
    KeyDisabled,
    LedgerUnavailable,
    OutOfBalance,
    RequestError,
    SlowReader,
    UpstreamCut,
    UpstreamTimeout,
)
from corvus_proxy.gateway.exchange import Ending
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.money.pricing import Price, charge
from corvus_proxy.money.usage import (
    Usage,
    UsageInvalid,
    from_chat,
    from_embeddings,
    from_messages,
    from_responses,
)
from corvus_proxy.settings import HoldSettings
from corvus_proxy.wire.dialect import Dialect

BYTES_PER_TOKEN_AT_LEAST = 8
"""No tokenizer's mean over real text is higher, so bytes / 8 never counts a token too many."""
CONTRADICTION_FACTOR = 4
"""Reported output above this multiple of what our meter allows at most cannot be true …"""
CONTRADICTION_TOKENS = 256
"""… nor explained by what no text shows: a tool call's frame, a stop sequence, a hidden turn."""
CONTRADICTIONS = frozenset({"usage_above_text", "usage_below_text"})
REFUSALS = frozenset({"refusal", "content_filter", "sensitive"})
"""Stop reasons of Anthropic, OpenAI and Z.AI that say no. Anthropic bills nothing for a refusal
without output (release notes, 2026); the others bill what they report."""


class Stop(StrEnum):
    """Why the relay stopped reading the upstream."""

    ENDED = "ended"
    """The body ended cleanly."""
    CUT = "cut"
    TIMED_OUT = "timed_out"
    CLIENT_GONE = "client_gone"
    """Before the terminal event: who closes after it has had it all."""
    CLIENT_STALLED = "client_stalled"
    OUT_OF_BALANCE = "out_of_balance"
    CAP_REACHED = "cap_reached"
    KEY_DISABLED = "key_disabled"
    LEDGER_AWAY = "ledger_away"
    SHUTDOWN = "shutdown"


_UPSTREAMS_OWN = (Stop.ENDED, Stop.CUT, Stop.TIMED_OUT)
"""The upstream's doing: what has no output then is free."""
_ENDS: dict[Stop, tuple[Outcome, type[RequestError], str]] = {
    Stop.ENDED: (
        Outcome.UPSTREAM_CUT,
        UpstreamCut,
        "The upstream ended the answer before it was complete.",
    ),
    Stop.TIMED_OUT: (
        Outcome.GATEWAY_TIMEOUT,
        UpstreamTimeout,
        "The upstream fell silent or took too long; the answer is incomplete.",
    ),
    Stop.CLIENT_STALLED: (
        Outcome.SLOW_READER,
        SlowReader,
        "The answer was ended: it was not read for too long.",
    ),
    Stop.OUT_OF_BALANCE: (
        Outcome.OUT_OF_BALANCE,
        OutOfBalance,
        "Out of balance: the answer was ended where the balance of this key ended.",
    ),
    Stop.CAP_REACHED: (
        Outcome.CAP_REACHED,
        CapReached,
        "The answer was ended where the cap of this key ended.",
    ),
    Stop.KEY_DISABLED: (
        Outcome.KEY_DISABLED,
        KeyDisabled,
        "The answer was ended: this key was frozen or revoked meanwhile.",
    ),
    Stop.LEDGER_AWAY: (
        Outcome.LEDGER_UNAVAILABLE,
        LedgerUnavailable,
        "The answer was ended: the ledger did not answer in time.",
    ),
    Stop.SHUTDOWN: (
        Outcome.GATEWAY_SHUTDOWN,
        GatewayStopping,
        "The answer was ended: this gateway process had to stop.",
    ),
}


class Seen(NamedTuple):
    """What passed of an answer, from our meter and from the upstream's own words."""

    started: bool
    """The upstream began the answer: it has accepted the input."""
    complete: bool
    """The dialect's terminal event came, and no error before it; or a whole JSON body."""
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
    output_at_most: int | None = None
    """Output tokens that the text seen can have at most; None where the usage counts other turns,
    too, and is not to be compared with the text."""
    silent: bool = False
    """Reasoning that nobody sees may be part of the output."""
    refusal: str = ""
    """The stop reason, where it says that the model or a filter refuses (`REFUSALS`)."""


def output_at_least(dialect: Dialect, deltas: int, text_bytes: int) -> int:
    """Tokens that the seen output surely has.

    A chat delta carries one token or more. Messages deltas carry several; there the bytes decide
    where they say more.
    """
    if dialect is Dialect.CHAT:
        return deltas
    return max(deltas, text_bytes // BYTES_PER_TOKEN_AT_LEAST)


def text_at_most(letters: int, symbols: int, non_ascii: int, factors: HoldSettings) -> int:
    """Tokens that a text of so many bytes by class cannot exceed."""
    return (
        letters * 100 // factors.letters_per_100_tokens
        + symbols * 100 // factors.symbols_per_100_tokens
        + non_ascii * 100 // factors.non_ascii_per_100_tokens
    )


def bytes_per_100_tokens_at_least(factors: HoldSettings) -> int:
    """So many bytes of generated text, each delta counted as one more, make at most 100 tokens by
    `text_at_most` or by counting deltas."""
    return min(
        100,
        factors.letters_per_100_tokens,
        factors.symbols_per_100_tokens,
        factors.non_ascii_per_100_tokens,
    )


def final_usage(
    dialect: Dialect,
    start: Mapping[str, Any] | None,
    last: Mapping[str, Any] | None,
    *,
    tools: Mapping[str, Any] | None = None,
    has_output: bool,
    hour_only: bool = False,
) -> tuple[Usage | None, tuple[str, ...]]:
    """The usage that an answer's own counts give, and flags about counts that cannot be true.

    `tools` is a response's `tool_usage`. A served answer has input; all-zero input beside output is
    treated as no report at all.
    """
    if last is None:
        return None, ()
    try:
        match dialect:
            case Dialect.MESSAGES:
                usage = from_messages(start, last, hour_only=hour_only)
            case Dialect.RESPONSES:
                usage = from_responses(last, tools)
            case Dialect.EMBEDDINGS:
                usage = from_embeddings(last)
            case _:
                usage = from_chat(last)
    except UsageInvalid:
        return None, ("usage_invalid",)
    if usage.input_total == 0 and (has_output or usage.output):
        return None, ("usage_zero",)
    return usage, usage.flags


def counts_other_turns(last: Mapping[str, Any] | None) -> bool:
    """Whether a usage object counts more than the text that its answer shows."""
    if not last:
        return False
    tools = last.get("server_tool_use")
    return bool(last.get("iterations")) or (isinstance(tools, Mapping) and any(tools.values()))


def conclude(seen: Seen, stop: Stop, price: Price, *, input_tokens: int, limit: int) -> Ending:
    """Outcome, usage and charge of an answer that had begun.

    `input_tokens` is the estimate for input that nobody reported, `limit` the output limit that no
    estimate may pass (0: no output was asked for).
    """
    outcome, error = _outcome(seen, stop)
    if _is_free(seen, outcome, stop, limit):
        return _free(seen, outcome, error, input_tokens)
    if seen.usage is not None:
        usage, flags = _believed(seen, seen.usage, limit)
        if outcome is Outcome.COMPLETED and CONTRADICTIONS.intersection(flags):
            outcome = Outcome.USAGE_CONTRADICTION
        return Ending(
            outcome, usage, "upstream", charge(usage, price), error, flags, billed=seen.usage
        )
    if outcome is Outcome.COMPLETED:
        outcome = Outcome.USAGE_MISSING
    usage, source = _metered(seen, input_tokens, limit)
    return Ending(outcome, usage, source, charge(usage, price), error, seen.flags)


def _outcome(seen: Seen, stop: Stop) -> tuple[Outcome, RequestError | None]:
    if seen.complete and stop in _UPSTREAMS_OWN:
        return Outcome.CONTENT_REFUSAL if seen.refusal else Outcome.COMPLETED, None
    if stop is Stop.CLIENT_GONE:
        return Outcome.CANCELLED if seen.has_output else Outcome.CANCELLED_EARLY, None
    outcome, kind, message = _ENDS[Stop.ENDED if stop is Stop.CUT else stop]
    if outcome is Outcome.UPSTREAM_CUT and not seen.has_output:
        outcome = Outcome.UPSTREAM_ERROR
    return outcome, kind(message)


def _is_free(seen: Seen, outcome: Outcome, stop: Stop, limit: int) -> bool:
    """Whether nothing is charged: no output came, through no doing of ours or the client's."""
    if not seen.started or _is_unbilled_refusal(seen):
        return True
    if seen.has_output or stop not in _UPSTREAMS_OWN:
        return False
    if outcome not in (Outcome.COMPLETED, Outcome.CONTENT_REFUSAL):
        return True
    return limit > 0 and (seen.usage is None or seen.usage.output == 0)


def _is_unbilled_refusal(seen: Seen) -> bool:
    """Anthropic's refusal without output, whoever went meanwhile."""
    silent = not seen.has_output and (seen.usage is None or seen.usage.output == 0)
    return silent and seen.refusal == "refusal"


def _free(seen: Seen, outcome: Outcome, error: RequestError | None, input_tokens: int) -> Ending:
    if outcome is Outcome.COMPLETED:
        outcome = Outcome.ZERO_COMPLETION
    billed = Usage()
    if seen.started and not _is_unbilled_refusal(seen):
        billed = seen.usage or seen.input_usage or replace(seen.blank, input=input_tokens)
    return Ending(outcome, Usage(), "upstream", 0, error, seen.flags, billed=billed)


def _metered(seen: Seen, input_tokens: int, limit: int) -> tuple[Usage, str]:
    """What is charged where no usage came, and how sure that is."""
    counted = min(seen.counted_output, limit)
    if seen.input_usage is not None and seen.input_usage.input_total:
        return _with_output(seen.input_usage, counted), "counted"
    return replace(seen.blank, input=input_tokens, output=counted), "estimated"


def _believed(seen: Seen, usage: Usage, limit: int) -> tuple[Usage, tuple[str, ...]]:
    """The usage that is charged, and flags.

    Where the text contradicts the output that is reported, an alarm goes off; the customer pays
    what is reported, but no more output than the limit that the upstream was given.
    """
    flags, most = seen.flags, seen.output_at_most
    if most is None:
        return usage, flags
    if seen.complete and usage.output < seen.counted_output:
        return usage, (*flags, "usage_below_text")
    if seen.silent and usage.reasoning == 0:
        return usage, flags
    if usage.output - usage.reasoning <= CONTRADICTION_FACTOR * most + CONTRADICTION_TOKENS:
        return usage, flags
    flags = (*flags, "usage_above_text")
    if usage.output <= limit:
        return usage, flags
    return replace(usage, output=limit), (*flags, "usage_lowered")


def _with_output(usage: Usage, output: int) -> Usage:
    """What came so far: the samplings that a report names are no bill of it."""
    return replace(usage, output=output, searches=0, reasoning=0, parts=())
