"""Trouble on request: what a request, its header or the control endpoint asks the provider to do.

`[[simulate: status=500; delay_ms=20]]` in the last message, `x-simulate: status=500` as a header,
or a queued fault. The names are the members of `Asked`; a flag needs no value. The queue's word
wins over the message's, that over the header's. An unknown name or a bad value is a 400.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

_DIRECTIVE = re.compile(r"\[\[simulate:([^\]]*)\]\]")


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request's wishes. Counts are in deltas (streamed tokens), times in milliseconds."""

    status: int = 0
    """Refuse with this status; 0 answers. With `replay`: the status of the recorded JSON body."""
    code: str = ""
    """The refusal's code, such as insufficient_quota or (Z.AI) 1113; with `error_after` the error
    event's."""
    retry_after: str = ""
    """Its Retry-After header; a 429 without one says 1, `none` leaves the header out."""
    no_answer: bool = False
    """Close without a byte of an answer."""
    cut_after: int = -1
    """Close the socket after so many deltas; a whole answer is cut in its middle."""
    error_after: int = -1
    """End the stream by the family's error event after so many deltas."""
    stall_after: int = -1
    """Fall silent after so many deltas, until the peer goes."""
    end_after: int = -1
    """End the body cleanly after so many deltas, with neither usage nor terminal event."""
    cut_late: bool = False
    """Close the socket behind the usage, ahead of the terminal event."""
    refusal: bool = False
    """The model refuses: its stop reason says so, behind so many `tokens`."""
    report_output: int = -1
    """Report so many output tokens, whatever was made."""
    lie: Literal["", "twice", "early", "negative", "huge"] = ""
    """Usage that is reported twice in a stream, at first with half the output; ahead of the text
    and not at its end; with negative counts; with a million million of everything."""
    error_body: bool = False
    """A head that says 200, and an error for a body."""
    no_usage: bool = False
    zero_usage: bool = False
    tier: str = ""
    """Serve at this tier or speed, whatever was asked for; `none` does not say at which."""
    geo: str = ""
    """Serve in this place, whatever was asked for."""
    tokens: int = 64
    """Tokens the model would like to write, its reasoning apart."""
    reasoning: int = -1
    """Reasoning tokens, where the model reasons at all; -1 leaves it to the model."""
    padding: int = 0
    """Bytes of comment ahead of each delta: a long answer of few tokens."""
    delay_ms: float = -1.0
    """Between two tokens; -1 is the provider's pace."""
    ttfb_ms: float = 0.0
    """Before the answer's head."""
    replay: str = ""
    """Serve this recording; a path below --replay-root."""
    chunk: str = ""
    """The recording's pieces: a number of bytes, `random`, or empty for one whole piece."""
    tag: str = ""
    """A word of the client's own, kept in the log: tells whose request a row of it was."""


def asked(body: Mapping[str, Any], header: str, queued: Mapping[str, Any]) -> Asked:
    """Everything that is asked of this request. Raises ValueError with the wrong name or value."""
    found = _pairs(header)
    messages = body.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], Mapping):
        text = json.dumps(messages[-1].get("content") or "", ensure_ascii=False)
        for directive in _DIRECTIVE.finditer(text):
            found |= _pairs(directive[1])
    try:
        return msgspec.convert({**found, **queued}, Asked, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"simulate: {error}") from None


def _pairs(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in re.split(r"[;\s]+", text.strip()):
        name, equals, value = part.partition("=")
        if name:
            found[name] = value if equals else True
    if found.get("status") == "insufficient_quota":
        found |= {"status": 429, "code": "insufficient_quota"}
    return found


class Queue:
    """Faults for the next requests: `{"status": 529, "times": 2, "credential": …, "family": …}`."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []

    def set(self, faults: list[dict[str, Any]]) -> None:
        """Replaces all. Raises ValueError when one of them could not be served."""
        for fault in faults:
            asked({}, "", _wish(fault))
        self.waiting = [{"times": 1, **fault} for fault in faults]

    def take(self, family: str, credential: str) -> dict[str, Any]:
        """The first fault that fits, one time less of it; `times` -1 never runs out."""
        for fault in self.waiting:
            if (
                fault["times"]
                and fault.get("family", family) == family
                and fault.get("credential", credential) == credential
            ):
                fault["times"] -= fault["times"] > 0
                return _wish(fault)
        return {}


def _wish(fault: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, bool) else str(value)
        for name, value in fault.items()
        if name not in ("times", "credential", "family")
    }
