"""Redis, Postgres and the pepper: what every service function works on."""

from dataclasses import dataclass

from corvus_proxy import pepper as peppers
from corvus_proxy.books.db import Books
from corvus_proxy.settings import Settings
from corvus_proxy.till.client import Till


@dataclass(frozen=True)
class Stores:
    till: Till
    books: Books
    pepper: bytes

    async def close(self) -> None:
        await self.till.close()
        await self.books.close()


def open_stores(settings: Settings) -> Stores:
    """Opens both lazily: neither needs to be there yet. Raises ConfigurationError (pepper)."""
    pepper = settings.pepper()
    return Stores(
        Till.open(settings.redis.url, timeout_ms=max(settings.redis.timeout_ms, 1000)),
        Books(settings.database.url, pepper_id=peppers.id_of(pepper)),
        pepper,
    )
