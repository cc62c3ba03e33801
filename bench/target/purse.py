"""What a measurement may spend: never more, whatever the answers cost."""


class Purse:
    """`max_nanos` in all. A request is sent when its ceiling fits beside what is spent and what
    runs; one whose cost is not told counts with its ceiling."""

    def __init__(self, max_nanos: int) -> None:
        self.max_nanos = max_nanos
        self.spent_nanos = 0
        self.running_nanos = 0
        self.full = False
        """Something was not sent."""

    def take(self, ceiling_nanos: int, *, keep_nanos: int = 0) -> bool:
        """Whether a request of this ceiling may be sent, `keep_nanos` being left for later."""
        after = self.spent_nanos + self.running_nanos + ceiling_nanos
        if after > self.max_nanos - keep_nanos:
            self.full = True
            return False
        self.running_nanos += ceiling_nanos
        return True

    def give_back(self, ceiling_nanos: int, cost_nanos: int | None) -> None:
        """The request has ended and cost this; None: nobody knows."""
        self.running_nanos -= ceiling_nanos
        self.spent_nanos += ceiling_nanos if cost_nanos is None else cost_nanos
