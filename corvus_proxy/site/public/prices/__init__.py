"""Prices, models, the tracker and the calculator."""

from corvus_proxy.catalogue.book import Model
from corvus_proxy.catalogue.families import SERIES
from corvus_proxy.site.public.page import Page
from corvus_proxy.site.public.prices import (
    caching,
    calculator,
    compared,
    directory,
    documents,
    tracking,
)
from corvus_proxy.site.public.prices.documents import DOCUMENTS

__all__ = ["DOCUMENTS", "PAGES", "pages"]

PAGES = (
    Page(
        "/claude-api-pricing",
        "Claude API pricing compared",
        "What each Claude model costs here, beside Anthropic's own price.",
        "prices/claude.md",
        kind="landing",
        eyebrow="Prices",
        view=compared.claude,
        use_when=(
            "You want to know what Claude costs here.",
            "You compare with Anthropic's own price list.",
        ),
        related=("/pricing/tracker", "/pricing/calculator", "/gpt-api-pricing", "/trust/verify"),
        data=documents.PRICING,
        lasting=True,
    ),
    Page(
        "/gpt-api-pricing",
        "GPT API pricing compared",
        "What each GPT model costs here, prepaid, beside OpenAI's own price.",
        "prices/gpt.md",
        kind="landing",
        eyebrow="Prices",
        view=compared.gpt,
        use_when=(
            "You want to know what GPT costs here.",
            "You compare with OpenAI's own price list.",
        ),
        related=("/pricing/tracker", "/pricing/calculator", "/claude-api-pricing", "/trust/verify"),
        data=documents.PRICING,
        lasting=True,
    ),
    Page(
        "/cache-token-pricing",
        "Cache token pricing",
        "Why a short message in a long session costs more than it looks, with a worked example.",
        "prices/cache.md",
        kind="pricing",
        eyebrow="Prices",
        view=caching.view,
        use_when=(
            "A short request was expensive.",
            "You want to know what cache reads and writes cost.",
        ),
        related=(
            "/docs/troubleshooting/cache-token-cost-spikes",
            "/pricing/calculator",
            "/docs/api/billing",
        ),
        data=documents.PRICING,
        lasting=True,
    ),
    Page(
        "/pricing/tracker",
        "Price tracker",
        "Every price beside the vendor's: source, day of the check, since when, and what comes.",
        "prices/tracker.md",
        kind="pricing",
        eyebrow="Prices",
        view=tracking.view,
        use_when=(
            "You want to know whether a price has changed or will.",
            "You want to make the table again from its source.",
        ),
        related=("/claude-api-pricing", "/gpt-api-pricing", "/pricing/calculator", "/models"),
        data=documents.PRICING,
        lasting=True,
    ),
    Page(
        calculator.PATH,
        "Cost calculator",
        "Your numbers, or a usage object that you paste, at the prices and by the functions that"
        " bill.",
        "prices/calculator.md",
        kind="pricing",
        eyebrow="Prices",
        view=calculator.start,
        use_when=(
            "You want to estimate what your use costs, or compare models.",
            "You want to check the charge of an answer from its usage.",
        ),
        related=("/pricing/tracker", "/cache-token-pricing", "/docs/api/billing"),
        data=documents.PRICING,
        lasting=True,
    ),
    Page(
        "/models",
        "Models",
        "Every model that can be asked here: slug, context and price, with a page for each.",
        "prices/models.md",
        kind="models",
        eyebrow="Models",
        view=directory.index,
        use_when=("You look for a model or its slug.",),
        related=("/docs/api/models", "/pricing/tracker", "/pricing/calculator"),
        data=documents.MODELS,
        lasting=True,
    ),
)


def pages(models: tuple[Model, ...]) -> tuple[Page, ...]:
    """All of them; of `models` each has a page of its own."""
    return (*PAGES, *(_model(model) for model in models))


def _model(model: Model) -> Page:
    return Page(
        f"/models/{model.slug}",
        model.display_name,
        f"{model.slug}: price beside the vendor's, context, paths, clients and a first request.",
        "prices/model.md",
        kind="models",
        eyebrow=f"Models, {SERIES[model.family]}",
        view=directory.of(model.slug),
        use_when=(f"You want to use {model.display_name}, or know what it costs.",),
        related=("/models", "/pricing/tracker", "/docs/api/models"),
        data=documents.MODELS,
        listed=False,
        lasting=True,
    )
