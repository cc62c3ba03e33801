"""What can break between us and an upstream."""

from corvus_proxy.errors import CorvusError


class UpstreamBroke(CorvusError):
    """Root: the exchange with an upstream did not go to its end."""


class ConnectFailed(UpstreamBroke):
    """No connection: nothing was sent."""


class NoAnswer(UpstreamBroke):
    """The request was sent, wholly or in part, and not a byte of an answer came."""


class BadAnswer(UpstreamBroke):
    """What came is not HTTP."""


class Cut(UpstreamBroke):
    """The connection ended in the middle of the answer."""


class TimedOut(UpstreamBroke):
    """`stage` says what took too long: connect, first_byte, silence or total."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"timed out: {stage}")
        self.stage = stage
