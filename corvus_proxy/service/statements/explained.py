"""One request explained: what it was charged, by which lines, and why.

Rule 1: everything here is made from the request's own events, and told for as long as their detail
        is kept; after that its charge and its end remain.
Rule 2: the lines come to the charge: `Explained.agrees` says whether they do, and what one rounding
        has added or taken stands beside them.
Rule 3: whose credential served and what it cost the operator is not the customer's to know.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from corvus_proxy.books.statements import Change
from corvus_proxy.money.amount import PICOS_PER_NANO, format_picos, format_usd, round_to_nanos
from corvus_proxy.money.event import Meta, decode_meta
from corvus_proxy.money.flags import FLAGS
from corvus_proxy.money.outcome import Outcome

WHY: dict[Outcome, str] = {
    Outcome.COMPLETED: "The answer is complete. It is charged by the vendor's own count of tokens.",
    Outcome.USAGE_MISSING: "The answer is complete, but the vendor did not say how many tokens it"
    " took. They were counted here, and rounded in your favour.",
    Outcome.USAGE_CONTRADICTION: "The answer is complete. The vendor reported more output than the"
    " request allowed; no more than the limit is charged.",
    Outcome.CONTENT_REFUSAL: "The model refused to answer. What the vendor reports for it is"
    " charged, and nothing where there was no output.",
    Outcome.ZERO_COMPLETION: "The answer was empty. Nothing is charged for it.",
    Outcome.UPSTREAM_REFUSED: "The model's vendor refused the request. Nothing is charged.",
    Outcome.UPSTREAM_ERROR: "The vendor failed before its answer began. Nothing is charged.",
    Outcome.UPSTREAM_CUT: "The vendor broke off midway. The input and the output that had come are"
    " charged.",
    Outcome.CANCELLED_EARLY: "The client closed before the answer began. Nothing is charged, but"
    " for the input of a stream that had begun.",
    Outcome.CANCELLED: "The client closed midway. The input and the output until then are charged.",
    Outcome.SLOW_READER: "The client stopped reading, so the answer was ended. The input and the"
    " output until then are charged.",
    Outcome.OUT_OF_BALANCE: "The answer was ended where the balance ended. The input and the output"
    " until then are charged.",
    Outcome.CAP_REACHED: "The answer was ended where the key reached its cap. The input and the"
    " output until then are charged.",
    Outcome.KEY_DISABLED: "The answer was ended because the key was frozen or revoked. The input"
    " and the output until then are charged.",
    Outcome.LEDGER_UNAVAILABLE: "The ledger did not answer midway, so the answer was ended. The"
    " input and the output until then are charged.",
    Outcome.GATEWAY_TIMEOUT: "The vendor fell silent, so the answer was ended. The input and the"
    " output that had come are charged, and nothing where none had.",
    Outcome.GATEWAY_SHUTDOWN: "This service restarted midway. The input and the output that had"
    " come are charged; a whole answer that could not be delivered is free.",
    Outcome.GATEWAY_CRASH: "A process of this service failed midway. What it had last written down"
    " is charged; the rest is ours to bear.",
    Outcome.GATEWAY_FAULT: "This service failed. Nothing is charged.",
}
"""Each outcome in a sentence for the customer; `money.outcome` has the rules themselves."""
_WHOLE = frozenset({
    Outcome.COMPLETED, Outcome.USAGE_MISSING, Outcome.USAGE_CONTRADICTION, Outcome.CONTENT_REFUSAL
})  # fmt: skip
GONE = " What it was made from was deleted: it is older than such detail is kept here."
_SHORTFALL = " The balance did not cover all of it; what was missing is not asked for later."


class BillLine(NamedTuple):
    """So many tokens at a price each."""

    name: str
    """As `pricing.Line` has it."""
    tokens: int
    """Calls, of `searches`."""
    picos: int
    amount_picos: int


class Explained(NamedTuple):
    """A request that has ended. Amounts in nanos."""

    request_id: str
    slug: str
    key_id: str
    outcome: str
    charged: str
    """`yes`, `partly` (it ended early, or the balance did) or `no`."""
    why: str
    charge_nanos: int
    used_nanos: int
    """What the lines come to; more than the charge where the balance fell short."""
    shortfall_nanos: int
    lines: list[BillLine]
    rounding_picos: int
    """What the one rounding to a nano-dollar added to the sum of the lines, or took from it."""
    agrees: bool
    reasoning_tokens: int
    """Of which: inside the output."""
    source: str
    price_version: str
    dialect: str
    terms: dict[str, str]
    unbilled: dict[str, int | float]
    notes: list[str]
    """What was remarkable about the vendor's counts, each in a sentence."""
    upstream_model: str
    upstream_request_id: str
    attempts: int
    hold_nanos: int
    """Set aside while it ran; 0 where the event does not tell."""
    released_nanos: int
    """Of it, what came back."""
    first_byte_ms: int
    total_ms: int
    ended_at: datetime
    balance_nanos: int
    """Of the wallet, after it."""
    wallet_seq: int
    detail_deleted: bool
    """It is older than detail is kept: lines, counts and times are gone, the charge stays."""
    late: bool
    """The charge came in two: a part was found only after the request had been given up."""


