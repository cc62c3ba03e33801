"""Templates, money in words, charts, and the headers that every page carries."""

from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import Response

from corvus_proxy.money.amount import format_usd
from corvus_proxy.settings import Settings

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
ASSETS = {"app.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8"}

OUTCOMES = {
    "completed": "completed",
    "zero_completion": "empty answer, free",
    "usage_missing": "completed, estimated",
    "upstream_refused": "refused by the model's provider",
    "upstream_error_before_first_byte": "provider failed, free",
    "upstream_cut_midstream": "provider cut it off",
    "client_cancelled_before_first_byte": "cancelled before the answer",
    "client_cancelled_midstream": "cancelled midway",
    "out_of_balance_midstream": "ended with the balance",
    "gateway_crash": "gateway restarted",
    "gateway_fault": "gateway failed, free",
    "gateway_timeout": "provider fell silent",
    "slow_reader_timeout": "client stopped reading",
    "ledger_unavailable_midstream": "ledger away",
}
"""Outcome codes in the customer's words."""


class Bar(NamedTuple):
    """One bar of a chart; `share` in thousandths of the longest."""

    label: str
    share: int


def bars(rows: Sequence[tuple[str, int]]) -> list[Bar]:
    """Bars of positive amounts, the longest full."""
    longest = max((amount for _, amount in rows), default=0) or 1
    return [Bar(label, amount * 1000 // longest) for label, amount in rows]


class Pages:
    """Renders templates with the operator's brand."""

    def __init__(self, settings: Settings) -> None:
        self._environment = Environment(
            loader=PackageLoader("corvus_proxy.site"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "usd": format_usd,
            "grouped": lambda number: f"{number:,}",
            "when": _when,
            "outcome": lambda code: OUTCOMES.get(code, code.replace("_", " ")),
        }
        self._environment.globals |= {"brand": settings.brand, "demo": settings.demo.enabled}

    def page(self, name: str, *, status: int = 200, **view: Any) -> Response:
        """An HTML page that no cache keeps."""
        html = self._environment.get_template(name).render(**view)
        return Response(
            html, status, {**HEADERS, "cache-control": "no-store"}, media_type="text/html"
        )


def asset(name: str) -> Response:
    """A file of our own."""
    data = (resources.files("corvus_proxy.site") / "static" / name).read_bytes()
    return Response(
        data, headers={**HEADERS, "cache-control": "public, max-age=300"}, media_type=ASSETS[name]
    )


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")
