"""What a customer sees of a wallet: figures, requests, models."""

from datetime import datetime
from typing import NamedTuple

from corvus_proxy.books import views
from corvus_proxy.service.keys import STATUS
from corvus_proxy.service.sessions import Session
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import TillUnavailable


class Overview(NamedTuple):
    """The figures of a wallet, from Redis. Amounts in nanos."""

    balance_nanos: int
    held_nanos: int
    available_nanos: int
    spent_nanos: int


class KeyRecord(NamedTuple):
    """A key as its owner knows it."""

    key_id: str
    label: str
    status: str
    masked: str
    """Of the present secret; what a client may still use during a rotation's grace is not told."""
    created_at: datetime


async def overview(stores: Stores, wallet: str) -> Overview:
    """Balance, held, available and spent. Raises TillUnavailable, also where Redis has lost the
    wallet: zeros would be a lie."""
    state = await stores.till.wallet(wallet)
    if state is None:
        raise TillUnavailable("Redis: the wallet is not loaded")
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


async def key(stores: Stores, session: Session) -> KeyRecord | None:
    """The key that is logged in. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        row = await views.key(connection, session.wallet, session.key_id)
    return None if row is None else KeyRecord(**{**row, "status": STATUS[row["status"]]})