def explain(request_id: str, changes: Sequence[Change]) -> Explained:
    """The story of a request from the events that ended it (one; two where a charge came late)."""
    last = changes[-1]
    meta = decode_meta(last.meta)
    lines = [
        BillLine(name, count, meta.picos[name], count * meta.picos[name])
        for name, count in meta.usage.items()
        if name in meta.picos
    ]
    picos = sum(line.amount_picos for line in lines)
    used = sum(change.actual_nanos for change in changes)
    charge = -sum(change.delta_nanos for change in changes)
    shortfall = sum(change.shortfall_nanos for change in changes)
    return Explained(
        request_id=request_id,
        slug=last.slug,
        key_id=last.key_id,
        outcome=last.outcome,
        charged=_charged(last.outcome, charge, shortfall),
        why=_why(last.outcome, shortfall) + (GONE if meta.gone else ""),
        charge_nanos=charge,
        used_nanos=used,
        shortfall_nanos=shortfall,
        lines=lines,
        rounding_picos=used * PICOS_PER_NANO - picos if lines else 0,
        agrees=not lines or round_to_nanos(picos) == used,
        reasoning_tokens=meta.usage.get("reasoning", 0),
        source=meta.source,
        price_version=meta.price_version,
        dialect=meta.dialect,
        terms=meta.terms,
        unbilled=meta.unbilled,
        notes=[FLAGS.get(flag, flag.replace("_", " ")) for flag in meta.flags],
        upstream_model=meta.upstream_model,
        upstream_request_id=meta.upstream_request_id,
        attempts=meta.attempts,
        hold_nanos=meta.hold_nanos,
        released_nanos=max(0, meta.hold_nanos - charge),
        first_byte_ms=meta.first_byte_ms,
        total_ms=meta.total_ms,
        ended_at=_ended(meta, last),
        balance_nanos=last.balance_nanos,
        wallet_seq=last.wallet_seq,
        detail_deleted=meta.gone,
        late=len(changes) > 1,
    )


def formula(found: Explained) -> str:
    """The bill as one line of arithmetic, in USD: tokens at a price each, the rounding, the sum."""
    if not found.lines:
        return f"{format_usd(found.charge_nanos)} USD"
    terms = [f"{line.tokens} {line.name} × {format_picos(line.picos)}" for line in found.lines]
    if found.rounding_picos:
        sign = "-" if found.rounding_picos < 0 else "+"
        terms.append(f"rounding {format_picos(abs(found.rounding_picos))}")
        text = " + ".join(terms[:-1]) + f" {sign} {terms[-1]}"
    else:
        text = " + ".join(terms)
    return f"{text} = {format_usd(found.used_nanos)} USD"


def _charged(outcome: str, charge_nanos: int, shortfall_nanos: int) -> str:
    if not charge_nanos:
        return "no"
    return "yes" if outcome in _WHOLE and not shortfall_nanos else "partly"


def _why(outcome: str, shortfall_nanos: int) -> str:
    known = outcome in WHY
    why = WHY[Outcome(outcome)] if known else f"It ended with {outcome.replace('_', ' ')}."
    return why + (_SHORTFALL if shortfall_nanos else "")


def _ended(meta: Meta, change: Change) -> datetime:
    if not meta.ended_ms:
        return change.booked_at
    return datetime.fromtimestamp(meta.ended_ms / 1000, UTC)
