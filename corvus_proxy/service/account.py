"""What a customer sees of a wallet: log-in by the key, figures, requests, models."""

from typing import NamedTuple

from corvus_proxy import secret
from corvus_proxy.books import views
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.reply import Look


class Session(NamedTuple):
    """Who is logged in."""

    wallet: str
    key_id: str


class Overview(NamedTuple):
    """The figures of a wallet, from Redis. Amounts in nanos."""

    balance_nanos: int
    held_nanos: int
    available_nanos: int
    spent_nanos: int


async def log_in(stores: Stores, text: str) -> Session | None:
    """The session that a secret opens; None for every secret that opens none.

    A frozen key may look. Raises TillUnavailable.
    """
    parsed = secret.parse(text)
    if parsed is None:
        return None
    reply = await stores.till.look(parsed.wallet, secret.digest(parsed.text, stores.pepper))
    return Session(parsed.wallet, reply.key_id) if isinstance(reply, Look) else None


async def overview(stores: Stores, wallet: str) -> Overview:
    """Balance, held, available and spent. Raises TillUnavailable."""
    state = await stores.till.wallet(wallet)
    if state is None:
        return Overview(0, 0, 0, 0)
    return Overview(
        state.balance_nanos,
        state.held_nanos,
        state.balance_nanos - state.held_nanos,
        state.spent_nanos,
    )


async def requests(stores: Stores, wallet: str, *, limit: int) -> list[views.RequestRow]:
    """The latest requests. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        return await views.requests(connection, wallet, limit=limit)


async def models(stores: Stores, wallet: str) -> list[views.ModelRow]:
    """Charges by model. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        return await views.models(connection, wallet)
