"""The end of a process's patience: who is told, and an error event that nobody may read."""

import pytest

from corvus_proxy.gateway.stopping import Stopping
from corvus_proxy.gateway.streaming.tail import before_error


def test_all_that_run_are_told_once_and_who_comes_later_at_once() -> None:
    """Who has ended hears nothing."""
    stopping, told = Stopping(), []
    with stopping.telling(lambda: told.append("ended")):
        pass
    with stopping.telling(lambda: told.append("running")):
        assert not stopping.over
        stopping.end()
    assert stopping.over
    with stopping.telling(lambda: told.append("late")):
        assert told == ["running", "late"]
    assert told == ["running", "late"]


ERROR = b'event: error\ndata: {"type": "error", "error": {"type": "billing_error"}}\n\n'


@pytest.mark.parametrize(
    ("chunk", "kept"),
    [
        (b'data: {"a": 1}\n\n' + ERROR, b'data: {"a": 1}\n\n'),
        (b'data: {"a": 1}\r\n\r\n' + ERROR, b'data: {"a": 1}\r\n\r\n'),
        (ERROR, b""),
        (b'data: {"error": {"code": "insufficient_quota"}}\n\ndata: [DONE]\n\n', b""),
        # A model that writes of "error" in its text has it escaped.
        (b'data: {"text": "\\"error\\""}\n\n' + ERROR, b'data: {"text": "\\"error\\""}\n\n'),
        # A response says in every event that it has none.
        (b'data: {"response": {"error": null}}\n\n' + ERROR,
         b'data: {"response": {"error": null}}\n\n'),
        (b'data: {"response": {"error":null}}\n\ndata: {"response": {"error":{"code":"x"}}}\n\n',
         b'data: {"response": {"error":null}}\n\n'),
        (b'r": {"type": "billing_error"}}\n\n', b""),
        (b'or", "error": {"type": "billing_error"}}\n\n', b""),
    ],
)  # fmt: skip
def test_what_stands_ahead_of_an_error_event(chunk: bytes, kept: bytes) -> None:
    """Whole events before it pass; where its first bytes have left already, nothing more does."""
    assert before_error(chunk) == kept
