"""What the operator's credentials have cost, from the books to the gateways."""

from corvus_proxy import clock
from corvus_proxy.books import costs
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.telling import spending


async def tick(stores: Stores) -> None:
    """Tells the gateways where the books stand. Raises TillUnavailable, BooksUnavailable."""
    now = clock.utc_now()
    async with stores.books.connection() as connection:
        found = await costs.totals(connection, now.date())
    nanos = {name: (spent.day_nanos, spent.month_nanos) for name, spent in found.items()}
    await spending.tell(stores.till, spending.Spending(now.date().isoformat(), nanos))
