"""Secrets that were used and may rest on an older pepper, as the gateways tell the worker.

A gateway has the secret's text and no Postgres; the worker has the books and never sees a text. So
the gateway tells both digests, and the worker puts the one in the other's place.
"""

from collections.abc import Iterable
from typing import Any

from corvus_proxy.till.client import Till

REHASH_KEY = "corvus:rehash"
SEEN_MAX = 65_536
AT_ONCE = 500


class Used:
    """Proofs of secrets that were used in this process, each told once.

    A proof is all digests of one secret, the current pepper's first, joined by commas; one with a
    single digest is of no interest.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._untold: list[str] = []

    def note(self, proof: str) -> None:
        """A request with this proof was admitted."""
        if proof not in self._seen:
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()  # told again, which changes nothing
            self._seen.add(proof)
            self._untold.append(proof)

    async def tell(self, till: Till, pepper_id: str) -> None:
        """Tells what is new, and under which current pepper. Raises TillUnavailable; then it is
        told the next time."""
        some = self._untold[:AT_ONCE]
        if some:
            parts = (one.split(",", 1) for one in some)
            pairs: dict[Any, Any] = {current: f"{pepper_id},{others}" for current, others in parts}
            await till.wait(till.redis.hset(REHASH_KEY, mapping=pairs))
            del self._untold[: len(some)]


async def told(till: Till) -> dict[str, list[str]]:
    """Some of what was told: current digests, each with the id of its pepper and the others of the
    same secret. Raises TillUnavailable."""
    _, pairs = await till.wait(till.redis.hscan(REHASH_KEY, count=AT_ONCE))
    return {new.decode(): old.decode().split(",") for new, old in pairs.items()}


async def done(till: Till, digests: Iterable[str]) -> None:
    """These need not be told any more. Raises TillUnavailable."""
    if some := list(digests):
        await till.wait(till.redis.hdel(REHASH_KEY, *some))
