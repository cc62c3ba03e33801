"""Orders beside simulated payment services that speak the real protocols over sockets: every row of
the state table, messages that are lost, forged or lie, and the money of it all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from corvus_proxy.books.db import Books
from corvus_proxy.dev.http import Exchange, listen
from corvus_proxy.dev.payments.server import Payments
from corvus_proxy.dev.payments.server import serve as serve_payments
from corvus_proxy.service import orders as service
from corvus_proxy.service.orders import OrderView, Placed, RefundView
from corvus_proxy.settings import MailSettings, ShopSettings
from corvus_proxy.shop.services import providers
from corvus_proxy.till.client import Till
from tests.payments import BTCPAY_HOOK_SECRET, STRIPE_HOOK_SECRET, selling
from tests.shop import BRAND, USD, Shop

pytestmark = pytest.mark.anyio


class Market(Shop):
    """A shop whose payment services are others on sockets, whose messages reach its desk."""

    payments: Payments

    async def reference(self, placed: Placed) -> str:
        return (await self.row(placed.order_id)).provider_ref or ""

    async def act(self, placed: Placed, act: str, **more: Any) -> None:
        """Does something to an order's payment at its service."""
        self.payments.control.act(await self.reference(placed), act, **more)


@pytest.fixture
async def market(valkey_till: Till, books: Books, tmp_path: Path) -> AsyncIterator[Market]:
    shop = Market(valkey_till, books)
    async with (
        serve_payments(block_s=0.0) as (payments, url),
        contextlib.AsyncExitStack() as opened,
    ):
        shop.payments = payments
        shop.settings = selling(
            tmp_path, url, brand=BRAND, shop=ShopSettings(), mail=MailSettings(host="mail.test")
        )
        shop.services = providers(shop.settings)
        desk = shop.desk

        async def take(exchange: Exchange) -> None:
            name = exchange.path.rpartition("/")[2]
            headers = {key.lower(): value for key, value in exchange.headers.items()}
            status = await service.webhook(desk, name, headers, exchange.body)
            exchange.raw(status, "text/plain", b"")

        listener = await listen(take, "127.0.0.1", 0)
        opened.push_async_callback(listener.close)
        for one, key in (
            (payments.cards, STRIPE_HOOK_SECRET), (payments.coins, BTCPAY_HOOK_SECRET),
        ):  # fmt: skip
            one.hooks.url, one.hooks.secret = f"{listener.url}/webhooks/{one.name}", key
            one.hooks.pause_factor = 0.001
        yield shop
        for found in shop.services.values():
            await found.close()


class Row(NamedTuple):
    """One row of the table: what happens at the service, and what the order's page then shows."""

    provider: str
    acts: list[str]
    state: tuple[str, str]
    credited: tuple[int, int]
    """Least and most, in thousandths of the amount."""


NOTHING, ALL = (0, 0), (1000, 1000)
ROWS = {
    "stripe waits": Row("stripe", [], ("awaiting_payment", ""), NOTHING),
    "stripe seen": Row("stripe", ["pay_later"], ("payment_seen", ""), NOTHING),
    "stripe paid": Row("stripe", ["pay"], ("paid_confirmed", ""), ALL),
    "stripe paid later": Row("stripe", ["pay_later", "confirm"], ("paid_confirmed", ""), ALL),
    "stripe failed": Row("stripe", ["pay_later", "fail"], ("invalid", ""), NOTHING),
    "stripe expired": Row("stripe", ["expire"], ("expired", ""), NOTHING),
    "stripe lies": Row("stripe", ["lie"], ("awaiting_payment", ""), NOTHING),
    "btcpay waits": Row("btcpay", [], ("awaiting_payment", ""), NOTHING),
    "btcpay seen": Row("btcpay", ["pay"], ("payment_seen", ""), NOTHING),
    "btcpay less seen": Row("btcpay", ["under"], ("payment_seen", "underpaid"), NOTHING),
    "btcpay less": Row("btcpay", ["under", "confirm"], ("payment_seen", "underpaid"), (399, 401)),
    "btcpay two parts": Row(
        "btcpay", ["under", "confirm", "pay", "confirm"], ("paid_confirmed", ""), ALL
    ),
    "btcpay paid": Row("btcpay", ["pay", "confirm"], ("paid_confirmed", ""), ALL),
    "btcpay more": Row("btcpay", ["over", "confirm"], ("paid_confirmed", "overpaid"), (1499, 1501)),
    "btcpay late": Row("btcpay", ["late", "confirm"], ("paid_confirmed", "late"), (999, 1001)),
    "btcpay expired": Row("btcpay", ["expire"], ("expired", ""), NOTHING),
    "btcpay expired with less": Row(
        "btcpay", ["under", "confirm", "expire"], ("expired", "underpaid"), (399, 401)
    ),
    "btcpay marked": Row("btcpay", ["mark_settled"], ("paid_confirmed", "manual"), ALL),
    "btcpay marked invalid": Row("btcpay", ["mark_invalid"], ("invalid", ""), NOTHING),
    "btcpay seen and gone": Row("btcpay", ["pay", "reverse"], ("awaiting_payment", ""), NOTHING),
    "btcpay lies": Row("btcpay", ["lie"], ("awaiting_payment", ""), NOTHING),
}


