"""A credential in its pool, and one request's use of it."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog

from corvus_proxy import metrics
from corvus_proxy.catalogue.book import Model
from corvus_proxy.money.pricing import at_cost, charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.settings import Credential, PoolSettings, Upstream
from corvus_proxy.upstream.pool_budgets import Purse
from corvus_proxy.upstream.pool_standing import Standing, State
from corvus_proxy.upstream.transport import Origin, Request, Transport
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.verdict import Blame

_log = structlog.get_logger()
_PPM = 1_000_000
PATHS = {
    ("anthropic", Dialect.MESSAGES): "/v1/messages",
    ("openai", Dialect.CHAT): "/v1/chat/completions",
    ("openai", Dialect.RESPONSES): "/v1/responses",
    ("openai", Dialect.EMBEDDINGS): "/v1/embeddings",
    ("glm", Dialect.CHAT): "/chat/completions",
    ("glm", Dialect.MESSAGES): "/v1/messages",
}
"""What a family's upstream speaks, and the path behind its base; GLM's base for chat holds its
version (`…/api/paas/v4`), its base for messages is `messages_base_url`."""


class Lease(NamedTuple):
    """One request's use of a credential."""

    family: str
    dialect: Dialect
    credential: Credential
    secret: bytes
    origin: Origin
    base_path: str
    transport: Transport
    turn: "Turn"
    provider: str = ""
    """Where it listens, for all of its credentials alike."""

    def request(
        self, headers: list[tuple[bytes, bytes]], body: bytes, *, below: str = ""
    ) -> Request:
        """The request as it goes out, with this credential's own headers; `below` is a path below
        the dialect's own."""
        auth = (
            (b"x-api-key", self.secret)
            if self.family == "anthropic"
            else (b"authorization", b"Bearer " + self.secret)
        )
        return Request(
            b"POST",
            _target(self.base_path, self.family, self.dialect, below),
            [
                _host(self.origin),
                auth,
                *headers,
                _IDENTITY,
                (b"content-length", b"%d" % len(body)),
            ],
            body,
        )

    def cost_nanos(self, usage: Usage, model: Model) -> int:
        """What the operator pays for `usage`: the official price, by this credential's factor."""
        return charge(at_cost(usage), model.official_price) * self.credential.cost_ppm() // _PPM


_IDENTITY = (b"accept-encoding", b"identity")


@lru_cache(maxsize=256)
def _target(base_path: str, family: str, dialect: Dialect, below: str) -> bytes:
    """Remembered, as are the next two: there are no more than the configuration has."""
    return (base_path + PATHS[family, dialect] + below).encode()


@lru_cache(maxsize=256)
def _host(origin: Origin) -> tuple[bytes, bytes]:
    return b"host", origin.authority.encode()


class Sought(NamedTuple):
    """What is known of the request that a credential is chosen for."""

    session: bytes = b""
    """Digest of the session, at most 64 bytes; empty where there is none to keep together."""
    signed: bool = False
    """Its history carries signatures, which no other provider accepts."""
    tried: tuple[str, ...] = ()
    """Credentials that have failed this request."""
    strangers: tuple[str, ...] = ()
    """Providers that do not know its signatures."""


@lru_cache(maxsize=256)
def _netloc(base_url: str) -> str:
    return urlsplit(base_url).netloc


