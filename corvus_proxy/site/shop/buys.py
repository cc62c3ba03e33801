"""What an amount buys, in turns of a coding agent; by the prices and the function that bill."""

from typing import NamedTuple

from corvus_proxy.catalogue import book, margin
from corvus_proxy.catalogue.book import Model
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.settings import FAMILIES, Settings

TURN = Usage(input=2_000, cache_read=18_000, output=800)
ASSUMED = (
    "A turn here is one call of a coding agent: 20,000 tokens of context, 18,000 of them read from"
    " the cache, and 800 tokens of answer. Yours may be ten times larger or smaller."
)


class Buys(NamedTuple):
    """How many turns of one model an amount buys."""

    title: str
    slug: str
    turn_nanos: int
    turns: int
    bar_permille: int
    """Length of its bar: the cheapest model's is full."""


def sold(settings: Settings) -> list[Model]:
    """The text models that this installation sells."""
    models = book.load(settings.pricing)
    unsold = {found.slug for found in margin.below_cost(models, settings)}
    served = {upstream.family for upstream in settings.upstream} or set(FAMILIES)
    return [
        model
        for model in models.models
        if model.family in served and model.slug not in unsold and not model.embeddings
    ]


def shown(settings: Settings) -> list[Model]:
    """The dearest and the cheapest model of each family, the dearest of all first."""
    found: dict[str, Model] = {}
    models = sold(settings)
    for family in FAMILIES:
        own = sorted((model for model in models if model.family == family), key=_turn_nanos)
        found |= {model.slug: model for model in (*own[-1:], *own[:1])}
    return sorted(found.values(), key=_turn_nanos, reverse=True)


def buys(models: list[Model], nanos: int) -> list[Buys]:
    """What `nanos` buy of each model."""
    turns = {model.slug: nanos // (_turn_nanos(model) or 1) for model in models}
    most = max(turns.values(), default=0) or 1
    return [
        Buys(
            model.display_name,
            model.slug,
            _turn_nanos(model),
            turns[model.slug],
            -(-turns[model.slug] * 1000 // most),
        )
        for model in models
    ]


def _turn_nanos(model: Model) -> int:
    return charge(TURN, model.price)
