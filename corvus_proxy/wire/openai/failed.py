"""`response.failed`: how a response that had begun ends with an error of ours.

Of all in-band errors of this dialect it is the one that every client takes for one: a bare `error`
event is passed over by OpenAI's own SDK for Python.
"""

from typing import Any, NamedTuple

import msgspec

STOPS = "insufficient_quota"
"""The code at which agents stop at once; any other has them send the whole request again."""


class Told(NamedTuple):
    """What a client has read so far of a response."""

    response_id: str = ""
    model: str = ""
    sequence: int = -1
    """The last sequence number."""
    failed: bool = False
    """The upstream's own `response.failed` has reached the client: nothing may follow it."""


NOTHING_TOLD = Told()


def event(told: Told, error: dict[str, Any], request_id: str, created_s: int) -> bytes:
    """The event that says `error`, an object of ours (`wire.refusal`), as SSE."""
    code = STOPS if error["type"] == STOPS else error["code"]
    data = {
        "type": "response.failed",
        "sequence_number": told.sequence + 1,
        "response": {
            "id": told.response_id or f"resp_{request_id}",
            "object": "response",
            "created_at": created_s,
            "status": "failed",
            "error": {**error, "code": code, "reason": error["code"]},
            "incomplete_details": None,
            "model": told.model,
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": None,
            "metadata": {},
        },
    }
    return b"event: response.failed\ndata: " + msgspec.json.encode(data) + b"\n\n"
