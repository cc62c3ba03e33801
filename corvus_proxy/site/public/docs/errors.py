"""A page for each code of an error body, where its `docs_url` leads, and one that lists them."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from corvus_proxy import errors
from corvus_proxy.account import orders
from corvus_proxy.errors import Fault, RequestError
from corvus_proxy.money.outcome import RULES
from corvus_proxy.site.public.docs.codes import NOTES, SITE_NOTES, Note, ended
from corvus_proxy.site.public.docs.samples import STREAM_ALONE, sample
from corvus_proxy.site.public.page import Facts, Page
from corvus_proxy.wire import refusal
from corvus_proxy.wire.dialect import Dialect

FAULTS = {
    Fault.CLIENT: "the request or its key",
    Fault.GATEWAY: "the gateway",
    Fault.LEDGER: "the ledger",
    Fault.UPSTREAM: "the vendor, or the way to it",
}


def kinds() -> Iterator[type[RequestError]]:
    """Every error that a request can end with, as the tree lists them."""
    waiting: list[type[RequestError]] = [RequestError]
    while waiting:
        kind = waiting.pop(0)
        if kind.__module__ == errors.__name__:
            waiting = [*kind.__subclasses__(), *waiting]
            if kind is not errors.Refusal:
                yield kind


def _rows(facts: Facts) -> list[dict[str, Any]]:
    return [
        {
            "code": kind.code,
            "statuses": _statuses(kind),
            "retry": kind.retry,
            "means": NOTES[kind.code].means,
        }
        for kind in kinds()
    ]


def _statuses(kind: type[RequestError]) -> str:
    if kind.code in STREAM_ALONE:
        return "in a stream"
    if issubclass(kind, errors.UpstreamRefused):
        return "the vendor's 4xx"
    error = kind("")
    found = (refusal.status(dialect, error) for dialect in (Dialect.CHAT, Dialect.MESSAGES))
    return " / ".join(dict.fromkeys(str(status) for status in found))


def status_of(code: str) -> str:
    """The status, or statuses, of a code of the API. Raises KeyError."""
    return {kind.code: _statuses(kind) for kind in kinds()}[code]


def _index(facts: Facts) -> Mapping[str, Any]:
    site = [
        {"code": code, "statuses": _site_status(code), "means": note.means}
        for code, note in SITE_NOTES.items()
    ]
    return {"rows": _rows(facts), "site_rows": site}


def _site_status(code: str) -> int:
    return orders.CODES[code][0] if code in orders.CODES else 401


def _endings(note: Note) -> list[tuple[str, str]]:
    """How a request ends that is told this code, and what is charged for it."""
    return [(ended(one), RULES[one].charged) for one in note.outcomes]


def _of_request(kind: type[RequestError], facts: Facts) -> Mapping[str, Any]:
    note = NOTES[kind.code]
    return {
        "code": kind.code,
        "note": note,
        "statuses": _statuses(kind),
        "fault": FAULTS[kind.fault],
        "retry": kind.retry,
        "endings": _endings(note),
        "sample": sample(kind.code, facts),
        "site_body": "",
        "relayed": issubclass(kind, errors.UpstreamRefused),
    }


def _of_site(code: str, facts: Facts) -> Mapping[str, Any]:
    told = orders.CODES[code][1] if code in orders.CODES else "Log in first."
    body = orders.error_object(code, told, facts.site)
    return {
        "code": code,
        "note": SITE_NOTES[code],
        "statuses": str(_site_status(code)),
        "fault": "the request" if _site_status(code) < 500 else "the site",
        "retry": _site_status(code) in (429, 503),
        "endings": [("refused before it began", "0")],
        "sample": None,
        "site_body": msgspec.json.format(msgspec.json.encode(body), indent=2).decode(),
        "relayed": False,
    }


def _request_page(kind: type[RequestError]) -> Page:
    return _page(kind.code, NOTES[kind.code], lambda facts: _of_request(kind, facts))


def _site_page(code: str, note: Note) -> Page:
    return _page(code, note, lambda facts: _of_site(code, facts))


def _page(code: str, note: Note, view: Any) -> Page:
    return Page(
        f"/docs/errors/{code}",
        code,
        note.means,
        "docs/error.md",
        group="api",
        eyebrow="Error code",
        view=view,
        lasting=True,
        use_when=(f"An error body has the code `{code}`.",),
        listed=False,
    )


PAGES = (
    Page(
        "/docs/errors",
        "Errors",
        "Every code of an error body: its status, whether to ask again, what it means.",
        "docs/errors.md",
        group="api",
        eyebrow="API",
        view=_index,
        lasting=True,
        use_when=("An answer was an error and you have its code or its status.",),
        related=("/docs/troubleshooting", "/docs/api/billing"),
    ),
    *(_request_page(kind) for kind in kinds()),
    *(_site_page(code, note) for code, note in SITE_NOTES.items()),
)
