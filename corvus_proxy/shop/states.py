"""The states of an order, and the one function that says which it is in.

Two axes: `status` is how the payment stands, `exception` what is unusual about it. Both, and every
nano-dollar that a payment is worth, follow from the order, from what its payment service says now,
and from the time; nothing here waits, writes or remembers.

What was credited once is never taken back here: a payment that its service takes back is named as
reversed, and whoever settles takes the money by a move of its own.
"""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from corvus_proxy.shop.price import Price, Share, share
from corvus_proxy.shop.provider import Paid, Standing

AWAITING, SEEN, PAID, EXPIRED, INVALID = (
    "awaiting_payment",
    "payment_seen",
    "paid_confirmed",
    "expired",
    "invalid",
)
MARKED = "marked"
"""Ends the reference of what a person at the payment service vouched for without a payment."""
MANUAL = "manual:"
"""Begins the reference of what the operator has credited by hand."""

State = tuple[str, str]
"""(status, exception)"""

STATES: dict[State, str] = {
    (AWAITING, ""): "Nothing has come yet.",
    (SEEN, ""): "A payment was seen and is not confirmed yet.",
    (SEEN, "underpaid"): "Less than the total has come; what is confirmed is on the balance.",
    (PAID, ""): "Paid as quoted; the amount is on the balance.",
    (PAID, "overpaid"): "More than the total has come; all of it counts.",
    (PAID, "late"): "Paid after the quote had ended; counted at the rate of that moment.",
    (PAID, "manual"): "A person has confirmed it by hand.",
    (EXPIRED, ""): "The quote has ended and nothing has come.",
    (EXPIRED, "underpaid"): "The quote has ended; what came is on the balance.",
    (INVALID, ""): "The payment has failed, or was taken back.",
}
"""Every state, with what it means."""

_PAID_STATES = {state for state in STATES if state[0] == PAID}
_OPEN = {(AWAITING, ""), (SEEN, ""), (SEEN, "underpaid")}
_ENDED = {(EXPIRED, ""), (EXPIRED, "underpaid"), (INVALID, "")}
STEPS: dict[str, str] = {
    "created": "The order was made.",
    "opened": "The payment service waits for the payment.",
    "awaiting_payment": "What was seen has vanished again.",
    "payment_seen": "A payment was seen, or a part of one.",
    "paid_confirmed": "The payment is confirmed.",
    "expired": "The quote has ended.",
    "invalid": "The payment has failed, or all of it was taken back.",
    "key_made": "The key and its recovery code were made.",
    "credited": "A payment was put on the balance.",
    "collected": "What the key owed of a payment that was taken back is taken from this one.",
    "reversed": "A payment was taken back by its payer or his bank.",
    "restored": "What was taken back has come again.",
    "mailed": "A mail was queued.",
    "address": "The buyer has given another address.",
    "delivered": "The key was shown to the browser that ordered.",
    "claimed": "The key was fetched by the link of the mail; the copies are destroyed.",
    "refund_requested": "A refund was asked for.",
    "refund_approved": "The balance was lowered by it.",
    "refund_sent": "The payment service has it.",
    "refund_refused": "It could not be made.",
}
"""Every line of an order's history, with what it means."""

FOLLOWS: dict[State, frozenset[State]] = {
    (AWAITING, ""): frozenset(STATES),
    # A payment that was only seen may vanish again.
    (SEEN, ""): frozenset(STATES),
    (SEEN, "underpaid"): frozenset(STATES),
    # An order that has ended may still be paid, late; it does not wait again.
    (EXPIRED, ""): frozenset(set(STATES) - {(AWAITING, "")}),
    (EXPIRED, "underpaid"): frozenset(set(STATES) - {(AWAITING, "")}),
    # What is invalid may turn out paid after all: a dispute that was won, a second payment.
    (INVALID, ""): frozenset(_PAID_STATES | {(INVALID, ""), (SEEN, ""), (SEEN, "underpaid")}),
    # Who has paid has paid, unless all of it is taken back.
    (PAID, ""): frozenset({(PAID, ""), (PAID, "overpaid"), (INVALID, "")}),
    (PAID, "overpaid"): frozenset({(PAID, ""), (PAID, "overpaid"), (INVALID, "")}),
    (PAID, "late"): frozenset({(PAID, "late"), (INVALID, "")}),
    (PAID, "manual"): frozenset({(PAID, "manual"), (INVALID, "")}),
}
"""Which state may come after which; each may stay."""


