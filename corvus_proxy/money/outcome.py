"""How a request may end: each outcome code once, what is charged for it and who bears the rest.

The customer pays for input that an upstream accepted and for output that reached the gateway before
it stopped asking for it: by the upstream's usage if it came, else by our meter rounded down, never
more than the hold and the free balance. `docs/money.md` shows this table; a test compares them.
"""

from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """The code on an event, its request row and the metric."""

    COMPLETED = "completed"
    USAGE_MISSING = "usage_missing"
    USAGE_CONTRADICTION = "usage_contradiction"
    CONTENT_REFUSAL = "content_refusal"
    ZERO_COMPLETION = "zero_completion"
    REFUSED_ADMISSION = "refused_admission"
    """No hold, and so no event and no row: a metric and a line in the log."""
    UPSTREAM_REFUSED = "upstream_refused"
    UPSTREAM_ERROR = "upstream_error_before_first_byte"
    UPSTREAM_CUT = "upstream_cut_midstream"
    CANCELLED_EARLY = "client_cancelled_before_first_byte"
    CANCELLED = "client_cancelled_midstream"
    SLOW_READER = "slow_reader_timeout"
    OUT_OF_BALANCE = "out_of_balance_midstream"
    CAP_REACHED = "cap_reached_midstream"
    KEY_DISABLED = "key_disabled_midstream"
    LEDGER_UNAVAILABLE = "ledger_unavailable_midstream"
    GATEWAY_TIMEOUT = "gateway_timeout"
    GATEWAY_SHUTDOWN = "gateway_shutdown"
    GATEWAY_CRASH = "gateway_crash"
    """Written by `expire`, at the last checkpoint."""
    GATEWAY_FAULT = "gateway_fault"


class Rule(NamedTuple):
    """One row of the table, in the document's words."""

    charged: str
    source: str
    """Which figure the charge is made from."""
    bears: str
    """What the operator bears."""
    told: str
    """What the client reads."""


_METERED = "input + received output"
_USAGE_OR_METER = "usage so far, else meter"
_REST = "what the upstream bills beyond"
_ERROR = "in-band error"

RULES: dict[Outcome, Rule] = {
    Outcome.COMPLETED: Rule("usage", "upstream", "–", "the answer"),
    Outcome.USAGE_MISSING: Rule(
        "input + output", "reported input or estimate, meter", "the difference", "the answer"
    ),
    Outcome.USAGE_CONTRADICTION: Rule(
        "usage; output at most the limit", "upstream", "what is above the limit", "the answer"
    ),
    Outcome.CONTENT_REFUSAL: Rule(
        "usage; 0 without output", "upstream", "the input, where it is billed", "the answer"
    ),
    Outcome.ZERO_COMPLETION: Rule("0", "–", "the input", "the answer"),
    Outcome.REFUSED_ADMISSION: Rule("0", "–", "–", "4xx or 503"),
    Outcome.UPSTREAM_REFUSED: Rule("0", "–", "–", "the upstream's 4xx"),
    Outcome.UPSTREAM_ERROR: Rule(
        "0", "–", "what the upstream bills", "5xx or 429; in a stream an in-band error"
    ),
    Outcome.UPSTREAM_CUT: Rule(_METERED, _USAGE_OR_METER, _REST, _ERROR),
    Outcome.CANCELLED_EARLY: Rule(
        "0; the input once a stream has begun",
        "usage within 2 s, else reported or estimated input",
        _REST,
        "–",
    ),
    Outcome.CANCELLED: Rule(_METERED, "usage within 2 s, else meter", _REST, "–"),
    Outcome.SLOW_READER: Rule(
        _METERED, _USAGE_OR_METER, _REST, "in-band error, if it reads on in time"
    ),
    Outcome.OUT_OF_BALANCE: Rule(_METERED, _USAGE_OR_METER, _REST, _ERROR),
    Outcome.CAP_REACHED: Rule(_METERED, _USAGE_OR_METER, _REST, _ERROR),
    Outcome.KEY_DISABLED: Rule(_METERED, _USAGE_OR_METER, _REST, _ERROR),
    Outcome.LEDGER_UNAVAILABLE: Rule(
        _METERED, "usage so far, else meter; by the journal", _REST, _ERROR
    ),
    Outcome.GATEWAY_TIMEOUT: Rule(
        "input + received output; 0 without any", _USAGE_OR_METER, _REST, _ERROR
    ),
    Outcome.GATEWAY_SHUTDOWN: Rule(
        "input + received output; 0 for a whole answer",
        _USAGE_OR_METER,
        _REST,
        "in-band error, or 503",
    ),
    Outcome.GATEWAY_CRASH: Rule(_METERED, "last checkpoint", "the difference", "a cut"),
    Outcome.GATEWAY_FAULT: Rule("0", "–", "what the upstream bills", "500, or in-band error"),
}
