"""The clients that are set up in the documentation: one table for their pages and for programs.

Rule 1: a client's base URL is one of two, by its style: with `/v1` in OpenAI's, without in
        Anthropic's.
Rule 2: every step has a POSIX and a PowerShell form, or is one for a person to do by hand.
Rule 3: `tested` is the version that the project's own tests drive through the gateway; a client
        without one is set up by its own documentation and says so.
"""

from collections.abc import Callable

from corvus_proxy.catalogue.book import Model
from corvus_proxy.site.public.docs.setups import agents, editors, packages
from corvus_proxy.site.public.docs.setups.steps import At, Setup
from corvus_proxy.site.public.page import Facts

NEWEST = 5
"""Models of a family that examples choose from."""
_MAKERS: tuple[Callable[[At], Setup], ...] = (
    agents.claude_code,
    agents.codex,
    editors.cline,
    editors.open_webui,
    packages.openai_sdk,
    packages.anthropic_sdk,
    editors.cursor,
    agents.opencode,
)
"""In the order in which they are listed: first-class ones, then conditional ones."""


def at(facts: Facts) -> At:
    """What examples name: of a family's newest models the one in the middle of their prices,
    neither the dearest nor the weakest."""
    claude = _middle([one for one in facts.sold if one.family == "anthropic"])
    gpt = _middle([one for one in facts.sold if one.family == "openai"])
    other = _middle(list(facts.sold))
    return At(facts.api, facts.api_v1, claude or other or "MODEL", gpt or other or "MODEL")


def _middle(models: list[Model]) -> str:
    newest = sorted(models, key=lambda one: (-one.created, one.slug))[:NEWEST]
    ranked = sorted((one for one in newest if one.tools), key=lambda one: one.price.base.output)
    return ranked[len(ranked) // 2].slug if ranked else ""


def table(facts: Facts) -> tuple[Setup, ...]:
    """Every set-up, with this installation's addresses and models."""
    where = at(facts)
    return tuple(make(where) for make in _MAKERS)
