"""Stripe Checkout, through Stripe's own package, on our own connections (`stripe_http`).

Rule 1: what Stripe says in an error is not repeated; its code and its request's id are, and they
        suffice to find it in Stripe's dashboard.
Rule 2: no call waits longer than `timeout_s`, the package's own second try included.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import msgspec

from corvus_proxy import clock
from corvus_proxy.settings import Settings
from corvus_proxy.settings.selling import is_test_key
from corvus_proxy.shop.provider import (
    Forged,
    Notice,
    Opened,
    Paid,
    ProviderRefused,
    ProviderUnavailable,
    Standing,
    Wanted,
)
from corvus_proxy.shop.services.reading import (
    NANOS_PER_CENT,
    dollars,
    reading,
    text,
    to_cents,
    whole,
)
from corvus_proxy.upstream.httpx_client import Caller

if TYPE_CHECKING:
    from stripe import StripeClient, StripeError, StripeObject

OPEN_S_MIN = 30 * 60 + 60
"""Stripe keeps a session open for at least half an hour; a minute is for clocks that differ."""
OPEN_S_MAX = 24 * 3600 - 60
TOLERANCE_S = 300
"""A message older than this is not taken: somebody has kept it."""
TAKEN_BACK = {"needs_response", "under_review", "lost"}
"""States of a dispute in which Stripe has taken the money; in the `warning_…` ones it has not."""


class Stripe:
    """`provider.Provider` for card payments."""

    name = "stripe"
    title = "Card (Stripe)"

    def __init__(self, settings: Settings) -> None:
        """Opens no connection. Raises ConfigurationError (unreadable secrets)."""
        stripe = settings.stripe
        parts = urlsplit(stripe.checkout_origin)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._api_base = stripe.api_base.rstrip("/")
        self._secret_key = stripe.secret_key()
        self._test_mode = stripe.test_mode()
        self._webhook_secrets = stripe.webhook_secrets()
        self._timeout_s = stripe.timeout_s
        self._caller = Caller(timeout_s=stripe.timeout_s)
        self._made: StripeClient | None = None
        self._made_with = ""

    async def _client(self) -> "StripeClient":
        key = self._secret_key.first()
        # Money of the other mode is never mixed in while we run; a start is asked about it.
        wanted = key if is_test_key(key) == self._test_mode else self._made_with
        if self._made is None or self._made_with != wanted:
            # Hundreds of modules: other requests go on meanwhile.
            http = await asyncio.to_thread(_package)
            self._made = http.client(wanted, self._api_base, self._caller)
            self._made_with = wanted
        return cast("StripeClient", self._made)

    async def open(self, wanted: Wanted) -> Opened:
        """See `provider.Provider`."""
        open_s = min(max(wanted.quote_s, OPEN_S_MIN), OPEN_S_MAX)
        form: dict[str, Any] = {
            "mode": "payment",
            "line_items": [
                {
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": to_cents(wanted.total_nanos),
                        "product_data": {"name": wanted.title},
                    },
                    "quantity": 1,
                }
            ],
            "success_url": wanted.return_url,
            "cancel_url": wanted.cancel_url,
            "client_reference_id": wanted.order_id,
            "metadata": {"order_id": wanted.order_id},
            "payment_intent_data": {"metadata": {"order_id": wanted.order_id}},
            "expires_at": clock.wall_s() + open_s,
        }
        if wanted.email:
            form["customer_email"] = wanted.email
        try:
            session = await self._open(form, wanted.order_id)
        except _UsedKey:
            # An earlier try made a session whose answer was lost, with another end. Nobody has its
            # address, so it ends unpaid.
            session = await self._open(form, f"{wanted.order_id}-{form['expires_at']}")
        with reading("Stripe"):
            return Opened(
                reference=text(session["id"]),
                pay_url=text(session["url"]),
                destination="",
                asset="USD",
                asset_amount=dollars(session["amount_total"]),
                expires_at=datetime.fromtimestamp(session["expires_at"], UTC),
            )

    async def _open(self, form: dict[str, Any], key: str) -> dict[str, Any]:
        return await self._call(
            lambda client: client.v1.checkout.sessions.create_async(
                cast("Any", form),  # built in two steps
                {"idempotency_key": key},
            )
        )

    async def check(self) -> None:
        """See `provider.Provider`."""
        await self._call(lambda client: client.v1.checkout.sessions.list_async({"limit": 1}))

    async def standing(self, reference: str) -> Standing:
        """See `provider.Provider`."""
        try:
            return await self._standing(reference)
        except ProviderRefused as refused:
            raise ProviderUnavailable(str(refused)) from None

    async def _standing(self, reference: str) -> Standing:
        session = await self._call(
            lambda client: client.v1.checkout.sessions.retrieve_async(
                reference, {"expand": ["payment_intent.latest_charge"]}
            )
        )
        with reading("Stripe"):
            intent = session.get("payment_intent") or {}
            charge = intent.get("latest_charge") or {}
            if session["currency"] != "usd":
                raise ValueError(session["currency"])
        taken_back = bool(charge) and await self._taken_back(intent["id"], charge)
        with reading("Stripe"):
            return _standing(session, intent, charge, taken_back=taken_back)

    async def _taken_back(self, intent: str, charge: dict[str, Any]) -> bool:
        """Whether the payer has his money again without our having sent it."""
        if charge.get("disputed"):
            found = await self._call(
                lambda client: client.v1.disputes.list_async(
                    {"payment_intent": intent, "limit": 100}
                )
            )
            with reading("Stripe"):
                if any(dispute["status"] in TAKEN_BACK for dispute in found["data"]):
                    return True
        if not charge.get("refunded"):
            return False
        found = await self._call(
            lambda client: client.v1.refunds.list_async({"payment_intent": intent, "limit": 100})
        )
        with reading("Stripe"):
            return not any((row.get("metadata") or {}).get("refund_id") for row in found["data"])

    async def refund(self, paid_reference: str, nanos: int, refund_id: str) -> str:
        """See `provider.Provider`."""
        made = await self._call(
            lambda client: client.v1.refunds.create_async(
                {
                    "payment_intent": paid_reference,
                    "amount": to_cents(nanos),
                    "metadata": {"refund_id": refund_id},
                },
                {"idempotency_key": refund_id},
            )
        )
        with reading("Stripe"):
            return text(made["id"])

    def notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """See `provider.Provider`."""
        stripe = _package().stripe
        try:
            self._verify(stripe, headers.get("stripe-signature"), body)
            event = msgspec.json.decode(body, type=dict)
            row = event["data"]["object"]
            about = row["id"] if row["object"] == "checkout.session" else row.get("payment_intent")
            return Notice(text(event["id"]), text(event["type"]), str(about or ""))
        except (
            stripe.SignatureVerificationError, ValueError, KeyError, TypeError, RecursionError
        ):  # fmt: skip
            raise Forged("a message to Stripe's address is not Stripe's") from None

    def _verify(self, stripe: Any, signature: str | None, body: bytes) -> None:
        """Raises ValueError where none of our secrets has signed it: an empty one would be
        everybody's."""
        for one in self._webhook_secrets.latest():
            with contextlib.suppress(stripe.SignatureVerificationError):
                stripe.WebhookSignature.verify_header(body, signature, one, TOLERANCE_S)
                return
        raise ValueError("none of our secrets has signed it")

    def claim_url(self, refund_reference: str) -> str:
        """See `provider.Provider`: a card's refund goes back by itself."""
        return ""

    async def close(self) -> None:
        """See `provider.Provider`."""
        await self._caller.close()

    async def _call(
        self, call: Callable[["StripeClient"], Awaitable["StripeObject"]]
    ) -> dict[str, Any]:
        """The answer as plain data. Raises ProviderUnavailable, ProviderRefused, _UsedKey."""
        client = await self._client()
        stripe = _package().stripe
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await call(client)
        except TimeoutError:
            raise ProviderUnavailable("Stripe does not answer") from None
        except stripe.IdempotencyError:
            raise _UsedKey from None
        except stripe.StripeError as error:
            raise _problem(error) from None
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            # What the package makes of an answer that is none.
            raise ProviderUnavailable(f"Stripe answers nonsense ({type(error).__name__})") from None
        return answer.to_dict()


