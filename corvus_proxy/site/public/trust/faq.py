"""`/faq`: short answers, each with the page that has the long one."""

from collections.abc import Mapping
from typing import Any

from corvus_proxy.money.amount import NANOS_PER_USD, WALLET_NANOS_MAX
from corvus_proxy.service import sessions
from corvus_proxy.site.public.page import Facts, Page
from corvus_proxy.site.public.trust.centre import capacity


def view(facts: Facts) -> Mapping[str, Any]:
    """What the answers are filled with."""
    settings = facts.settings
    return {
        "vendors": [one.vendor for one in capacity(facts)],
        "most": WALLET_NANOS_MAX // NANOS_PER_USD,
        "hours": sessions.SESSION_S // 3600,
        "mail": bool(settings.mail.host),
    }


PAGE = Page(
    "/faq",
    "Questions and answers",
    "Short answers to what buyers ask first, each with the page that has the long one.",
    "trust/faq.md",
    kind="trust",
    eyebrow="FAQ",
    view=view,
    use_when=("You have a question before you buy.",),
    related=("/trust", "/legal/refunds", "/trust/verify"),
)
