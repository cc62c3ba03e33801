"""The clients that are set up in the documentation: one table for their pages and for programs.

Rule 1: a client's base URL is one of two, by its style: with `/v1` in OpenAI's, without in
        Anthropic's.
Rule 2: every step has a POSIX and a PowerShell form, or is one for a person to do by hand.
Rule 3: `tested` is the version that the project's own tests drive through the gateway; a client
        without one is set up by its own documentation and says so.
"""

from collections.abc import Callable
from typing import Any

from corvus_proxy.catalogue.book import Model
from corvus_proxy.site.public.docs.setups import agents, editors, packages
from corvus_proxy.site.public.docs.setups.steps import At, Setup, Step
from corvus_proxy.site.public.page import KEY, Facts

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
    """The model in the middle of a family's price list is the one that examples name: neither the
    dearest nor the weakest."""
    claude = _middle([one for one in facts.sold if one.family == "anthropic"])
    gpt = _middle([one for one in facts.sold if one.family == "openai"])
    other = _middle(list(facts.sold))
    return At(facts.api, facts.api_v1, claude or other, gpt or other)


def _middle(models: list[Model]) -> str:
    ranked = sorted((one for one in models if one.tools), key=lambda one: one.price.base.output)
    return ranked[len(ranked) // 2].slug if ranked else "MODEL"


def table(facts: Facts) -> tuple[Setup, ...]:
    """Every set-up, with this installation's addresses and models."""
    where = at(facts)
    return tuple(make(where) for make in _MAKERS)


def index(facts: Facts) -> dict[str, Any]:
    """`/data/setup-index.json`: the same steps for programs; every count is one of its items."""
    found = table(facts)
    brand = facts.settings.brand
    return {
        "schema_version": "1.0",
        "generated_from": ["site/public/docs/setups.py", "/data/models.json"],
        "generated_on": facts.day.isoformat(),
        "site": {"name": brand.name, "url": brand.site_url, "support": brand.support},
        "guidance": {
            "purpose": "Exact steps that point a client at this service: install, configure,"
            " verify.",
            "answer_policy": [
                f"{KEY} stands for the key that was delivered; never invent one.",
                "Take the base URL of the client's own item: some end in /v1 and some do not.",
                brand.independence,
            ],
            "private_issue_policy": "Questions on a balance, an order or a key are answered by the"
            " dashboard and by support, never from public documents.",
        },
        "totals": {
            "environments": len(found),
            "first_class_environments": sum(one.first_class for one in found),
            "conditional_environments": sum(not one.first_class for one in found),
        },
        "items": [_item(one, brand.site_url) for one in found],
    }


def _item(one: Setup, site_url: str) -> dict[str, Any]:
    return {
        "id": one.key,
        "name": one.name,
        "support": "first_class" if one.first_class else "conditional",
        "condition": one.condition or None,
        "page": site_url + one.path,
        "official_source": one.source,
        "base_url": one.base_url,
        "base_url_style": one.style,
        "base_url_ends_in_v1": one.with_v1,
        "paths": list(one.paths),
        "fits": list(one.families),
        "tested_with": one.tested or None,
        "install": [_told(one.install), _told(one.check)],
        "configuration": [_told(step) for step in one.configure],
        "verification": [_told(step) for step in one.verify],
        "notes": list(one.notes),
    }


def _told(step: Step) -> dict[str, str]:
    found = {
        "what": step.what,
        "posix": step.posix,
        "powershell": step.powershell,
        "file": step.file,
        "content": step.content,
    }
    return {name: text for name, text in found.items() if text}
