"""Ends holds whose owner gave no sign of life, at their last checkpoint.

A lease has no time in it: the sweeper's own monotonic clock measures how long a hold's renewal
counter has stood still, counting only time in which it read that partition open, from its first
reading after each restamp. A clock jump, a failover or a slow sweeper can only make it later.
"""

from typing import NamedTuple

import structlog

from corvus_proxy import clock
from corvus_proxy.till import reply
from corvus_proxy.till.client import Till

GAP_S_MAX = 2.0
"""A longer pause between two readings counts as no time at all: the owner may have been shut
out."""
_log = structlog.get_logger()


class _Watch(NamedTuple):
    renewals: int
    still_s: float


class Sweeper:
    """Call `tick` regularly, much more often than the lease."""

    def __init__(self, till: Till, *, lease_s: float) -> None:
        self._till = till
        self._lease_s = lease_s
        self._watched: dict[str, _Watch] = {}
        self._stamps: dict[int, str] = {}
        self._ticked_s: float | None = None

    async def tick(self) -> int:
        """One look at every hold; how many were ended. Raises TillUnavailable."""
        now_s = clock.monotonic_s()
        passed_s = now_s - self._ticked_s if self._ticked_s is not None else 0.0
        self._ticked_s = now_s
        if passed_s > max(GAP_S_MAX, self._lease_s / 2):
            passed_s = 0.0
        expired = 0
        living: set[str] = set()
        replids = await self._till.replids()
        for partition, state in enumerate(await self._till.partitions()):
            if state.state != "OPEN" or state.stamp != replids[partition]:
                self._stamps.pop(partition, None)
                continue
            restamped = self._stamps.get(partition) != state.stamp
            self._stamps[partition] = state.stamp
            for rid, hold in (await self._till.holds(partition)).items():
                living.add(rid)
                if restamped:
                    self._watched.pop(rid, None)  # its owner was shut out: counted from now
                expired += await self._look(rid, hold, passed_s)
        self._watched = {rid: seen for rid, seen in self._watched.items() if rid in living}
        return expired

    async def _look(self, rid: str, hold: reply.HoldState, step_s: float) -> int:
        seen = self._watched.get(rid)
        if seen is None or seen.renewals != hold.renewals:
            self._watched[rid] = _Watch(hold.renewals, 0.0)
            return 0
        still_s = seen.still_s + step_s
        self._watched[rid] = _Watch(hold.renewals, still_s)
        if still_s < self._lease_s:
            return 0
        answer = await self._till.expire(rid, hold.wallet, renewals=hold.renewals)
        if isinstance(answer, reply.Settled):
            _log.warning(
                "hold_expired",
                request_id=rid,
                wallet=hold.wallet,
                charged_nanos=answer.charged_nanos,
            )
            return 1
        return 0
