"""What the operator earns per model, and the guards: not below cost, not above the vendor."""

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from corvus_proxy.catalogue.book import PICOS_PER_USD_PER_MILLION, Book, Model
from corvus_proxy.catalogue.sides import Side, reported, sides
from corvus_proxy.settings import Settings, Upstream

_PPM = 1_000_000


class Margin(NamedTuple):
    """What one component of a model earns, prices in picos per token."""

    slug: str
    component: str
    price_picos: int
    cost_picos: int
    where: str = ""
    """What to say after the component's name: ` above 272000 tokens`."""

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
    """The margin of each component of each size, at a credential that pays this share."""
    return [
        of(model.slug, name, side, cost_ppm)
        for side in sides(model)
        for name in reported(model)
        if getattr(side.ours, name) or getattr(side.official, name)  # what is free has no margin
    ]


def of(slug: str, component: str, side: Side, cost_ppm: int) -> Margin:
    """The margin of one component."""
    cost_picos = -(-getattr(side.official, component) * cost_ppm // _PPM)
    return Margin(slug, component, getattr(side.ours, component), cost_picos, side.words)


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
        f"{one.slug}: {one.component}{one.where} sold at"
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
