"""`/data/setup-index.json`: the set-ups for programs, step by step."""

from typing import Any

from corvus_proxy.site.public.docs import setups
from corvus_proxy.site.public.docs.setups.steps import Setup, Step
from corvus_proxy.site.public.document import Document, Given
from corvus_proxy.site.public.envelope import counted, envelope
from corvus_proxy.site.public.page import KEY, Facts

PATH = "/data/setup-index.json"


def index(facts: Facts) -> dict[str, Any]:
    """The document; every count is one of its items."""
    items = [_item(one, facts.site) for one in setups.table(facts)]
    support = counted(items, "support")
    return envelope(
        facts.settings.brand,
        facts.day,
        f"Exact steps that point a client at this service. {KEY} stands for the key that was"
        " delivered. Take the base URL from the client's own item: some end in /v1, some do not.",
        ["the table of set-ups", "/data/models.json"],
        totals={
            "environments": len(items),
            "first_class_environments": support["first_class"],
            "conditional_environments": support["conditional"],
        },
        items=items,
    )


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


async def _make(given: Given) -> object:
    return index(given.facts)


DOCUMENT = Document(
    PATH,
    "Set-ups of clients",
    "Install, configuration and verification of each client, step by step, for both shells.",
    _make,
)
