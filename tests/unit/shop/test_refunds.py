"""Money back: taken from what is free before the payment service hears of it, once, whatever
crashes."""

import contextlib
import json
from typing import Any

import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.sealing import unseal
from corvus_proxy.service import keys
from corvus_proxy.service import orders as service
from corvus_proxy.service.orders import Placed, Problem, RefundView
from corvus_proxy.shop import refunds
from corvus_proxy.shop.settle import settle
from corvus_proxy.till.client import Till
from tests.shop import PEPPER, USD, Shop, paid

pytestmark = pytest.mark.anyio
WHY = {"reason": "asked for", "actor": "cli"}


@pytest.fixture
async def shop(valkey_till: Till, books: Books) -> Shop:
    return Shop(valkey_till, books)


async def bought(shop: Shop, **form: str) -> Placed:
    """A paid order of 20 USD."""
    placed = await shop.place(**form)
    payment = paid(20 * USD, reference=f"pi_{placed.order_id}")
    shop.card.say(placed.order_id, "settled", payment)
    await settle(shop.desk.means, placed.order_id, via="poll")
    return placed


async def test_unspent_money_goes_back_the_way_it_came(shop: Shop) -> None:
    placed = await bought(shop, email="me@example.com")
    row = await shop.row(placed.order_id)
    await keys.debit(shop.stores, row.key_id or "", 5 * USD + 1, reason="spent")
    assert await service.refundable(shop.desk, placed.order_id) == 14_990_000_000
    done = await service.refund(shop.desk, placed.order_id, 10 * USD, **WHY)
    assert isinstance(done, RefundView)
    assert (done.state, done.provider_ref) == ("sent", f"re-{done.refund_id}")
    assert shop.card.refunds == {done.refund_id: (f"pi_{placed.order_id}", 10 * USD)}
    view = await shop.view(placed)
    assert (view.refund, view.refunded_nanos, view.balance_nanos) == (
        "sent", 10 * USD, 5 * USD - 1,
    )  # fmt: skip
    accounts = await shop.accounts()
    assert (accounts["refunds"], accounts["cash:stripe"]) == (0, -10 * USD)
    assert accounts["clearing:stripe"] == 0
    states = await shop.fetch("select kind from mail where kind = 'refund'")
    assert len(states) == 3


async def test_a_refund_that_is_claimed_is_its_payers_alone(shop: Shop) -> None:
    """Its link is in the mail and on the page of the browser that ordered; elsewhere not even the
    name that would open it stands. Before it is sent there is none."""
    shop.card.claims = "https://coins.test/pull-payments"
    placed = await bought(shop, email="me@example.com")
    shop.card.away = True
    waits = await service.refund(shop.desk, placed.order_id, 10 * USD, **WHY)
    assert isinstance(waits, RefundView)
    assert (waits.state, waits.claim_url) == ("approved", "")
    assert (await shop.view(placed)).refunds[0].claim_url == ""
    shop.card.away = False
    await service.tick(shop.desk)
    url = f"https://coins.test/pull-payments/re-{waits.refund_id}"
    [own] = (await shop.view(placed)).refunds
    assert (own.state, own.claim_url, own.provider_ref) == ("sent", url, f"re-{waits.refund_id}")
    stranger = await service.view(shop.desk, placed.token, "")
    assert stranger is not None
    assert (stranger.refunds[0].claim_url, stranger.refunds[0].provider_ref) == ("", "")
    mails = await shop.fetch(
        "select view_sealed from mail where kind = 'refund' order by created_at, mail_id"
    )
    told = [json.loads(unseal(PEPPER, "mail", row["view_sealed"])) for row in mails]
    assert {one["state"]: one["claim_url"] for one in told} == {
        "requested": "", "approved": "", "sent": url,
    }  # fmt: skip


async def test_what_cannot_be_sent_back_is_refused_with_nothing_moved(shop: Shop) -> None:
    placed = await bought(shop)
    for nanos in (0, -USD, USD + 1, 20 * USD + 10_000_000):
        assert isinstance(await service.refund(shop.desk, placed.order_id, nanos, **WHY), Problem)
    assert (await shop.row(placed.order_id)).refund == ""
    assert (await shop.accounts()).get("refunds", 0) == 0


