"""What somebody's own requests would cost at other models' prices of today.

Rule: the tokens are those that were charged, the prices those that bill; a request that was large
enough for a model's long-context prices is priced at those.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from corvus_proxy import clock
from corvus_proxy.books import views
from corvus_proxy.books.statements import Scope
from corvus_proxy.catalogue.book import Model
from corvus_proxy.money.amount import round_to_nanos
from corvus_proxy.money.price import Price
from corvus_proxy.money.usage import CLASSES
from corvus_proxy.service import statements
from corvus_proxy.service.stores import Stores

DAYS = 7
REQUESTS_MAX = 20_000
"""Requests that are priced again, the latest ones."""
Fit = Callable[[Mapping[str, int], Model], Mapping[str, int]]
"""Token counts as a model's family would report them."""


class Repriced(NamedTuple):
    """What the same tokens cost with one model. In nanos, to one a request."""

    slug: str
    ours_nanos: int
    official_nanos: int


class Own(NamedTuple):
    """The requests of the last `DAYS`, and what they would cost elsewhere."""

    requests: int
    charge_nanos: int
    since: str
    whole: bool
    """All requests of the time are among them."""
    prices: list[Repriced]


async def reprice(stores: Stores, scope: Scope, models: Sequence[Model], fit: Fit) -> Own:
    """The latest requests at the prices of these models. Raises BooksUnavailable."""
    await statements.is_current(stores, scope.wallet)
    since = clock.utc_now() - timedelta(days=DAYS)
    limits = sorted({one.price.long_above + 1 for one in models if one.price.long is not None})
    async with stores.books.connection() as connection:
        used, charge, requests = await views.sizes(
            connection, scope.wallet, scope.key_id, since=since, limit=REQUESTS_MAX, limits=limits
        )
    prices = [
        Repriced(
            model.slug,
            _cost(used, limits, model, model.price, fit),
            _cost(used, limits, model, model.official_price, fit),
        )
        for model in models
    ]
    whole = requests < REQUESTS_MAX
    return Own(requests, charge, f"{since:%Y-%m-%d %H:%M} UTC", whole, prices)


def _cost(
    used: Mapping[int, Mapping[str, int]],
    limits: Sequence[int],
    model: Model,
    price: Price,
    fit: Fit,
) -> int:
    """All requests of every size at the rates of that size."""
    picos = 0
    for size, counts in used.items():
        least = limits[size - 1] if size else 0
        rates = price.rates(least)
        for name, count in fit(counts, model).items():
            if name in CLASSES or name == "searches":
                picos += count * getattr(rates, name)
    return round_to_nanos(picos)
