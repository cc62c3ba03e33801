"""`corvus orders doctor`: which link of the chain from a payment to a working key is broken.

The chain: order, payment service, payment, message, credit, Redis, delivery. Each link is one
finding; the first that does not hold is the answer.
"""

from typing import Any, NamedTuple

from corvus_proxy import clock
from corvus_proxy.books.shop import orders, owners, payments
from corvus_proxy.books.shop.orders import OrderRow, Step
from corvus_proxy.books.shop.payments import PaymentRow
from corvus_proxy.money.amount import format_usd
from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.shop.settle import settle


class Finding(NamedTuple):
    """One link."""

    link: str
    holds: bool
    sentence: str


class Diagnosis(NamedTuple):
    """All links, and the answer in a sentence."""

    order_id: str
    status: str
    exception: str
    broken: str
    """The first link that does not hold; empty: none."""
    verdict: str
    findings: list[Finding]


async def doctor(desk: Desk, order_id: str) -> Diagnosis:
    """Asks the payment service once more, settles, and looks at each link. Raises LookupError,
    BooksUnavailable."""
    done = await settle(desk.means, order_id, via="operator")
    async with desk.stores.books.connection() as connection:
        order = await orders.by_id(connection, order_id)
        if order is None:
            raise LookupError(f"there is no order {order_id}")
        found = [_opened(order), _provider(desk, order, answered=done.answered)]
        rows = await payments.of_order(connection, order_id)
        steps = await orders.steps(connection, order_id)
        found.append(_payment(order, rows))
        if rows:
            found.append(await _message(connection, order, rows, steps))
            found.append(_credit(order, rows))
            found.append(await _redis(connection, order, rows))
            found.append(await _delivery(connection, order))
    broken = next((one for one in found if not one.holds), None)
    verdict = broken.sentence if broken else "Every link holds: the money is on the key."
    link = broken.link if broken else ""
    return Diagnosis(order_id, order.status, order.exception, link, verdict, found)


def _opened(order: OrderRow) -> Finding:
    if order.provider_ref is None:
        sentence = f"{order.provider} never took the order, so nobody could pay it."
        return Finding("order", False, sentence)
    return Finding("order", True, f"Made {_at(order.created_at)}; {order.provider} took it.")


def _provider(desk: Desk, order: OrderRow, *, answered: bool) -> Finding:
    if answered:
        return Finding("payment service", True, f"{order.provider} answers.")
    if order.provider not in desk.providers:
        sentence = f"{order.provider} is not configured any more, so nobody can ask it."
    else:
        last = f"last answer {_at(order.checked_at)}" if order.checked_at else "it never has"
        sentence = f"{order.provider} does not answer ({last})."
    return Finding("payment service", False, sentence)


def _payment(order: OrderRow, rows: list[PaymentRow]) -> Finding:
    if not rows:
        return Finding("payment", False, f"{order.provider} knows of no payment for this order.")
    states = ", ".join(
        f"{one.reference} {one.state} ({format_usd(one.value_nanos)} USD)" for one in rows
    )
    holds = any(one.state == "confirmed" for one in rows)
    if any(one.state == "reversed" for one in rows):
        return Finding("payment", False, f"A payment was taken back: {states}.")
    return Finding("payment", holds, states + ("." if holds else ": not confirmed yet."))


async def _message(
    connection: Any, order: OrderRow, rows: list[PaymentRow], steps: list[Step]
) -> Finding:
    """A credit that the worker had to find means that messages do not arrive; it holds all the
    same."""
    names = [order.provider_ref or "", *(one.reference for one in rows)]
    heard = await orders.messages(connection, order.provider, names)
    credited = next((one for one in steps if one.step == "credited"), None)
    by = f"; {_via(credited)} found it {_at(credited.at)}" if credited else ""
    if heard:
        told = ", ".join(f"{kind} {_at(at)}" for kind, at in heard[-5:])
        return Finding("webhook", True, f"Messages came: {told}{by}.")
    sentence = (
        f"No message of {order.provider} ever came: check the webhook's address and secret"
        f" there{by}."
    )
    return Finding("webhook", credited is not None, sentence)


def _credit(order: OrderRow, rows: list[PaymentRow]) -> Finding:
    if order.credited_nanos:
        return Finding("credit", True, f"{format_usd(order.credited_nanos)} USD were credited.")
    confirmed = [one for one in rows if one.state == "confirmed"]
    if confirmed and order.check_problem:
        return Finding("credit", False, f"Not credited: {order.check_problem}")
    return Finding("credit", False, "Nothing was credited yet.")


async def _redis(connection: Any, order: OrderRow, rows: list[PaymentRow]) -> Finding:
    refused = await payments.refused(connection, [f"pay:{one.payment_id}" for one in rows])
    if refused:
        sentence = (
            "Redis has refused the credit: the wallet would hold more than 1,000,000 USD. The money"
            " stands in its clearing account; refund it, or credit it to another key."
        )
        return Finding("redis", False, sentence)
    waiting = await owners.waiting(connection, order.wallet) if order.wallet else []
    if waiting:
        sentence = f"{len(waiting)} changes wait for Redis or the writer: `corvus ledger verify`."
        return Finding("redis", False, sentence)
    return Finding("redis", True, "Redis and the books have it.")


async def _delivery(connection: Any, order: OrderRow) -> Finding:
    last = await orders.last_mail(connection, order.order_id)
    mail = f"; the last mail is {last[0]} {last[1]}".rstrip() if last else ""
    bounced = last is not None and last[0] == "bounced" and order.fulfilment == "credited"
    return Finding("delivery", not bounced, f"Fulfilment is {order.fulfilment}{mail}.")


def _via(step: Step) -> str:
    names = {"webhook": "the webhook", "poll": "the worker", "page": "the order's page"}
    return names.get(str(step.details.get("via")), "the operator")


def _at(instant: Any) -> str:
    day = "" if instant.date() == clock.utc_now().date() else f"{instant:%Y-%m-%d} "
    return f"{day}{instant:%H:%M:%S}"
