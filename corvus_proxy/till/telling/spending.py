"""What the operator's credentials have cost, as the worker tells the gateways: outside the fence,
for it decides no customer's money. Gateways know no Postgres, and ask Redis once a second."""

import msgspec

from corvus_proxy.till.client import Till

SPENDING_KEY = "corvus:spending"


class Spending(msgspec.Struct, frozen=True):
    """By credential: nanos on `day` (UTC, `YYYY-MM-DD`), and since the month of it began."""

    day: str = ""
    nanos: dict[str, tuple[int, int]] = {}

    def on(self, day: str) -> dict[str, tuple[int, int]]:
        """What counts on `day`: what has been told of an earlier one is over by then. A day ahead
        of ours is the worker's clock's, and counts."""
        if self.day >= day:
            return self.nanos
        if self.day[:7] != day[:7]:
            return {}
        return {name: (0, month) for name, (_, month) in self.nanos.items()}


async def read(till: Till) -> Spending | None:
    """What was told last; None where nothing has been. Raises TillUnavailable."""
    text = await till.wait(till.redis.get(SPENDING_KEY))
    try:
        return None if text is None else msgspec.json.decode(text, type=Spending)
    except msgspec.DecodeError:  # another version's: the worker is about to write its own
        return None


async def tell(till: Till, spending: Spending) -> None:
    """Tells it where it is not what Redis has: a write costs the disk a sync."""
    if spending != await read(till):
        await till.wait(till.redis.set(SPENDING_KEY, msgspec.json.encode(spending)))
