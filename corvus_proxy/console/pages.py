"""From what the services tell to HTML: templates, amounts in words, headers, one style sheet.

Rule 1: no script at all, and nothing from anywhere else: the policy allows neither.
Rule 2: no template computes an amount.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import RedirectResponse, Response

from corvus_proxy.money.amount import format_usd
from corvus_proxy.settings import Settings

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self';"
        " frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}
PLACES = (
    ("Today", "/"),
    ("Orders", "/orders"),
    ("Keys", "/keys"),
    ("Pools", "/pools"),
    ("Refunds", "/refunds"),
    ("Audit", "/audit"),
)
SHEET = (resources.files("corvus_proxy.console") / "static" / "console.css").read_bytes()
VERSION = hashlib.sha256(SHEET).hexdigest()[:12]


class Pages:
    """Renders templates."""

    def __init__(self, settings: Settings) -> None:
        self._environment = Environment(
            loader=PackageLoader("corvus_proxy.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"usd": format_usd, "moment": moment, "told": told}
        self._environment.globals |= {
            "brand": settings.brand,
            "demo": settings.demo.enabled,
            "places": PLACES,
            "sheet": f"/static/console.css?v={VERSION}",
        }

    def page(
        self, name: str, *, status: int = 200, operator: str = "", at: str = "", **view: Any
    ) -> Response:
        """An HTML page; with an operator's name it has the navigation, `at` marked in it."""
        html = self._environment.get_template(name).render(operator=operator, at=at, **view)
        return Response(html, status, HEADERS, media_type="text/html")

    def message(
        self, title: str, sentence: str, *, status: int = 200, operator: str = "", back: str = "/"
    ) -> Response:
        """A sentence and the way on."""
        return self.page(
            "message.html",
            status=status,
            operator=operator,
            title=title,
            sentence=sentence,
            back=back,
        )


def redirect(path: str) -> Response:
    """See other."""
    return RedirectResponse(path, 303, HEADERS)


def sheet(headers: Mapping[str, str] = HEADERS) -> Response:
    """The style sheet."""
    kept = {**headers, "cache-control": "private, max-age=3600"}
    return Response(SHEET, headers=kept, media_type="text/css")


def moment(instant: datetime | None) -> str:
    """An instant in UTC, to the second."""
    return "–" if instant is None else instant.strftime("%Y-%m-%d %H:%M:%S")


def told(details: Mapping[str, object]) -> str:
    """The details of a step or a deed on a line: amounts in USD, nothing of what is empty."""
    said = []
    for name, value in details.items():
        if name.endswith("nanos") and isinstance(value, int):
            said.append(f"{name.removesuffix('nanos').strip('_')} {format_usd(value)} USD".strip())
        elif value not in ("", None):
            said.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(said)