class Member:
    """A credential in its pool, one for all dialects."""

    def __init__(self, upstream: Upstream, credential: Credential, settings: PoolSettings) -> None:
        self.upstream = upstream
        self.credential = credential
        self.secret = b""
        self.standing = Standing(settings)
        self.running = 0
        """Requests under way."""
        self.credit = 0
        """Of smooth weighted turns."""
        self.drains_until_s: float | None = None
        """Set while it drains: until when pinned sessions stay."""
        self.disabled = False
        """The operator has switched it off."""
        self.removed = False
        """The configuration does not name it any more."""
        self.gone = False
        """Nothing is pinned to it, either."""
        self.purse = Purse(upstream.family, credential)
        """What the operator lets it cost."""

    @property
    def name(self) -> str:
        """The credential's name."""
        return self.credential.name

    @property
    def provider(self) -> str:
        """Where its upstream listens."""
        return _netloc(self.upstream.base_url)

    @property
    def state(self) -> State:
        """What it is, in one word."""
        if self.disabled:
            return State.DISABLED
        if self.purse.spent:
            return State.EMPTY
        if self.standing.healthy and self.drains_until_s is not None:
            return State.DRAINING
        return self.standing.state

    def keeps(self, now_s: float) -> bool:
        """Whether it goes on with sessions that are pinned to it."""
        return (
            self.standing.healthy
            and not self.shut
            and (self.drains_until_s is None or now_s < self.drains_until_s)
        )

    def takes(self) -> bool:
        """Whether it takes new sessions."""
        return self.standing.healthy and not self.shut and self.drains_until_s is None

    @property
    def shut(self) -> bool:
        """Whether it takes no request at all: switched off, or its budget is spent."""
        return self.disabled or bool(self.purse.spent)

    def awaits_trial(self) -> bool:
        """Whether the next new session may be the trial that restores it."""
        standing = self.standing
        return standing.half_open and not standing.trials and not self.shut and not self.removed

    def back_s(self) -> float:
        """When it may be asked again, on the pool's clock, where it may not now."""
        return max(self.standing.until_s, self.purse.until_s)

    def hold_to(self, found: tuple[int, int], now_s: float) -> None:
        """Holds it to its budgets: it has cost so many nanos this UTC day, and this month."""
        if self.purse.count(found, now_s):
            self.tell(f"budget_{self.purse.spent or 'open'}", now_s)

    def switch(self, *, off: bool, now_s: float) -> None:
        """The operator has switched it off or on."""
        if off is not self.disabled:
            self.disabled = off
            self.tell("operator", now_s)

    def drain(self, until_s: float | None) -> None:
        """Begins to drain, until that instant at the latest; None: it takes sessions again."""
        if until_s is None or self.drains_until_s is None:
            self.drains_until_s = until_s

    def show(self) -> None:
        """Its state in the metrics; none of them once it is gone."""
        for state in State:
            shown = metrics.CREDENTIALS.labels(self.upstream.family, self.name, state)
            shown.set(int(state is self.state and not self.gone))
        self.purse.show(gone=self.gone)

    def tell(self, why: str, now_s: float) -> None:
        """It fell or was restored: a line in the log, a figure in the metrics."""
        serves = self.standing.healthy and not self.shut
        _log.warning(
            "credential_state",
            family=self.upstream.family,
            credential=self.name,
            state=self.state,
            why=why,
            for_s=None if serves else round(self.back_s() - now_s, 1),
        )
        self.show()


class Turn:
    """One request's use of a member: it is told how the request went, and when it is over."""

    __slots__ = ("_member", "_now_s", "_serial", "_standing", "_under_way", "trial")

    def __init__(self, member: Member, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._member = member
        self._standing = member.standing
        """Of the account that is asked: with another key the member has another."""
        self._serial = member.standing.serial
        self._under_way = False
        self.trial = not member.standing.healthy
        """The credential has fallen; this request may restore it."""

    def begin(self) -> None:
        """The request is being sent."""
        self._under_way = True
        self._member.running += 1
        self._standing.trials += self.trial

    def end(self) -> None:
        """The request is over, however it went."""
        if self._under_way:
            self._under_way = False
            self._member.running -= 1
            self._standing.trials -= self.trial

    def begun(self) -> None:
        """The upstream has begun a good answer: enough to restore a fallen one, long before a
        stream ends; not to take strikes back, which may be of answers that are cut."""
        if self.trial:
            self._restore()

    def answered(self) -> None:
        """The upstream answered to the end, or judged the request itself."""
        metrics.attempted(self._member.upstream.family, self._member.name, "answered")
        self._restore()

    def _restore(self) -> None:
        now_s = self._now_s()
        if self._standing.answered(now_s, trial=self.trial):
            self._tell("answered", now_s)

    def failed(self, blame: Blame, wait_s: float | None = None) -> None:
        """The try failed by no fault of the request; `wait_s` is the pause that was asked for."""
        metrics.attempted(self._member.upstream.family, self._member.name, blame)
        now_s = self._now_s()
        if self._standing.failed(blame, wait_s, now_s, serial=self._serial):
            self._tell(blame, now_s)

    def _tell(self, why: str, now_s: float) -> None:
        if self._standing is self._member.standing:
            self._member.tell(why, now_s)
