"""A page for each client that is set up in the documentation, made from the table of `setups`."""

from collections.abc import Mapping
from typing import Any

from corvus_proxy.site.public.docs import setups
from corvus_proxy.site.public.docs.setups.steps import Setup
from corvus_proxy.site.public.page import Facts, Page

_PAGES = (
    ("claude-code", "Claude Code", "Anthropic's agent for the terminal"),
    ("codex-cli", "Codex CLI", "OpenAI's agent for the terminal"),
    ("cline", "Cline", "an agent inside Visual Studio Code"),
    ("open-webui", "Open WebUI", "a chat in the browser that you run yourself"),
    ("openai-sdk", "OpenAI SDK", "programs of your own in OpenAI's dialect"),
    ("anthropic-sdk", "Anthropic SDK", "programs of your own in Anthropic's dialect"),
    ("cursor", "Cursor", "an editor with a chat"),
    ("opencode", "opencode", "an open agent for the terminal"),
)


def _view(facts: Facts, key: str) -> Mapping[str, Any]:
    found: Setup = next(one for one in setups.table(facts) if one.key == key)
    return {"setup": found}


def _page(key: str, name: str, what: str) -> Page:
    return Page(
        f"/docs/clients/{key}",
        name,
        f"Install, configuration and check of {name}: {what}.",
        "docs/client.md",
        group="clients",
        eyebrow="Client",
        view=lambda facts: _view(facts, key),
        lasting=True,
        use_when=(f"You want to use {name} with a key of this service.",),
        related=("/docs/api/models", "/docs/troubleshooting", "/docs/errors"),
        data="/data/setup-index.json",
    )


PAGES = tuple(_page(*row) for row in _PAGES)
