"""Simulated Stripe: Checkout sessions, payment intents, charges, refunds, disputes, events.

Objects are kept in the shape in which the API shows them. A card pays at once; a delayed method
(`pay_later`) leaves the session complete and unpaid until `confirm` or `fail`.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from corvus_proxy import clock
from corvus_proxy.dev.payments.hooks import Hooks, Message, mac
from corvus_proxy.dev.payments.record import Record

API_VERSION = "2026-10-28.endive"
OPEN_S = 24 * 3600
"""How long a session is open that does not say so."""
OPEN_S_MIN = 30 * 60
CENTS_MIN = 50
NANOS_PER_CENT = 10_000_000
_PART = re.compile(r"[^\[\]]+|\[\]")
RETRY_PAUSES_S = (10.0, 60.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0)
Answer = tuple[int, dict[str, Any]]


class Refused(Exception):
    """An answer in Stripe's error shape."""

    def __init__(self, status: int, kind: str, message: str, **more: str) -> None:
        super().__init__(message)
        self.answer: Answer = (status, {"error": {"type": kind, "message": message, **more}})


def _list(rows: list[dict[str, Any]], path: str) -> dict[str, Any]:
    return {"object": "list", "data": rows, "has_more": False, "url": f"/v1/{path}"}


def _wrong(message: str, **more: str) -> Refused:
    return Refused(400, "invalid_request_error", message, **more)


def sign(secret: str, body: bytes, at_s: int) -> dict[str, str]:
    """`Stripe-Signature` of a message."""
    return {"stripe-signature": f"t={at_s},v1={mac(secret, f'{at_s}.'.encode() + body)}"}


