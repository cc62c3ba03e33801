"""What the operator earns per model, and the guards: not below cost, not above the vendor."""

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from corvus_proxy.catalogue.book import Book, Model
from corvus_proxy.settings import Settings, Upstream

_PPM = 1_000_000
_BILLED = {
    "anthropic": ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h"),
    "openai": ("input", "output", "cache_read", "cache_write_other"),
    "glm": ("input", "output", "cache_read"),
}


class Margin(NamedTuple):
    """The component with the least margin of one model, prices in picos per token."""

    slug: str
    component: str
    price_picos: int
    cost_picos: int

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


def margins(book: Book, upstreams: Iterable[Upstream]) -> list[Margin]:
    """The least margin of each model that a configured upstream serves."""
    cheapest: dict[str, int] = {}
    for upstream in upstreams:
        cost_ppm = min(credential.cost_ppm() for credential in upstream.credential)
        cheapest[upstream.family] = min(cost_ppm, cheapest.get(upstream.family, cost_ppm))
    return [
        _least(model, cheapest[model.family]) for model in book.models if model.family in cheapest
    ]


def below_cost(book: Book, settings: Settings) -> list[Margin]:
    """Models that would be sold below cost at an upstream that costs money."""
    if settings.pricing.sell_below_cost:
        return []
    real = [
        upstream
        for upstream in settings.upstream
        if not all(is_loopback(url) for url in addresses(upstream))
    ]
    return [margin for margin in margins(book, real) if margin.price_picos < margin.cost_picos]


def lint(book: Book) -> list[str]:
    """A sentence for each component that is sold dearer than the vendor sells it."""
    found = []
    for model in book.models:
        for ours, official, above in model.pairs():
            for name in ours.__struct_fields__:
                price, list_price = getattr(ours, name), getattr(official, name)
                if price > list_price:
                    found.append(
                        f"{model.slug}: {name}{above} is sold at {price} picos, dearer than the"
                        f" vendor's {list_price}"
                    )
    return found


def _least(model: Model, cost_ppm: int) -> Margin:
    found = [
        Margin(
            model.slug, name, getattr(ours, name), -(-getattr(official, name) * cost_ppm // _PPM)
        )
        for ours, official, _ in model.pairs()
        for name in _BILLED[model.family]
        if getattr(ours, name) or getattr(official, name)  # what is free has no margin
    ]
    return min(found, key=lambda margin: margin.percent)


def explain(margin: Margin) -> str:
    """Why a slug is not sold, and the three ways out."""
    return (
        f"{margin.slug}: {margin.component} is sold at {margin.price_picos} picos and costs"
        f" {margin.cost_picos}. Raise the price ([pricing] factor.<family>), state what you pay"
        " (cost_factor of the credential), or set pricing.sell_below_cost = true."
    )
