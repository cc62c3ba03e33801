"""How a credential stands: what a failure does to it, and how it comes back.

Rule 1: the table decides (`ACTIONS`): by whose fault a try failed, whether another credential is
        tried and what becomes of this one. No request that is at fault itself costs a credential
        its standing.
Rule 2: a credential that fell comes back by a trial: after its time, and a probe that costs
        nothing, one request at a time is let through, and one success restores it.
Rule 3: what was sent before a fall neither deepens nor heals it: its answers are older than the
        news.

Every gateway process keeps its own standings; nothing of them is stored.
"""

from enum import StrEnum
from typing import NamedTuple

from corvus_proxy.settings import PoolSettings
from corvus_proxy.wire.verdict import Blame


class State(StrEnum):
    """Of a credential, in logs, metrics and docs."""

    HEALTHY = "healthy"
    COOLING = "cooling"
    """It asked for a pause, or failed several times in a row."""
    EMPTY = "empty"
    """Its account has no money, or has reached a limit of spending; or its budget here is spent."""
    BANNED = "banned"
    """It is not accepted any more."""
    DRAINING = "draining"
    """It takes no new session; those that it has stay for a while."""
    DISABLED = "disabled"
    """The operator has switched it off: it takes no request at all."""


class Action(NamedTuple):
    """What follows from one failed try."""

    again: bool
    """Another credential is tried, as long as the client has not had a byte."""
    state: State | None
    """Where the credential falls to; None: it stays as it is."""
    at_once: bool
    """It falls with the first such failure, not only after `pool.strikes` in a row."""
    meaning: str


ACTIONS: dict[Blame, Action] = {
    Blame.REQUEST: Action(False, None, False, "The request itself is at fault; a sign of life."),
    Blame.CREDENTIAL: Action(
        True, State.BANNED, False, "The upstream does not accept it, or not for this."
    ),
    Blame.ACCOUNT: Action(
        True, State.EMPTY, True, "Its account is out of money or has reached a limit of spending."
    ),
    Blame.RATE: Action(
        True, State.COOLING, True, "Its account asks too much at once; for as long as it is told."
    ),
    Blame.BUSY: Action(True, State.COOLING, False, "The provider has no room."),
    Blame.BROKEN: Action(
        True, State.COOLING, False, "The provider failed, cut the answer or cannot be reached."
    ),
    Blame.SLOW: Action(True, State.COOLING, False, "The provider let a timeout pass."),
}


class Standing:
    """One credential's state in this process. Times are of the pool's own clock, in seconds."""

    __slots__ = (
        "_falls",
        "_healed_s",
        "_settings",
        "half_open",
        "probing",
        "said_no",
        "serial",
        "state",
        "strikes",
        "trials",
        "until_s",
    )

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._falls = 0
        self._healed_s = float("-inf")
        self.state = State.HEALTHY
        self.strikes = 0
        self.serial = 0
        """Grows with every fall."""
        self.until_s = 0.0
        """Of a fallen one: no trial before this, unless nobody else is left."""
        self.said_no = False
        """It fell by its account's own word, not because something broke."""
        self.probing = False
        self.half_open = False
        """A probe was accepted: the next request may be a trial."""
        self.trials = 0
        """Requests under way on it since it fell."""

    @property
    def healthy(self) -> bool:
        """Whether it serves like any other."""
        return self.state is State.HEALTHY

    def failed(self, blame: Blame, wait_s: float | None, now_s: float, *, serial: int) -> bool:
        """A try failed; `wait_s` is the pause that the upstream asks for. Whether it fell, or fell
        again."""
        action = ACTIONS[blame]
        if action.state is None:
            return False
        worse = self.state is State.COOLING and action.state is State.EMPTY
        if serial != self.serial and not worse:
            return False
        if self.healthy:
            self.strikes += 1
            if not action.at_once and self.strikes < self._settings.strikes:
                return False
        self.said_no = action.at_once or action.state is not State.COOLING
        self._fall(action.state, wait_s, now_s)
        return True

    def answered(self, now_s: float, *, trial: bool) -> bool:
        """A try was answered. Whether that restored it."""
        if self.healthy:
            self.strikes = 0
            return False
        if not trial:
            return False
        self.state = State.HEALTHY
        self.strikes = 0
        self.half_open = False
        self._healed_s = now_s
        return True

    def probed(self, *, accepted: bool, now_s: float) -> None:
        """A probe has been answered."""
        self.probing = False
        if self.healthy:
            return
        if accepted:
            self.half_open = True
        else:
            self._fall(self.state, None, now_s)

    def _fall(self, state: State, wait_s: float | None, now_s: float) -> None:
        longest_s = self._settings.cool_max_s
        if self.healthy and now_s - self._healed_s > longest_s:
            self._falls = 0
        span_s = min(longest_s, self._settings.cool_s * 2.0 ** min(self._falls, 30))
        if wait_s is not None and state is State.COOLING:
            span_s = min(longest_s, wait_s)
        self._falls += 1
        self.serial += 1
        self.state = state
        self.strikes = 0
        self.half_open = False
        self.until_s = now_s + span_s
