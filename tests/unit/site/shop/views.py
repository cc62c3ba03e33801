"""Orders in every state, as the service hands them to the page."""

from datetime import timedelta

from corvus_proxy import clock
from corvus_proxy.service.orders import OrderView, PaymentView, RefundView
from corvus_proxy.shop.states import STATES

KEY = "sk-corvus_PLANTEDkey0000000000000000000000000000000"
CODE = "rc-plan-tedc-ode0"
TOKEN = "PLANTEDtoken000000000000"
ADDRESS = "bc1qplanted000000000000000000000000000000"
USD = 10**9
TITLES = {
    ("awaiting_payment", ""): "Waiting for your payment",
    ("payment_seen", ""): "Your payment was seen",
    ("payment_seen", "underpaid"): "12.00 USD of 20.00 USD have come",
    ("paid_confirmed", ""): "Paid. 20.00 USD is live.",
    ("paid_confirmed", "overpaid"): "Paid. 25.00 USD is live.",
    ("paid_confirmed", "late"): "Paid. 19.00 USD is live.",
    ("paid_confirmed", "manual"): "Paid. 20.00 USD is live.",
    ("expired", ""): "The quote has ended",
    ("expired", "underpaid"): "The quote has ended; 12.00 USD is on the balance",
    ("invalid", ""): "The payment has failed",
}
"""The heading of each state for the orders below."""
WORTH = {
    ("payment_seen", ""): 20,
    ("payment_seen", "underpaid"): 12,
    ("paid_confirmed", "overpaid"): 25,
    ("paid_confirmed", "late"): 19,
    ("expired", "underpaid"): 12,
}


def payment(**changed: object) -> PaymentView:
    """A bitcoin payment, seen with one of two confirmations."""
    now = clock.utc_now()
    given = {
        "reference": "ref_1", "state": "seen", "asset": "BTC", "asset_amount": "0.0002",
        "rate": "100000.00", "value_nanos": 20 * USD, "credited_nanos": 0,
        "transaction": "tx0123abcd", "confirmations": 1, "confirmations_needed": 2,
        "late": False, "seen_at": now, "confirmed_at": None, "refused": "",
    }  # fmt: skip
    return PaymentView(**(given | changed))  # type: ignore[arg-type]


def order(**changed: object) -> OrderView:
    """A bitcoin order for a new key that waits, seen by the browser that ordered."""
    now = clock.utc_now()
    given: dict[str, object] = {
        "order_id": "ord_000000000001", "status": "awaiting_payment", "exception": "",
        "fulfilment": "none", "refund": "", "disputed": False, "reason": "",
        "provider": "btcpay", "provider_title": "Bitcoin (BTCPay)",
        "amount_nanos": 20 * USD, "fee_nanos": 0, "tax_nanos": 0, "total_nanos": 20 * USD,
        "credited_nanos": 0, "refunded_nanos": 0, "new_key": True, "key_id": "", "masked": "",
        "email": "", "mail_state": "", "mail_problem": "",
        "pay_url": "https://pay.example/i/1", "destination": ADDRESS, "asset": "BTC",
        "asset_amount": "0.0002", "due": "0.0002", "expires_at": now + timedelta(minutes=29),
        "created_at": now, "confirmed_at": None, "checked_at": now, "check_problem": "",
        "payments": [], "steps": [], "refunds": [], "own_browser": True, "secret": "",
        "recovery": "", "balance_nanos": None,
    }  # fmt: skip
    given |= changed
    known = {name: given[name] for name in OrderView._fields if name in given}
    return OrderView(**known)  # type: ignore[arg-type]


def paid(**changed: object) -> OrderView:
    """A new key's order that is paid, in the browser that paid."""
    now = clock.utc_now()
    given: dict[str, object] = {
        "status": "paid_confirmed", "fulfilment": "credited", "credited_nanos": 20 * USD,
        "key_id": "key_000000000001", "confirmed_at": now, "due": "", "secret": KEY,
        "recovery": CODE, "balance_nanos": 20 * USD,
        "payments": [
            payment(state="confirmed", confirmed_at=now, credited_nanos=20 * USD, confirmations=2)
        ],
    }  # fmt: skip
    return order(**(given | changed))


def in_state(status: str, exception: str) -> OrderView:
    """An order in one state of the table, with the payments that lead there."""
    assert (status, exception) in STATES
    worth = WORTH.get((status, exception), 20) * USD
    now = clock.utc_now()
    if status == "paid_confirmed":
        one = payment(
            state="confirmed", value_nanos=worth, credited_nanos=worth, confirmed_at=now,
            confirmations=2, late=exception == "late",
        )  # fmt: skip
        reason = "bank slip seen" if exception == "manual" else ""
        return paid(exception=exception, credited_nanos=worth, payments=[one], reason=reason)
    payments = []
    if status == "payment_seen" or exception == "underpaid":
        state = "confirmed" if status == "expired" else "seen"
        payments = [payment(value_nanos=worth, state=state)]
    past = status in ("expired", "invalid")
    return order(
        status=status,
        exception=exception,
        payments=payments,
        due="0.00008" if exception == "underpaid" else "0.0002",
        credited_nanos=worth if status == "expired" and exception else 0,
        expires_at=now - timedelta(minutes=1) if past else now + timedelta(minutes=29),
    )


def refund(state: str, claim_url: str = "") -> RefundView:
    """A refund of five dollars."""
    return RefundView(
        "rf_1", 5 * USD, state, "re_77", claim_url, "asked for", clock.utc_now(), None
    )
