"""The price book that is shipped: complete, exact, and in agreement with its source."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import data_snapshot

from corvus_proxy.catalogue import book, margin
from corvus_proxy.catalogue.book import Model
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import Credential, PricingSettings, Settings, Upstream

BOOK = book.load(PricingSettings())
PROVIDERS = {"anthropic": "anthropic", "openai": "openai", "glm": "zai"}
FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}


@pytest.mark.parametrize("model", BOOK.models, ids=lambda model: model.slug)
def test_row(model: Model) -> None:
    """Source, date, no component dearer than official, the family's rule for our price."""
    assert model.official.source
    assert model.official.checked
    pairs = [(model.price.base, model.official.base)]
    if model.price.long and model.official.long:
        pairs.append((model.price.long, model.official.long))
        for name in model.price.base.__struct_fields__:
            assert getattr(model.price.long, name) >= getattr(model.price.base, name)
    for ours, official in pairs:
        for name in ours.__struct_fields__:
            if name not in ("cache_write_other", "cache_write_5m", "cache_write_1h") or (
                model.family == "anthropic" and name != "cache_write_other"
            ):
                assert getattr(ours, name) <= getattr(official, name), name
        if model.family == "anthropic":
            for name in ("input", "output", "cache_read"):
                assert getattr(ours, name) * 100 == getattr(official, name) * 35
            assert ours.cache_write_5m * 100 == ours.input * 125
            assert ours.cache_write_1h == ours.input * 2
        else:
            assert ours.input * 2 == official.input
            assert ours.output * 2 == official.output


@pytest.mark.parametrize("model", BOOK.models, ids=lambda model: model.slug)
def test_official_price_agrees_with_its_source(model: Model) -> None:
    """Each official price is what the tracked table says today."""
    providers = {provider.id: provider for provider in data_snapshot.get_snapshot().providers}
    tracked = next(
        row for row in providers[PROVIDERS[model.family]].models if row.match.is_match(model.slug)
    )
    found = tracked.get_prices(datetime(2026, 11, 23, tzinfo=UTC))
    for name, field in FIELDS.items():
        price = getattr(found, field)
        if price is None or (name == "cache_write_5m" and model.family != "anthropic"):
            continue
        base = getattr(price, "base", price)
        assert getattr(model.official.base, name) == Decimal(base) * 10**6, name
        tiers = getattr(price, "tiers", None)
        if tiers:
            assert model.price.long_above == tiers[0].start
            assert model.official.long is not None
            assert getattr(model.official.long, name) == Decimal(tiers[0].price) * 10**6


def test_versions_follow_the_content() -> None:
    """The same content has the same version; a factor changes it."""
    other = book.load(PricingSettings(factor={"openai": "0.60"}))
    for before, after in zip(BOOK.models, other.models, strict=True):
        assert (before.price.version == after.price.version) == (before.family != "openai")
    assert len({model.price.version for model in BOOK.models}) == len(BOOK.models)


def test_a_book_without_cache_prices_gets_the_family_defaults(tmp_path) -> None:
    """Read 10 % or 20 %, writes by the family."""
    path = tmp_path / "models.toml"
    row = (
        '[[model]]\nslug = "{0}-x"\nfamily = "{0}"\nname = "X"\ncontext_tokens = 1\n'
        'output_tokens_max = 1\ncreated = 1\nsource = "s"\nchecked = 2026-11-23\n'
        'official = {{ input = "4", output = "8" }}\nprice = {{ input = "2", output = "4" }}\n'
    )
    path.write_text("".join(row.format(family) for family in PROVIDERS))
    found = book.load(PricingSettings(book=str(path)))
    shares = {"anthropic": 200_000, "openai": 200_000, "glm": 400_000}
    for model in found.models:
        assert model.price.base.cache_read == shares[model.family]
        assert model.price.base.cache_write_5m == 2_500_000
    path.write_text(path.read_text().replace('"4", output', '"0.0000001", output'))
    with pytest.raises(ConfigurationError, match="anthropic-x"):
        book.load(PricingSettings(book=str(path)))


def test_selling_below_cost_is_refused_for_real_upstreams_only() -> None:
    """Three ways out: the price, the cost factor, the explicit word."""

    def below(url: str, cost: float, *, anyway: bool = False) -> int:
        upstream = Upstream("anthropic", url, credential=[Credential("a", cost_factor=cost)])
        return len(margin.below_cost(BOOK, Settings(
            upstream=[upstream], pricing=PricingSettings(sell_below_cost=anyway))))  # fmt: skip

    assert below("https://api.anthropic.com", 1.0) == 16
    assert below("https://api.anthropic.com", 0.3) == 0
    assert below("https://api.anthropic.com", 1.0, anyway=True) == 0
    assert below("http://127.0.0.1:9", 1.0) == 0
