"""Simulated BTCPay Server: one store's invoices, paid on a chain of its own. Greenfield API.

The states move as BTCPay's own watcher moves them: `_judge`. A block comes every `block_s`; with 0
confirmations come by `confirm` alone.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qs

import msgspec

from corvus_proxy import clock
from corvus_proxy.dev.payments import chain
from corvus_proxy.dev.payments.chain import Invoice, Payment
from corvus_proxy.dev.payments.hooks import Hooks, Message, mac
from corvus_proxy.dev.payments.record import Record
from corvus_proxy.money.amount import NANOS_PER_USD, parse_usd

METHOD = "BTC-CHAIN"
RETRY_PAUSES_S = (10.0, 60.0, 600.0, 600.0, 600.0, 600.0, 600.0, 600.0)
Answer = tuple[int, Any]


class Refused(Exception):
    """An answer in Greenfield's error shape."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(body))
        self.answer: Answer = (status, body)

    @property
    def message(self) -> str:
        """What is wrong, for people."""
        body = self.answer[1]
        return str((body[0] if isinstance(body, list) else body)["message"])


def _wrong(path: str, message: str) -> Refused:
    return Refused(422, [{"path": path, "message": message}])


def sign(secret: str, body: bytes, _at_s: int) -> dict[str, str]:
    """`BTCPay-Sig` of a message."""
    return {"btcpay-sig": f"sha256={mac(secret, body)}"}


def _redelivered(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "deliveryId": clock.random_text(22), "isRedelivery": True}