class Cards:
    """The account of one seller; `key` is its secret key."""

    name = "stripe"

    def __init__(self, record: Record, key: str) -> None:
        self.key = key
        self.page_url = ""
        """Where pages of sessions are, as a browser reaches them."""
        self.hooks = Hooks(self.name, record, sign=sign, pauses_s=RETRY_PAUSES_S)
        self.objects: dict[str, dict[str, Any]] = {}
        self._answered: dict[str, tuple[str, Answer]] = {}
        self._record = record

    def restore(self, kind: str, name: str, value: Any) -> None:
        """Takes back what the record kept."""
        if kind == "stripe":
            self.objects[name] = value
        elif kind == "stripe answer":
            self._answered[name] = (value[0], (value[1][0], value[1][1]))

    # -- the API --------------------------------------------------------------------------------

    def serve(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes
    ) -> Answer:
        """Answers one call; `path` begins with `/v1/`."""
        try:
            return self._call(method, path, query, headers, body)
        except Refused as refused:
            return refused.answer
        except ValueError as error:
            return _wrong(str(error)).answer

    def _call(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes
    ) -> Answer:
        if headers.get("authorization") != f"Bearer {self.key}":
            raise Refused(401, "invalid_request_error", "Invalid API Key provided.")
        if method == "GET":
            return 200, self._read(path.split("/")[2:], nested(query))
        if method != "POST":
            raise Refused(404, "invalid_request_error", f"Unrecognized request URL ({method}).")
        return self._once(path, headers.get("idempotency-key", ""), body)

    def _once(self, path: str, key: str, body: bytes) -> Answer:
        print_ = hashlib.sha256(path.encode() + b"\n" + body).hexdigest()
        if key in self._answered:
            seen, answer = self._answered[key]
            if seen != print_:
                raise Refused(
                    400,
                    "idempotency_error",
                    "Keys for idempotent requests can only be used with the same parameters they"
                    f" were first used with. Try using a key other than '{key}'.",
                )
            return answer
        answer = (200, self._write(path.split("/")[2:], nested(body.decode())))
        if key:
            self._answered[key] = (print_, answer)
            self._record.keep("stripe answer", key, [print_, answer])
        return answer

    def _read(self, parts: list[str], query: dict[str, Any]) -> dict[str, Any]:
        expand = query.get("expand", [])
        match parts:
            case ["checkout", "sessions"]:
                newest = self._all("checkout.session")[: int(query.get("limit", 10))]
                return _list([self._shown(one, expand) for one in newest], "checkout/sessions")
            case ["checkout", "sessions", name]:
                return self._shown(self._get(name, "checkout.session"), expand)
            case ["payment_intents", name]:
                return self._shown(self._get(name, "payment_intent"), expand)
            case ["charges", name]:
                return self._shown(self._get(name, "charge"), expand)
            case ["refunds" | "disputes" as plural]:
                asked = query.get("payment_intent")
                found = self._all(plural[:-1])
                return _list(
                    [row for row in found if asked in (None, row["payment_intent"])], plural
                )
        raise Refused(404, "invalid_request_error", f"Unrecognized request URL ({parts}).")

    def _all(self, kind: str) -> list[dict[str, Any]]:
        """The newest first."""
        return [row for row in reversed(self.objects.values()) if row["object"] == kind]

    def _write(self, parts: list[str], form: dict[str, Any]) -> dict[str, Any]:
        match parts:
            case ["checkout", "sessions"]:
                return self._open(form)
            case ["checkout", "sessions", name, "expire"]:
                self.expire(name)
                return self.objects[name]
            case ["refunds"]:
                return self._refund(form)
        raise Refused(404, "invalid_request_error", f"Unrecognized request URL ({parts}).")

    def _get(self, name: str, kind: str) -> dict[str, Any]:
        found = self.objects.get(name)
        if found is None or found["object"] != kind:
            raise Refused(
                404,
                "invalid_request_error",
                f"No such {kind}: '{name}'",
                code="resource_missing",
                param="id",
            )
        return found

    def _shown(self, row: dict[str, Any], expand: list[str]) -> dict[str, Any]:
        shown = dict(row)
        for path in expand:
            field, _, rest = path.partition(".")
            value = shown.get(field)
            if isinstance(value, str) and value in self.objects:
                value = self.objects[value]
            if isinstance(value, dict):
                shown[field] = self._shown(value, [rest] if rest else [])
        return shown

    def _open(self, form: dict[str, Any]) -> dict[str, Any]:
        if form.get("mode") != "payment":
            raise _wrong("Only mode=payment is simulated.", param="mode")
        if not form.get("success_url"):
            raise _wrong("Missing required param: success_url.", param="success_url")
        cents = 0
        for item in form.get("line_items") or []:
            price = item.get("price_data", {})
            if price.get("currency") != "usd" or not price.get("product_data", {}).get("name"):
                raise _wrong("price_data needs currency=usd and product_data[name].")
            cents += int(price["unit_amount"]) * int(item.get("quantity", 1))
        if cents < CENTS_MIN:
            raise _wrong(
                "The Checkout Session's total amount due must add up to at least $0.50 usd",
                code="amount_too_small",
            )
        now_s = clock.wall_s()
        expires_s = int(form.get("expires_at", now_s + OPEN_S))
        if not now_s + OPEN_S_MIN <= expires_s <= now_s + OPEN_S:
            raise _wrong(
                "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout"
                " Session creation.",
                param="expires_at",
            )
        name = f"cs_test_{clock.random_text(40)}"
        session = {
            "id": name,
            "object": "checkout.session",
            "amount_subtotal": cents,
            "amount_total": cents,
            "cancel_url": form.get("cancel_url"),
            "client_reference_id": form.get("client_reference_id"),
            "created": now_s,
            "currency": "usd",
            "customer_email": form.get("customer_email"),
            "expires_at": expires_s,
            "livemode": False,
            "metadata": form.get("metadata", {}),
            "mode": "payment",
            "payment_intent": None,
            "payment_method_types": ["card"],
            "payment_status": "unpaid",
            "status": "open",
            "success_url": form["success_url"].replace("{CHECKOUT_SESSION_ID}", name),
            "ui_mode": "hosted",
            "url": f"{self.page_url}/{name}",
        }
        return self._keep(session)

    def _refund(self, form: dict[str, Any]) -> dict[str, Any]:
        charge = self._charge_of(form.get("payment_intent") or form.get("charge") or "")
        left = charge["amount"] - charge["amount_refunded"]
        cents = int(form.get("amount", left))
        if charge["disputed"]:
            raise _wrong("Charge has been charged back.", code="charge_disputed")
        if not 0 < cents <= left:
            raise _wrong(
                f"Refund amount (${cents / 100:.2f}) is greater than unrefunded amount on charge"
                f" (${left / 100:.2f})",
                param="amount",
            )
        refund = {
            "id": f"re_{clock.random_text(24)}",
            "object": "refund",
            "amount": cents,
            "charge": charge["id"],
            "created": clock.wall_s(),
            "currency": "usd",
            "metadata": form.get("metadata", {}),
            "payment_intent": charge["payment_intent"],
            "reason": form.get("reason"),
            "status": "succeeded",
        }
        charge["amount_refunded"] += cents
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self._keep(charge)
        self._keep(refund)
        self._paid(charge, "refunded", cents)
        self._tell("charge.refunded", charge)
        return refund

    # -- what a buyer, a bank or time does -------------------------------------------------------

    def acts(self) -> dict[str, Callable[..., None]]:
        """What can be done to a session, by name."""
        return {
            "pay": self.pay,
            "pay_later": self.pay_later,
            "confirm": self.confirm,
            "fail": self.fail,
            "expire": self.expire,
            "reverse": self.dispute,
            "dispute_won": lambda name: self.close_dispute(name, "won"),
            "dispute_lost": lambda name: self.close_dispute(name, "lost"),
            "refund": self.refund_outside,
            "lie": self.lie,
        }

    def pay(self, name: str) -> None:
        """A card pays the session, once. Raises Refused."""
        session = self._open_session(name)
        charge = self._charged(session, "succeeded")
        session |= {"status": "complete", "payment_status": "paid", "url": None}
        self._keep(session)
        self._paid(charge, "confirmed", charge["amount"])
        self._tell("checkout.session.completed", session)

    def pay_later(self, name: str) -> None:
        """A delayed method is chosen; whether it pays is known later. Raises Refused."""
        session = self._open_session(name)
        charge = self._charged(session, "processing")
        session |= {"status": "complete", "url": None}
        self._keep(session)
        self._paid(charge, "seen", charge["amount"])
        self._tell("checkout.session.completed", session)

    def confirm(self, name: str) -> None:
        """The delayed payment comes. Raises Refused."""
        session, intent, charge = self._processing(name)
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
        charge |= {"status": "succeeded", "paid": True}
        session["payment_status"] = "paid"
        for row in (intent, charge, session):
            self._keep(row)
        self._paid(charge, "confirmed", charge["amount"])
        self._tell("checkout.session.async_payment_succeeded", session)

    def fail(self, name: str) -> None:
        """The delayed payment fails. Raises Refused."""
        session, intent, charge = self._processing(name)
        intent["status"] = "requires_payment_method"
        charge["status"] = "failed"
        self._keep(intent)
        self._keep(charge)
        self._paid(charge, "invalid", charge["amount"])
        self._tell("checkout.session.async_payment_failed", session)

    def expire(self, name: str) -> None:
        """The session ends unpaid. Raises Refused."""
        session = self._open_session(name)
        session |= {"status": "expired", "url": None}
        self._keep(session)
        self._tell("checkout.session.expired", session)

    def tick(self) -> None:
        """Time goes by: sessions end."""
        now_s = clock.wall_s()
        for row in list(self.objects.values()):
            if row["object"] != "checkout.session" or row["status"] != "open":
                continue
            if row["expires_at"] <= now_s:
                self.expire(row["id"])

    def dispute(self, name: str) -> None:
        """The card's holder has the money taken back. Raises Refused."""
        charge = self._charge_of(self._get(name, "checkout.session")["payment_intent"] or "")
        if charge["disputed"]:
            raise _wrong("This charge is disputed already.")
        dispute = {
            "id": f"dp_{clock.random_text(24)}",
            "object": "dispute",
            "amount": charge["amount"],
            "charge": charge["id"],
            "created": clock.wall_s(),
            "currency": "usd",
            "livemode": False,
            "payment_intent": charge["payment_intent"],
            "reason": "fraudulent",
            "status": "needs_response",
        }
        charge["disputed"] = True
        self._keep(charge)
        self._keep(dispute)
        self._paid(charge, "reversed", charge["amount"])
        self._tell("charge.dispute.created", dispute)

    def close_dispute(self, name: str, how: str) -> None:
        """The bank decides a dispute: `won` by the seller, or `lost`. Raises Refused."""
        intent = self._get(name, "checkout.session")["payment_intent"]
        for row in list(self.objects.values()):
            if row["object"] == "dispute" and row["payment_intent"] == intent:
                row["status"] = how
                self._keep(row)
                charge = self.objects[row["charge"]]
                if how == "won":
                    self._paid(charge, "confirmed", charge["amount"])
                self._tell("charge.dispute.closed", row)
                return
        raise _wrong("There is no dispute.")

    def refund_outside(self, name: str) -> None:
        """The seller sends the money back at Stripe itself. Raises Refused."""
        intent = self._get(name, "checkout.session")["payment_intent"]
        self._refund({"payment_intent": intent or ""})

    def lie(self, name: str) -> None:
        """A signed message that says paid, while the API says what is true. Raises Refused."""
        session = self._get(name, "checkout.session")
        self._tell(
            "checkout.session.completed",
            {**session, "status": "complete", "payment_status": "paid"},
        )

    # -- parts ----------------------------------------------------------------------------------

    def _open_session(self, name: str) -> dict[str, Any]:
        session = self._get(name, "checkout.session")
        if session["status"] != "open":
            raise _wrong(
                f'Only Checkout Sessions with a status in ["open"] can be used; this one is'
                f" {session['status']}."
            )
        return session

    def _processing(self, name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        session = self._get(name, "checkout.session")
        intent = self.objects.get(session["payment_intent"] or "")
        if intent is None or intent["status"] != "processing":
            raise _wrong("No delayed payment is on its way.")
        return session, intent, self.objects[intent["latest_charge"]]

    def _charged(self, session: dict[str, Any], status: str) -> dict[str, Any]:
        paid = status == "succeeded"
        intent_name, charge_name = f"pi_{clock.random_text(24)}", f"ch_{clock.random_text(24)}"
        shared = {
            "amount": session["amount_total"],
            "created": clock.wall_s(),
            "currency": session["currency"],
            "livemode": False,
        }
        self._keep(
            {
                "id": intent_name,
                "object": "payment_intent",
                **shared,
                "amount_received": session["amount_total"] if paid else 0,
                "latest_charge": charge_name,
                "metadata": session["metadata"],
                "status": status,
            }
        )
        session["payment_intent"] = intent_name
        return self._keep(
            {
                "id": charge_name,
                "object": "charge",
                **shared,
                "amount_captured": session["amount_total"],
                "amount_refunded": 0,
                "disputed": False,
                "metadata": session["metadata"],
                "paid": paid,
                "payment_intent": intent_name,
                "refunded": False,
                "status": "succeeded" if paid else "pending",
            }
        )

    def _charge_of(self, name: str) -> dict[str, Any]:
        found = self.objects.get(name)
        if found is not None and found["object"] == "payment_intent":
            found = self.objects.get(found["latest_charge"])
        if found is None or found["object"] != "charge" or not found["paid"]:
            raise _wrong(f"No such charge that succeeded: '{name}'", code="resource_missing")
        return found

    def _keep(self, row: dict[str, Any]) -> dict[str, Any]:
        self.objects[row["id"]] = row
        self._record.keep("stripe", row["id"], row)
        return row

    def _paid(self, charge: dict[str, Any], state: str, cents: int) -> None:
        self._record.note(
            "payment",
            service=self.name,
            order_id=charge["metadata"].get("order_id", ""),
            reference=charge["payment_intent"],
            state=state,
            asset="USD",
            asset_amount=f"{cents // 100}.{cents % 100:02d}",
            value_nanos=cents * NANOS_PER_CENT,
            late=False,
        )

    def _tell(self, kind: str, row: dict[str, Any]) -> None:
        name = f"evt_{clock.random_text(24)}"
        event = {
            "id": name,
            "object": "event",
            "api_version": API_VERSION,
            "created": clock.wall_s(),
            "data": {"object": dict(row)},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }
        self.hooks.send(Message(name, kind, event))


def nested(text: str) -> dict[str, Any]:
    """The tree that a form or a query stands for; all leaves are strings.

    Lists may be written with numbers or with `[]`. Raises ValueError.
    """
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=1000):
        parts = _PART.findall(name)
        if not parts:
            raise ValueError(f"no field name in {name!r}")
        node = tree
        for part, following in zip(parts, [*parts[1:], None], strict=True):
            key = str(len(node)) if part == "[]" else part
            if following is None:
                node[key] = value
            else:
                node = node.setdefault(key, {})
                if not isinstance(node, dict):
                    raise ValueError(f"{name} is a value and a tree at once")
    return {name: _listed(value) for name, value in tree.items()}


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    inner = {name: _listed(value) for name, value in node.items()}
    if inner and all(name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner
