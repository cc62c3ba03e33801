"""How long each kind of personal or request data is kept: one row a kind, printed by the pages.

Every table of the books stands here exactly once: in a kind whose rows lose their detail after so
many days, or in `KEPT` with the reason why it stays. A test compares both with the migrations.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec


class RetentionSettings(msgspec.Struct, frozen=True):
    """Days until the worker deletes the detail of each kind; 0: never. See docs/retention.md."""

    request_days: int = 400
    """Detail of requests: a year's statement can be explained line by line, and a month longer. At
    least 35: monthly caps and the dashboard read it."""
    order_days: int = 180
    """Mail address and browser of an order, from its last change on: card payments can be disputed
    for months. At least 30. What is open, disputed or waits for a refund is kept."""
    mail_days: int = 90
    """Mails with their addresses: whether a mail arrived is asked within weeks. At least 7."""
    link_days: int = 30
    """Links of mails that were used or are over: support can still tell which. At least 1."""
    recovery_days: int = 180
    """Recoveries that have ended: an owner who was away can still see who tried. At least 7."""
    session_days: int = 30
    """Log-ins that have ended: an owner can ask about the last weeks. At least 2."""
    token_days: int = 30
    """Read-only tokens that were revoked or are over. At least 1."""
    notice_days: int = 30
    """Notices to webhooks of alarms: whether one was taken is asked within days. At least 1."""
    webhook_days: int = 120
    """Ids of payment services' messages: longer than any of them repeats one. At least 30."""
    quarantine_days: int = 400
    """What an event said that could not be booked, once it is released; as `request_days`. At least
    35."""


class Kind(NamedTuple):
    """What goes after so many days."""

    name: str
    """As the books' function `forget` knows it; its option is `retention.<name>_days`."""
    tables: tuple[str, ...]
    what: str
    since: str
    """From when on its days count."""
    stays: str
    """What is kept of it."""
    reason: str
    """Why so long."""
    least_days: int
    """The database refuses to delete earlier."""

    @property
    def option(self) -> str:
        return f"{self.name}_days"

    def days(self, settings: RetentionSettings) -> int:
        """Days until it goes; 0: never."""
        return int(getattr(settings, self.option))

    def cut(self, settings: RetentionSettings, now: datetime) -> datetime | None:
        """Of what was before this instant the detail goes: the beginning of a UTC day. None: of
        nothing."""
        days = self.days(settings)
        if not days:
            return None
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - timedelta(days=days)


KINDS = (
    Kind(
        "request",
        ("request",),
        "Detail of requests: tokens, times and attempts of each one, the vendor's request id, the"
        " lines of its bill",
        "the request's end",
        "amount, model, key, outcome and time, as an entry of the ledger; tokens as sums by UTC"
        " day, key, model and outcome",
        "a year's statement can be explained line by line, and a month longer",
        35,
    ),
    Kind(
        "order",
        ("shop_order",),
        "Mail address, browser and payment page of an order",
        "its last change; an order that is open, disputed or waits for a refund is kept until that"
        " is over",
        "amounts, states and references of its payments",
        "card payments can be disputed for months, and a refund needs the buyer",
        30,
    ),
    Kind(
        "mail",
        ("mail",),
        "Mails that were sent, with their addresses",
        "the end of their delivery; those about an order that is open, disputed or waits for a"
        " refund are kept until that is over",
        "nothing",
        "whether a mail arrived is asked within weeks",
        7,
    ),
    Kind(
        "link",
        ("link",),
        "Links of mails: digest, mail address",
        "their use or their end",
        "nothing",
        "support can tell a used link from a wrong one",
        1,
    ),
    Kind(
        "recovery",
        ("recovery",),
        "Requests for a new secret",
        "their use or their end",
        "the change itself, among the deeds of the operator",
        "an owner who was away can still see who tried",
        7,
    ),
    Kind(
        "session",
        ("session",),
        "Log-ins: kind of browser and system, when they began and were last seen",
        "their end or their last use",
        "nothing",
        "an owner can ask about the last weeks",
        2,
    ),
    Kind(
        "token",
        ("read_token",),
        "Read-only tokens: name, digest",
        "their end",
        "nothing",
        "as log-ins",
        1,
    ),
    Kind(
        "notice",
        ("notice",),
        "Notices to webhooks of alarms: address and body",
        "the end of their delivery",
        "the alarm, until its owner removes it",
        "whether a notice was taken is asked within days",
        1,
    ),
    Kind(
        "webhook",
        ("webhook",),
        "Ids of payment services' messages",
        "their arrival",
        "what they made of the order",
        "longer than any payment service repeats a message",
        30,
    ),
    Kind(
        "quarantine",
        ("quarantine",),
        "What an event said that could not be booked",
        "its release",
        "that there was one, and why",
        "as the detail of requests, which it is",
        35,
    ),
)
"""What the worker deletes, in the order in which it does."""

_ACCOUNT = "the account between customer and operator: a balance does not expire"
_BOOKS = "bookkeeping: money that came, went and was used, by key and order number"
_MACHINE = "of the installation itself; nothing of one person"
KEPT: dict[str, str] = {
    "wallet": f"{_ACCOUNT}; its mail address is the owner's way back",
    "key": _ACCOUNT,
    "key_secret": f"{_ACCOUNT}; digests alone, so that an old secret is known as one",
    "alarm": "until its owner removes it",
    "event": f"{_BOOKS}; the lines of a bill go from it with the detail of requests",
    "posting": _BOOKS,
    "cash": _BOOKS,
    "outbox": f"{_BOOKS}; each change of a balance is asked for once, by its id",
    "payment": f"{_BOOKS}; a payment's reference also proves who may recover a key",
    "refund": _BOOKS,
    "order_step": f"{_BOOKS}; an order's history, without an address",
    "request_day": "sums of requests whose detail is gone: totals stay as they were",
    "gap": _MACHINE,
    "audit": "the operator's own deeds, by key and order number: nothing is done unseen",
    "operator": "who may log in to the console: a name, and a token's digest",
    "stopped": "until the operator switches it on again",
    "reconciled": "a day's sums by credential, as its provider bills them",
    "schema_support": _MACHINE,
    "installation": _MACHINE,
    "cursor": _MACHINE,
    "node": _MACHINE,
    "rebuild_request": _MACHINE,
    "credential_cost": _MACHINE,
    "day_total": _MACHINE,
    "day_cursor": _MACHINE,
    "day_counted": _MACHINE,
    "ledger_check": _MACHINE,
    "status_day": _MACHINE,
    "incident": _MACHINE,
    "incident_note": _MACHINE,
    "retention": _MACHINE,
}
"""Tables that the software never deletes from, each with its reason."""


def too_short(settings: RetentionSettings) -> list[str]:
    """Options that ask for less than what other parts of the service read, in words."""
    return [
        f"retention.{kind.option}: {days} is less than {kind.least_days}; 0 keeps for ever"
        for kind in KINDS
        if 0 < (days := kind.days(settings)) < kind.least_days
    ]
