"""From view data to HTML and JSON: templates, money in words, charts, headers, our own files.

Rule 1: no template computes or formats an amount; the filters here do, from `money.amount`.
Rule 2: every answer of the site carries `HEADERS`; what belongs to one customer is not stored.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import resources
from typing import Any, NamedTuple

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import RedirectResponse, Response

from corvus_proxy.books.statements import Request
from corvus_proxy.money.amount import format_usd
from corvus_proxy.settings import Settings
from corvus_proxy.site.charts import CLASSES

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    # With `no-referrer` browsers send `Origin: null` with our own forms, and those without
    # Sec-Fetch-Site (any of them over plain http) could not log in.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
PRIVATE = {**HEADERS, "cache-control": "no-store", "x-robots-tag": "noindex"}
TOKEN_PAGE = {**PRIVATE, "referrer-policy": "strict-origin"}
"""Of pages whose address is a secret: it stands in no `Referer`, ours included."""
KINDS = {
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
PARTS = {"app.css": "style", "app.js": "script"}
"""Files that are written in parts, one a subject, and sent as one, in the order of their names."""


class Outcome(NamedTuple):
    """An outcome code in the customer's words."""

    words: str
    tone: str
    """`good`, `free` (nothing was charged through no fault of the customer's) or `short`."""


OUTCOMES = {
    "completed": Outcome("completed", "good"),
    "usage_missing": Outcome("completed", "good"),
    "usage_contradiction": Outcome("completed", "good"),
    "content_refusal": Outcome("refused by the model", "good"),
    "zero_completion": Outcome("empty answer, free", "free"),
    "upstream_refused": Outcome("refused by the model's vendor", "free"),
    "upstream_error_before_first_byte": Outcome("vendor failed, free", "free"),
    "upstream_cut_midstream": Outcome("cut off by the vendor", "short"),
    "client_cancelled_before_first_byte": Outcome("cancelled before the answer", "short"),
    "client_cancelled_midstream": Outcome("cancelled midway", "short"),
    "slow_reader_timeout": Outcome("client stopped reading", "short"),
    "out_of_balance_midstream": Outcome("ended with the balance", "short"),
    "cap_reached_midstream": Outcome("ended with the key's cap", "short"),
    "key_disabled_midstream": Outcome("ended: key frozen", "short"),
    "ledger_unavailable_midstream": Outcome("ended: ledger away", "short"),
    "gateway_timeout": Outcome("vendor fell silent", "short"),
    "gateway_shutdown": Outcome("gateway restarted", "short"),
    "gateway_crash": Outcome("gateway failed midway", "short"),
    "gateway_fault": Outcome("gateway failed, free", "free"),
}
SOURCES = {
    "counted": "output counted by our meter",
    "estimated": "input estimated, output counted by our meter",
    "checkpoint": "as of the last checkpoint",
}
"""Where the figures of a charge come from, when it is not the vendor's own report."""


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
        filters: dict[str, Callable[..., object]] = {
            "usd": format_usd,
            "usd_figure": usd_figure,
            "usd_column": usd_column,
            "grouped": lambda number: f"{number:,}",
            "moment": moment,
            "duration": duration,
            "percent": percent,
            "outcome": outcome,
            "source": lambda code: SOURCES.get(code, ""),
            "bar": bar,
            "request_name": lambda name: name.removesuffix(":L"),
            "day": lambda day: day.strftime("%d %b"),
            "runway": runway,
            "input_tokens": input_tokens,
            "times": lambda percent: f"{percent / 100:g} times",
            "part": lambda name: CLASSES.get(name, name.replace("_", " ")),
        }
        self._environment.filters |= filters
        self._environment.globals |= {
            "brand": settings.brand,
            "demo": settings.demo.enabled,
            "asset": lambda name: f"/static/{name}?v={ASSETS[name].version}",
        }

    def page(
        self, name: str, *, status: int = 200, headers: Mapping[str, str] = PRIVATE, **view: Any
    ) -> Response:
        """An HTML page."""
        html = self._environment.get_template(name).render(**view)
        return Response(html, status, headers, media_type="text/html")


def redirect(path: str) -> Response:
    """See other."""
    return RedirectResponse(path, 303, PRIVATE)


