"""BTCPay Server: payments on chain, by its Greenfield API.

A payment is worth its amount at the invoice's rate, as BTCPay itself counts it. One that came after
the invoice's end is worth what the store's rate says now: nobody may wait with an old quote for a
better day. Whoever settles asks once and keeps the answer.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from corvus_proxy import clock
from corvus_proxy.catalogue.margin import addresses, is_loopback
from corvus_proxy.settings import Settings
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
    decimal,
    dollars,
    floor_nanos,
    plain,
    reading,
    text,
    to_cents,
)
from corvus_proxy.upstream.faults import UpstreamBroke
from corvus_proxy.upstream.httpx_client import Caller

STATUSES = {
    "New": "open",
    "Processing": "seen",
    "Settled": "settled",
    "Expired": "expired",
    "Invalid": "invalid",
}
STATES = {"Processing": "seen", "Settled": "confirmed", "Invalid": "invalid"}
TEST_CHAINS = ("bcrt1", "tb1", "m", "n", "2")
"""How addresses begin on chains whose coins are worth nothing."""
FRESH_S = 60
"""An invoice that an earlier try left is taken only with this much of its time to come."""


class Btcpay:
    """`provider.Provider` for payments on chain."""

    name = "btcpay"
    title = "Bitcoin (BTCPay)"

    def __init__(self, settings: Settings) -> None:
        """Opens no connection. Raises ConfigurationError (unreadable secrets)."""
        btcpay = settings.btcpay
        parts = urlsplit(btcpay.url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._pages = btcpay.url.rstrip("/")
        demo = settings.demo
        if demo.enabled and self._pages == demo.payments_url.rstrip("/"):
            self._pages = f"{settings.brand.site_url}/demo"
        self._store_url = f"{btcpay.url.rstrip('/')}/api/v1/stores/{quote(btcpay.store_id)}"
        self._api_key = btcpay.api_key()
        self._webhook_secrets = btcpay.webhook_secrets()
        self._method = btcpay.payment_method
        self._confirmations = btcpay.confirmations
        self._watch_minutes = settings.shop.watch_days * 24 * 60
        self._real = any(not is_loopback(u) for one in settings.upstream for u in addresses(one))
        self._caller = Caller(timeout_s=btcpay.timeout_s)

    async def open(self, wanted: Wanted) -> Opened:
        """See `provider.Provider`. Greenfield has no idempotency keys: what an earlier try left is
        found by its order."""
        invoice = await self._left(wanted)
        if invoice is None:
            metadata = {"orderId": wanted.order_id, "itemDesc": wanted.title}
            if wanted.email:
                metadata["buyerEmail"] = wanted.email
            invoice = await self._object(
                "POST",
                "/invoices",
                {
                    "amount": dollars(to_cents(wanted.total_nanos)),
                    "currency": "USD",
                    "metadata": metadata,
                    "checkout": {
                        "paymentMethods": [self._method],
                        "expirationMinutes": -(-wanted.quote_s // 60),
                        "monitoringMinutes": self._watch_minutes,
                        "redirectURL": wanted.return_url,
                        "redirectAutomatically": True,
                    },
                },
            )
        with reading("BTCPay"):
            reference = text(invoice["id"])
        methods = await self._list(f"/invoices/{quote(reference)}/payment-methods")
        with reading("BTCPay"):
            method = next(one for one in methods if one["paymentMethodId"] == self._method)
            if self._real and text(method["destination"]).startswith(TEST_CHAINS):
                raise ProviderRefused(
                    "BTCPay's store is on a test chain: no money, and an upstream is real"
                )
            return Opened(
                reference=reference,
                pay_url=text(invoice["checkoutLink"]),
                destination=text(method["destination"]),
                asset=text(method["currency"]),
                asset_amount=plain(decimal(method["due"])),
                expires_at=datetime.fromtimestamp(int(invoice["expirationTime"]), UTC),
            )

    async def _left(self, wanted: Wanted) -> dict[str, Any] | None:
        query = urlencode({"orderId": wanted.order_id, "status": "New"})
        for invoice in await self._list(f"/invoices?{query}"):
            with reading("BTCPay"):
                ends_s = int(invoice["expirationTime"]) - clock.wall_s()
                same = decimal(invoice["amount"]) == Decimal(dollars(to_cents(wanted.total_nanos)))
                if same and invoice["currency"] == "USD" and ends_s > FRESH_S:
                    return invoice
        return None

    async def check(self) -> None:
        """See `provider.Provider`."""
        await self._list("/invoices?take=1")

    async def standing(self, reference: str) -> Standing:
        """See `provider.Provider`."""
        path = f"/invoices/{quote(reference)}"
        try:
            invoice = await self._object("GET", path)
            methods = await self._list(f"{path}/payment-methods")
        except ProviderRefused as refused:
            raise ProviderUnavailable(str(refused)) from None
        payments = []
        for method in methods:
            with reading("BTCPay"):
                rows, asset = list(method["payments"]), text(method["currency"])
            for row in rows:
                payments.append(await self._paid(invoice, method, asset, row))
        with reading("BTCPay"):
            dues = [
                decimal(one["due"]) for one in methods if one["paymentMethodId"] == self._method
            ]
            return Standing(
                status=STATUSES[invoice["status"]],
                marked_by_hand=invoice["additionalStatus"] == "Marked",
                due=plain(dues[0]) if dues and dues[0] > 0 else "",
                payments=tuple(payments),
            )

    async def _paid(
        self, invoice: dict[str, Any], method: dict[str, Any], asset: str, row: dict[str, Any]
    ) -> Paid:
        with reading("BTCPay"):
            name = text(row["id"])
            late = int(row["receivedDate"]) > int(invoice["expirationTime"])
            state = STATES[row["status"]]
            if state == "confirmed" and invoice["status"] == "Invalid":
                state = "reversed"
            # BTCPay takes a fee of a payment method off a payment before it counts it.
            amount = max(decimal(row["value"]) - decimal(row["fee"]), Decimal(0))
            rate = decimal(method["rate"])
        if late:
            rate = await self._rate(asset)
        transaction = name.partition("-")[0]
        with reading("BTCPay"):
            return Paid(
                reference=f"{text(invoice['id'])}:{name}",
                state=state,
                asset=asset,
                asset_amount=plain(amount),
                rate=plain(rate),
                value_nanos=floor_nanos(amount * rate),
                destination=str(row.get("destination") or method["destination"]),
                transaction=transaction,
                confirmations=await self._confirmed(method, transaction, state),
                confirmations_needed=self._confirmations,
                late=late,
            )

    async def _rate(self, asset: str) -> Decimal:
        query = urlencode({"currencyPair": f"{asset}_USD"})
        try:
            found = await self._list(f"/rates?{query}")
        except ProviderRefused as refused:
            raise ProviderUnavailable(f"{refused}, asked for the store's rate") from None
        with reading("BTCPay"):
            return decimal(found[0]["rate"])

    async def _confirmed(self, method: dict[str, Any], transaction: str, state: str) -> int:
        """Blocks on top of a payment; 0 where the key may not see the store's wallet."""
        if state != "seen":
            return self._confirmations if state == "confirmed" else 0
        where = f"/payment-methods/{quote(method['paymentMethodId'])}/wallet/transactions/"
        try:
            found = await self._object("GET", where + quote(transaction))
        except ProviderRefused:
            return 0
        with reading("BTCPay"):
            return int(found["confirmations"])

    async def refund(self, paid_reference: str, nanos: int, refund_id: str) -> str:
        """See `provider.Provider`. BTCPay makes a pull payment: the payer names his address on its
        page (`claim_url`), and the store pays it out. Found again by its name."""
        name = f"Refund {refund_id}"
        for pull in await self._list("/pull-payments?includeArchived=true"):
            with reading("BTCPay"):
                if pull["name"] == name:
                    return text(pull["id"])
        invoice = paid_reference.partition(":")[0]
        pull = await self._object(
            "POST",
            f"/invoices/{quote(invoice)}/refund",
            {
                "name": name,
                "refundVariant": "Custom",
                "customAmount": dollars(to_cents(nanos)),
                "customCurrency": "USD",
                "payoutMethodId": self._method,
            },
        )
        with reading("BTCPay"):
            return text(pull["id"])

    def claim_url(self, refund_reference: str) -> str:
        """See `provider.Provider`."""
        return f"{self._pages}/pull-payments/{quote(refund_reference)}"

    def notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """See `provider.Provider`. A message that is delivered again keeps its first name."""
        given = headers.get("btcpay-sig", "").encode()
        made = [
            hmac.new(one.encode(), body, hashlib.sha256).hexdigest()
            for one in self._webhook_secrets.latest()
        ]
        if not any(hmac.compare_digest(f"sha256={one}".encode(), given) for one in made):
            raise Forged("a message to BTCPay's address is not BTCPay's")
        try:
            event = msgspec.json.decode(body, type=dict)
            name = text(event.get("originalDeliveryId") or event["deliveryId"])
            return Notice(name, text(event["type"]), str(event.get("invoiceId") or ""))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Forged("a message to BTCPay's address is not one of an invoice") from None

    async def close(self) -> None:
        """See `provider.Provider`."""
        await self._caller.close()

    async def _object(self, method: str, path: str, form: object = None) -> dict[str, Any]:
        found = await self._call(method, path, form)
        if not isinstance(found, dict):
            raise ProviderUnavailable("BTCPay answers nonsense")
        return found

    async def _list(self, path: str) -> list[dict[str, Any]]:
        found = await self._call("GET", path, None)
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise ProviderUnavailable("BTCPay answers nonsense")
        return found

    async def _call(self, method: str, path: str, form: object) -> Any:
        """One call's JSON. Raises ProviderUnavailable, ProviderRefused (400, 404, 422 …)."""
        content = None if form is None else msgspec.json.encode(form)
        try:
            answer = await self._caller.fetch(
                method,
                self._store_url + path,
                {
                    "authorization": f"token {self._api_key.first()}",
                    "content-type": "application/json",
                },
                content=content,
            )
        except UpstreamBroke as broke:
            raise ProviderUnavailable(f"BTCPay does not answer ({broke})") from None
        if answer.status == 401:
            raise ProviderUnavailable("BTCPay does not take our key")
        if answer.status == 403:
            raise ProviderRefused("BTCPay does not allow our key this call")
        if 400 <= answer.status < 500 and answer.status not in (408, 429):
            raise ProviderRefused(f"BTCPay answers {answer.status}")
        if not 200 <= answer.status < 300:
            raise ProviderUnavailable(f"BTCPay answers {answer.status}")
        try:
            return msgspec.json.decode(answer.body)
        except ValueError:
            raise ProviderUnavailable("BTCPay answers nonsense") from None
