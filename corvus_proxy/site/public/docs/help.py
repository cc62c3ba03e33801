"""Troubleshooting: the four commonest mistakes, and a page for each kind of trouble.

Rule 1: every page has the same skeleton (`templates/public/docs/help.md`): answer, what it covers,
        a check to paste, causes, fix, and what to verify before real traffic.
Rule 2: none of them knows anything of a customer, and each says so.
"""

import base64
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from corvus_proxy.catalogue.book import Model
from corvus_proxy.gateway.front import hints
from corvus_proxy.gateway.quoting import CLAUDE_IMAGE_MAX
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.settings import FAMILIES
from corvus_proxy.site.public import served
from corvus_proxy.site.public.docs import setups
from corvus_proxy.site.public.docs.api import NAMES, chat_slug, messages_slug
from corvus_proxy.site.public.docs.errors import status_of
from corvus_proxy.site.public.page import Facts, Page
from corvus_proxy.wire.openai.responses import REMOVABLE_TOOLS, SERVED_TOOLS
from corvus_proxy.wire.translate.fields import NAME_CHARACTERS

View = Callable[[Facts], Mapping[str, Any]]
CONTEXT_TOKENS = 100_000
"""A long conversation in the example of cache prices."""


class Trouble(NamedTuple):
    """One page."""

    key: str
    title: str
    category: str
    description: str
    phrases: tuple[str, ...]
    """What a reader may have seen, in the words of clients and vendors."""
    codes: tuple[str, ...]
    """Ours, that belong here."""
    view: View
    related: tuple[str, ...] = ()


def _key_view(facts: Facts) -> Mapping[str, Any]:
    return {"chat": chat_slug(facts)}


def _balance_view(facts: Facts) -> Mapping[str, Any]:
    return {"chat": chat_slug(facts), "hold": facts.settings.hold}


def _timeout_view(facts: Facts) -> Mapping[str, Any]:
    settings = facts.settings
    return {
        "chat": chat_slug(facts),
        "timeouts": settings.timeouts,
        "relay": settings.relay,
        "gateway": settings.gateway,
    }


class Tried(NamedTuple):
    """A family, and a cheap model of it to try."""

    name: str
    slug: str


def _vendor_view(facts: Facts) -> Mapping[str, Any]:
    return {"tried": [Tried(NAMES[one.family], one.slug) for one in _cheapest(facts).values()]}


def _cheapest(facts: Facts) -> dict[str, Model]:
    """The cheapest model of each family that is sold; one that thinks in silence comes last."""
    found = {}
    for family in FAMILIES:
        models = [one for one in facts.sold if one.family == family]
        if models:
            found[family] = min(
                models, key=lambda one: (one.silent_reasoning, one.price.base.output, one.slug)
            )
    return found


def _tools_view(facts: Facts) -> Mapping[str, Any]:
    able = [one for one in facts.sold if one.tools and one.slug == chat_slug(facts)]
    able += [one for one in facts.sold if one.tools]
    return {
        "slug": able[0].slug if able else chat_slug(facts),
        "served_tools": SERVED_TOOLS,
        "removable_tools": REMOVABLE_TOOLS,
        "name_max": NAME_CHARACTERS,
        "unable": [one.slug for one in facts.sold if not one.tools],
    }


def _images_view(facts: Facts) -> Mapping[str, Any]:
    able = [one for one in facts.sold if one.vision]
    cheapest = min(
        able, key=lambda one: (one.silent_reasoning, one.price.base.output), default=None
    )
    return {
        "slug": cheapest.slug if cheapest else "",
        "pixel": base64.b64encode(_png(32, 32)).decode(),
        "able": [
            (NAMES[family], [one.slug for one in able if one.family == family])
            for family in FAMILIES
            if any(one.family == family for one in able)
        ],
        "unable": [one.slug for one in facts.sold if not one.vision],
        "image_tokens": facts.settings.hold.image_tokens,
        "claude_image_tokens": CLAUDE_IMAGE_MAX,
        "body_mb": facts.settings.gateway.body_bytes_max // 2**20,
    }


