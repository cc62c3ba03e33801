"""The BTCPay adapter beside the simulated server, over sockets, with every control."""

import asyncio
import traceback
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import httpx
import msgspec
import pytest

from corvus_proxy.dev.payments import chain, coins, hooks
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.settings import BrandSettings, Upstream
from corvus_proxy.settings.sections import DemoSettings
from corvus_proxy.shop.provider import (
    Forged,
    Opened,
    Paid,
    ProviderRefused,
    ProviderUnavailable,
    Standing,
    Wanted,
)
from corvus_proxy.shop.services.btcpay import Btcpay
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
RATE = Decimal("64392.23")
SATS = 31060
"""20 USD at that rate, rounded up to a satoshi."""


async def opened(counter: Counter, **changes: object) -> Opened:
    return await counter.btcpay.open(WANTED._replace(**changes))  # type: ignore[arg-type]


async def after(counter: Counter, *acts: str) -> Standing:
    """The standing of a new payment to which these things were done."""
    found = await opened(counter)
    for act in acts:
        counter.payments.control.act(found.reference, act)
    return await counter.btcpay.standing(found.reference)


def only(standing: Standing) -> Paid:
    (payment,) = standing.payments
    return payment


def worth(sats: int, rate: Decimal = RATE) -> int:
    exact = Decimal(sats) / chain.SATS_PER_COIN * rate * NANOS_PER_USD
    return int(exact.to_integral_value(ROUND_FLOOR))


async def test_an_opened_invoice(counter: Counter) -> None:
    found = await opened(counter, email="a@example.com")
    invoice = counter.payments.coins.invoices[found.reference]
    assert found.pay_url == f"{counter.url}/pay/{found.reference}"
    assert (found.asset, found.asset_amount) == ("BTC", "0.0003106")
    assert found.destination == invoice.destination
    assert found.expires_at.timestamp() == invoice.expires_s == invoice.created_s + 1800
    assert invoice.monitored_s == invoice.expires_s + 7 * 86400
    assert invoice.metadata == {
        "orderId": "ord_1",
        "itemDesc": WANTED.title,
        "buyerEmail": "a@example.com",
    }
    assert await counter.btcpay.standing(found.reference) == Standing(
        "open", False, "0.0003106", ()
    )


async def test_the_same_order_twice_is_one_invoice(counter: Counter) -> None:
    """While it can still be paid; then there is a new one."""
    first = await opened(counter)
    assert await opened(counter) == first
    counter.payments.control.act(first.reference, "expire")
    assert (await opened(counter)).reference != first.reference
    assert (await opened(counter, order_id="ord_2")).reference != first.reference


async def test_a_lost_answer_makes_no_second_invoice(counter: Counter) -> None:
    """The invoice was made and its answer lost: the next try finds it."""
    await counter.payments.control.do("trouble", {"service": "btcpay", "cut": True, "times": 2})
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            await opened(counter)
    await opened(counter)
    assert len(counter.payments.coins.invoices) == 1


@pytest.mark.parametrize(
    ("acts", "status", "state"),
    [
        (("pay",), "seen", "seen"),
        (("pay", "confirm"), "settled", "confirmed"),
        (("under",), "open", "seen"),
        (("under", "confirm"), "open", "confirmed"),
        (("under", "confirm", "expire"), "expired", "confirmed"),
        (("over",), "seen", "seen"),
        (("over", "confirm"), "settled", "confirmed"),
        (("late",), "expired", "seen"),
        (("late", "confirm"), "expired", "confirmed"),
        (("pay", "reverse"), "open", "invalid"),
        (("pay", "confirm", "reverse"), "invalid", "invalid"),
        (("pay", "confirm", "mark_invalid"), "invalid", "reversed"),
        (("pay", "mark_settled"), "settled", "seen"),
        (("pay", "lie"), "seen", "seen"),
    ],
)
async def test_standings(counter: Counter, acts: tuple[str, ...], status: str, state: str) -> None:
    standing = await after(counter, *acts)
    assert (standing.status, only(standing).state) == (status, state)
    marked = any(act.startswith("mark") for act in acts) or acts[-2:] == ("confirm", "reverse")
    assert standing.marked_by_hand == marked
    sats = {"under": SATS * 2 // 5, "over": SATS * 3 // 2}.get(acts[0], SATS)
    assert only(standing).value_nanos == worth(sats)
    assert only(standing).late == (acts[0] == "late")


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ("expire", Standing("expired", False, "0.0003106", ())),
        ("lie", Standing("open", False, "0.0003106", ())),
        ("mark_settled", Standing("settled", True, "0.0003106", ())),
    ],
)
async def test_nothing_came(counter: Counter, act: str, expected: Standing) -> None:
    assert await after(counter, act) == expected