class Known(NamedTuple):
    """A payment as the books have it."""

    paid: Paid
    state: str
    credited_nanos: int
    counted: bool
    """It has been confirmed once: its value counts in what later ones are worth."""


class Facts(NamedTuple):
    """What the books say of an order. Amounts in nanos."""

    status: str
    exception: str
    lines: Price
    dust_nanos: int
    asset: str
    asset_amount: str
    """What was quoted in the asset."""
    reference: str
    """The payment service's name of the whole."""
    expires_at: datetime
    payments: tuple[Known, ...]


class Change(NamedTuple):
    """What one payment has become."""

    paid: Paid
    state: str
    share: Share | None
    """To be booked now; None: nothing is, or it was before."""
    undo: str
    """`reverse`: take back what was credited. `restore`: give it again. Else empty."""


class Judgement(NamedTuple):
    """What an order is now, and what has to be done."""

    status: str
    exception: str
    disputed: bool
    """Money that was credited has been taken back by its payer or his bank."""
    changes: tuple[Change, ...]
    problem: str
    """What is left to the operator; a sentence, or empty."""


def judge(order: Facts, standing: Standing, now: datetime) -> Judgement:
    """What `standing` makes of an order."""
    known = {one.paid.reference: one for one in order.payments}
    marked = _marked(order, standing, known)
    told = [*standing.payments, *marked]
    merged = [_merge(known.get(paid.reference), paid) for paid in told]
    listed = {paid.reference for paid in told}
    # A payment that its service names no longer stays as it was, unless it calls the whole invalid.
    for one in order.payments:
        if one.paid.reference not in listed:
            theirs = not one.paid.reference.startswith(MANUAL)
            gone = theirs and standing.status == "invalid" and one.state == "confirmed"
            merged.append(one._replace(state="reversed") if gone else one)
    changes, problem = _changes(order, known, merged)
    status, exception = _state(order, standing, now, merged)
    if standing.status == "settled" and not any(one.state == "confirmed" for one in merged):
        problem = problem or "The payment service calls it settled and names no payment."
    disputed = any(one.state == "reversed" and one.credited_nanos for one in merged)
    return Judgement(status, exception, disputed, changes, problem)


def _merge(known: Known | None, paid: Paid) -> Known:
    """What the books know of a payment and what its service says of it now."""
    if known is None:
        # Of money that came and went before anybody looked, nothing was credited.
        state = "invalid" if paid.state == "reversed" else paid.state
        return Known(paid, state, 0, counted=False)
    state = paid.state
    if known.state in ("confirmed", "reversed") and state == "seen":
        state = known.state
    elif known.state in ("confirmed", "reversed") and state == "invalid":
        state = "reversed"
    elif known.state not in ("confirmed", "reversed") and state == "reversed":
        state = "invalid"
    if known.counted:  # what it was worth when it was confirmed, it is worth for ever
        paid = paid._replace(
            value_nanos=known.paid.value_nanos,
            asset_amount=known.paid.asset_amount,
            rate=known.paid.rate,
            late=known.paid.late,
        )
    return known._replace(paid=paid, state=state)


def _marked(order: Facts, standing: Standing, known: dict[str, Known]) -> list[Paid]:
    """What a person at the service vouched for without a payment: the rest of the total."""
    reference = f"{order.reference}:{MARKED}"
    if reference in known:
        paid = known[reference].paid
        return [paid._replace(state="invalid" if standing.status == "invalid" else "confirmed")]
    if not (standing.marked_by_hand and standing.status == "settled"):
        return []
    came = sum(one.value_nanos for one in standing.payments if one.state == "confirmed")
    rest = order.lines.total_nanos - came
    if rest <= 0:
        return []
    dollars = f"{rest // 10**9}.{rest % 10**9:09d}"
    return [
        Paid(reference, "confirmed", "USD", dollars, "1", rest, "", "", 0, 0, late=False),
    ]


