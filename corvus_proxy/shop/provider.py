"""What the shop asks of a payment service, in words that no service owns.

A service is never believed by its message alone: a message names what it is about, and `standing`
is asked. All amounts of money are nano-dollars; amounts of another asset are its own decimal text.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from corvus_proxy.errors import CorvusError


class ProviderUnavailable(CorvusError):
    """The service did not answer, or not with what its protocol says. May be repeated."""


class ProviderRefused(CorvusError):
    """The service has said no for good: to repeat the call does not help."""


class Forged(CorvusError):
    """A message that the service has not signed, or that is too old to be taken."""


class Wanted(NamedTuple):
    """A payment that is to be asked for."""

    order_id: str
    """Also the key under which the same wish twice is one payment."""
    total_nanos: int
    """Whole cents."""
    title: str
    """What the payer reads on the service's page."""
    return_url: str
    cancel_url: str
    email: str
    """Empty: the payer gave none."""
    quote_s: int
    """How long the offer stands."""


class Opened(NamedTuple):
    """A payment that the service waits for."""

    reference: str
    """The service's name of the whole: Stripe's session, BTCPay's invoice."""
    pay_url: str
    """The service's page for it."""
    destination: str
    """On chain: the address; else empty."""
    asset: str
    """`USD`, `BTC` …"""
    asset_amount: str
    """What is due of it."""
    expires_at: datetime


class Paid(NamedTuple):
    """One payment, as the service has it."""

    reference: str
    """The service's name of this one: Stripe's payment intent, BTCPay's payment."""
    state: str
    """`seen`, `confirmed`, `reversed` (it was confirmed, and taken back) or `invalid`."""
    asset: str
    asset_amount: str
    rate: str
    """USD for one of the asset."""
    value_nanos: int
    """What it is worth in USD at that rate."""
    destination: str
    transaction: str
    confirmations: int
    confirmations_needed: int
    late: bool
    """Came after the offer had ended."""


class Standing(NamedTuple):
    """What the service says about the whole, at one moment."""

    status: str
    """`open`, `seen`, `settled`, `expired` or `invalid`."""
    marked_by_hand: bool
    """A person at the service said so, not a payment."""
    due: str
    """What is still due, in the asset; empty when nothing."""
    payments: tuple[Paid, ...]


class Notice(NamedTuple):
    """A message that the service has signed."""

    event_id: str
    kind: str
    """The service's own word for what happened."""
    reference: str
    """`Opened.reference` or a `Paid.reference`."""


class Provider(Protocol):
    """A payment service."""

    name: str
    """`stripe` or `btcpay`: stands in ids and accounts."""
    title: str
    """What people read: `Card (Stripe)`."""
    origin: str
    """Of the pages to which it sends browsers, for `form-action`."""

    async def open(self, wanted: Wanted) -> Opened:
        """Asks for a payment; the same order id twice is one. Raises ProviderUnavailable,
        ProviderRefused."""
        ...

    async def check(self) -> None:
        """Whether the service answers, and answers us, by a call that changes nothing. Raises
        ProviderUnavailable, ProviderRefused."""
        ...

    async def standing(self, reference: str) -> Standing:
        """How a payment stands now, from the service itself. Raises ProviderUnavailable."""
        ...

    async def refund(self, paid_reference: str, nanos: int, refund_id: str) -> str:
        """Sends back a part of one payment (whole cents); the service's id of that. The same
        `refund_id` twice is one refund. Raises ProviderUnavailable, ProviderRefused."""
        ...

    def claim_url(self, refund_reference: str) -> str:
        """The page on which a payer names where a refund goes, by what `refund` gave; empty where
        it goes back by itself. Who has this address may take the money."""
        ...

    def notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """A message of the service, verified; names of `headers` are in lower case. Raises
        Forged."""
        ...

    async def close(self) -> None:
        """Ends its connections."""
        ...