async def test_two_payments(counter: Counter) -> None:
    """A part, and then the rest: each has a name of its own."""
    standing = await after(counter, "under", "pay", "confirm")
    assert (standing.status, standing.due) == ("settled", "")
    assert len({payment.reference for payment in standing.payments}) == 2
    amounts = [Decimal(payment.asset_amount) for payment in standing.payments]
    assert sum(amounts) == Decimal("0.0003106")


async def test_confirmations_are_counted(counter: Counter) -> None:
    """Blocks come one by one; the order page can say 1 of 2."""
    found = await opened(counter)
    counter.payments.control.act(found.reference, "pay")
    counter.payments.coins.block_s = 0.0001
    seen = []
    for _ in range(2):
        payment = only(await counter.btcpay.standing(found.reference))
        seen.append((payment.state, payment.confirmations, payment.confirmations_needed))
        counter.payments.coins.block_s = 0.0
        counter.payments.coins.block_s = 0.0001
        counter.payments.coins.tick()
    assert seen[0][0] == "seen"
    assert {needed for _, _, needed in seen} == {2}
    counter.payments.control.act(found.reference, "confirm")
    last = only(await counter.btcpay.standing(found.reference))
    assert (last.state, last.confirmations) == ("confirmed", 2)


async def test_late_is_worth_what_it_is_worth_now(counter: Counter) -> None:
    """In time: the quoted rate, whatever the market does. Late: the store's present rate."""
    in_time = await opened(counter, order_id="ord_2")
    counter.payments.coins.rate = "50000"
    counter.payments.control.act(in_time.reference, "pay")
    assert only(await counter.btcpay.standing(in_time.reference)).value_nanos == worth(SATS)
    counter.payments.coins.rate = str(RATE)
    late = await opened(counter)
    counter.payments.coins.rate = "50000"
    counter.payments.control.act(late.reference, "late")
    payment = only(await counter.btcpay.standing(late.reference))
    assert (payment.late, payment.rate) == (True, "50000")
    assert payment.value_nanos == worth(SATS, Decimal(50000))


async def test_the_record_agrees(counter: Counter) -> None:
    """The service's own record, which the drill reads, has what the adapter has."""
    payment = only(await after(counter, "over", "confirm"))
    rows = [row for row in counter.payments.record.rows if row["row"] == "payment"]
    assert [row["state"] for row in rows] == ["seen", "confirmed"]
    assert rows[-1]["reference"] == payment.reference
    assert rows[-1]["value_nanos"] == payment.value_nanos
    assert rows[-1]["order_id"] == "ord_1"


async def test_a_refund_is_one_pull_payment(counter: Counter) -> None:
    found = await opened(counter)
    counter.payments.control.act(found.reference, "pay")
    paid = only(await counter.btcpay.standing(found.reference)).reference
    first = await counter.btcpay.refund(paid, 5 * NANOS_PER_USD, "ref_1")
    assert await counter.btcpay.refund(paid, 5 * NANOS_PER_USD, "ref_1") == first
    assert await counter.btcpay.refund(paid, 5 * NANOS_PER_USD, "ref_2") != first


