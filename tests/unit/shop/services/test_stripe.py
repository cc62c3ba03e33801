"""The Stripe adapter beside the simulated service, over sockets, with every control."""

import asyncio
import json
import traceback
from collections.abc import Callable

import httpx
import msgspec
import pytest

from corvus_proxy.dev.payments import hooks
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.shop.provider import (
    Forged,
    Opened,
    Paid,
    ProviderRefused,
    ProviderUnavailable,
    Standing,
    Wanted,
)
from corvus_proxy.shop.services import providers
from corvus_proxy.shop.services.stripe import Stripe
from tests.unit.shop.services.conftest import Counter

pytestmark = pytest.mark.anyio

WANTED = Wanted(
    order_id="ord_1",
    total_nanos=20 * NANOS_PER_USD,
    title="Balance of 20.00 USD",
    return_url="http://127.0.0.1:1/orders/token",
    cancel_url="http://127.0.0.1:1/checkout",
    email="",
    quote_s=1800,
)


async def opened(counter: Counter, **changes: object) -> Opened:
    return await counter.stripe.open(WANTED._replace(**changes))  # type: ignore[arg-type]


async def after(counter: Counter, *acts: str) -> Standing:
    """The standing of a new payment to which these things were done."""
    found = await opened(counter)
    for act in acts:
        counter.payments.control.act(found.reference, act)
    return await counter.stripe.standing(found.reference)


def only(standing: Standing) -> Paid:
    (payment,) = standing.payments
    return payment


async def test_an_opened_session(counter: Counter) -> None:
    """The session has the amount, the order's id and our addresses; the page is the service's."""
    found = await opened(counter, email="a@example.com")
    session = counter.payments.cards.objects[found.reference]
    assert found.reference.startswith("cs_test_")
    assert found.pay_url == f"{counter.url}/pay/{found.reference}"
    assert (found.asset, found.asset_amount, found.destination) == ("USD", "20.00", "")
    assert session["amount_total"] == 2000
    assert session["client_reference_id"] == "ord_1"
    assert session["success_url"] == WANTED.return_url
    assert session["cancel_url"] == WANTED.cancel_url
    assert session["customer_email"] == "a@example.com"
    assert session["metadata"] == {"order_id": "ord_1"}
    assert found.expires_at.timestamp() == session["expires_at"]
    assert await counter.stripe.standing(found.reference) == Standing("open", False, "20.00", ())


@pytest.mark.parametrize("quote_s", [60, 1800, 3600, 10**6])
async def test_a_quote_of_any_length(counter: Counter, quote_s: int) -> None:
    """Stripe allows half an hour to a day; a quote outside of it is brought inside."""
    found = await opened(counter, quote_s=quote_s, order_id=f"ord_{quote_s}")
    session = counter.payments.cards.objects[found.reference]
    length_s = session["expires_at"] - session["created"]
    assert length_s in (min(max(quote_s, 1860), 86340), min(max(quote_s, 1860), 86340) - 1)


