"""A model's rates for all that may be served, ours beside the vendor's."""

from typing import NamedTuple

from corvus_proxy.catalogue.book import Model
from corvus_proxy.money.price import Mode, Rates

_REPORTED = {
    "anthropic": ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h"),
    "openai": ("input", "output", "cache_read", "cache_write_other"),
    "glm": ("input", "output", "cache_read"),
}


class Side(NamedTuple):
    """The rates of one way of service at one size of request."""

    mode: str
    """`flex`, `priority`, `fast` …; empty: the ordinary one."""
    above: int
    """For requests with more input tokens than this; 0: for those below the limit, or all."""
    ours: Rates
    official: Rates

    @property
    def words(self) -> str:
        """What to say after a component's name."""
        mode = f" as {self.mode}" if self.mode else ""
        return mode + (f" above {self.above} tokens" if self.above else "")


def sides(model: Model) -> list[Side]:
    """The base prices first."""
    ours = {"": Mode(model.price.base, model.price.long), **model.price.modes}
    theirs = {"": Mode(model.official.base, model.official.long), **model.official.modes}
    found = []
    for name, mode in ours.items():
        official = theirs[name]
        found.append(Side(name, 0, mode.base, official.base))
        if mode.long is not None and official.long is not None:
            found.append(Side(name, model.price.long_above, mode.long, official.long))
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
