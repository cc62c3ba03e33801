"""The letters: one text and one HTML template a kind, with the operator's brand.

Rule 1: a letter loads nothing from anywhere: no image, no style sheet, no counted link.
Rule 2: it never holds a key, unless the operator's `shop.mail_key` put one into `delivered`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from corvus_proxy.money.amount import format_usd
from corvus_proxy.settings import BrandSettings

FIELDS: dict[str, tuple[str, ...]] = {
    "order_created": ("order_id", "provider", "total_nanos", "order_url", "expires_at"),
    "delivered": ("order_id", "amount_nanos", "key_id", "claim_url", "claim_days", "secret"),
    "claimed": ("order_id", "key_id", "at"),
    "top_up": ("order_id", "amount_nanos", "key_id", "masked"),
    "low_balance": ("key_id", "available_nanos", "threshold_nanos", "top_up_url"),
    "spike": ("key_id", "spent_nanos", "span", "usual_nanos"),
    "rotated": ("key_id", "at", "grace"),
    "frozen": ("key_id", "at", "why"),
    "refund": ("order_id", "amount_nanos", "state", "reason", "claim_url"),
    "login_link": ("login_url", "minutes"),
    "recover_link": ("key_id", "recover_url", "minutes"),
    "recovery_started": ("order_id", "key_id", "hours", "stop_url"),
}
"""What each letter is written from. Amounts are nanos; `…_at` and `at` are texts for people, in
UTC; `secret` is empty unless the operator wants it in the mail; `state` of a refund is `requested`,
`approved`, `sent` or `refused`, its `claim_url` empty where it goes back by itself; `grace` and
`span` are words such as `24 hours`."""


class Letter(NamedTuple):
    """A letter as it is read."""

    subject: str
    text: str
    html: str


def check(kind: str, view: Mapping[str, object]) -> None:
    """Raises ValueError for a kind that does not exist, or a view that lacks a member."""
    if kind not in FIELDS:
        raise ValueError(f"there is no letter {kind}")
    missing = [name for name in FIELDS[kind] if name not in view]
    if missing:
        raise ValueError(f"the letter {kind} needs {', '.join(missing)}")


def compose(kind: str, view: Mapping[str, Any], brand: BrandSettings) -> Letter:
    """The letter of a kind. Raises ValueError as `check` does, TemplateError."""
    check(kind, view)
    text = _TEXT.get_template(f"{kind}.txt").render(brand=brand, **view)
    html = _HTML.get_template(f"{kind}.html").render(brand=brand, **view)
    subject, _, body = text.partition("\n")
    return Letter(subject.removeprefix("Subject: ").strip(), body.strip() + "\n", html)


def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("corvus_proxy.shop", "letters"),
        autoescape=html,  # noqa: S701 - a text is no HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["usd"] = lambda nanos: f"{format_usd(nanos)} USD"
    return environment


_TEXT = _environment(html=False)
_HTML = _environment(html=True)