async def test_all_refunds_together_are_not_more_than_was_credited(shop: Shop) -> None:
    """Though the wallet has money of another order."""
    placed = await bought(shop)
    key_id = (await shop.row(placed.order_id)).key_id or ""
    await keys.credit(shop.stores, key_id, 100 * USD, reason="grant")
    first = await service.refund(shop.desk, placed.order_id, 15 * USD, **WHY)
    assert isinstance(first, RefundView)
    assert await service.refundable(shop.desk, placed.order_id) == 5 * USD
    assert isinstance(await refunds.request(shop.desk.means, placed.order_id, 6 * USD, **WHY), str)


async def test_money_spent_meanwhile_is_not_sent(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = await bought(shop)
    row = await shop.row(placed.order_id)
    await keys.debit(shop.stores, row.key_id or "", 15 * USD, reason="spent")
    done = await refunds.request(shop.desk.means, placed.order_id, 20 * USD, **WHY)
    assert not isinstance(done, str)
    assert done.state == "refused"
    view = await shop.view(placed)
    assert (view.refund, view.refunded_nanos, view.balance_nanos) == ("refused", 0, 5 * USD)
    assert not shop.card.refunds
    assert (await shop.accounts()).get("refunds", 0) == 0


async def test_while_the_service_is_away_the_worker_tries_again(shop: Shop) -> None:
    placed = await bought(shop)
    shop.card.away = True
    done = await service.refund(shop.desk, placed.order_id, 20 * USD, **WHY)
    assert isinstance(done, RefundView)
    assert done.state == "approved"
    row = await shop.row(placed.order_id)
    assert await shop.balance(row.wallet) == 0
    shop.card.away = False
    await service.tick(shop.desk)
    assert (await shop.row(placed.order_id)).refund == "sent"
    assert (await shop.accounts())["refunds"] == 0


async def test_what_the_service_refuses_for_good_comes_back_to_the_balance(shop: Shop) -> None:
    placed = await bought(shop)
    shop.card.refuses = True
    done = await service.refund(shop.desk, placed.order_id, 20 * USD, **WHY)
    assert isinstance(done, RefundView)
    assert done.state == "refused"
    row = await shop.row(placed.order_id)
    assert (await shop.balance(row.wallet), row.refunded_nanos) == (20 * USD, 0)
    assert (await shop.accounts())["refunds"] == 0
    shop.card.refuses = False
    assert await service.refundable(shop.desk, placed.order_id) == 20 * USD


async def test_a_chargeback_after_a_refund_takes_only_the_rest(shop: Shop) -> None:
    placed = await bought(shop)
    await service.refund(shop.desk, placed.order_id, 15 * USD, **WHY)
    payment = paid(20 * USD, "reversed", reference=f"pi_{placed.order_id}")
    shop.card.say(placed.order_id, "settled", payment)
    await settle(shop.desk.means, placed.order_id, via="webhook")
    row = await shop.row(placed.order_id)
    assert await shop.balance(row.wallet) == 0
    accounts = await shop.accounts()
    assert accounts.get("cash:stripe", 0) == 0
    assert f"receivable:{row.wallet}" not in accounts


async def test_a_crash_at_any_step_sends_it_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call that a refund makes ends the process in turn, before and after it did its work."""
    targets = [
        (refunds.outbox, "send"),
        (refunds.rows, "insert"),
        (refunds.rows, "move"),
        (refunds.orders, "change"),
        (refunds.payments, "cash"),
        (shop.card, "refund"),
    ]
    for target, name in targets:
        for after in (False, True):
            real: Any = getattr(target, name)

            async def crash(*args: Any, real: Any = real, after: bool = after, **named: Any) -> Any:
                if after:
                    await real(*args, **named)
                raise KeyboardInterrupt

            placed = await bought(shop)
            with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
                patch.setattr(target, name, crash)
                await refunds.request(shop.desk.means, placed.order_id, 7 * USD, **WHY)
            await service.tick(shop.desk)
            await service.tick(shop.desk)
            row = await shop.row(placed.order_id)
            left = await shop.balance(row.wallet)
            sent = [one for one in shop.card.refunds.values() if one[0] == f"pi_{placed.order_id}"]
            begun = bool(row.refund)
            assert (row.refund, len(sent)) == (("sent", 1) if begun else ("", 0)), (name, after)
            assert left == (13 if begun else 20) * USD
    accounts = await shop.accounts()
    assert (accounts["refunds"], accounts["clearing:stripe"]) == (0, 0)
