"""The price book for the terminal: prices, margins, and what is not sold."""

from typing import Any

from corvus_proxy.catalogue import book, margin
from corvus_proxy.settings import Settings


def rows(settings: Settings) -> list[dict[str, Any]]:
    """One row a model; prices in picos per token (USD per million x 1e6)."""
    found = book.load(settings.pricing)
    margins = {one.slug: one for one in margin.margins(found, settings.upstream)}
    below = {one.slug for one in margin.below_cost(found, settings)}
    out = []
    for model in found.models:
        least = margins.get(model.slug)
        out.append(
            {
                "slug": model.slug,
                "family": model.family,
                "version": model.price.version,
                "input_picos": model.price.base.input,
                "output_picos": model.price.base.output,
                "cache_read_picos": model.price.base.cache_read,
                "margin_percent": least.percent if least else None,
                "sold": least is not None and model.slug not in below,
            }
        )
    return out


def table(found: list[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [f"{'model':26}{'input':>10}{'output':>10}{'cached':>10}{'margin':>9}  USD per million"]
    for row in found:
        usd = [
            f"{row[name] / 1_000_000:g}"
            for name in ("input_picos", "output_picos", "cache_read_picos")
        ]
        share = f"{row['margin_percent']} %" if row["margin_percent"] is not None else "-"
        note = "" if row["sold"] else "  not sold"
        lines.append(f"{row['slug']:26}{usd[0]:>10}{usd[1]:>10}{usd[2]:>10}{share:>9}{note}")
    return "\n".join(lines)
