"""First calls with a key filled in: what a buyer pastes into a shell or a file, and it works."""

import json
import shlex
from typing import NamedTuple

from corvus_proxy.catalogue.book import Model
from corvus_proxy.settings import Settings
from corvus_proxy.site.shop.buys import sold

PROMPT = "Say hello in one sentence."


class Snippet(NamedTuple):
    """One thing to paste."""

    name: str
    """Stable, for addresses and tests: `curl-chat`, `curl-messages`, `python-openai` …"""
    title: str
    note: str
    text: str


class Slugs(NamedTuple):
    """The cheapest model that is sold, per dialect; empty: none."""

    chat: str
    messages: str


def slugs(settings: Settings) -> Slugs:
    """What first calls name. A model that reasons in silence comes last: it may spend so short an
    answer on thoughts alone."""

    def first(models: list[Model]) -> str:
        ranked = sorted(
            models, key=lambda one: (one.silent_reasoning, one.price.base.output, one.slug)
        )
        return ranked[0].slug if ranked else ""

    models = sold(settings)
    openai = [model for model in models if model.family == "openai"]
    chat = openai or [model for model in models if model.family != "anthropic"]
    return Slugs(first(chat), first([model for model in models if model.family == "anthropic"]))


def snippets(api: str, names: Slugs, key: str) -> list[Snippet]:
    """All that fit what is sold, with `key` filled in."""
    found: list[Snippet] = []
    if names.chat:
        found += [
            Snippet(
                "curl-chat",
                "curl, OpenAI dialect",
                "Streams an answer into your shell.",
                _curl(
                    f"{api}/v1/chat/completions",
                    [f"Authorization: Bearer {key}"],
                    names.chat,
                ),
            ),
            Snippet(
                "python-openai",
                "Python, openai",
                "pip install openai",
                _PYTHON_OPENAI.format(url=f"{api}/v1", key=key, model=names.chat, prompt=PROMPT),
            ),
        ]
    if names.messages:
        found += [
            Snippet(
                "curl-messages",
                "curl, Anthropic dialect",
                "Streams an answer into your shell.",
                _curl(
                    f"{api}/v1/messages",
                    [f"x-api-key: {key}", "anthropic-version: 2023-06-01"],
                    names.messages,
                ),
            ),
            Snippet(
                "python-anthropic",
                "Python, anthropic",
                "pip install anthropic",
                _PYTHON_ANTHROPIC.format(url=api, key=key, model=names.messages, prompt=PROMPT),
            ),
            Snippet(
                "claude-code",
                "Claude Code",
                "In the shell that starts it.",
                f"export ANTHROPIC_BASE_URL={shlex.quote(api)}\n"
                f"export ANTHROPIC_AUTH_TOKEN={shlex.quote(key)}\n"
                "claude",
            ),
        ]
    return sorted(found, key=lambda one: _ORDER.index(one.name))


_ORDER = ("curl-chat", "curl-messages", "python-openai", "python-anthropic", "claude-code")


def _curl(url: str, headers: list[str], slug: str) -> str:
    body = {
        "model": slug,
        "max_tokens": 200,
        "stream": True,
        "messages": [{"role": "user", "content": PROMPT}],
    }
    lines = [
        f"curl -N {shlex.quote(url)}",
        *(f"-H {shlex.quote(header)}" for header in (*headers, "Content-Type: application/json")),
        f"-d {shlex.quote(json.dumps(body, separators=(',', ':')))}",
    ]
    return " \\\n  ".join(lines)


_PYTHON_OPENAI = """\
from openai import OpenAI

client = OpenAI(
    base_url="{url}",
    api_key="{key}",
)
stream = client.chat.completions.create(
    model="{model}",
    max_tokens=200,
    stream=True,
    messages=[{{"role": "user", "content": "{prompt}"}}],
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
"""
_PYTHON_ANTHROPIC = """\
from anthropic import Anthropic

client = Anthropic(
    base_url="{url}",
    api_key="{key}",
)
with client.messages.stream(
    model="{model}",
    max_tokens=200,
    messages=[{{"role": "user", "content": "{prompt}"}}],
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
"""
