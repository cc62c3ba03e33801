"""How many requests a wallet has been refused since it ran empty: what a dashboard at zero tells.

Rule 1: it is no money. Each gateway process counts for itself and tells Redis once a second, in a
key beside the wallet's; what a process that dies has not told is not counted.
Rule 2: a count is of one filling. Balance and spending together change by credits and debits alone,
so their sum names it: a top-up begins anew at zero, without anybody's doing. A refund of all of it
leads back to the count before.
"""

import asyncio
import contextlib

from corvus_proxy import jobs
from corvus_proxy.money.event import partition_of
from corvus_proxy.till import scripts
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.reply import Poor, WalletState

TOLD_EVERY_S = 1.0
KEPT_S = 90 * 86_400
"""After the last refusal."""
_WALLETS_MAX = 10_000
"""That one process counts between two words to Redis."""


class Refused:
    """What one process has refused for want of balance, until Redis knows it."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._counts: dict[str, tuple[int, int]] = {}
        """Refusals of a wallet, and its balance at the last of them."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Tells what is left."""
        await jobs.end(self._task)
        with contextlib.suppress(TillUnavailable):
            await self.tell()

    def note(self, wallet: str, poor: Poor) -> None:
        """One more request of a wallet was refused."""
        before = self._counts.get(wallet)
        if before is not None or len(self._counts) < _WALLETS_MAX:
            count = 1 + (before[0] if before else 0)
            self._counts[wallet] = (count, poor.available_nanos + poor.held_nanos)

    async def tell(self) -> None:
        """Adds what was counted to what Redis knows. Raises TillUnavailable; then what was counted
        is lost."""
        counts, self._counts = self._counts, {}
        if not counts:
            return
        states = await self._till.wallets(list(counts))
        pipe = self._till.redis.pipeline(transaction=False)
        for (wallet, (count, balance_nanos)), state in zip(counts.items(), states, strict=True):
            # More than there was then: it has been topped up, and its refusals are history.
            if state is not None and state.balance_nanos <= balance_nanos:
                pipe.hincrby(_key(wallet), _filling(state), count)
                pipe.expire(_key(wallet), KEPT_S)
        await self._till.wait(pipe.execute())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            with contextlib.suppress(TillUnavailable):
                await self.tell()


async def since_empty(till: Till, wallet: str) -> int:
    """Requests that were refused for want of balance since the wallet's last credit. Raises
    TillUnavailable."""
    state = await till.wallet(wallet)
    if state is None:
        return 0
    found = await till.wait(till.redis.hget(_key(wallet), _filling(state)))
    return int(found or 0)


def _filling(state: WalletState) -> str:
    return str(state.balance_nanos + state.spent_nanos)


def _key(wallet: str) -> str:
    return scripts.key(partition_of(wallet), f"n:{wallet}")