def _png(width: int, height: int) -> bytes:
    """A grey picture: the smallest that vendors take."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checked = name + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    rows = (b"\0" + b"\x80" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def _cache_view(facts: Facts) -> Mapping[str, Any]:
    models = [one for one in facts.sold if one.family == "anthropic"]
    models = models or list(facts.sold)
    slug = setups.at(facts).claude
    model = next((one for one in models if one.slug == slug), models[0]) if models else None
    return {
        "model": model,
        "context": CONTEXT_TOKENS,
        "turns": _turns(model) if model else [],
        "slug": messages_slug(facts),
        "native": served.native(model, facts.settings) if model else [],
    }


def _turns(model: Model) -> list[tuple[str, int]]:
    """The same short question behind a long conversation, by what the cache still has of it."""
    turns = [
        ("read from the cache", Usage(input=500, cache_read=CONTEXT_TOKENS, output=300)),
        ("not cached", Usage(input=500 + CONTEXT_TOKENS, output=300)),
    ]
    if model.family == "anthropic":
        turns.append(
            ("written for 5 minutes", Usage(input=500, cache_write_5m=CONTEXT_TOKENS, output=300))
        )
        turns.append(
            ("written for 1 hour", Usage(input=500, cache_write_1h=CONTEXT_TOKENS, output=300))
        )
    return [(words, charge(usage, model.price)) for words, usage in turns]


def _overview(facts: Facts) -> Mapping[str, Any]:
    return {
        "setups": setups.table(facts),
        "hint": hints.hint("/chat/completions", facts.api, ()),
        "twice": hints.hint("/v1/v1/messages", facts.api, ()),
        "chat": chat_slug(facts),
        "troubles": TROUBLES,
        "mails": bool(facts.settings.mail.host),
    }


TROUBLES = (
    Trouble(
        "invalid-api-key",
        "Invalid key",
        "Access",
        "A 401 or 403: the key does not arrive, is mistyped, or was changed.",
        (
            "unauthorized",
            "missing bearer token",
            "invalid API key, incorrect API key provided",
            "authentication failed, authentication_error",
            "permission denied, permission_error",
        ),
        ("invalid_api_key", "key_disabled", "key_expired", "model_not_allowed", "not_permitted"),
        _key_view,
        ("/docs/errors/invalid_api_key", "/docs/errors/key_disabled", "/docs/api/overview"),
    ),
    Trouble(
        "out-of-balance",
        "Out of balance",
        "Money",
        "A 429 that no waiting ends: the free balance is less than the request needs.",
        (
            "insufficient credits, insufficient balance",
            "balance too low",
            "top up required",
            "insufficient_quota, billing_error",
            "you exceeded your current quota",
        ),
        ("insufficient_balance", "cap_reached"),
        _balance_view,
        ("/docs/api/billing", "/docs/errors/insufficient_balance", "/docs/errors/cap_reached"),
    ),
    Trouble(
        "request-timeout",
        "Timeouts and cut streams",
        "Time",
        "A request that takes too long, or a stream that ends before its answer does.",
        (
            "gateway timeout, 504",
            "request timed out, took too long",
            "long request failed",
            "stream ended, connection closed, incomplete answer",
        ),
        ("upstream_timeout", "upstream_cut", "slow_reader", "body_timeout", "gateway_stopping"),
        _timeout_view,
        ("/docs/errors/upstream_timeout", "/docs/api/overview"),
    ),
    Trouble(
        "upstream-provider-unavailable",
        "Vendor unavailable",
        "Vendors",
        "A 502, 503 or 529: the vendor of a model does not answer, or is busy.",
        (
            "provider did not respond",
            "temporarily unavailable, overloaded",
            "model route unavailable",
            "provider outage, bad gateway",
        ),
        (
            "upstream_unavailable",
            "upstream_overloaded",
            "upstream_error",
            "model_unavailable",
            "ledger_unavailable",
        ),
        _vendor_view,
        ("/docs/errors/upstream_unavailable", "/docs/errors/upstream_overloaded"),
    ),
    Trouble(
        "tool-creation-failed",
        "Tools fail",
        "Tools",
        "A tool is refused, is never called, or its result does not arrive.",
        (
            "function calling failed",
            "tool schema error, invalid schema for function",
            "file write failed, workspace patch failed",
            "tool type is not served",
        ),
        ("invalid_request", "upstream_refused"),
        _tools_view,
        ("/docs/errors/invalid_request", "/docs/api/overview"),
    ),
    Trouble(
        "image-input-errors",
        "Images are refused",
        "Images",
        "A picture in a request is refused, not seen, or too large.",
        (
            "unsupported image, invalid image",
            "vision request error",
            "base64 image failed, could not process image",
            "multimodal payload error, content part not supported",
        ),
        ("invalid_request", "request_too_large", "upstream_refused"),
        _images_view,
        ("/docs/api/models", "/docs/errors/request_too_large"),
    ),
    Trouble(
        "cache-token-cost-spikes",
        "Cache tokens and cost spikes",
        "Cost",
        "A short message that cost much: what the cache has to do with it.",
        (
            "cache token spike",
            "cache write cost, cache read cost",
            "a short \"continue\" was expensive",
            "the balance dropped unexpectedly",
        ),
        (),
        _cache_view,
        ("/docs/api/billing", "/docs/api/models"),
    ),
)  # fmt: skip


def _view(trouble: Trouble, facts: Facts) -> Mapping[str, Any]:
    codes = [(code, status_of(code)) for code in trouble.codes]
    return {"trouble": trouble, "codes": codes, **trouble.view(facts)}


def _page(trouble: Trouble) -> Page:
    return Page(
        f"/docs/troubleshooting/{trouble.key}",
        trouble.title,
        trouble.description,
        f"docs/help-{trouble.key}.md",
        group="help",
        eyebrow=f"Troubleshooting · {trouble.category}",
        view=lambda facts: _view(trouble, facts),
        lasting=True,
        use_when=(
            trouble.description,
            "You have read one of: " + "; ".join(trouble.phrases) + ".",
        ),
        related=("/docs/troubleshooting", *trouble.related),
    )


PAGES = (
    Page(
        "/docs/troubleshooting",
        "Troubleshooting",
        "Most trouble is one of four mistakes: base URL, slug, balance, delivery.",
        "docs/help-overview.md",
        group="help",
        eyebrow="Troubleshooting",
        view=_overview,
        lasting=True,
        use_when=("Something does not work and you do not know yet what it is.",),
        related=("/docs/errors", "/docs/api/overview"),
    ),
    *(_page(trouble) for trouble in TROUBLES),
)
