"""What the operator earns per model, and the guards: not below cost, not above the vendor."""

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from corvus_proxy.catalogue.book import PICOS_PER_USD_PER_MILLION, Book, Model
from corvus_proxy.money.pricing import Rates
from corvus_proxy.settings import Settings, Upstream

PPM = 1_000_000
_BILLED = {
    "anthropic": ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h"),
    "openai": ("input", "output", "cache_read", "cache_write_other"),
    "glm": ("input", "output", "cache_read"),
}


class Margin(NamedTuple):
    """What one component of a model earns, prices in picos per token."""

    slug: str
    component: str
    price_picos: int
    cost_picos: int
    above: int = 0
    """For the prices above so many input tokens; 0: for the base prices."""

    @property
    def percent(self) -> int:
        """Margin on the price, rounded down; negative when it is sold below cost."""
        return (self.price_picos - self.cost_picos) * 100 // max(1, self.price_picos)


def is_loopback(url: str) -> bool:
    """Whether an upstream is on this machine: simulated, or a test's."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def addresses(upstream: Upstream) -> list[str]:
    """Every base URL that requests of this upstream may go to."""
    return [url for url in (upstream.base_url, upstream.messages_base_url) if url]


def costs(upstreams: Iterable[Upstream]) -> dict[str, tuple[int, int]]:
    """What the cheapest and the dearest credential of each family pay, in millionths of the
    official price."""
    found: dict[str, tuple[int, int]] = {}
    for upstream in upstreams:
        for credential in upstream.credential:
            cost_ppm = credential.cost_ppm()
            least, most = found.get(upstream.family, (cost_ppm, cost_ppm))
            found[upstream.family] = (min(least, cost_ppm), max(most, cost_ppm))
    return found


def margins(book: Book, upstreams: Iterable[Upstream]) -> list[Margin]:
    """The least margin of each model that a configured upstream serves, long-context prices
    included, at the cheapest credential."""
    found = costs(upstreams)
    return [
        min(components(model, found[model.family][0]), key=lambda one: one.percent)
        for model in book.models
        if model.family in found
    ]


def components(model: Model, cost_ppm: int) -> list[Margin]:
    """The margin of each component that is billed, at a credential that pays this share."""
    sides: list[tuple[int, Rates, Rates]] = [(0, model.price.base, model.official.base)]
    if model.price.long is not None and model.official.long is not None:
        sides.append((model.price.long_above, model.price.long, model.official.long))
    return [
        Margin(
            model.slug,
            name,
            getattr(ours, name),
            -(-getattr(official, name) * cost_ppm // PPM),
            above,
        )
        for above, ours, official in sides
        for name in _BILLED[model.family]
        if getattr(ours, name) or getattr(official, name)  # what is free has no margin
    ]


def billed(model: Model) -> tuple[str, ...]:
    """The components that a model's answers report, in their order."""
    found = _BILLED[model.family]
    if model.family == "openai" and not model.price.charges_writes:
        found = tuple(name for name in found if name != "cache_write_other")
    return tuple(name for name in found if name == "input") if model.embeddings else found


def below_cost(book: Book, settings: Settings) -> list[Margin]:
    """Models that are not sold, because each request would lose money."""
    return [] if settings.pricing.sell_below_cost else losses(book, settings)


def losses(book: Book, settings: Settings) -> list[Margin]:
    """Models whose price lies below what they cost at an upstream that costs money."""
    real = [
        upstream
        for upstream in settings.upstream
        if not all(is_loopback(url) for url in addresses(upstream))
    ]
    return [margin for margin in margins(book, real) if margin.price_picos < margin.cost_picos]


def explain(*found: Margin) -> str:
    """Why slugs are not sold, and the three ways out."""
    told = [
        f"{one.slug}: {one.component}{f' above {one.above} tokens' if one.above else ''} sold at"
        f" {usd(one.price_picos)}, costs {usd(one.cost_picos)}"
        for one in found
    ]
    return (
        f"{'; '.join(told)} (USD per million). Raise the price ([pricing] factor.<family>), state"
        " what you pay (cost_factor of the credential), or set pricing.sell_below_cost = true."
    )


def usd(picos: int) -> str:
    """USD per million tokens of picos per token, exactly."""
    whole, rest = divmod(picos, PICOS_PER_USD_PER_MILLION)
    return f"{whole}.{rest:06}".rstrip("0").rstrip(".")
