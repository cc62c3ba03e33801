"""What the functions of this package take and give. Amounts in nanos, times aware, in UTC."""

from datetime import datetime
from typing import NamedTuple, Protocol


class LoggedIn(Protocol):
    """Who is logged in."""

    @property
    def wallet(self) -> str: ...
    @property
    def key_id(self) -> str: ...


class Offer(NamedTuple):
    """What a checkout page offers."""

    packages_nanos: tuple[int, ...]
    preset_nanos: int
    amount_min_nanos: int
    amount_max_nanos: int
    providers: tuple[tuple[str, str], ...]
    """(name, title) of each payment service."""
    mail: bool
    """Whether this installation sends mail."""
    fee_percent: str
    fee_fixed_nanos: int
    tax_percent: str
    tax_name: str
    paused: str
    """Why nothing is sold now; empty: it is."""


class Quote(NamedTuple):
    """The lines of an order, all whole cents."""

    amount_nanos: int
    fee_nanos: int
    tax_nanos: int
    total_nanos: int


class Form(NamedTuple):
    """A checkout form as it was sent."""

    amount: str
    """As typed; wins over `preset` unless empty."""
    preset: str
    provider: str
    target: str
    """`new` or `existing`."""
    key: str
    """Of an existing key: the secret or the key id; empty: the one that is logged in."""
    email: str
    nonce: str


class Placed(NamedTuple):
    """An order that waits for its payment."""

    order_id: str
    token: str
    """Of the order's page."""
    browser: str
    """For the cookie of the browser that ordered."""
    pay_url: str


class Problem(NamedTuple):
    """An expected no."""

    field: str
    """The field of the form that it is about; empty: the whole."""
    sentence: str


class PaymentView(NamedTuple):
    """One payment that came for an order."""

    reference: str
    state: str
    """`seen`, `confirmed`, `reversed` or `invalid`."""
    asset: str
    asset_amount: str
    rate: str
    value_nanos: int
    credited_nanos: int
    transaction: str
    confirmations: int
    confirmations_needed: int
    late: bool
    seen_at: datetime
    confirmed_at: datetime | None
    refused: str
    """Why the credit is not on the balance: `cap` where the wallet would hold too much."""


class StepView(NamedTuple):
    """One line of an order's history."""

    step: str
    at: datetime
    details: dict[str, object]


class RefundView(NamedTuple):
    """One refund of an order."""

    refund_id: str
    amount_nanos: int
    state: str
    """`requested`, `approved`, `sent` or `refused`."""
    provider_ref: str
    """The service's name of it; empty where that would open `claim_url` to others."""
    claim_url: str
    """Where the payer names the address that it goes to, of a service that asks for one; only for
    the browser that ordered."""
    reason: str
    created_at: datetime
    ended_at: datetime | None


class OpenOrder(NamedTuple):
    """An order that still waits, in its owner's list."""

    order_id: str
    status: str
    provider: str
    amount_nanos: int
    expires_at: datetime


class OrderView(NamedTuple):
    """An order as its page shows it."""

    order_id: str
    status: str
    exception: str
    fulfilment: str
    refund: str
    disputed: bool
    reason: str
    """Public words of whoever decided by hand, or why it is invalid."""
    provider: str
    provider_title: str
    amount_nanos: int
    fee_nanos: int
    tax_nanos: int
    total_nanos: int
    credited_nanos: int
    refunded_nanos: int
    new_key: bool
    key_id: str
    """Empty until a new key is made."""
    masked: str
    """Of the present secret; empty where the buyer has not shown to have it."""
    email: str
    """Only for the browser that ordered."""
    mail_state: str
    """Of the last mail: `queued`, `accepted`, `deferred`, `bounced`, `off`; empty: none."""
    mail_problem: str
    pay_url: str
    destination: str
    asset: str
    asset_amount: str
    due: str
    """What is still due in the asset; empty when nothing."""
    expires_at: datetime
    created_at: datetime
    confirmed_at: datetime | None
    checked_at: datetime | None
    """When the payment service last answered."""
    check_problem: str
    """Why it did not since, or what is left to the operator; a sentence."""
    payments: list[PaymentView]
    steps: list[StepView]
    refunds: list[RefundView]
    own_browser: bool
    secret: str
    """Empty unless this is the browser that ordered and the copy is still kept."""
    recovery: str
    """The recovery code, under the same rule."""
    balance_nanos: int | None
    """Only for a buyer who owns the key; None: not to be told, or Redis is away."""


class ClaimView(NamedTuple):
    """What a claim link leads to, before it is used."""

    order_id: str
    state: str
    """`open`, `used`, `expired` or `gone` (the copy is destroyed)."""
    used_at: datetime | None


class Claimed(NamedTuple):
    """What a claim yields, once."""

    secret: str
    recovery: str
    key_id: str
    order_id: str
