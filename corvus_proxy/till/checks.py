"""What a Redis must be to hold money (anything else is refused at start), and what it says of
itself."""

import structlog

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.event import Mark
from corvus_proxy.till import scripts
from corvus_proxy.till.client import Till

REQUIRED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
VERSION_MIN = (7, 0)
_log = structlog.get_logger()


async def check_server(till: Till, *, durability_confirmed: bool) -> None:
    """Looks at every server that takes writes. Raises ConfigurationError with the first setting
    that could lose money, TillUnavailable."""
    name, version = await till.version()
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < VERSION_MIN:
        raise ConfigurationError(f"{name} {version} is too old: 7.0 or newer is needed.")
    for option, wanted in REQUIRED.items():
        found = await till.configs(option)
        if found is None:
            if not durability_confirmed:
                raise ConfigurationError(
                    "This Redis forbids CONFIG GET, so its durability cannot be checked. If it runs"
                    " with appendonly yes, appendfsync always and noeviction, set"
                    " redis.durability_confirmed = true."
                )
            return
        for server, value in found.items():
            if value != wanted:
                raise ConfigurationError(
                    f"{server} has {option} = {value}; it must be {wanted}, or acknowledged charges"
                    f" can be lost. Set it in redis.conf (or `CONFIG SET {option} {wanted}`)."
                )


async def clocks_ms(till: Till) -> list[int]:
    """Each server's clock, in milliseconds since 1970. Raises TillUnavailable."""
    told = await till.wait(till.redis.time())
    answers = told.values() if isinstance(told, dict) else [told]  # a cluster's, by server
    return [int(seconds) * 1000 + int(micros) // 1000 for seconds, micros in answers]


async def replicas(till: Till) -> dict[str, int]:
    """How many replicas each server has that takes writes, by its address. Raises
    TillUnavailable."""
    told = await till.infos("replication")
    return {server: int(info.get("connected_slaves", 0)) for server, info in told.items()}


async def oldest_event(till: Till, partition: int) -> Mark | None:
    """The beginning of a partition's stream. Raises TillUnavailable."""
    rows = await till.wait(till.redis.xrange(scripts.key(partition, "l"), count=1))
    return Mark(*map(int, rows[0][0].split(b"-"))) if rows else None
