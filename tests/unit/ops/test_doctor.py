"""What `corvus doctor --production` asks of an operator."""

import pytest

from corvus_proxy.ops import doctor
from corvus_proxy.settings import (
    BrandSettings,
    DemoSettings,
    LegalSettings,
    Settings,
    TrustSettings,
)

FACTS = {"support": "help@example.com", "independence": "We are nobody's.", "refunds": "All of it."}


@pytest.mark.parametrize("missing", list(FACTS))
def test_a_public_page_without_an_operators_fact_is_an_error(missing: str) -> None:
    """Named by its option; without `--production` nobody is asked."""
    brand = BrandSettings(**{name: text for name, text in FACTS.items() if name != missing})
    found = doctor._brand(Settings(brand=brand), production=True)
    assert [one.text for one in found] == [f"brand.{missing} is not set"]
    assert not doctor._brand(Settings(brand=brand), production=False)


def test_the_demonstration_is_not_for_production() -> None:
    """However complete the facts are."""
    settings = Settings(brand=BrandSettings(**FACTS), demo=DemoSettings(enabled=True))
    assert [one.text for one in doctor._brand(settings, production=True)] == ["[demo] is on"]


def test_what_is_not_stated_is_named_and_a_text_that_cannot_be_read_is_an_error() -> None:
    """Before visitors see either."""
    settings = Settings(
        trust=TrustSettings(entity="Rook Ltd", capacity={"openai": "bought"}),
        legal=LegalSettings(terms_file="/nowhere/terms.md"),
    )
    error, warning = doctor._stated(settings, production=True)
    assert (error.level, error.text.partition(":")[0]) == ("error", "legal.terms_file")
    assert warning.level == "warning"
    assert "trust.address" in warning.text
    assert "trust.entity" not in warning.text
    assert "trust.capacity" not in warning.text
    assert [one.level for one in doctor._stated(settings, production=False)] == ["error"]