async def test_the_same_order_twice(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same wish in the same second is one session. A later one, when the first answer was lost,
    is a new session: the key cannot be used with another end, and nobody knows the first."""
    monkeypatch.setattr("corvus_proxy.clock.wall_s", lambda: 1_800_000_000)
    first, same = await opened(counter), await opened(counter)
    assert first == same
    monkeypatch.setattr("corvus_proxy.clock.wall_s", lambda: 1_800_000_007)
    later, again = await opened(counter), await opened(counter)
    assert later.reference != first.reference
    assert later == again


async def test_a_lost_answer_is_asked_for_again(counter: Counter) -> None:
    """The package's own second try has the same key: one session."""
    await counter.payments.control.do("trouble", {"service": "stripe", "cut": True})
    found = await opened(counter)
    sessions = [row for row in counter.payments.cards.objects.values() if row["object"] != "event"]
    assert [row["id"] for row in sessions] == [found.reference]


async def test_paid_by_card(counter: Counter) -> None:
    standing = await after(counter, "pay")
    assert (standing.status, standing.due, standing.marked_by_hand) == ("settled", "", False)
    payment = only(standing)
    assert payment.reference.startswith("pi_")
    assert payment.transaction.startswith("ch_")
    assert (payment.state, payment.asset, payment.asset_amount) == ("confirmed", "USD", "20.00")
    assert (payment.value_nanos, payment.rate, payment.late) == (20 * NANOS_PER_USD, "1", False)


@pytest.mark.parametrize(
    ("acts", "status", "state"),
    [
        (("pay_later",), "seen", "seen"),
        (("pay_later", "confirm"), "settled", "confirmed"),
        (("pay_later", "fail"), "invalid", "invalid"),
        (("pay", "reverse"), "invalid", "reversed"),
        (("pay", "reverse", "dispute_lost"), "invalid", "reversed"),
        (("pay", "reverse", "dispute_won"), "settled", "confirmed"),
        (("pay", "refund"), "invalid", "reversed"),
        (("pay", "lie"), "settled", "confirmed"),
    ],
)
async def test_standings(counter: Counter, acts: tuple[str, ...], status: str, state: str) -> None:
    standing = await after(counter, *acts)
    assert (standing.status, only(standing).state) == (status, state)
    assert only(standing).value_nanos == 20 * NANOS_PER_USD


@pytest.mark.parametrize(("act", "status"), [("expire", "expired"), ("lie", "open")])
async def test_nothing_came(counter: Counter, act: str, status: str) -> None:
    """An end, or a message that says paid: there is no payment."""
    assert await after(counter, act) == Standing(
        status, False, "20.00" if status == "open" else "", ()
    )


async def test_an_inquiry_takes_no_money(counter: Counter) -> None:
    """A dispute that only warns leaves the payment as it is."""
    found = await opened(counter)
    counter.payments.control.act(found.reference, "pay")
    counter.payments.control.act(found.reference, "reverse")
    for row in counter.payments.cards.objects.values():
        if row["object"] == "dispute":
            row["status"] = "warning_needs_response"
    assert (await counter.stripe.standing(found.reference)).status == "settled"


async def test_our_own_refund_is_no_reversal(counter: Counter) -> None:
    """Once by its id, in part and then the rest; the payment itself stays confirmed."""
    found = await opened(counter)
    counter.payments.control.act(found.reference, "pay")
    paid = only(await counter.stripe.standing(found.reference)).reference
    first = await counter.stripe.refund(paid, 5 * NANOS_PER_USD, "ref_1")
    assert await counter.stripe.refund(paid, 5 * NANOS_PER_USD, "ref_1") == first
    await counter.stripe.refund(paid, 15 * NANOS_PER_USD, "ref_2")
    refunds = [r for r in counter.payments.cards.objects.values() if r["object"] == "refund"]
    assert [row["amount"] for row in refunds] == [500, 1500]
    assert only(await counter.stripe.standing(found.reference)).state == "confirmed"
    with pytest.raises(ProviderRefused):
        await counter.stripe.refund(paid, NANOS_PER_USD, "ref_3")


async def test_amounts_are_whole_cents(counter: Counter) -> None:
    with pytest.raises(ValueError, match="whole cents"):
        await opened(counter, total_nanos=20 * NANOS_PER_USD + 1)


async def test_too_little_is_refused_for_good(counter: Counter) -> None:
    with pytest.raises(ProviderRefused, match="amount_too_small"):
        await opened(counter, total_nanos=NANOS_PER_USD // 10)


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 500},
        {"status": 429},
        {"status": 401},
        {"cut": True},
        {"garbage": True},
        {"silent": True},
        {"slow_s": 5.0},
    ],
)
async def test_trouble_is_unavailable(counter: Counter, trouble: dict[str, object]) -> None:
    """However the service fails, it is one kind of failure, in time, and without a secret."""
    found = await opened(counter)
    await counter.payments.control.do("trouble", {"service": "stripe", "times": 9, **trouble})
    calls = (
        opened(counter, order_id="ord_2"),
        counter.stripe.standing(found.reference),
        counter.stripe.refund("pi_1", NANOS_PER_USD, "ref_1"),
    )
    for caught in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(caught, ProviderUnavailable)
        told = "".join(traceback.format_exception(caught))
        assert counter.payments.cards.key not in told


def _broken(body: dict[str, object], name: str, value: object) -> dict[str, object]:
    return {**body, name: value}


@pytest.mark.parametrize(
    "change",
    [
        lambda body: {},
        lambda body: _broken(body, "status", "dreaming"),
        lambda body: _broken(body, "currency", "eur"),
        lambda body: _broken(body, "amount_total", "many"),
        lambda body: _broken(body, "amount_total", -2000),
        lambda body: _broken(body, "payment_intent", {"id": 7}),
        lambda body: _broken(body, "payment_intent", None),
    ],
)
async def test_nonsense_is_unavailable(
    counter: Counter, change: Callable[[dict[str, object]], dict[str, object]]
) -> None:
    """An answer that does not say what the protocol says credits nothing."""
    found = await opened(counter)
    counter.payments.control.act(found.reference, "pay")
    objects = counter.payments.cards.objects
    objects[found.reference] = {"object": "checkout.session", **change(objects[found.reference])}
    with pytest.raises(ProviderUnavailable, match="nonsense"):
        await counter.stripe.standing(found.reference)


