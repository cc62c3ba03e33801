"""Not below cost, not above the vendor, and what counts as real."""

import msgspec
import pytest

from corvus_proxy.catalogue import book, margin
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.service import guard
from corvus_proxy.settings import Credential, DemoSettings, PricingSettings, Settings, Upstream

BOOK = book.load(PricingSettings())
REAL, HERE = "https://api.anthropic.com", "http://127.0.0.1:9"


def anthropic(url: str, *costs: float) -> Upstream:
    """An upstream whose credentials cost these shares of the official price."""
    return Upstream("anthropic", url, credential=[Credential("a", cost_factor=c) for c in costs])


def below(*upstreams: Upstream, anyway: bool = False) -> int:
    """How many slugs would be sold below cost."""
    pricing = PricingSettings(sell_below_cost=anyway)
    return len(margin.below_cost(BOOK, Settings(upstream=list(upstreams), pricing=pricing)))


CLAUDES = sum(model.family == "anthropic" for model in BOOK.models)


@pytest.mark.parametrize(
    ("upstreams", "found"),
    [
        ([anthropic(REAL, 1.0)], CLAUDES),
        ([anthropic(REAL, 0.35)], 0),
        ([anthropic(REAL, 0.3501)], CLAUDES),
        ([anthropic(HERE, 1.0)], 0),
        # The cheapest credential decides, in whichever upstream it stands.
        ([anthropic(REAL, 1.0, 0.3)], 0),
        ([anthropic(REAL, 0.3), anthropic(REAL, 1.0)], 0),
        ([anthropic(REAL, 1.0), anthropic(REAL, 0.3)], 0),
        # A simulated one does not stand in for a real one.
        ([anthropic(HERE, 0.1), anthropic(REAL, 1.0)], CLAUDES),
    ],
)
def test_selling_below_cost_is_refused_for_real_upstreams(
    upstreams: list[Upstream], found: int
) -> None:
    """The ways out: the price, the cost factor, the explicit word."""
    assert below(*upstreams) == found
    assert below(*upstreams, anyway=True) == 0


def test_the_refusal_names_the_component_and_the_ways_out() -> None:
    """What the operator reads."""
    said = margin.explain(margin.below_cost(BOOK, Settings(upstream=[anthropic(REAL, 1.0)]))[0])
    for word in (
        "claude-fable-5-2",
        "USD per million",
        "factor.",
        "cost_factor",
        "sell_below_cost",
    ):
        assert word in said


def test_a_margin_is_the_least_of_what_is_billed() -> None:
    """Embeddings have no output: what is free neither earns nor loses."""
    openai = Upstream("openai", HERE, credential=[Credential("a", cost_factor="0.3")])
    found = {one.slug: one for one in margin.margins(BOOK, [openai, anthropic(HERE, 0.3)])}
    assert found["text-embedding-3-small"].percent == 40
    assert found["text-embedding-3-small"].component == "input"
    assert {one.percent for one in found.values()} == {14, 40}
    assert "glm-5" not in found


def test_a_long_context_price_below_cost_is_refused_too() -> None:
    """The base price covers the cost; above the limit it does not, and the refusal says so."""
    model = BOOK.find("gpt-5.5")
    assert model is not None
    assert model.price.long is not None
    cheap = msgspec.structs.replace(
        model.price, long=msgspec.structs.replace(model.price.long, output=model.price.base.output)
    )
    changed = book.Book((msgspec.structs.replace(model, price=cheap),))
    real = Upstream(
        "openai", "https://api.openai.com", credential=[Credential("a", cost_factor=0.5)]
    )
    (found,) = margin.below_cost(changed, Settings(upstream=[real]))
    assert (found.component, found.where, found.percent) == ("output", " above 272000 tokens", -50)
    assert "output above 272000 tokens sold at 15, costs 22.5" in margin.explain(found)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        (HERE, True), ("http://localhost:1/x", True), ("http://[::1]:9", True), (REAL, False),
        ("http://127.0.0.1.example.com", False), ("http://127.0.0.1@example.com", False),
        ("http://0.0.0.0:9", False), ("http://10.0.0.1", False), ("", False),
    ],
)  # fmt: skip
def test_only_this_machine_is_simulated(url: str, here: bool) -> None:
    """Judged on the address itself; a name that looks like one is real."""
    assert margin.is_loopback(url) == here


@pytest.mark.parametrize("url", ["base_url", "messages_base_url"])
def test_simulated_money_meets_no_real_address_of_an_upstream(url: str) -> None:
    """GLM has two addresses; either one is enough to refuse."""
    addresses = {"base_url": HERE, "messages_base_url": HERE, url: "https://api.z.ai/x"}
    upstream = Upstream("glm", credential=[Credential("z")], **addresses)
    assert guard.real_upstreams(Settings(upstream=[upstream])) == ["https://api.z.ai/x"]
    assert below(upstream) > 0
    demo = Settings(upstream=[upstream], demo=DemoSettings(enabled=True))
    with pytest.raises(ConfigurationError, match=r"up\.toml.*api\.z\.ai"):
        guard.refuse_demo(demo, "up.toml")
    with pytest.raises(ConfigurationError, match="--state"):
        guard.refuse_simulated(Settings(upstream=[upstream]), marked=True)
