"""The gateway with its till closed: what a request costs without money. For measurements only.

It is the gateway's own process and every part of it, but for two: the till grants and settles
whatever it is asked without asking Redis, and the journal writes no line of a request. Nobody is
charged, so it lives here and not in the product.
"""

from typing import Any

from corvus_proxy.gateway.front.asgi import application
from corvus_proxy.ops import role
from corvus_proxy.roles import gateway
from corvus_proxy.roles.parent import die_with_parent
from corvus_proxy.roles.process import set_up_logs
from corvus_proxy.roles.reloading import Stamp, stamp_of
from corvus_proxy.settings import Settings, config_path, load
from corvus_proxy.till import reply
from corvus_proxy.till.client import Till

AVAILABLE_NANOS = 10**14


class GrantingTill(Till):
    """Says yes at once; all that is not a request's goes to Redis as ever."""

    async def reserve(self, ask: reply.Ask, *, owner: str, lag_limit: int) -> Any:
        return reply.Granted(ask.most_nanos, AVAILABLE_NANOS, "key_bench")

    async def extend(
        self,
        rid: str,
        wallet: str,
        *,
        total_nanos: int,
        checkpoint_nanos: int,
        owner: str,
        meta: bytes,
    ) -> Any:
        return reply.Extended(total_nanos, final=False)

    async def renew(self, leases: Any, *, owner: str) -> list[Any]:
        return [reply.Extended(lease.total_nanos, final=False) for lease in leases]

    async def settle(self, charge: reply.Charge, *, patience_s: float | None = None) -> Any:
        return reply.Settled(charge.actual_nanos, 0, AVAILABLE_NANOS, 1, 1)


class SilentJournal:
    """Takes every line and writes none; its files and its health are the real journal's."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def opened(self, ask: reply.Ask) -> bool:
        return True

    def checkpoint(self, rid: str, key: str, nanos: int, meta: bytes) -> None:
        pass

    def settling(self, charge: reply.Charge) -> None:
        pass

    def ended(self, rid: str, partition: int, at: Any) -> None:
        pass


class ClosedProcess(gateway.Process):
    """The gateway's process over them."""

    def __init__(self, settings: Settings, *, since: Stamp) -> None:
        super().__init__(settings, since=since)
        self._till = GrantingTill.open(settings.redis.url, timeout_ms=settings.redis.timeout_ms)

    async def start(self) -> None:
        await super().start()
        holds: Any = self._holds
        holds.journal = SilentJournal(holds.journal)


def create() -> Any:
    """The ASGI application of one process."""
    die_with_parent()
    set_up_logs()
    since = stamp_of(config_path())
    process = ClosedProcess(load(config_path()), since=since)

    async def engine(client: Any) -> None:
        await process.engine(client)

    return application(engine, process.start, process.stop)


if __name__ == "__main__":
    # Granian finds the application by the product's name for it.
    door: Any = gateway
    door.create = create
    role.main("gateway")
