"""How to make a first call here, in each dialect."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from corvus_proxy.catalogue import book, margin
from corvus_proxy.settings import FAMILIES, Settings


class Call(NamedTuple):
    """How to make a first call in one dialect."""

    title: str
    base_url: str
    command: str


def calls(settings: Settings) -> list[Call]:
    """A first call per dialect, each with the cheapest fitting model that is sold."""
    models = book.load(settings.pricing)
    unsold = {found.slug for found in margin.below_cost(models, settings)}
    served = {upstream.family for upstream in settings.upstream} or set(FAMILIES)
    sold = sorted(
        (
            model
            for model in models.models
            if model.family in served and model.slug not in unsold and not model.embeddings
        ),
        # One that reasons in silence may spend so short an answer on thoughts alone.
        key=lambda model: (
            model.family != "openai",
            model.silent_reasoning,
            model.price.base.output,
        ),
    )
    api = settings.brand.api_url
    found = []
    chat = next((model.slug for model in sold if model.family != "anthropic"), None)
    if chat is not None:
        command = _curl(f"{api}/v1/chat/completions", ["Authorization: Bearer $API_KEY"], chat)
        found.append(Call("OpenAI-style clients", f"{api}/v1", command))
    messages = next((model.slug for model in sold if model.family == "anthropic"), None)
    if messages is not None:
        headers = ["x-api-key: $API_KEY", "anthropic-version: 2023-06-01"]
        command = _curl(f"{api}/v1/messages", headers, messages)
        found.append(Call("Anthropic-style clients", api, command))
    return found


def _curl(url: str, headers: Sequence[str], slug: str) -> str:
    """One command to paste; `$API_KEY` is the shell's to fill in."""
    body = {
        "model": slug,
        "max_tokens": 200,
        "messages": [{"role": "user", "content": "Say hello in one sentence."}],
    }
    lines = [
        f"curl {shlex.quote(url)}",
        *(f'-H "{header}"' for header in (*headers, "Content-Type: application/json")),
        f"-d {shlex.quote(msgspec.json.encode(body).decode())}",
    ]
    return " \\\n  ".join(lines)
