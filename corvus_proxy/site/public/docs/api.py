"""The API: what is served where, which models there are, what a request costs.

Rule 1: paths, account endpoints and tools are the gateway's own tables; a model stands here as it
        stands in the book.
Rule 2: every amount is made by `money.pricing`, every line of a top-up by `shop.price`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from corvus_proxy.account.routes import ENDPOINTS
from corvus_proxy.catalogue.book import Model
from corvus_proxy.catalogue.families import SERIES, VENDORS
from corvus_proxy.catalogue.sides import billed
from corvus_proxy.gateway.front.hints import UNSERVED
from corvus_proxy.gateway.quoting import ESTIMATE_BYTES_PER_TOKEN
from corvus_proxy.money.amount import (
    NANOS_PER_USD,
    PICOS_PER_NANO,
    WALLET_NANOS_MAX,
    format_picos,
    parse_usd,
    per_million,
)
from corvus_proxy.money.outcome import RULES
from corvus_proxy.money.price import Rates
from corvus_proxy.money.pricing import Line, charge, lines
from corvus_proxy.money.usage import Usage, from_chat, from_messages
from corvus_proxy.shop.price import price, terms
from corvus_proxy.site.public import served
from corvus_proxy.site.public.docs import setups
from corvus_proxy.site.public.docs.codes import ended
from corvus_proxy.site.public.page import KEY, Facts, Page
from corvus_proxy.site.shop.buys import shown
from corvus_proxy.site.shop.snippets import slugs, snippets
from corvus_proxy.wire.dialect import COUNTING, PATHS
from corvus_proxy.wire.openai.responses import REMOVABLE_TOOLS, SERVED_TOOLS

NAMES = {family: f"{title} ({VENDORS[family]})" for family, title in SERIES.items()}
"""The families as readers know them."""
CACHED = ("cache_read", "cache_write_5m", "cache_write_1h", "cache_write_other")
WORDS = {
    "input": "input",
    "cache_read": "cache read",
    "cache_write_5m": "cache write, 5 minutes",
    "cache_write_1h": "cache write, 1 hour",
    "cache_write_other": "cache write",
    "output": "output",
    "searches": "searches",
}
"""Token classes and other lines of a bill."""
_FEW = 4
"""Different shares that a table still lists one by one."""


def chat_slug(facts: Facts) -> str:
    """A cheap model for first calls in OpenAI's dialect; any, where none of OpenAI's is sold."""
    names = slugs(facts.settings)
    return names.chat or names.messages or "MODEL"


def messages_slug(facts: Facts) -> str:
    """The same in Anthropic's dialect."""
    names = slugs(facts.settings)
    return names.messages or names.chat or "MODEL"


# -- overview -----------------------------------------------------------------------------------


def _overview(facts: Facts) -> Mapping[str, Any]:
    python = {one.name: one.text for one in snippets(facts.api, slugs(facts.settings), KEY)}
    unserved: dict[str, list[str]] = {}
    for path, why in UNSERVED.items():
        unserved.setdefault(why, []).append(path)
    return {
        "paths": PATHS,
        "counting": COUNTING,
        "endpoints": [row for row in ENDPOINTS if row.strict],
        "compatible": [row for row in ENDPOINTS if not row.strict],
        "unserved": unserved,
        "python": python.get("python-openai") or python.get("python-anthropic"),
        "chat": chat_slug(facts),
        "messages": messages_slug(facts),
        "families": _families(facts),
        "served_tools": SERVED_TOOLS,
        "removable_tools": REMOVABLE_TOOLS,
        "body_mb": facts.settings.gateway.body_bytes_max // 2**20,
    }


# -- models -------------------------------------------------------------------------------------


class Family(NamedTuple):
    """One family that is sold here."""

    key: str
    name: str
    models: tuple[Model, ...]
    native: tuple[str, ...]
    """Paths on which its vendor's own dialect passes as it is."""
    translated: tuple[str, ...]
    fits: tuple[str, ...]
    """Clients that it fits best."""


