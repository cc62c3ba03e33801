"""The desk: what every function of orders works on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from corvus_proxy import clock
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.shop.delivering import Means
from corvus_proxy.shop.price import Terms, terms, usd
from corvus_proxy.shop.provider import Provider

LOOKS = 8
"""Questions to a payment service that one order's page may cause at once."""
LOOK_S = 3.0
"""Another one every so many seconds."""
_ORDERS_MAX = 10_000
REST_MAX_S = 60.0
"""Longest pause that the worker gives a payment service that does not answer."""


class Looks:
    """Keeps a page that is loaded over and over from asking the payment service each time."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, order_id: str) -> bool:
        """Whether the service may be asked now."""
        now = clock.monotonic_s()
        left, at = self._left.pop(order_id, (float(LOOKS), now))
        left = min(float(LOOKS), left + (now - at) / LOOK_S)
        may = left >= 1
        self._left[order_id] = (left - 1 if may else left, now)
        if len(self._left) > _ORDERS_MAX:
            self._left.pop(next(iter(self._left)))
        return may


class Rests:
    """Which payment services the worker leaves alone: they did not answer."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, float]] = {}

    def now(self) -> list[str]:
        """Names of those that rest."""
        return [name for name, (until, _) in self._until.items() if until > clock.monotonic_s()]

    def failed(self, name: str) -> None:
        """Twice as long as the last time."""
        _, pause_s = self._until.get(name, (0.0, 0.5))
        pause_s = min(REST_MAX_S, pause_s * 2)
        self._until[name] = (clock.monotonic_s() + pause_s, pause_s)

    def answered(self, name: str) -> None:
        self._until.pop(name, None)


@dataclass(frozen=True)
class Desk:
    """Stores, settings and the payment services that are configured, by name."""

    stores: Stores
    settings: Settings
    providers: Mapping[str, Provider]
    terms: Terms
    packages_nanos: tuple[int, ...]
    preset_nanos: int
    looks: Looks = field(default_factory=Looks)
    rests: Rests = field(default_factory=Rests)
    chores: dict[str, float] = field(default_factory=dict)
    """When a chore of the worker was last done, on the monotonic clock."""

    @property
    def means(self) -> Means:
        """What the shop works with."""
        stores = self.stores
        return Means(stores.till, stores.books, stores.pepper, self.settings, self.providers)

    async def close(self) -> None:
        """Ends the connections to the payment services; the stores belong to whoever opened
        them."""
        for provider in self.providers.values():
            await provider.close()


def open_desk(settings: Settings, stores: Stores, providers: Mapping[str, Provider]) -> Desk:
    """A desk with these payment services; nothing needs to be there yet. Raises
    ConfigurationError where an amount or a percentage of `[shop]` is none."""
    shop = settings.shop
    if shop.refund_alone_usd:
        usd("refund_alone_usd", shop.refund_alone_usd)
    packages = tuple(usd("packages_usd", text) for text in shop.packages_usd)
    return Desk(
        stores, settings, providers, terms(shop), packages, usd("preset_usd", shop.preset_usd)
    )