class Coins:
    """A server with one store; `key` may do everything in it."""

    name = "btcpay"

    def __init__(self, record: Record, key: str, store: str) -> None:
        self.key = key
        self.store = store
        self.page_url = ""
        self.rate = "64392.23"
        """USD for one coin, for invoices made from now on and for late payments."""
        self.speed = "LowMediumSpeed"
        self.block_s = 1.0
        self.hooks = Hooks(
            self.name, record, sign=sign, pauses_s=RETRY_PAUSES_S, redeliver=_redelivered
        )
        self.invoices: dict[str, Invoice] = {}
        self.pulls: dict[str, dict[str, Any]] = {}
        self.payouts: dict[str, dict[str, Any]] = {}
        """By the pull payment of which they are the whole."""
        self._block_at_s = clock.monotonic_s()
        self._record = record

    def restore(self, kind: str, name: str, value: Any) -> None:
        """Takes back what the record kept."""
        if kind == "invoice":
            self.invoices[name] = msgspec.convert(value, Invoice)
        elif kind == "pull payment":
            self.pulls[name] = value
        elif kind == "payout":
            self.payouts[name] = value

    # -- the API --------------------------------------------------------------------------------

    def serve(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes
    ) -> Answer:
        """Answers one call; `path` begins with `/api/v1/`."""
        try:
            return 200, self._call(method, path, query, headers, body)
        except Refused as refused:
            return refused.answer
        except (ValueError, KeyError, msgspec.MsgspecError) as error:
            return _wrong("", str(error)).answer

    def _call(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes
    ) -> Any:
        if headers.get("authorization") != f"token {self.key}":
            raise Refused(401, {"code": "unauthenticated", "message": "Authentication needed."})
        parts = path.split("/")[3:]
        if parts[:2] != ["stores", self.store]:
            raise Refused(404, {"code": "store-not-found", "message": "No such store."})
        if method == "GET":
            return self._read(parts[2:], parse_qs(query))
        return self._write(parts[2:], msgspec.json.decode(body or b"{}", type=dict))

    def _read(self, parts: list[str], query: dict[str, list[str]]) -> Any:
        match parts:
            case ["invoices"]:
                wanted = query.get("orderId", [])
                states = query.get("status", [])
                found = [
                    invoice
                    for invoice in reversed(self.invoices.values())
                    if (not wanted or invoice.metadata.get("orderId") in wanted)
                    and (not states or invoice.status in states)
                ]
                take = int(query.get("take", ["50"])[0])
                return [self._shown(invoice) for invoice in found[:take]]
            case ["invoices", name]:
                return self._shown(self._get(name))
            case ["invoices", name, "payment-methods"]:
                return [self.method(self._get(name))]
            case ["rates"]:
                pairs = query.get("currencyPair", ["BTC_USD"])
                return [{"currencyPair": pair, "errors": [], "rate": self.rate} for pair in pairs]
            case ["pull-payments"]:
                return list(self.pulls.values())
            case ["payment-methods", "BTC-CHAIN", "wallet", "transactions", hash_]:
                return self._transaction(hash_)
        raise Refused(404, {"code": "not-found", "message": "No such path."})

    def _write(self, parts: list[str], form: dict[str, Any]) -> Any:
        match parts:
            case ["invoices"]:
                return self._open(form)
            case ["invoices", name, "status"]:
                self._mark(self._get(name), form.get("status", ""))
                return self._shown(self._get(name))
            case ["invoices", name, "refund"]:
                return self._refund(self._get(name), form)
        raise Refused(404, {"code": "not-found", "message": "No such path."})

    def _get(self, name: str) -> Invoice:
        found = self.invoices.get(name)
        if found is None:
            raise Refused(404, {"code": "invoice-not-found", "message": "No such invoice."})
        self._judge(found)
        return found

    def _open(self, form: dict[str, Any]) -> dict[str, Any]:
        checkout = {"speedPolicy": self.speed, **(form.get("checkout") or {})}
        if form.get("currency") != "USD":
            raise _wrong("currency", "Only USD is simulated.")
        if METHOD not in (checkout.get("paymentMethods") or [METHOD]):
            raise _wrong("checkout.paymentMethods", f"Only {METHOD} is simulated.")
        nanos, now_s = parse_usd(form["amount"]), clock.wall_s()
        expires_s = now_s + int(checkout.get("expirationMinutes") or 15) * 60
        monitored_s = expires_s + int(checkout.get("monitoringMinutes") or 1440) * 60
        coins = Fraction(nanos, NANOS_PER_USD) / Fraction(self.rate)
        name = clock.random_text(22)
        invoice = Invoice(
            id=name,
            nanos=nanos,
            rate=self.rate,
            sats=math.ceil(coins * chain.SATS_PER_COIN),
            destination=f"{chain.ADDRESS}{clock.random_hex(19)}",
            created_s=now_s,
            expires_s=expires_s,
            monitored_s=monitored_s,
            metadata=form.get("metadata") or {},
            checkout=checkout,
        )
        self._keep(invoice)
        self._tell(invoice, "InvoiceCreated")
        return self._shown(invoice)

    def _mark(self, invoice: Invoice, status: str) -> None:
        if status not in ("Settled", "Invalid"):
            raise _wrong("status", "An invoice can be marked Settled or Invalid.")
        invoice.status, invoice.additional = status, "Marked"
        self._keep(invoice)
        if status == "Settled" and not invoice.payments:
            self._note(invoice, "", "confirmed", invoice.sats, late=False)
        self._tell(invoice, f"Invoice{status}", manuallyMarked=True)

    def _refund(self, invoice: Invoice, form: dict[str, Any]) -> dict[str, Any]:
        if not invoice.payments:
            raise Refused(400, {"code": "non-refundable", "message": "Nothing was paid."})
        if form.get("refundVariant") != "Custom":
            raise _wrong("refundVariant", "Only Custom is simulated.")
        nanos = parse_usd(str(form["customAmount"]))
        pull = {
            "id": clock.random_text(27),
            "name": form.get("name") or f"Refund {invoice.id}",
            "description": form.get("description", ""),
            "currency": form["customCurrency"],
            "amount": str(form["customAmount"]),
            "archived": False,
        }
        pull["viewLink"] = f"{self.page_url.rpartition('/')[0]}/pull-payments/{pull['id']}"
        self.pulls[pull["id"]] = pull
        self._record.keep("pull payment", str(pull["id"]), pull)
        self._record.note(
            "payment",
            service=self.name,
            order_id=invoice.metadata.get("orderId", ""),
            reference=invoice.id,
            state="refunded",
            asset=pull["currency"],
            asset_amount=pull["amount"],
            value_nanos=nanos,
            late=False,
        )
        return pull

    def _transaction(self, hash_: str) -> dict[str, Any]:
        for invoice in self.invoices.values():
            for payment in invoice.payments:
                if payment.id.startswith(f"{hash_}-"):
                    return {
                        "transactionHash": hash_,
                        "confirmations": payment.confirmations,
                        "amount": chain.coins(payment.sats),
                        "timestamp": payment.received_s,
                        "status": "Confirmed" if payment.confirmations else "Unconfirmed",
                    }
        raise Refused(404, {"code": "transaction-not-found", "message": "No such transaction."})

    # -- what a buyer, the chain or time does ----------------------------------------------------

    def acts(self) -> dict[str, Callable[..., None]]:
        """What can be done to an invoice, by name."""
        return {
            "pay": self.pay,
            "under": lambda name: self.pay(name, share="0.4"),
            "over": lambda name: self.pay(name, share="1.5"),
            "late": self.pay_late,
            "confirm": self.confirm,
            "expire": self.expire,
            "reverse": self.reverse,
            "mark_settled": lambda name: self._mark(self._get(name), "Settled"),
            "mark_invalid": lambda name: self._mark(self._get(name), "Invalid"),
            "lie": self.lie,
        }

    def pay(self, name: str, *, share: str = "", sats: int = 0) -> None:
        """A transaction pays what is due; or a share of the whole; or so many satoshi."""
        invoice = self._get(name)
        due = max(invoice.sats - chain.paid(invoice), 0)
        amount = sats or (int(Fraction(share) * invoice.sats) if share else due)
        if amount <= 0:
            raise _wrong("amount", "Nothing is due.")
        now_s = clock.wall_s()
        late = now_s > invoice.expires_s
        payment = Payment(f"{clock.random_hex(32)}-0", now_s, amount, late)
        invoice.payments.append(payment)
        self._note(invoice, payment.id, "seen", amount, late=late)
        self._tell(invoice, "InvoiceReceivedPayment", **_told(invoice, payment))
        if not invoice.confirmations_needed:
            self._settle(invoice, payment)
        self._judge(invoice)
        self._keep(invoice)

    def pay_late(self, name: str) -> None:
        """The invoice ends, and then the whole of it is paid."""
        self.expire(name)
        self.pay(name)

    def expire(self, name: str) -> None:
        """The invoice's time is over."""
        invoice = self._get(name)
        invoice.expires_s = min(invoice.expires_s, clock.wall_s() - 1)
        for payment in invoice.payments:
            if not payment.late:
                payment.received_s = min(payment.received_s, invoice.expires_s)
        self._judge(invoice)
        self._keep(invoice)

    def confirm(self, name: str) -> None:
        """All its payments get the confirmations that are needed."""
        invoice = self._get(name)
        for payment in invoice.payments:
            if payment.status == "Processing":
                payment.confirmations = max(invoice.confirmations_needed, 1)
                self._settle(invoice, payment)
        self._judge(invoice)
        self._keep(invoice)

    def reverse(self, name: str) -> None:
        """A double spend takes all payments back. Where the invoice had settled, the seller marks
        it invalid: the server itself no longer looks."""
        invoice = self._get(name)
        if not invoice.payments:
            raise _wrong("payments", "Nothing was paid.")
        for payment in invoice.payments:
            if payment.status != "Invalid":
                self._note(invoice, payment.id, "reversed", payment.sats, late=payment.late)
                payment.status, payment.confirmations = "Invalid", 0
        if invoice.status == "Settled":
            self._mark(invoice, "Invalid")
        self._judge(invoice)
        self._keep(invoice)

    def claim(self, name: str, address: str) -> None:
        """A payer names where a pull payment goes; the store pays it out at once."""
        pull, address = self.pulls.get(name), address.strip()
        if pull is None:
            raise Refused(404, {"code": "pullpayment-not-found", "message": "No such refund."})
        if name in self.payouts:
            raise Refused(400, {"code": "overdraft", "message": "All of it is claimed already."})
        if not chain.is_address(address):
            raise _wrong("destination", f"An address here begins with {chain.ADDRESS}.")
        self.payouts[name] = {
            "id": clock.random_text(22),
            "pullPaymentId": name,
            "destination": address,
            "originalCurrency": pull["currency"],
            "originalAmount": pull["amount"],
            "payoutMethodId": METHOD,
            "state": "Completed",
        }
        self._record.keep("payout", name, self.payouts[name])
        self._record.note("payout", service=self.name, **self.payouts[name])

    def lie(self, name: str) -> None:
        """A signed message that says settled, while the API says what is true."""
        invoice = self._get(name)
        self._tell(invoice, "InvoiceSettled", manuallyMarked=False, overPaid=False)

    def tick(self) -> None:
        """Time goes by: invoices end, and blocks come."""
        now_s = clock.monotonic_s()
        block = bool(self.block_s) and now_s - self._block_at_s >= self.block_s
        if block:
            self._block_at_s = now_s
        for invoice in self.invoices.values():
            if invoice.status in ("Settled", "Invalid"):
                continue
            for payment in invoice.payments if block else ():
                if payment.status == "Processing":
                    payment.confirmations += 1
                    if payment.confirmations >= invoice.confirmations_needed:
                        self._settle(invoice, payment)
                    self._keep(invoice)
            self._judge(invoice)

    # -- parts ----------------------------------------------------------------------------------

    def _settle(self, invoice: Invoice, payment: Payment) -> None:
        payment.status = "Settled"
        self._note(invoice, payment.id, "confirmed", payment.sats, late=payment.late)
        self._tell(invoice, "InvoicePaymentSettled", **_told(invoice, payment))

    def _judge(self, invoice: Invoice) -> None:
        """Moves the invoice to where its payments and the time put it."""
        before = (invoice.status, invoice.additional)
        paid, now_s = chain.paid(invoice), clock.wall_s()
        if invoice.additional == "Marked":
            return
        if invoice.status == "Processing" and paid < invoice.sats:
            invoice.status, invoice.additional = "New", "PaidPartial" if paid else "None"
        if invoice.status == "New" and paid >= invoice.sats:
            invoice.status = "Processing"
            self._tell(invoice, "InvoiceProcessing", overPaid=paid > invoice.sats)
        if invoice.status == "New" and now_s > invoice.expires_s:
            invoice.status = "Expired"
            self._tell(invoice, "InvoiceExpired", partiallyPaid=paid > 0)
        if invoice.status in ("New", "Expired"):
            short = "PaidPartial" if paid else "None"
            invoice.additional = "PaidLate" if paid >= invoice.sats else short
        if invoice.status == "Processing":
            invoice.additional = "PaidOver" if paid > invoice.sats else "None"
            settled = sum(p.sats for p in invoice.payments if p.status == "Settled")
            if settled >= invoice.sats:
                invoice.status = "Settled"
                over = paid > invoice.sats
                self._tell(invoice, "InvoiceSettled", manuallyMarked=False, overPaid=over)
            elif now_s > invoice.monitored_s:
                invoice.status = "Invalid"
                self._tell(invoice, "InvoiceInvalid", manuallyMarked=False)
        if before != (invoice.status, invoice.additional):
            self._keep(invoice)

    def _shown(self, invoice: Invoice) -> dict[str, Any]:
        paid_nanos = chain.paid(invoice) * invoice.nanos // invoice.sats
        return {
            "id": invoice.id,
            "storeId": self.store,
            "amount": chain.usd(invoice.nanos),
            "paidAmount": chain.usd(paid_nanos),
            "currency": "USD",
            "type": "Standard",
            "checkoutLink": f"{self.page_url}/{invoice.id}",
            "createdTime": invoice.created_s,
            "expirationTime": invoice.expires_s,
            "monitoringExpiration": invoice.monitored_s,
            "status": invoice.status,
            "additionalStatus": invoice.additional,
            "availableStatusesForManualMarking": ["Settled", "Invalid"],
            "archived": False,
            "metadata": invoice.metadata,
            "checkout": invoice.checkout,
            "receipt": {"enabled": True, "showQR": None, "showPayments": None},
        }

    def method(self, invoice: Invoice) -> dict[str, Any]:
        """The one payment method, as the API shows it."""
        paid = chain.paid(invoice)
        due = chain.coins(invoice.sats - paid)
        return {
            "paymentMethodId": METHOD,
            "currency": "BTC",
            "destination": invoice.destination,
            "paymentLink": f"bitcoin:{invoice.destination}?amount={due}",
            "rate": invoice.rate,
            "paymentMethodPaid": chain.coins(paid),
            "totalPaid": chain.coins(paid),
            "due": due,
            "amount": chain.coins(invoice.sats),
            "paymentMethodFee": "0",
            "payments": [_listed(invoice, payment) for payment in invoice.payments],
            "activated": True,
            "additionalData": {"keyPath": "0/1", "payjoinEnabled": False},
        }

    def _keep(self, invoice: Invoice) -> None:
        self.invoices[invoice.id] = invoice
        self._record.keep("invoice", invoice.id, msgspec.to_builtins(invoice))

    def _note(self, invoice: Invoice, name: str, state: str, sats: int, *, late: bool) -> None:
        rate = self.rate if late else invoice.rate
        value_nanos = int(Fraction(sats, chain.SATS_PER_COIN) * Fraction(rate) * NANOS_PER_USD)
        self._record.note(
            "payment",
            service=self.name,
            order_id=invoice.metadata.get("orderId", ""),
            reference=f"{invoice.id}:{name}" if name else invoice.id,
            state=state,
            asset="BTC",
            asset_amount=chain.coins(sats),
            quoted_amount=chain.coins(invoice.sats),
            quoted_nanos=invoice.nanos,
            value_nanos=value_nanos,
            late=late,
        )

    def _tell(self, invoice: Invoice, kind: str, **more: Any) -> None:
        delivery = clock.random_text(22)
        body = {
            "deliveryId": delivery,
            "webhookId": "simulated",
            "originalDeliveryId": delivery,
            "isRedelivery": False,
            "type": kind,
            "timestamp": clock.wall_s(),
            "storeId": self.store,
            "invoiceId": invoice.id,
            "metadata": invoice.metadata,
            **more,
        }
        self.hooks.send(Message(delivery, kind, body))


def _listed(invoice: Invoice, payment: Payment) -> dict[str, Any]:
    return {
        "id": payment.id,
        "receivedDate": payment.received_s,
        "value": chain.coins(payment.sats),
        "fee": "0",
        "status": payment.status,
        "destination": invoice.destination,
    }


def _told(invoice: Invoice, payment: Payment) -> dict[str, Any]:
    return {
        "afterExpiration": payment.late,
        "paymentMethodId": METHOD,
        "payment": _listed(invoice, payment),
    }