async def test_a_refund_is_claimed_on_its_page(counter: Counter) -> None:
    """Without an address there is nothing; with one it goes there, once; where that is, is told
    whether the service is real or stands behind the site."""
    found = await opened(counter)
    counter.payments.control.act(found.reference, "pay")
    paid = only(await counter.btcpay.standing(found.reference)).reference
    name = await counter.btcpay.refund(paid, 5 * NANOS_PER_USD, "ref_1")
    url = counter.btcpay.claim_url(name)
    assert url == f"{counter.url}/pull-payments/{name}"
    assert counter.payments.coins.pulls[name]["viewLink"] == url
    async with httpx.AsyncClient(trust_env=False) as browser:
        page = await browser.get(url)
        assert "5.00 USD" in page.text
        assert "form-action 'self';" in page.headers["content-security-policy"]
        form = page.text.partition("<form")[2].partition("</form>")[0]
        action = page.url.join(form.partition('action="')[2].partition('"')[0])
        address = form.partition('value="')[2].partition('"')[0]
        for wrong in ("", "1BoatSLRHtKNngkdXEeobR76b53LETtpyT", "bcrt1q<script>"):
            again = await browser.post(action, data={"address": wrong})
            assert (again.status_code, 'role="alert"' in again.text) == (422, True)
        assert not counter.payments.coins.payouts
        done = await browser.post(action, data={"address": address})
        assert (done.status_code, action.join(done.headers["location"])) == (303, page.url)
        assert address in (await browser.get(url)).text
        assert (await browser.post(action, data={"address": address})).status_code == 422
        assert (await browser.get(f"{counter.url}/pull-payments/nobody")).status_code == 404
    [payout] = counter.payments.coins.payouts.values()
    assert (payout["destination"], payout["originalAmount"]) == (address, "5.00")


async def test_the_page_of_a_refund_stands_where_the_payer_gets_to(counter: Counter) -> None:
    """At the service; in a demonstration, under the site."""
    for demo, url, expected in (
        (DemoSettings(), "https://pay.example/btcpay/", "https://pay.example/btcpay"),
        (DemoSettings(enabled=True, payments_url="http://127.0.0.1:7"), "http://127.0.0.1:7",
         "http://site.example/demo"),
        (DemoSettings(enabled=True, payments_url="http://127.0.0.1:7"), "https://pay.example",
         "https://pay.example"),
    ):  # fmt: skip
        settings = msgspec.structs.replace(
            counter.settings,
            demo=demo,
            btcpay=msgspec.structs.replace(counter.settings.btcpay, url=url),
            brand=BrandSettings(site_url="http://site.example"),
        )
        adapter = Btcpay(settings)
        assert adapter.claim_url("pp1") == f"{expected}/pull-payments/pp1"
        await adapter.close()


async def test_a_refund_of_nothing_is_refused(counter: Counter) -> None:
    found = await opened(counter)
    with pytest.raises(ProviderRefused):
        await counter.btcpay.refund(f"{found.reference}:tx-0", NANOS_PER_USD, "ref_1")


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
    """However the server fails, it is one kind of failure, in time, and without a secret."""
    found = await opened(counter)
    counter.payments.control.act(found.reference, "pay")
    await counter.payments.control.do("trouble", {"service": "btcpay", "times": 9, **trouble})
    calls = (
        opened(counter, order_id="ord_2"),
        counter.btcpay.standing(found.reference),
        counter.btcpay.refund(f"{found.reference}:tx-0", NANOS_PER_USD, "ref_1"),
    )
    for caught in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(caught, ProviderUnavailable)
        told = "".join(traceback.format_exception(caught))
        assert counter.payments.coins.key not in told


