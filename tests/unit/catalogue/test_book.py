"""The price book that is shipped: complete, exact, and in agreement with its source."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import data_snapshot

from corvus_proxy.catalogue import book
from corvus_proxy.catalogue.book import Model
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import PricingSettings

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
    """Source, date, no component dearer than official, the family's rule for our price: in every
    mode of service and at every size."""
    assert model.official.source
    assert model.official.checked
    for rates in (mode.long for mode in model.price.modes.values()):
        assert rates is None or model.price.long is not None
    if model.price.long:
        for name in model.price.base.__struct_fields__:
            assert getattr(model.price.long, name) >= getattr(model.price.base, name)
    pairs = list(model.pairs())
    assert len(pairs) == sum(
        1 + (mode.long is not None) for mode in (model.price, *model.price.modes.values())
    )
    for ours, official, _ in pairs:
        for name in ours.__struct_fields__:
            assert getattr(ours, name) <= getattr(official, name), name
        if model.family == "anthropic":
            for name in ("input", "output", "cache_read"):
                assert getattr(ours, name) * 100 == getattr(official, name) * 35
            assert ours.cache_write_5m * 100 == ours.input * 125
            assert ours.cache_write_1h == ours.input * 2
        else:
            assert ours.input * 2 == official.input
            assert ours.output * 2 == official.output


def tracked(name: str, family: str) -> Any:
    """What the tracked table says of a model on the day the book was checked."""
    providers = {provider.id: provider for provider in data_snapshot.get_snapshot().providers}
    row = next(row for row in providers[PROVIDERS[family]].models if row.match.is_match(name))
    return row.id.lower(), row.get_prices(datetime(2026, 11, 23, tzinfo=UTC))


@pytest.mark.parametrize("model", BOOK.models, ids=lambda model: model.slug)
def test_official_price_agrees_with_its_source(model: Model) -> None:
    """Each official price, its tier included, is what the tracked table says; there is no
    disagreement that would need a signature. What the table does not name is billed as input."""
    _, found = tracked(model.slug, model.family)
    official, writes = model.official, "cache_write_other"
    fields = dict(FIELDS)
    if model.family != "anthropic":
        fields[writes] = fields.pop("cache_write_5m")
        assert (getattr(found, fields[writes]) is not None) == model.price.charges_writes
    tiered = False
    for name, field in fields.items():
        price = getattr(found, field)
        if price is None:
            assert name != "input"
            assert model.embeddings or getattr(official.base, name) == official.base.input
            continue
        assert getattr(official.base, name) == Decimal(getattr(price, "base", price)) * 10**6, name
        for tier in getattr(price, "tiers", ()):
            tiered = True
            assert model.price.long_above == tier.start
            assert official.long is not None
            assert getattr(official.long, name) == Decimal(tier.price) * 10**6, name
    assert tiered == (official.long is not None)


@pytest.mark.parametrize("model", BOOK.models, ids=lambda model: model.slug)
def test_official_modes_agree_with_their_source(model: Model) -> None:
    """Every tier and speed that the tracked table has a price for, and no other; ultrafast is not
    in it and costs six times the ordinary price in everything, by its vendor's page."""
    providers = {provider.id: provider for provider in data_snapshot.get_snapshot().providers}
    models = providers[PROVIDERS[model.family]].models
    row = next(row for row in models if row.match.is_match(model.slug))
    found = {}
    for variant in row.price_variants or []:
        name = variant.when.get("service_tier") or variant.when.get("speed")
        if name and (model.family, name) not in (("openai", "fast"), ("openai", "default")):
            found[name] = variant.prices
    ultrafast = model.official.modes.get("ultrafast")
    assert set(model.official.modes) - {"ultrafast"} == set(found)
    if ultrafast is not None:
        assert ultrafast.base == model.official.base.times(600)
        assert model.official.long is not None
        assert ultrafast.long == model.official.long.times(600)
    for name, prices in found.items():
        mode = model.official.modes[name]
        assert (mode.long is not None) == bool(getattr(prices.input_mtok, "tiers", ()))
        fields = dict(FIELDS)
        if model.family != "anthropic":
            fields["cache_write_other"] = fields.pop("cache_write_5m")
        for component, field in fields.items():
            price = getattr(prices, field)
            if price is None:
                assert getattr(mode.base, component) == mode.base.input
                continue
            base = Decimal(getattr(price, "base", price)) * 10**6
            assert getattr(mode.base, component) == base, (name, component)
            for tier in getattr(price, "tiers", ()):
                assert mode.long is not None
                assert getattr(mode.long, component) == Decimal(tier.price) * 10**6


