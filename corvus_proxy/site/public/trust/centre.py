"""`/trust`: what the operator states, what the software does, and what is not stated."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from corvus_proxy.catalogue.book import Model
from corvus_proxy.catalogue.families import VENDORS
from corvus_proxy.settings import FAMILIES, Settings
from corvus_proxy.settings.retention import KINDS
from corvus_proxy.site.public.page import Facts, Page
from corvus_proxy.site.public.trust.stored import days

NOT_STATED = "*not stated by the operator*"


class Fact(NamedTuple):
    """One fact as it is shown."""

    label: str
    text: str
    """Empty where the operator has not stated it."""

    @property
    def shown(self) -> str:
        """The fact, or that it is missing."""
        return self.text or NOT_STATED


class Capacity(NamedTuple):
    """Where a family's answers come from."""

    vendor: str
    models: int
    """That are sold here."""
    fact: Fact


class Kept(NamedTuple):
    """A kind of record that goes by its age, each in a phrase."""

    what: str
    how_long: str
    stays: str
    """What is kept of it."""
    reason: str


class Share(NamedTuple):
    """What is asked for a family's tokens, as a share of the vendor's price."""

    vendor: str
    percent: str
    """Of the official price, the same for input, output and cache reads of every model; empty
    where there is no one share that configuration gives."""


def operator(settings: Settings) -> list[Fact]:
    """Who runs the service."""
    trust = settings.trust
    return [
        Fact("Name of the service", settings.brand.name),
        Fact("Legal entity", trust.entity),
        Fact("Address", trust.address),
        Fact("Registration", trust.registration),
        Fact("Contact", trust.contact),
        Fact("Owners, group and partners", trust.affiliation),
    ]


def support(settings: Settings) -> list[Fact]:
    """Where help is."""
    trust = settings.trust
    return [
        Fact("Help", settings.brand.support),
        Fact("Hours", trust.support_hours),
        Fact("Questions on personal data", trust.privacy_contact),
        Fact("Reports of weaknesses", trust.security_contact.removeprefix("mailto:")),
    ]


def data(settings: Settings) -> list[Fact]:
    """What becomes of data outside the software."""
    trust = settings.trust
    return [
        Fact("Prompts and answers elsewhere", trust.data_handling),
        Fact("Who else handles data", "; ".join(trust.subprocessors)),
        Fact("How long backups and logs are kept", trust.retention),
    ]


def kept(settings: Settings) -> list[Kept]:
    """What the software deletes by its age."""
    return [
        Kept(kind.what, days(kind, settings.retention), kind.stays, kind.reason) for kind in KINDS
    ]


def capacity(facts: Facts) -> list[Capacity]:
    """Every family that is sold here, and where it comes from."""
    found = []
    for family in FAMILIES:
        models = sum(model.family == family for model in facts.sold)
        if models:
            stated = facts.settings.trust.capacity.get(family, "")
            found.append(Capacity(VENDORS[family], models, Fact(VENDORS[family], stated)))
    return found


def shares(facts: Facts) -> list[Share]:
    """The share of the official price, by family: reckoned from the rows that bill, and told where
    it is the book's own rule (Claude) or the operator's setting."""
    found = []
    for family in FAMILIES:
        models = [model for model in facts.sold if model.family == family]
        told = family == "anthropic" or family in facts.settings.pricing.factor
        if models:
            found.append(Share(VENDORS[family], _percent(models) if told else ""))
    return found


def _percent(models: list[Model]) -> str:
    """The one share of all base prices; empty where they differ."""
    ratios = {
        Decimal(getattr(model.price.base, name)) / getattr(model.official.base, name)
        for model in models
        for name in ("input", "output", "cache_read")
        if getattr(model.official.base, name)
    }
    if len(ratios) != 1:
        return ""
    return f"{(ratios.pop() * 100).normalize():f}"


def missing(facts: Facts) -> list[str]:
    """Labels of what the operator has not stated."""
    settings = facts.settings
    told = [
        *operator(settings),
        *support(settings),
        *data(settings),
        Fact("Compatibility evidence", settings.trust.compatibility),
        Fact("Law and courts", settings.legal.law),
        *(Fact(f"Capacity of {one.vendor}'s models", one.fact.text) for one in capacity(facts)),
    ]
    return [fact.label for fact in told if not fact.text]


def view(facts: Facts) -> Mapping[str, Any]:
    """What the page shows."""
    settings = facts.settings
    return {
        "operator": operator(settings),
        "support": support(settings),
        "data": data(settings),
        "kept": kept(settings),
        "capacity": capacity(facts),
        "shares": shares(facts),
        "compatibility": Fact("Compatibility evidence", settings.trust.compatibility),
        "missing": missing(facts),
    }


PAGE = Page(
    "/trust",
    "Trust centre",
    "Who runs this service, where its answers come from, what is stored, how prices are made.",
    "trust/centre.md",
    kind="trust",
    eyebrow="Trust",
    view=view,
    use_when=(
        "You decide whether to buy here.",
        "You look for the operator, the refund rule or a contact.",
    ),
    related=("/trust/verify", "/trust/proof", "/legal", "/faq"),
)