@pytest.mark.parametrize(
    ("name", "value"),
    [("status", "Dreaming"), ("expirationTime", "soon"), ("id", 7), ("additionalStatus", ...)],
)
async def test_nonsense_of_an_invoice(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    await _nonsense(counter, monkeypatch, "_shown", name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate", "NaN"),
        ("rate", "1e400"),
        ("due", {}),
        ("currency", ""),
        ("payments", 3),
        ("payments", [{}]),
        (
            "payments",
            [{"id": "a", "receivedDate": 0, "value": "?", "fee": "0", "status": "Settled"}],
        ),
    ],
)
async def test_nonsense_of_a_method(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    await _nonsense(counter, monkeypatch, "method", name, value)


async def _nonsense(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, view: str, name: str, value: object
) -> None:
    """An answer with one member that the protocol does not allow credits nothing."""
    found = await opened(counter)
    counter.payments.control.act(found.reference, "pay")
    true = getattr(counter.payments.coins, view)

    def broken(invoice: chain.Invoice) -> dict[str, Any]:
        shown = {**true(invoice), name: value}
        return {k: v for k, v in shown.items() if v is not ...}

    monkeypatch.setattr(counter.payments.coins, view, broken)
    with pytest.raises(ProviderUnavailable):
        await counter.btcpay.standing(found.reference)


async def test_unknown_invoice(counter: Counter) -> None:
    with pytest.raises(ProviderUnavailable, match="404"):
        await counter.btcpay.standing("nobody")


async def test_messages(counter: Counter) -> None:
    """All are signed and name the invoice."""
    found = await opened(counter)
    for act in ("pay", "confirm"):
        counter.payments.control.act(found.reference, act)
    await counter.receiver.wait(5)
    notices = [counter.btcpay.notice(headers, body) for _, headers, body in counter.receiver.got]
    assert {notice.reference for notice in notices} == {found.reference}
    assert {notice.kind for notice in notices} == {
        "InvoiceCreated",
        "InvoiceReceivedPayment",
        "InvoiceProcessing",
        "InvoicePaymentSettled",
        "InvoiceSettled",
    }


async def test_a_message_that_is_delivered_again_keeps_its_name(counter: Counter) -> None:
    """The server repeats what was not taken, with a delivery of its own; the event is the same."""
    counter.receiver.status = 503
    await opened(counter)
    await counter.receiver.wait(2)
    counter.receiver.status = 200
    first, second = (
        counter.btcpay.notice(headers, body) for _, headers, body in counter.receiver.got[:2]
    )
    assert first == second
    assert counter.receiver.got[0][2] != counter.receiver.got[1][2]


@pytest.mark.parametrize("how", hooks.FORGERIES)
async def test_forged_messages(counter: Counter, how: str) -> None:
    """What is changed, not signed or signed by another is refused. BTCPay signs no time: an old
    message is a true one, and harmless, for the server is asked before anything is credited."""
    found = await opened(counter)
    await counter.receiver.wait(1)
    counter.receiver.got.clear()
    await counter.payments.control.do(
        "hooks", {"service": "btcpay", "again": "InvoiceCreated", "how": how}
    )
    _, headers, body = counter.receiver.got[0]
    if how in ("copy", "old"):
        assert counter.btcpay.notice(headers, body).reference == found.reference
    else:
        with pytest.raises(Forged):
            counter.btcpay.notice(headers, body)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"deliveryId": 7, "type": "x"}'])
async def test_signed_nonsense(counter: Counter, body: bytes) -> None:
    with pytest.raises(Forged):
        counter.btcpay.notice(coins.sign("btcpay-hook-of-a-test", body, 0), body)


async def test_without_a_secret_nothing_is_believed(counter: Counter) -> None:
    """An empty webhook secret is not a secret that anybody could sign with."""
    settings = msgspec.structs.replace(counter.settings.btcpay, webhook_secret_file="")
    adapter = Btcpay(msgspec.structs.replace(counter.settings, btcpay=settings))
    body = b'{"deliveryId": "d", "type": "InvoiceSettled", "invoiceId": "i"}'
    with pytest.raises(Forged):
        adapter.notice(coins.sign("", body, 0), body)
    await adapter.close()


async def test_the_page_pays_by_its_first_form(counter: Counter) -> None:
    """The first form, sent as it comes, pays what is due and leads back to us."""
    found = await opened(counter)
    async with httpx.AsyncClient() as browser:
        page = await browser.get(found.pay_url)
        form = page.text.partition("<form")[2].partition("</form>")[0]
        action = form.partition('action="')[2].partition('"')[0]
        answer = await browser.post(str(page.url.join(action)), data={"amount": ""})
    assert (answer.status_code, answer.headers["location"]) == (303, WANTED.return_url)
    assert (await counter.btcpay.standing(found.reference)).status == "seen"


async def test_a_test_chain_never_meets_a_real_upstream(counter: Counter) -> None:
    """Coins that are worth nothing must not buy real answers."""
    upstream = Upstream(family="openai", base_url="https://api.openai.com")
    adapter = Btcpay(msgspec.structs.replace(counter.settings, upstream=[upstream]))
    with pytest.raises(ProviderRefused, match="test chain"):
        await adapter.open(WANTED)
    await adapter.close()
