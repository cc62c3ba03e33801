"""`/trust/verify`: what a buyer can check, each with its command and the answer to expect."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from corvus_proxy.catalogue.book import Model
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.site.public.page import Facts, Page

CALL = Usage(input=40, output=16)
"""The tokens that the paid check is reckoned with; its text is shorter, its limit this output."""
CENT_NANOS = NANOS_PER_USD // 100


def cheapest(facts: Facts) -> Model | None:
    """The model of the paid check: the least for `CALL`, and no silent thinker, whose limit may go
    by before it says a word."""
    models = [model for model in facts.sold if not model.silent_reasoning] or facts.sold
    return min(models, key=lambda model: charge(CALL, model.price), default=None)


def view(facts: Facts) -> Mapping[str, Any]:
    """What the page shows."""
    model = cheapest(facts)
    return {
        "secure": urlsplit(facts.api).scheme == "https",
        "model": model.slug if model is not None else "",
        "call_nanos": charge(CALL, model.price) if model is not None else 0,
        "cent_nanos": CENT_NANOS,
        "limit": CALL.output,
    }


PAGE = Page(
    "/trust/verify",
    "Verify before you buy",
    "Each claim with its check: a command and the answer to expect. The paid one costs less than a"
    " cent.",
    "trust/verify.md",
    kind="trust",
    eyebrow="Trust",
    view=view,
    use_when=("You want to check the claims of this service yourself, before or after you pay.",),
    related=("/trust", "/trust/proof", "/pricing/tracker", "/status"),
)
