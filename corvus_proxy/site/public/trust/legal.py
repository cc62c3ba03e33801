"""`/legal` and its pages: what the software does, and what the operator states.

Rule: no sentence here is legal advice or a term that the operator has not stated; what the software
does is told as a fact, and the operator's own texts stand below it, marked as theirs.
"""

import re
from collections.abc import Mapping
from typing import Any

from corvus_proxy.settings import Settings
from corvus_proxy.settings.stating import TEXTS
from corvus_proxy.site.public.page import Facts, Page
from corvus_proxy.site.public.trust.centre import NOT_STATED, Fact, data, operator, support
from corvus_proxy.site.public.trust.stored import cookies, stored
from corvus_proxy.site.sessions import session_cookie
from corvus_proxy.site.shop.browser import COOKIE_S, order_cookie

_HEADING = re.compile(r"^(#{1,6}) ", re.MULTILINE)


def check(settings: Settings) -> None:
    """Reads the operator's texts once, before the site answers. Raises ConfigurationError."""
    for name in TEXTS:
        settings.legal.text(name)


def own(settings: Settings, name: str) -> str:
    """A text of the operator's, its headings below those of the page; a sentence where there is
    none."""
    found = settings.legal.text(name)
    if not found:
        return f"This text is {NOT_STATED}."
    return _HEADING.sub(lambda match: "#" * min(6, len(match[1]) + 2) + " ", found)


def notice(facts: Facts) -> Mapping[str, Any]:
    """Who answers for this site."""
    settings = facts.settings
    return {
        "operator": operator(settings),
        "support": support(settings),
        "law": Fact("Law and courts", settings.legal.law),
        "own": own(settings, "notice") if settings.legal.text("notice") else "",
    }


def privacy(facts: Facts) -> Mapping[str, Any]:
    """What is stored."""
    settings = facts.settings
    https = settings.brand.site_url.startswith("https:")
    return {
        "stored": stored(settings),
        "cookies": cookies(session_cookie(https=https), order_cookie(https=https), COOKIE_S),
        "data": data(settings),
        "contact": Fact("", settings.trust.privacy_contact),
        "stripe": bool(settings.stripe.secret_key_env or settings.stripe.secret_key_file),
        "btcpay": bool(settings.btcpay.url),
        "own": own(settings, "privacy"),
    }


def terms(facts: Facts) -> Mapping[str, Any]:
    """What is bought, and by which rules it is billed."""
    settings = facts.settings
    return {
        "entity": Fact("", settings.trust.entity),
        "law": Fact("", settings.legal.law),
        "own": own(settings, "terms"),
    }


def refunds(facts: Facts) -> Mapping[str, Any]:
    """The rule, and what the software does by it."""
    settings = facts.settings
    return {
        "stripe": bool(settings.stripe.secret_key_env or settings.stripe.secret_key_file),
        "btcpay": bool(settings.btcpay.url),
    }


PAGES = (
    Page(
        "/legal",
        "Legal",
        "The legal notice, privacy, terms and refunds of this service.",
        "legal/home.md",
        kind="legal",
        eyebrow="Legal",
        related=("/legal/notice", "/legal/privacy", "/legal/terms", "/legal/refunds", "/trust"),
    ),
    Page(
        "/legal/notice",
        "Legal notice",
        "Who runs this site and answers for it.",
        "legal/notice.md",
        kind="legal",
        eyebrow="Legal",
        view=notice,
        use_when=("You look for the operator's identity.",),
        related=("/trust", "/legal/terms"),
    ),
    Page(
        "/legal/privacy",
        "Privacy",
        "What is stored about you, why, and for how long. Prompts and answers are not.",
        "legal/privacy.md",
        kind="legal",
        eyebrow="Legal",
        view=privacy,
        use_when=("You want to know what the service keeps.",),
        related=("/trust", "/legal/notice"),
    ),
    Page(
        "/legal/terms",
        "Terms",
        "What you buy, how it is billed, and the operator's own terms.",
        "legal/terms.md",
        kind="legal",
        eyebrow="Legal",
        view=terms,
        use_when=("You want to know what a balance gives you a right to.",),
        related=("/legal/refunds", "/docs/api/billing"),
    ),
    Page(
        "/legal/refunds",
        "Refunds",
        "The operator's refund rule in full, and what the software lets him do.",
        "legal/refunds.md",
        kind="legal",
        eyebrow="Legal",
        view=refunds,
        use_when=("You want money back, or to know beforehand whether you could.",),
        related=("/legal/terms", "/trust"),
    ),
)
