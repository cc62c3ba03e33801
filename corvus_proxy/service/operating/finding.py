"""Keys by what somebody knows of them; all keys for a spreadsheet."""

from collections.abc import AsyncIterator

from corvus_proxy import secret
from corvus_proxy.books.operating import finding
from corvus_proxy.books.operating.finding import KeyRow
from corvus_proxy.service.stores import Stores

FOUND_MAX = 100


async def find(stores: Stores, text: str) -> list[KeyRow]:
    """The newest keys that fit a key id, a wallet id, an order id, the ends of a secret
    (`sk-corvus_Ab1c…9Zxy`), a mail address or a part of a label. Raises ValueError,
    BooksUnavailable."""
    text = text.strip().replace("...", "…")
    if not text:
        raise ValueError("say what to look for")
    if text.startswith(secret.PREFIX) and "…" not in text:
        raise ValueError(
            "a whole secret has no place in a command, where it stays in histories: look for its"
            f" ends alone, as in {secret.mask(text)}"
        )
    async with stores.books.connection() as connection:
        return await finding.find(connection, _how(text), text, limit=FOUND_MAX)


def _how(text: str) -> str:
    for prefix, how in (
        ("key_", "key"),
        ("w_", "wallet"),
        ("ord_", "order"),
        (secret.PREFIX, "masked"),
    ):
        if text.startswith(prefix):
            return how
    return "email" if "@" in text else "label"


async def export(stores: Stores) -> AsyncIterator[KeyRow]:
    """Every key. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        async for row in finding.export(connection):
            yield row
