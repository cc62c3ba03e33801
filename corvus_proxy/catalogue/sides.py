"""A model's rates for all that may be served, ours beside the vendor's."""

from typing import NamedTuple

from corvus_proxy.catalogue.book import Model
from corvus_proxy.money.pricing import Rates

_REPORTED = {
    "anthropic": ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h"),
    "openai": ("input", "output", "cache_read", "cache_write_other"),
    "glm": ("input", "output", "cache_read"),
}


class Side(NamedTuple):
    """The rates of one size of request."""

    above: int
    """For requests with more input tokens than this; 0: for those below the limit, or all."""
    ours: Rates
    official: Rates

    @property
    def words(self) -> str:
        """What to say after a component's name."""
        return f" above {self.above} tokens" if self.above else ""


def sides(model: Model) -> list[Side]:
    """The base prices first."""
    found = [Side(0, model.price.base, model.official.base)]
    if model.price.long is not None and model.official.long is not None:
        found.append(Side(model.price.long_above, model.price.long, model.official.long))
    return found


def reported(model: Model) -> tuple[str, ...]:
    """The components that a family's answers may report tokens of, in their order."""
    return _REPORTED[model.family]


def billed(model: Model) -> tuple[str, ...]:
    """The components that a model is known to report: those that a price list shows."""
    if model.embeddings:
        return ("input",)
    found = reported(model)
    if model.family == "openai" and not model.price.charges_writes:
        found = tuple(name for name in found if name != "cache_write_other")
    return (*found, "searches")