@pytest.mark.parametrize("model", BOOK.models, ids=lambda model: model.slug)
def test_a_place_costs_a_tenth_more_on_claude_from_4_6_on(model: Model) -> None:
    """The vendor's page on data residency; older models refuse the parameter."""
    newer = model.family == "anthropic" and not model.slug.endswith("4-5")
    assert model.price.geos == ({"us": 110} if newer else {})
    assert model.official_price.geos == model.price.geos


def test_the_version_covers_modes_and_places(tmp_path: Path) -> None:
    """Another rate of a tier, or another percent, is another version."""

    def version(text: str) -> str:
        path = tmp_path / "models.toml"
        path.write_text(text)
        return book.load(PricingSettings(book=str(path))).models[0].price.version

    mode = ROW + MODE
    found = {
        version(ROW), version(mode), version(mode.replace("flex", "priority")),
        version(mode.replace('"1", output = "2" }', '"1", output = "1" }')),
        version(CLAUDE + "geos = { us = 110 }\n"), version(CLAUDE + "geos = { us = 120 }\n"),
    }  # fmt: skip
    assert len(found) == 6


@pytest.mark.parametrize(
    ("name", "slug", "family"),
    [(name, row.slug, row.family) for row in BOOK.models for name in row.aliases],
)
def test_an_alias_is_another_name_of_the_same_model(name: str, slug: str, family: str) -> None:
    """A dated name leads to the row of its own model, at the same tracked price."""
    found = BOOK.find(name)
    assert found is not None
    assert found.slug == slug
    assert tracked(name, family)[0] == tracked(slug, family)[0]


def test_versions_follow_the_content() -> None:
    """The same content has the same version; a factor changes it."""
    other = book.load(PricingSettings(factor={"openai": "0.60"}))
    for before, after in zip(BOOK.models, other.models, strict=True):
        assert (before.price.version == after.price.version) == (before.family != "openai")
    assert len({model.price.version for model in BOOK.models}) == len(BOOK.models)


def test_a_book_without_cache_prices_gets_the_family_defaults(tmp_path: Path) -> None:
    """Read 10 % or 20 %, writes by the family."""
    path = tmp_path / "models.toml"
    row = (
        '[[model]]\nslug = "{0}-x"\nfamily = "{0}"\nname = "X"\ncontext_tokens = 1\n'
        'output_tokens_max = 1\ncreated = 1\nsource = "s"\nchecked = 2026-11-23\n'
        'official = {{ input = "4", output = "8" }}\nprice = {{ input = "2", output = "4" }}\n'
    )
    path.write_text("".join(row.format(family) for family in PROVIDERS))
    found = book.load(PricingSettings(book=str(path)))
    for model in found.models:
        price, claude = model.price.base, model.family == "anthropic"
        assert price.cache_read == (400_000 if model.family == "glm" else 200_000)
        assert price.cache_write_5m == (2_500_000 if claude else 2_000_000)
        assert price.cache_write_1h == (4_000_000 if claude else 2_000_000)
        assert price.cache_write_other == (2_500_000 if claude else 2_000_000)
    path.write_text(path.read_text().replace("checked", "charges_writes = true\nchecked"))
    writes = book.load(PricingSettings(book=str(path))).models
    assert [row.price.base.cache_write_other for row in writes] == [2_500_000, 2_500_000, 2_000_000]


ROW = """
[[model]]
slug = "x"
family = "openai"
name = "X"
context_tokens = 1
output_tokens_max = 1
created = 1
source = "s"
checked = 2026-11-23
official = { input = "4", output = "8" }
price = { input = "2", output = "4" }
"""
CLAUDE = ROW.replace("openai", "anthropic")
MODE = (
    '[model.modes.flex]\nofficial = { input = "2", output = "4" }\n'
    'price = { input = "1", output = "2" }\n'
)
LONG = (
    'long_above = 9\nofficial_long = { input = "8", output = "8" }\n'
    'price_long = { input = "3", output = "4" }\n'
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[models]]", "a list of [[model]]"),
        ("[[model]", "price book"),
        ('[[model]]\nname = "X"', "a row without slug"),
        (ROW + ROW, "two models are called x"),
        (ROW.replace("openai", "mistral"), "no family 'mistral'"),
        (ROW.replace('"4", output', '"0.0000001", output'), "no whole number of picos"),
        (ROW.replace('"4", output', '"-4", output'), "no whole number of picos"),
        (ROW.replace('"4", output', '"much", output'), "x: "),
        (ROW.replace('"4", output', "4.0, output"), "x: "),
        (ROW.replace('price = { input = "2"', 'price = { imput = "2"'), "imput"),
        (ROW.replace('price = { input = "2", ', "price = { "), "without input"),
        (ROW.replace("2026-11-23", '"soon"'), "x: "),
        (ROW.replace("context_tokens = 1", "context_tokens = 0"), "context_tokens"),
        (ROW + "long_abov = 9\n", "long_abov"),
        # Without its threshold a long price would be everybody's.
        (ROW + LONG.replace("long_above = 9\n", ""), "stand together"),
        (ROW + "long_above = 9\n", "stand together"),
        # A hold priced at the long rate would not cover a charge at the base rate.
        (ROW + LONG.replace('"3"', '"1"'), "input is cheaper above"),
        (ROW.replace('output = "4" }', 'output = "4", cache_write_other = "3" }'),
         "charges_writes"),
        # A hold at the dearer of asked and ordinary would not cover a mix of the two.
        (ROW + MODE.replace('"1", output = "2" }', '"1", output = "9" }'), "neither dearer nor"),
        (ROW + MODE.replace("flex", "express"), "express"),
        (ROW + MODE + 'price_long = { input = "1", output = "2" }', "stand together"),
        (ROW + MODE + LONG.replace("long_above = 9\n", ""), "stand together"),
        (ROW + MODE.replace('price = { input = "1", ', "price = { "), "without input"),
        (ROW + MODE.replace("flex", "fast"), "openai models have no mode fast"),
        (CLAUDE + MODE, "anthropic models have no mode flex"),
        (ROW + "geos = { us = 110 }\n", "openai models have no geos"),
        (CLAUDE + "geos = { us = 90 }\n", "geos"),
        (CLAUDE + "geos = { eu = 110 }\n", "geos"),
        (CLAUDE.replace('"2", output', '"2.000005", output') + "geos = { us = 110 }\n",
         "no whole number of picos"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """The operator's own book is read as strictly as ours; the sentence names row and mistake."""
    path = tmp_path / "models.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        book.load(PricingSettings(book=str(path)))


def test_an_operators_book_loads(tmp_path: Path) -> None:
    """The row that the refused ones above differ from; a factor moves its long price too."""
    path = tmp_path / "models.toml"
    path.write_text(ROW + LONG)
    (model,) = book.load(PricingSettings(book=str(path))).models
    assert (model.upstream_model, model.price.long_above) == ("x", 9)
    (scaled,) = book.load(PricingSettings(book=str(path), factor={"openai": "0.75"})).models
    assert scaled.price.long is not None
    assert (scaled.price.base.input, scaled.price.long.input) == (3_000_000, 6_000_000)
