"""The desk: what every function of orders works on."""

from collections.abc import Mapping
from dataclasses import dataclass

from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.shop.provider import Provider


@dataclass(frozen=True)
class Desk:
    """Stores, settings and the payment services that are configured, by name."""

    stores: Stores
    settings: Settings
    providers: Mapping[str, Provider]

    async def close(self) -> None:
        """Ends the connections to the payment services; the stores belong to whoever opened
        them."""
        for provider in self.providers.values():
            await provider.close()


def open_desk(settings: Settings, stores: Stores, providers: Mapping[str, Provider]) -> Desk:
    """A desk with these payment services; nothing needs to be there yet."""
    return Desk(stores, settings, providers)
