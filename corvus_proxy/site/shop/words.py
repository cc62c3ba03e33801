"""The states of an order in the buyer's words: one row per state, in the order of docs/orders.md.

Rule 1: every state that an order can be in has a row here, and says what there is to do.
Rule 2: nothing that is on the balance is called lost, and nothing that is not is called there.
"""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from corvus_proxy.money.amount import format_usd
from corvus_proxy.service.orders import OrderView, PaymentView

STEPS = ("Ordered", "Payment seen", "Payment confirmed", "On the balance", "Key delivered")


class Told(NamedTuple):
    """A state in words."""

    title: str
    tone: str
    """`wait`, `good`, `look` (there is something to decide) or `bad`; beside it stand words."""
    sentences: tuple[str, ...]


class Step(NamedTuple):
    """One of the five steps."""

    title: str
    state: str
    """`done`, `now` or `next`."""
    at: datetime | None


def tell(view: OrderView) -> Told:
    """The row of an order's state, and after it whatever else is true of the order."""
    told = _ROWS[view.status, view.exception](view)
    return told._replace(sentences=(*told.sentences, *_besides(view)))


def _awaiting(view: OrderView) -> Told:
    if view.destination:
        how = f"Send exactly {view.due or view.asset_amount} {view.asset} to the address below."
    else:
        how = f"Pay {_usd(view.total_nanos)} on the page of the payment service."
    return Told(
        "Waiting for your payment",
        "wait",
        (
            how,
            "You may close this page: a payment is noticed without it. Bookmark it to come back.",
        ),
    )


def _seen(view: OrderView) -> Told:
    counted = _confirmations(view)
    return Told(
        "Your payment was seen",
        "wait",
        (
            counted or "The payment service has it and waits for its confirmation.",
            "There is nothing more to do. You may close this page.",
        ),
    )


def _underpaid(view: OrderView) -> Told:
    came = _usd(sum(one.value_nanos for one in _living(view)))
    more = f"Send {view.due} {view.asset} more" if view.due else "Pay the rest"
    return Told(
        f"{came} of {_usd(view.total_nanos)} have come",
        "look",
        (
            f"{more} until the quote ends, or keep what came as balance: then do nothing.",
            _confirmations(view) or "What is confirmed is on the balance.",
        ),
    )


def _paid(view: OrderView) -> Told:
    if view.new_key:
        return Told(f"Paid. {_usd(view.credited_nanos)} is live.", "good", ())
    added = f"Paid. {_usd(view.credited_nanos)} was added."
    return Told(
        added,
        "good",
        ("The same key goes on, at once: there is nothing to change in your programs.",),
    )


def _overpaid(view: OrderView) -> Told:
    paid = _paid(view)
    more = (
        "You sent more than was asked. All of it counts and is on your balance; if you would rather"
        " have the rest back, ask support."
    )
    return paid._replace(sentences=(*paid.sentences, more))


def _late(view: OrderView) -> Told:
    paid = _paid(view)
    rate = next((one.rate for one in view.payments if one.late), "")
    at = f" at the rate of that moment, {rate} USD for one {view.asset}" if view.destination else ""
    more = f"It came after the quote had ended, and was credited{at}."
    return paid._replace(sentences=(*paid.sentences, more))


def _manual(view: OrderView) -> Told:
    paid = _paid(view)
    why = f": {view.reason}" if view.reason else ""
    more = f"Confirmed by hand{_on(view.confirmed_at)}{why}."
    return paid._replace(sentences=(*paid.sentences, more))


def _expired(view: OrderView) -> Told:
    return Told(
        "The quote has ended",
        "look",
        (
            "Nothing has come, and nothing is lost. Make a new order for a new quote.",
            "If you have paid in the last minutes, do not pay again: a late payment is still found,"
            " and credited at its value.",
        ),
    )


def _expired_underpaid(view: OrderView) -> Told:
    return Told(
        f"The quote has ended; {_usd(view.credited_nanos)} is on the balance",
        "look",
        (
            f"Less than {_usd(view.total_nanos)} came. What came is yours: keep it, or make"
            " a new order for the rest on the same key.",
        ),
    )


