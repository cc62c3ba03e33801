"""What the operator has switched off, as the books tell the gateways: outside the fence, for it
moves no money. Gateways know no Postgres, and ask Redis once a second; while it is away they keep
to what it said last."""

import msgspec

from corvus_proxy.till.client import Till

STOPS_KEY = "corvus:stops"


class Stops(msgspec.Struct, frozen=True):
    """Names in the order of the alphabet. Credentials are `family/name`."""

    models: tuple[str, ...] = ()
    """Slugs that are not sold."""
    credentials: tuple[str, ...] = ()
    """That take no request."""
    draining: tuple[str, ...] = ()
    """That take no new session."""


NOTHING = Stops()


async def read(till: Till) -> Stops | None:
    """What was told last; None where nothing has been. Raises TillUnavailable."""
    text = await till.wait(till.redis.get(STOPS_KEY))
    try:
        return None if text is None else msgspec.json.decode(text, type=Stops)
    except msgspec.DecodeError:  # another version's: the worker is about to write its own
        return None


async def tell(till: Till, stops: Stops) -> None:
    """Tells it where it is not what Redis has: a write costs the disk a sync. That nothing is off
    is told as well: of a Redis that knows nothing, gateways keep to what it said last. Raises
    TillUnavailable."""
    if stops != await read(till):
        await till.wait(till.redis.set(STOPS_KEY, msgspec.json.encode(stops)))