async def test_rows_of_the_table(market: Market, subtests: pytest.Subtests) -> None:
    """The page is asked after each act; messages come beside. All in one shop, whose clearing
    accounts are zero in the end."""
    for name, row in ROWS.items():
        with subtests.test(name):
            await _row(market, row)
    accounts = await market.accounts()
    assert (accounts["clearing:stripe"], accounts["clearing:btcpay"]) == (0, 0)


async def _row(market: Market, row: Row) -> None:
    placed = await market.place(provider=row.provider)
    for act in row.acts:
        await market.act(placed, act)
        await market.view(placed)
    view = await market.view(placed)
    assert (view.status, view.exception) == row.state
    least, most = (share * 20 * USD // 1000 for share in row.credited)
    assert least <= view.credited_nanos <= most
    assert not view.disputed
    assert bool(view.secret) == bool(view.credited_nanos)
    assert await market.balance((await market.row(placed.order_id)).wallet) == view.credited_nanos


REVERSALS = {
    "stripe": (["pay"], "reverse", "dispute_won"),
    "btcpay": (["pay", "confirm"], "reverse", ""),
}


@pytest.mark.parametrize("provider", REVERSALS)
async def test_what_is_taken_back(market: Market, provider: str) -> None:
    """A disputed card payment, a double spend: what is free goes, the wallet stands still; a won
    dispute brings it back."""
    acts, back, again = REVERSALS[provider]
    placed = await market.place(provider=provider)
    for act in acts:
        await market.act(placed, act)
    view = await market.view(placed)
    assert (view.status, view.balance_nanos) == ("paid_confirmed", 20 * USD)
    await market.act(placed, back)
    await service.check(market.desk, placed.order_id)
    view = await market.view(placed)
    assert (view.status, view.disputed) == ("invalid", True)
    accounts = await market.accounts()
    assert (accounts["chargebacks"], accounts.get(f"cash:{provider}", 0)) == (0, 0)
    [wallet] = await market.fetch("select balance_nanos, status, frozen_by from wallet")
    assert tuple(wallet) == (0, 0, "chargeback")
    if again:
        await market.act(placed, again)
        await service.check(market.desk, placed.order_id)
        view = await market.view(placed)
        assert (view.status, view.disputed) == ("paid_confirmed", False)
        assert await market.balance((await market.row(placed.order_id)).wallet) == 20 * USD
        [wallet] = await market.fetch("select status, frozen_by from wallet")
        assert tuple(wallet) == (1, "")
        assert (await market.accounts())["chargebacks"] == 0


@pytest.mark.parametrize("provider", ["stripe", "btcpay"])
async def test_by_message_alone_an_order_is_credited(market: Market, provider: str) -> None:
    """Nobody opens the page, and the worker sleeps."""
    placed = await market.place(provider=provider)
    await market.act(placed, "pay")
    if provider == "btcpay":
        await market.act(placed, "confirm")
    async with asyncio.timeout(60):
        while (await market.row(placed.order_id)).status != "paid_confirmed":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    row = await market.row(placed.order_id)
    assert await market.balance(row.wallet) == row.credited_nanos == 20 * USD
    [step] = await market.fetch(
        "select details->>'via' as via from order_step where step = 'credited'"
    )
    assert step["via"] == "webhook"


@pytest.mark.parametrize("provider", ["stripe", "btcpay"])
async def test_a_lost_message_is_made_up_for_by_the_worker(market: Market, provider: str) -> None:
    """And the message that comes much later changes nothing."""
    hooks = (market.payments.cards if provider == "stripe" else market.payments.coins).hooks
    hooks.play("drop", 20)
    placed = await market.place(provider=provider)
    await market.act(placed, "pay")
    if provider == "btcpay":
        await market.act(placed, "confirm")
    async with asyncio.timeout(60):  # an answer to what came before may still be on its way
        while not (await market.row(placed.order_id)).credited_nanos:
            await market.fetch("update shop_order set next_check_at = now()")
            await service.tick(market.desk)
    row = await market.row(placed.order_id)
    assert (row.status, row.credited_nanos) == ("paid_confirmed", 20 * USD)
    found = await service.doctor(market.desk, placed.order_id)
    told = {one.link: one.sentence for one in found.findings}
    assert f"No message of {provider} ever came" in told["webhook"]
    assert "the worker found it" in told["webhook"]
    for message in list(hooks.made):
        assert await hooks.again(message.id, "copy") == 200
    assert await market.balance(row.wallet) == 20 * USD


async def test_forged_and_old_messages_do_nothing(market: Market) -> None:
    placed = await market.place()
    hooks = market.payments.cards.hooks
    hooks.play("drop", 1)
    await market.act(placed, "pay")
    asked = (await market.row(placed.order_id)).asked
    for how in ("wrong_signature", "unsigned", "altered", "old"):
        assert await hooks.again(hooks.made[-1].id, how) == 400
    row = await market.row(placed.order_id)
    assert (row.asked, row.credited_nanos) == (asked, 0)
    assert not await market.fetch("select from webhook")


TROUBLES: list[dict[str, Any]] = [
    {"status": 500}, {"cut": True}, {"garbage": True}, {"status": 429},
]  # fmt: skip


async def test_a_service_in_trouble_credits_nothing_and_everything_later(
    market: Market, subtests: pytest.Subtests
) -> None:
    for trouble in TROUBLES:
        with subtests.test(str(trouble)):
            await _trouble(market, trouble)


async def _trouble(market: Market, trouble: dict[str, Any]) -> None:
    placed = await market.place()
    market.payments.cards.hooks.play("drop", 5)
    await market.act(placed, "pay")
    wish = {"service": "stripe", "times": 50, **trouble}
    await market.payments.control.do("trouble", wish)
    view = await market.view(placed)
    assert (view.status, view.credited_nanos) == ("awaiting_payment", 0)
    assert "does not answer" in view.check_problem
    await market.payments.control.do("trouble", {"service": "stripe", "times": 0})
    view = await market.view(placed)
    assert (view.status, view.credited_nanos, view.check_problem) == (
        "paid_confirmed", 20 * USD, "",
    )  # fmt: skip


async def refunded(market: Market, provider: str) -> tuple[Placed, RefundView]:
    placed = await market.place(provider=provider)
    await market.act(placed, "pay")
    if provider == "btcpay":
        await market.act(placed, "confirm")
    await market.view(placed)
    done = await service.refund(
        market.desk, placed.order_id, 12 * USD, reason="asked for", actor="cli"
    )
    assert isinstance(done, RefundView), done
    return placed, done


@pytest.mark.parametrize("provider", ["stripe", "btcpay"])
async def test_a_refund_is_sent_and_is_no_reversal(market: Market, provider: str) -> None:
    """The service tells of its own refund, too; that must not take the money twice."""
    placed, done = await refunded(market, provider)
    assert (done.state, bool(done.provider_ref)) == ("sent", True)
    await service.check(market.desk, placed.order_id)
    view: OrderView = await market.view(placed)
    assert (view.refund, view.refunded_nanos, view.disputed) == ("sent", 12 * USD, False)
    assert view.balance_nanos == 8 * USD
    accounts = await market.accounts()
    assert (accounts["refunds"], accounts[f"cash:{provider}"]) == (0, -8 * USD)


async def test_a_refund_whose_answer_was_lost_is_sent_once(market: Market) -> None:
    placed = await market.place()
    await market.act(placed, "pay")
    await market.view(placed)
    await market.payments.control.do("trouble", {"service": "stripe", "times": 9, "cut": True})
    done = await service.refund(
        market.desk, placed.order_id, 12 * USD, reason="asked for", actor="cli"
    )
    assert isinstance(done, RefundView)
    assert done.state == "approved"
    await market.payments.control.do("trouble", {"service": "stripe", "times": 0})
    await service.tick(market.desk)
    view = await market.view(placed)
    assert (view.refund, view.balance_nanos) == ("sent", 8 * USD)
    sent = [one for one in market.payments.cards.objects.values() if one["object"] == "refund"]
    assert [one["amount"] for one in sent] == [1200]


async def test_fee_and_tax_are_asked_for_and_kept_apart(market: Market) -> None:
    market.settings = replace(
        market.settings,
        shop=ShopSettings(fee_percent="2.9", fee_fixed_usd="0.30", tax_percent="19"),
    )
    placed = await market.place("10.01")
    assert market.payments.cards.objects[await market.reference(placed)]["amount_total"] == 1263
    await market.act(placed, "pay")
    view = await market.view(placed)
    assert view.credited_nanos == view.balance_nanos == 10_010_000_000
    accounts = await market.accounts()
    assert accounts["fees"] + accounts["tax"] == 2_620_000_000