def _invalid(view: OrderView) -> Told:
    why = view.reason or (
        "It was taken back before it was final."
        if view.destination
        else "The payment service has declined it."
    )
    counted = (
        "What had been credited was taken from the balance again."
        if any(one.state == "reversed" for one in view.payments)
        else "Nothing was charged to you here, and nothing was credited."
    )
    return Told(
        "The payment has failed",
        "bad",
        (why, counted, "Make a new order to try again, or with another method."),
    )


_ROWS: dict[tuple[str, str], Callable[[OrderView], Told]] = {
    ("awaiting_payment", ""): _awaiting,
    ("payment_seen", ""): _seen,
    ("payment_seen", "underpaid"): _underpaid,
    ("paid_confirmed", ""): _paid,
    ("paid_confirmed", "overpaid"): _overpaid,
    ("paid_confirmed", "late"): _late,
    ("paid_confirmed", "manual"): _manual,
    ("expired", ""): _expired,
    ("expired", "underpaid"): _expired_underpaid,
    ("invalid", ""): _invalid,
}


def _besides(view: OrderView) -> list[str]:
    """What is true of an order beside its state."""
    found = []
    if view.disputed:
        found.append(
            "This payment is disputed: what was left of it is taken back and the key is frozen"
            " until that is settled. Write to support with the order number."
        )
    owed = sum(
        int(str(one.details["amount_nanos"])) for one in view.steps if one.step == "collected"
    )
    if owed:
        found.append(
            f"{_usd(owed)} of it pays what this key owed of a payment that was taken back; the"
            " ledger shows it."
        )
    if view.check_problem:
        asked = f" Last answer: {_time(view.checked_at)} UTC." if view.checked_at else ""
        found.append(f"{view.check_problem.rstrip('.')}.{asked} We keep asking.")
    if any(one.refused for one in view.payments):
        found.append(
            "A part could not be put on the balance, because a wallet holds at most 1,000,000 USD."
            " It is booked and not lost; support moves it."
        )
    return found


REFUNDS = {
    "requested": "asked for; the operator decides",
    "approved": "approved, and on its way to the payment service",
    "sent": "sent back by the payment service",
    "refused": "refused",
}
"""States of a refund."""
FULFILMENTS = {
    "none": "",
    "credited": "On the balance",
    "delivered": "Delivered",
    "claimed": "Claimed",
}
MAILS = {
    "queued": "waits to be sent",
    "accepted": "was taken by the address's mail server",
    "deferred": "was put off by the mail server; it is tried again by itself",
    "bounced": "could not be delivered",
    "off": "was not sent: this service sends no mail",
}
"""States of a mail."""


def timeline(view: OrderView) -> list[Step]:
    """The five steps, those of an ended order as far as it came."""
    seen_at = min((one.seen_at for one in view.payments), default=None)
    confirmed_at = view.confirmed_at or min(
        (one.confirmed_at for one in view.payments if one.confirmed_at), default=None
    )
    credited = view.fulfilment != "none"
    delivered = view.fulfilment in ("delivered", "claimed") or (credited and not view.new_key)
    own = bool(view.secret)
    reached = [
        True,
        seen_at is not None or confirmed_at is not None,
        confirmed_at is not None,
        credited,
        delivered or own,
    ]
    times = [view.created_at, seen_at or confirmed_at, confirmed_at, confirmed_at, None]
    titles = STEPS if view.new_key else (*STEPS[:4], "Same key, ready")
    ended = view.status in ("expired", "invalid")
    found: list[Step] = []
    for title, done, at in zip(titles, reached, times, strict=True):
        waits = not done and not ended and all(step.state == "done" for step in found)
        state = "done" if done else "now" if waits else "next"
        found.append(Step(title, state, at if done else None))
    return found


def _living(view: OrderView) -> list[PaymentView]:
    return [one for one in view.payments if one.state in ("seen", "confirmed")]


def _confirmations(view: OrderView) -> str:
    waiting = [one for one in view.payments if one.state == "seen" and one.confirmations_needed]
    if not waiting:
        return ""
    least = min(waiting, key=lambda one: one.confirmations)
    return f"{least.confirmations} of {least.confirmations_needed} confirmations."


def _usd(nanos: int) -> str:
    return f"{format_usd(nanos)} USD"


def _time(at: datetime) -> str:
    return at.strftime("%H:%M:%S")


def _on(at: datetime | None) -> str:
    return f" on {at.strftime('%Y-%m-%d at %H:%M')} UTC" if at else ""
