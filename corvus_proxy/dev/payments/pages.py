"""The page on which a buyer pays: its first form is "Pay", filled; all other acts are below."""

import base64
import hashlib
from html import escape
from typing import NamedTuple

STYLE = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}"
    "html{background:Canvas;color:CanvasText}a{color:LinkText}"
    "body{margin:0 auto;max-width:34rem;padding:1.5rem 1rem}"
    "h1{font-size:1.3rem}.amount{font-size:2rem;font-weight:650;margin:.2rem 0 1rem}"
    "button{font:inherit;padding:.6rem 1rem;min-height:44px;border-radius:.5rem;"
    "border:1px solid #777;cursor:pointer}"
    ".first button{width:100%;background:#0b5d3b;border-color:#0b5d3b;color:#fff;font-weight:600}"
    ".others{display:flex;flex-wrap:wrap;gap:.5rem}"
    "dl{display:grid;grid-template-columns:auto 1fr;gap:.2rem 1rem}dd{margin:0;"
    "overflow-wrap:anywhere}.note{border-left:4px solid #c77700;padding-left:.75rem}"
)
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


class Sheet(NamedTuple):
    """What a page shows."""

    service: str
    name: str
    """Of the session or invoice: the last part of the page's address."""
    title: str
    amount: str
    facts: tuple[tuple[str, str], ...]
    acts: tuple[tuple[str, str], ...]
    """(act, label), the ones beside `pay`."""
    payable: bool
    back: str
    """Where a buyer comes from."""


def headers(sheet: Sheet) -> list[tuple[str, str]]:
    """The page's own policy: its style, its forms, and the way back."""
    origin = "/".join(sheet.back.split("/")[:3])
    policy = (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:;"
        f" form-action 'self' {origin};"
        " frame-ancestors 'none'; base-uri 'none'"
    )
    return [
        ("content-security-policy", policy),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-robots-tag", "noindex"),
    ]


def html(sheet: Sheet) -> str:
    """The page. Addresses are relative, so that it works under any prefix."""
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in sheet.facts)
    pay = (
        f'<form class="first" method="post" action="{escape(sheet.name)}/pay">'
        f'<input type="hidden" name="amount" value="">'
        f"<button>Pay {escape(sheet.amount)}</button></form>"
        if sheet.payable
        else ""
    )
    others = "".join(
        f'<form method="post" action="{escape(sheet.name)}/{act}"><button>{escape(label)}</button>'
        "</form>"
        for act, label in sheet.acts
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(sheet.title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(sheet.title)}</h1>"
        '<p class="note">This is a simulated payment service: no money moves.</p>'
        f'<p class="amount">{escape(sheet.amount)}</p>{pay}<dl>{facts}</dl>'
        f'<h2>What else can happen</h2><div class="others">{others}</div>'
        f'<p><a href="{escape(sheet.back)}">Back to the shop</a></p></main></body></html>'
    )