def _package() -> ModuleType:
    from corvus_proxy.shop.services import stripe_http  # noqa: PLC0415 -- see there

    return stripe_http


class _UsedKey(ProviderRefused):
    """The idempotency key was used with other parameters."""


def _problem(error: "StripeError") -> ProviderUnavailable | ProviderRefused:
    stripe = _package().stripe
    request = f", request {error.request_id}" if error.request_id else ""
    if isinstance(error, stripe.APIConnectionError):
        return ProviderUnavailable("Stripe cannot be reached")
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return ProviderUnavailable(f"Stripe does not take our secret key{request}")
    said = f"Stripe answers {error.http_status or 'nonsense'} {error.code or ''}".rstrip()
    if isinstance(error, stripe.InvalidRequestError | stripe.CardError):
        return ProviderRefused(said + request)
    return ProviderUnavailable(said + request)


def _standing(
    session: dict[str, Any], intent: dict[str, Any], charge: dict[str, Any], *, taken_back: bool
) -> Standing:
    """What Stripe's objects say. Raises KeyError, TypeError, ValueError for other objects."""
    due = dollars(session["amount_total"])
    if session["status"] in ("open", "expired"):
        return Standing(session["status"], False, due if session["status"] == "open" else "", ())
    if session["status"] != "complete":
        raise ValueError(session["status"])
    paid = session["payment_status"] == "paid"
    if taken_back:
        status, state = "invalid", "reversed"
    elif paid:
        status, state = "settled", "confirmed"
    elif intent["status"] in ("requires_payment_method", "canceled"):
        status, state = "invalid", "invalid"
    else:
        status, state = "seen", "seen"
    cents = intent["amount_received"] if paid else intent["amount"]
    payment = Paid(
        reference=text(intent["id"]),
        state=state,
        asset="USD",
        asset_amount=dollars(cents),
        rate="1",
        value_nanos=whole(cents) * NANOS_PER_CENT,
        destination="",
        transaction=str(charge.get("id", "")),
        confirmations=0,
        confirmations_needed=0,
        late=False,
    )
    return Standing(status, False, "" if paid else due, (payment,))
