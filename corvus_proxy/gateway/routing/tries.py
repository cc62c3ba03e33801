"""One request's tries: another credential takes over while its client has not had a byte.

Rule 1: at most `pool.tries`, each with another credential, always the same model.
Rule 2: whatever the tries, there is one hold and one settle; the event counts them.
Rule 3: no try is for the request's own fault, but where a provider does not know the signatures of
        a history: another one made them, and this process has not seen it (it is another process's
        session, or it has been restarted).
"""

import re
from types import TracebackType

from corvus_proxy.errors import UpstreamFault, UpstreamOverloaded
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.routing.session import session_of
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.settings import PoolSettings
from corvus_proxy.upstream.pool import Pool
from corvus_proxy.upstream.pool_members import Sought, Turn
from corvus_proxy.upstream.pool_standing import ACTIONS
from corvus_proxy.wire.refusal import Relayed
from corvus_proxy.wire.verdict import Blame, message_of

_UPSTREAMS_FAULT = {
    Outcome.UPSTREAM_CUT: Blame.BROKEN,
    Outcome.UPSTREAM_ERROR: Blame.BROKEN,
    Outcome.GATEWAY_TIMEOUT: Blame.SLOW,
}
"""Endings of an answer that had begun and that its credential answers for."""
_OF_SIGNATURES = re.compile(r"\bsignatures?\b|encrypted[_ ]content", re.IGNORECASE)
"""Words in which Anthropic and OpenAI refuse a history that they did not sign."""


class Tries:
    """`while tries.wanted: async with tries:` … a block that ends with an upstream's fault is run
    again with another credential where there may be a better answer."""

    def __init__(self, exchange: Exchange, pool: Pool, settings: PoolSettings) -> None:
        self._exchange = exchange
        self._pool = pool
        self._tries_max = settings.tries
        self._sought = Sought(session_of(exchange), exchange.asked.scan.signed_history)
        self._failed: UpstreamFault | None = None
        self.wanted = True
        """Whether the block is to be run, again."""

    async def __aenter__(self) -> None:
        """Chooses the credential. Raises the last try's fault where there is no other."""
        exchange = self._exchange
        try:
            lease = self._pool.choose(exchange.model.family, exchange.asked.dialect, self._sought)
        except UpstreamOverloaded as none_left:
            raise self._failed or none_left from None
        exchange.lease = lease
        exchange.attempts += 1
        lease.turn.begin()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        exchange = self._exchange
        turn = exchange.lease.turn
        turn.end()
        if error is None:
            self.wanted = False
            self._report(turn)
            return False
        if not isinstance(error, UpstreamFault):
            return False  # the client's, or ours: it says nothing about the credential
        blame = Blame(error.blame)
        if blame is Blame.REQUEST:
            turn.answered()
        else:
            turn.failed(blame, error.wait_s)
        foreign = self._sought.signed and _is_of_signatures(error)
        again = (ACTIONS[blame].again or foreign) and exchange.attempts < self._tries_max
        if not again or exchange.begun or exchange.client.gone:
            return False
        self._failed = error
        sought, lease = self._sought, exchange.lease
        self._sought = sought._replace(tried=(*sought.tried, lease.credential.name))
        if foreign:
            strangers = (*sought.strangers, lease.provider)
            self._sought = self._sought._replace(strangers=strangers)
        return True

    def _report(self, turn: Turn) -> None:
        """Tells the pool of an answer that had begun."""
        outcome = self._exchange.ending.outcome
        blame = self._exchange.blame or _UPSTREAMS_FAULT.get(outcome, Blame.REQUEST)
        if blame is not Blame.REQUEST:
            turn.failed(blame)
        elif outcome is not Outcome.CANCELLED_EARLY:
            turn.answered()


def _is_of_signatures(error: UpstreamFault) -> bool:
    """Whether an upstream refuses a request for signatures or sealed reasoning in it."""
    if not isinstance(error, Relayed):
        return False
    return _OF_SIGNATURES.search(message_of(error.upstream_body)) is not None
