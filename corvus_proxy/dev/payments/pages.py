"""The pages of the simulated services.

On one a buyer pays: its first form is "Pay", filled; all other acts are below. On the other a payer
names the address that a refund goes to.
"""

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
    "overflow-wrap:anywhere}label,input{display:block;width:100%;box-sizing:border-box;font:inherit}"
    "input{padding:.6rem;min-height:44px;margin:.2rem 0 .8rem}"
    ".note{border-left:4px solid #c77700;padding-left:.75rem}"
)
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


class Claim(NamedTuple):
    """What the page of a refund shows that waits for its address."""

    name: str
    """Of the pull payment: the last part of the page's address."""
    amount: str
    example: str
    """An address of the chain."""
    destination: str
    """Where it has gone; empty until it was claimed."""
    problem: str = ""
    """Why the address that was sent is none."""


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


def headers(*origins: str) -> list[tuple[str, str]]:
    """The page's own policy: its style, and where its forms lead beside itself."""
    targets = " ".join(("'self'", *origins))
    policy = (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:;"
        f" form-action {targets};"
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
    """The page of a payment. Addresses are relative, so that it works under any prefix."""
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
    return _page(
        sheet.title,
        sheet.amount,
        f"{pay}<dl>{facts}</dl>"
        f'<h2>What else can happen</h2><div class="others">{others}</div>'
        f'<p><a href="{escape(sheet.back)}">Back to the shop</a></p>',
    )


def claim_html(claim: Claim) -> str:
    """The page of a refund: a form for the address, or where it went."""
    if claim.destination:
        inner = (
            f"<p>It was paid out.</p><dl><dt>Address</dt><dd>{escape(claim.destination)}</dd></dl>"
        )
    else:
        problem = f'<p role="alert">{escape(claim.problem)}</p>' if claim.problem else ""
        inner = (
            f'{problem}<form class="first" method="post" action="{escape(claim.name)}/claim">'
            '<label for="address">Your address</label>'
            '<input id="address" name="address" required autocomplete="off" autocapitalize="off"'
            f' spellcheck="false" value="{escape(claim.example)}">'
            "<button>Claim the refund</button></form>"
        )
    return _page("Claim your refund", claim.amount, inner)


def _page(title: str, amount: str, inner: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>"
        '<p class="note">This is a simulated payment service: no money moves.</p>'
        f'<p class="amount">{escape(amount)}</p>{inner}</main></body></html>'
    )
