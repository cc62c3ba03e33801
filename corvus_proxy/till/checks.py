"""What a Redis must be to hold money; anything else is refused at start."""

import structlog

from corvus_proxy.errors import ConfigurationError
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
