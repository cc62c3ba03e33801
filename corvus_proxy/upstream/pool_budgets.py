"""What the operator lets a credential cost, by UTC day and month.

Rule 1: the count is the books' (`service.budgets`): all gateway processes', whatever restarts. A
        process hears of it once a second; what runs meanwhile is finished, and may go beyond it.
Rule 2: a credential whose budget is spent takes no request at all, of no session and not as the
        last resort, until the period ends or the budget is raised.
"""

from corvus_proxy import clock, metrics
from corvus_proxy.money.period import ends_at
from corvus_proxy.settings import Credential

PERIODS = ("day", "month")


class Purse:
    """One credential's budgets, and how far they are spent."""

    __slots__ = ("_cost", "_family", "_name", "_shown", "budgets", "spent", "until_s")

    def __init__(self, family: str, credential: Credential) -> None:
        self._family, self._name = family, credential.name
        self._cost: dict[str, int] = {}
        self._shown = False
        self.budgets: dict[str, int] = {}
        """In nanos, by period; those that are set."""
        self.spent = ""
        """The period whose budget is spent, the one that ends last; empty: it may serve."""
        self.until_s = 0.0
        """When that period ends, on the pool's clock."""

    def count(self, cost: tuple[int, int], now_s: float) -> bool:
        """It has cost so many nanos this day, and this month. Whether that opened or closed it."""
        self._cost = dict(zip(PERIODS, cost, strict=True))
        before, self.spent, self.until_s = self.spent, "", 0.0
        for period in PERIODS:
            budget = self.budgets.get(period)
            if budget is not None and self._cost[period] >= budget:
                self.spent, self.until_s = period, now_s + _left_s(period)
        self.show()
        return self.spent != before

    def show(self, *, gone: bool = False) -> None:
        """Its budgets and costs in the metrics; zeros where there is no budget any more."""
        if not (self.budgets or self._shown):
            return
        self._shown = True
        for period in PERIODS:
            budget = 0 if gone else self.budgets.get(period, 0)
            labels = (self._family, self._name, period)
            metrics.CREDENTIAL_BUDGET.labels(*labels).set(budget)
            metrics.CREDENTIAL_COST.labels(*labels).set(self._cost.get(period, 0) if budget else 0)


def _left_s(period: str) -> float:
    now = clock.utc_now()
    end = ends_at(period, now)
    return (end - now).total_seconds() if end is not None else 0.0