async def test_unknown_session(counter: Counter) -> None:
    with pytest.raises(ProviderUnavailable, match="404"):
        await counter.stripe.standing("cs_test_nobody")


async def test_messages(counter: Counter) -> None:
    """Each event names the session or the payment that it is about, and is known by its id."""
    found = await opened(counter)
    for act in ("pay", "reverse", "dispute_lost"):
        counter.payments.control.act(found.reference, act)
    await counter.receiver.wait(3)
    notices = [counter.stripe.notice(headers, body) for _, headers, body in counter.receiver.got]
    paid = only(await counter.stripe.standing(found.reference)).reference
    assert {notice.kind: notice.reference for notice in notices} == {
        "checkout.session.completed": found.reference,
        "charge.dispute.created": paid,
        "charge.dispute.closed": paid,
    }
    assert {n.event_id for n in notices} == {m.id for m in counter.payments.cards.hooks.made}


@pytest.mark.parametrize("how", hooks.FORGERIES)
async def test_forged_messages(counter: Counter, how: str) -> None:
    """What is kept for an hour, changed, not signed or signed by another is refused."""
    found = await opened(counter)
    counter.payments.control.act(found.reference, "expire")
    await counter.receiver.wait(1)
    counter.receiver.got.clear()
    answer = await counter.payments.control.do(
        "hooks", {"service": "stripe", "again": "checkout.session.expired", "how": how}
    )
    assert answer == {"status": 200}
    _, headers, body = counter.receiver.got[0]
    if how == "copy":
        assert counter.stripe.notice(headers, body).reference == found.reference
    else:
        with pytest.raises(Forged):
            counter.stripe.notice(headers, body)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[]", b"{}", b'{"id": "evt_1", "type": "x", "data": {"object": 1}}']
)
async def test_signed_nonsense(counter: Counter, body: bytes) -> None:
    """Even with a true signature a message that is no event is refused."""
    import stripe

    header = stripe.WebhookSignature.generate_signature_header(
        body.decode(errors="replace"), "whsec_of_a_test"
    )
    with pytest.raises(Forged):
        counter.stripe.notice({"stripe-signature": header}, body)


async def test_without_a_secret_nothing_is_believed(counter: Counter) -> None:
    """An empty webhook secret is not a secret that anybody could sign with."""
    stripe_settings = msgspec.structs.replace(counter.settings.stripe, webhook_secret_file="")
    adapter = Stripe(msgspec.structs.replace(counter.settings, stripe=stripe_settings))
    body = b'{"id": "evt_1", "type": "x", "data": {"object": {"object": "charge"}}}'
    import stripe

    for key in ("", "x"):
        header = stripe.WebhookSignature.generate_signature_header(body.decode(), key)
        with pytest.raises(Forged):
            adapter.notice({"stripe-signature": header}, body)


async def test_the_page_pays_by_its_first_form(counter: Counter) -> None:
    """What a browser without scripts does: the first form, sent as it comes, leads back to us."""
    found = await opened(counter)
    async with httpx.AsyncClient() as browser:
        page = await browser.get(found.pay_url)
        form = page.text.partition("<form")[2].partition("</form>")[0]
        action = form.partition('action="')[2].partition('"')[0]
        assert 'method="post"' in form
        answer = await browser.post(str(page.url.join(action)), data={"amount": ""})
    assert (answer.status_code, answer.headers["location"]) == (303, WANTED.return_url)
    assert (await counter.stripe.standing(found.reference)).status == "settled"


async def test_nothing_secret_is_recorded(counter: Counter) -> None:
    """The record has requests, payments and messages, and no key."""
    await after(counter, "pay")
    await counter.receiver.wait(1)
    record, kinds = counter.payments.record, set[str]()
    for _ in range(100):  # a message is recorded once it is answered: we may be quicker
        kinds = {row["row"] for row in record.rows}
        if "hook" in kinds:
            break
        await asyncio.sleep(0.02)
    assert kinds == {"request", "payment", "hook"}
    rows = json.dumps(record.rows)
    assert counter.payments.cards.key not in rows
    assert "whsec" not in rows


async def test_only_what_is_configured_is_offered(counter: Counter) -> None:
    """Without a key or an address there is no such provider."""
    from corvus_proxy.settings import Settings

    assert providers(Settings()) == {}
    assert list(providers(counter.settings)) == ["stripe", "btcpay"]
    assert counter.stripe.origin == counter.url