def _families(facts: Facts) -> list[Family]:
    found = []
    for key in SERIES:
        models = tuple(one for one in facts.sold if one.family == key)
        if models:
            native = served.native(models[0], facts.settings)
            every = served.paths(models[0], facts.settings)
            translated = tuple(path for path in every if path not in native)
            fits = tuple(one.name for one in setups.table(facts) if key in one.families)
            found.append(Family(key, NAMES[key], models, tuple(native), translated, fits))
    return found


def _embeddings(facts: Facts) -> list[Model]:
    return [
        one for one in facts.book.models if one.embeddings and served.paths(one, facts.settings)
    ]


def _models(facts: Facts) -> Mapping[str, Any]:
    aliased = next((one for one in facts.sold if one.aliases), None)
    return {
        "families": _families(facts),
        "embeddings": _embeddings(facts),
        "aliased": aliased,
        "chat": chat_slug(facts),
        "count": len(facts.sold) + len(_embeddings(facts)),
    }


# -- billing ------------------------------------------------------------------------------------


class Share(NamedTuple):
    """What a cached token of a family costs beside a fresh one."""

    family: str
    component: str
    shares: str
    """Percent of our own input price: one figure, several, or from the least to the most."""


def _shares(facts: Facts) -> list[Share]:
    """From the rows of the book, models that report such tokens alone."""
    found = []
    for family in SERIES:
        for component in CACHED:
            models = [
                one for one in facts.sold if one.family == family and component in billed(one)
            ]
            percents = sorted({_ppm(one.price.base, component) for one in models})
            if percents:
                found.append(Share(NAMES[family], WORDS[component], _told(percents)))
    return found


def _ppm(rates: Rates, component: str) -> int:
    """Millionths of the input's price."""
    part: int = getattr(rates, component)
    return part * 1_000_000 // max(1, rates.input)


def _told(shares_ppm: list[int]) -> str:
    words = [f"{ppm // 10_000}{_fraction(ppm % 10_000)}" for ppm in shares_ppm]
    if len(words) > _FEW:
        return f"from {words[0]} % to {words[-1]} %, by model"
    if len(words) > 1:
        return f"{', '.join(words[:-1])} or {words[-1]} %, by model"
    return f"{words[0]} %"


def _fraction(ten_thousandths: int) -> str:
    digits = f"{ten_thousandths:04d}".rstrip("0")
    return f".{digits[:2]}" if digits else ""


class Example(NamedTuple):
    """A usage as a vendor reports it, and its bill."""

    title: str
    model: Model
    report: str
    """The `usage` object, as JSON."""
    lines: list[tuple[Line, str, str, str]]
    """Each with its words, its price per million tokens and its amount, in USD."""
    exact: str
    """The sum before it is rounded, USD."""
    charge_nanos: int
    rounded: bool


CLAUDE_TURN = {
    "input_tokens": 12_000,
    "cache_read_input_tokens": 200_000,
    "cache_creation_input_tokens": 8_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 8_000, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 1_500,
}
CLAUDE_HOUR = {
    **CLAUDE_TURN,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 8_000},
}
GPT_TURN = {
    "prompt_tokens": 10_000,
    "prompt_tokens_details": {"cached_tokens": 8_000},
    "completion_tokens": 437,
    "completion_tokens_details": {"reasoning_tokens": 256},
    "total_tokens": 10_437,
}
GLM_TURN = {
    "prompt_tokens": 120_000,
    "prompt_tokens_details": {"cached_tokens": 100_000},
    "completion_tokens": 900,
    "total_tokens": 120_900,
}


