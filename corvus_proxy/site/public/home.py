"""The home page: what this is, what it costs, what happens at zero, how to check it."""

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from corvus_proxy.catalogue.book import Model
from corvus_proxy.money.amount import format_usd, parse_usd, per_million
from corvus_proxy.site.public.page import Facts, Page
from corvus_proxy.site.public.trust import status
from corvus_proxy.site.shop.buys import shown

STALE_DAYS = 7
"""After so many days without a look at the vendor's page an official price is called unchecked."""
FAMILIES = {"anthropic": "Claude", "openai": "GPT", "glm": "GLM"}
"""What the models of a family are called."""


class Headline(NamedTuple):
    """A model of the price strip, USD per million tokens."""

    title: str
    slug: str
    official_input: str
    input: str
    official_output: str
    output: str
    checked: date


def strip(facts: Facts) -> list[Headline]:
    """The dearest and the cheapest model of each family that is sold."""
    return [_headline(model) for model in shown(facts.settings)]


def _headline(model: Model) -> Headline:
    ours, official = model.price.base, model.official.base
    return Headline(
        model.display_name,
        model.slug,
        per_million(official.input),
        per_million(ours.input),
        per_million(official.output),
        per_million(ours.output),
        model.official.checked,
    )


def names(facts: Facts) -> str:
    """The families that are sold, as a reader calls them: `Claude, GPT and GLM`."""
    sold = {model.family for model in facts.sold}
    found = [name for family, name in FAMILIES.items() if family in sold]
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def _view(facts: Facts) -> Mapping[str, Any]:
    rows = strip(facts)
    checked = min((row.checked for row in rows), default=facts.day)
    measured = status.published(facts)
    return {
        "rows": rows,
        "checked": checked,
        "stale": (facts.day - checked).days > STALE_DAYS,
        "stale_days": STALE_DAYS,
        "names": names(facts),
        "mark": status.WORDS[measured.state][0],
        "standing": status.headline(measured, stale=False),
        "least": format_usd(parse_usd(facts.settings.shop.amount_min_usd)),
    }


PAGES = (
    Page(
        "/",
        "One prepaid key for LLM APIs",
        "Pay once and get a key with a balance in US dollars: any client can use it, for every"
        " model listed here, until the balance is spent.",
        "home/home.md",
        kind="landing",
        view=_view,
        use_when=("You want to know what this service is, and where to go on.",),
        contents=False,
    ),
)