def _changes(
    order: Facts, known: dict[str, Known], merged: list[Known]
) -> tuple[tuple[Change, ...], str]:
    """Each payment that is new or other than before, with what it is worth."""
    counted = [one for one in merged if one.counted]
    fresh = [one for one in merged if one.state == "confirmed" and not one.counted]
    came = sum(one.paid.value_nanos for one in (*counted, *fresh))
    dust = bool(fresh) and came < order.dust_nanos
    shares: dict[str, Share] = {}
    for at, one in enumerate(fresh if not dust else ()):
        before = _worth(order, (*counted, *fresh[:at]))
        after = _worth(order, (*counted, *fresh[: at + 1]))
        shares[one.paid.reference] = share(order.lines, before, max(0, after - before))
    changes = []
    for one in merged:
        was = known.get(one.paid.reference)
        if was is not None and one == was and one.paid.reference not in shares:
            continue
        undo = ""
        if was is not None and one.credited_nanos and was.state != one.state:
            undo = {"reversed": "reverse", "confirmed": "restore"}.get(one.state, "")
        changes.append(Change(one.paid, one.state, shares.get(one.paid.reference), undo))
    sentence = "Less has come than is credited by itself; support looks at it." if dust else ""
    return tuple(changes), sentence


def _worth(order: Facts, payments: tuple[Known, ...]) -> int:
    """The value of payments together: the total where exactly what was quoted has come, whatever
    the asset's smallest unit makes of it."""
    if _exactly_quoted(order, payments):
        return order.lines.total_nanos
    return sum(one.paid.value_nanos for one in payments)


def _exactly_quoted(order: Facts, payments: tuple[Known, ...]) -> bool:
    if not payments or any(one.paid.late or one.paid.asset != order.asset for one in payments):
        return False
    try:
        return sum(Decimal(one.paid.asset_amount) for one in payments) == Decimal(
            order.asset_amount
        )
    except InvalidOperation:
        return False


def _state(order: Facts, standing: Standing, now: datetime, merged: list[Known]) -> State:
    wanted = _wanted(order, standing, now, merged)
    at = (order.status, order.exception)
    if wanted in FOLLOWS[at]:
        return wanted
    # What is unusual about a payment stays so, whatever comes later.
    return at


def _wanted(order: Facts, standing: Standing, now: datetime, merged: list[Known]) -> State:
    confirmed = tuple(one for one in merged if one.state == "confirmed")
    came = _worth(order, confirmed)
    total = order.lines.total_nanos
    # A service may be content with a little less than the total, but not with next to nothing.
    settled = standing.status == "settled" and came >= max(1, order.dust_nanos)
    if confirmed and (came >= total or settled or order.status == PAID):
        return PAID, _exception(order, confirmed, came)
    back = any(one.state == "reversed" for one in merged)
    # What was paid and is wholly taken back stays so until something is confirmed again.
    undone = order.status == PAID or (order.status == INVALID and back)
    if standing.status == "invalid" or (undone and not confirmed):
        return (INVALID, "") if back or not confirmed else (EXPIRED, "underpaid")
    seen = tuple(one for one in merged if one.state == "seen")
    if seen or standing.status == "seen":
        short = bool(seen) and _worth(order, (*confirmed, *seen)) < total
        return SEEN, "underpaid" if short else ""
    if standing.status == "expired" or now >= order.expires_at:
        return EXPIRED, "underpaid" if confirmed else ""
    return (SEEN, "underpaid") if confirmed else (AWAITING, "")


def by_hand(reference: str) -> bool:
    """Whether a person stands behind a payment, not money at the payment service."""
    return reference.startswith(MANUAL) or reference.endswith(f":{MARKED}")


def _exception(order: Facts, confirmed: tuple[Known, ...], came: int) -> str:
    if any(by_hand(one.paid.reference) for one in confirmed):
        return "manual"
    in_time = tuple(one for one in confirmed if not one.paid.late)
    if len(in_time) < len(confirmed) and _worth(order, in_time) < order.lines.total_nanos:
        return "late"
    return "overpaid" if came > order.lines.total_nanos else ""