def json(view: object, *, status: int = 200, headers: Mapping[str, str] = PRIVATE) -> Response:
    """A page's twin."""
    return Response(msgspec.json.encode(view), status, headers, media_type="application/json")


def twin(view: Any) -> Any:
    """View data as JSON-able data: beside each integer `…_nanos` stands its USD string."""
    if isinstance(view, tuple) and hasattr(view, "_asdict"):
        return twin(view._asdict())
    if isinstance(view, dict):
        found = {}
        for name, value in view.items():
            found[name] = twin(value)
            if name.endswith("_nanos") and isinstance(value, int):
                found[name.removesuffix("_nanos")] = format_usd(value)
        return found
    if isinstance(view, list | tuple):
        return [twin(item) for item in view]
    return view


def usd_figure(nanos: int) -> Markup:
    """An exact amount for a tile: dollars and cents large, what is below a cent small."""
    whole, _, fraction = format_usd(nanos).partition(".")
    small = Markup("<small>{}</small>").format(fraction[2:]) if fraction[2:] else ""
    return Markup("{}.{}{}").format(whole, fraction[:2], small)


def usd_column(nanos: int) -> Markup:
    """An exact amount with all nine decimals, so that points stand below each other; the zeros
    that say nothing are soft."""
    text = format_usd(nanos)
    zeros = "0" * (9 - len(text.partition(".")[2]))
    return Markup("{}<i>{}</i>").format(text, zeros) if zeros else escape(text)


def outcome(code: str) -> Outcome:
    """An outcome in words; a code of a newer gateway is shown as it is."""
    return OUTCOMES.get(code, Outcome(code.replace("_", " "), "short"))


def moment(instant: datetime) -> str:
    """An instant in UTC, to the second."""
    return instant.strftime("%Y-%m-%d %H:%M:%S")


def input_tokens(row: Request) -> int:
    """All input of a request, cached or not."""
    return row.input_tokens + row.cache_read_tokens + row.cache_write_tokens


def runway(days: int | None) -> str:
    """How long a balance lasts, as certain as that can be."""
    if days is None:
        return "not to be told yet"
    if days < 1:
        return "less than a day"
    if days == 1:
        return "about a day"
    return f"about {days} days" if days <= 365 else "more than a year"


def duration(total_ms: int) -> str:
    """Milliseconds as people read them: `950 ms`, `1.43 s`, `75 s`."""
    if total_ms < 1000:
        return f"{total_ms} ms"
    if total_ms < 10_000:
        return f"{total_ms // 1000}.{total_ms % 1000 // 10:02d} s"
    return f"{total_ms // 1000:,} s"


def percent(ppm: int) -> str:
    """A share, rounded down to a tenth of a percent; one that is there is never shown as none."""
    if 0 < ppm < 1000:
        return "< 0.1 %"
    return f"{ppm // 10_000}.{ppm // 1000 % 10} %"


def bar(permille: int) -> Markup:
    """One bar of a chart; the figures beside it say the same to those who do not see it."""
    return Markup(
        '<svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rail" width="1000" height="10"/><rect width="{}" height="10"/></svg>'
    ).format(max(permille, 4) if permille else 0)


class Asset(NamedTuple):
    """A file of our own; its version is a hash of its content, so browsers keep it for ever."""

    data: bytes
    version: str
    kind: str

    def response(self, version: str) -> Response:
        """The file; any other version than this one may only be kept for a moment."""
        age = "max-age=31536000, immutable" if version == self.version else "max-age=60"
        headers = {**HEADERS, "cache-control": f"public, {age}"}
        return Response(self.data, headers=headers, media_type=self.kind)


def _asset(name: str, kind: str) -> Asset:
    static = resources.files("corvus_proxy.site") / "static"
    if name in PARTS:
        parts = sorted((static / PARTS[name]).iterdir(), key=lambda part: part.name)
        data = b"\n".join(part.read_bytes() for part in parts)
    else:
        data = (static / name).read_bytes()
    return Asset(data, hashlib.sha256(data).hexdigest()[:12], kind)


ASSETS = {name: _asset(name, kind) for name, kind in KINDS.items()}