def example(title: str, model: Model, report: Mapping[str, Any], usage: Usage) -> Example:
    """The bill of a usage, by the functions that bill."""
    bill = lines(usage, model.price)
    exact_picos = sum(line.amount_picos for line in bill)
    total = charge(usage, model.price)
    return Example(
        title,
        model,
        msgspec.json.format(msgspec.json.encode(report), indent=2).decode(),
        [
            (line, WORDS[line.name], per_million(line.picos), format_picos(line.amount_picos))
            for line in bill
        ],
        format_picos(exact_picos),
        total,
        total * PICOS_PER_NANO != exact_picos,
    )


def _examples(facts: Facts) -> list[Example]:
    """One or two a family that is sold, on its dearest model."""
    dearest = {model.family: model for model in reversed(shown(facts.settings))}
    found = []
    if model := dearest.get("anthropic"):
        for title, report in (
            ("Claude, 8,000 tokens written to the cache for five minutes", CLAUDE_TURN),
            ("The same, written for an hour", CLAUDE_HOUR),
        ):
            found.append(example(title, model, report, from_messages(None, report)))
    if model := dearest.get("openai"):
        found.append(
            example("GPT, most of the prompt from the cache", model, GPT_TURN, from_chat(GPT_TURN))
        )
    if model := dearest.get("glm"):
        found.append(
            example("GLM, most of the prompt from the cache", model, GLM_TURN, from_chat(GLM_TURN))
        )
    return found


def _billing(facts: Facts) -> Mapping[str, Any]:
    shop = facts.settings.shop
    of = terms(shop)
    long = sorted({one.price.long_above for one in facts.sold if one.price.long is not None})
    return {
        "shares": _shares(facts),
        "examples": _examples(facts),
        "long_above": long,
        "modes": sorted({mode for one in facts.sold for mode in one.price.modes}),
        "geos": {geo: percent for one in facts.sold for geo, percent in one.price.geos.items()},
        "outcomes": [(code, ended(code), rule) for code, rule in RULES.items()],
        "top_ups": [price(parse_usd(usd), of) for usd in shop.packages_usd],
        "of": of,
        "shop": shop,
        "fees": bool(of.fee_millionths or of.fee_fixed_nanos),
        "tax": bool(of.tax_millionths),
        "estimate_bytes": ESTIMATE_BYTES_PER_TOKEN,
        "hold": facts.settings.hold,
        "wallet_max_usd": WALLET_NANOS_MAX // NANOS_PER_USD,
        "chat": chat_slug(facts),
    }


PAGES = (
    Page(
        "/docs/api/overview",
        "API overview",
        "Base URLs, authentication, paths, first requests, streams and headers.",
        "docs/api-overview.md",
        group="api",
        eyebrow="API",
        view=_overview,
        lasting=True,
        use_when=(
            "You write a program against the API, or set a client up that is not listed.",
            "You want to know which path, header or dialect to use.",
        ),
        related=(
            "/docs/api/models",
            "/docs/api/billing",
            "/docs/errors",
            "/docs/clients/openai-sdk",
        ),
    ),
    Page(
        "/docs/api/models",
        "Models and slugs",
        "Every model has exactly one slug; these are they, with their aliases and paths.",
        "docs/api-models.md",
        group="api",
        eyebrow="API",
        view=_models,
        lasting=True,
        use_when=(
            "You need the exact name to put into `model`.",
            "A request was answered with `not_found` for its model.",
        ),
        related=("/docs/api/overview", "/docs/api/billing", "/docs/errors/not_found"),
    ),
    Page(
        "/docs/api/billing",
        "Billing",
        "What a request costs, to the last digit; what failed ones cost; how money is held.",
        "docs/api-billing.md",
        group="api",
        eyebrow="API",
        view=_billing,
        lasting=True,
        use_when=(
            "You want to compute a charge, or understand one.",
            "A request failed or was cancelled and you want to know what it cost.",
        ),
        related=(
            "/docs/troubleshooting/cache-token-cost-spikes",
            "/docs/troubleshooting/out-of-balance",
        ),
    ),
)
