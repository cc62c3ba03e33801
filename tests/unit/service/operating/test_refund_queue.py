"""Refunds that wait for a second operator, and what else the desk does to an order."""

from datetime import timedelta

import pytest

from corvus_proxy import clock
from corvus_proxy.books.db import Books
from corvus_proxy.books.operating.audit import Chosen
from corvus_proxy.service import keys
from corvus_proxy.service.operating import deeds, parcels, planning, refunds
from corvus_proxy.service.orders import Placed, Problem
from corvus_proxy.shop.settle import settle
from corvus_proxy.till.client import Till
from tests.shop import USD, Shop, paid

pytestmark = pytest.mark.anyio
ADA = {"reason": "asked for", "actor": "cli:ada"}
BOB = {"reason": "looked at", "actor": "console:bob"}


@pytest.fixture
async def shop(valkey_till: Till, books: Books) -> Shop:
    return Shop(valkey_till, books, refund_alone_usd="5")


async def bought(shop: Shop, **form: str) -> Placed:
    """A paid order of 20 USD."""
    placed = await shop.place(**form)
    shop.card.say(placed.order_id, "settled", paid(20 * USD, reference=f"pi_{placed.order_id}"))
    await settle(shop.desk.means, placed.order_id, via="poll")
    return placed


async def asked(shop: Shop, order_id: str, usd: int) -> refunds.RefundLine:
    """A refund that is asked for by Ada."""
    found = await refunds.request(shop.desk, order_id, usd * USD, **ADA)
    assert isinstance(found, refunds.RefundLine), found
    return found


async def test_a_large_refund_waits_for_another_operator(shop: Shop) -> None:
    """Nothing is taken meanwhile, by the worker neither; who asked cannot say yes; after the yes it
    goes the way of all."""
    placed = await bought(shop, email="me@example.com")
    small = await asked(shop, placed.order_id, 5)
    large = await asked(shop, placed.order_id, 6)
    assert (small.state, large.state) == ("sent", "waiting")
    await shop.drain()
    row = await shop.row(placed.order_id)
    assert await shop.balance(row.wallet) == 15 * USD
    own = await refunds.approve(shop.desk, large.refund_id, **ADA)
    assert isinstance(own, Problem)
    assert "another operator" in own.sentence
    elsewhere = {**ADA, "actor": "console:ada"}  # the same person at another door
    assert await refunds.approve(shop.desk, large.refund_id, **elsewhere) == own
    with pytest.raises(keys.ServiceRefused, match="another operator"):
        await planning.approval(shop.desk, large.refund_id, "console:ada")
    plan = await planning.approval(shop.desk, large.refund_id, "cli:bob")
    assert [one.amount_nanos for one in plan.rows] == [6 * USD, 6 * USD]
    await refunds_of_worker(shop)
    assert large.refund_id not in shop.card.refunds
    assert [one.state for one in await refunds.listing(shop.desk, open_only=True)] == ["waiting"]
    done = await refunds.approve(shop.desk, large.refund_id, **BOB)
    assert isinstance(done, refunds.RefundLine)
    assert (done.state, await shop.balance(row.wallet)) == ("sent", 9 * USD)
    with pytest.raises(keys.ServiceRefused, match="is sent"):
        await planning.waiting(shop.desk, large.refund_id)
    again = await refunds.approve(shop.desk, large.refund_id, **BOB)
    assert isinstance(again, Problem)
    assert "is sent" in again.sentence
    assert (await shop.accounts())["refunds"] == 0
    [deed] = await deeds.tail(shop.stores, Chosen(action="refunds.approve"))
    assert (deed.actor, deed.subject) == ("console:bob", large.refund_id)
    assert deed.details == {"order": placed.order_id, "nanos": 6 * USD, "reason": "looked at"}


async def test_a_large_refund_is_not_sent_in_small_parts(shop: Shop) -> None:
    """What of the order goes back already counts; the plan says that it would wait."""
    placed = await bought(shop)
    assert (await planning.refund(shop.desk, placed.order_id, 4 * USD)).note == ""
    assert (await asked(shop, placed.order_id, 4)).state == "sent"
    assert "another operator" in (await planning.refund(shop.desk, placed.order_id, 2 * USD)).note
    assert (await asked(shop, placed.order_id, 2)).state == "waiting"
    for nanos, why in ((15 * USD, "At most"), (1, "whole cents")):
        with pytest.raises(keys.ServiceRefused, match=why):
            await planning.refund(shop.desk, placed.order_id, nanos)


async def refunds_of_worker(shop: Shop) -> None:
    """The worker's turn."""
    from corvus_proxy.shop import refunds as own

    await own.go_on(shop.desk.means)


async def test_a_refused_one_takes_nothing_and_frees_its_payment(shop: Shop) -> None:
    """The same money can be asked for again; the buyer's page says that it was refused."""
    placed = await bought(shop)
    large = await asked(shop, placed.order_id, 20)
    more = await refunds.request(shop.desk, placed.order_id, 1 * USD, **ADA)
    assert isinstance(more, Problem)  # it counts as good as sent
    done = await refunds.refuse(shop.desk, large.refund_id, **ADA)
    assert isinstance(done, refunds.RefundLine)
    assert done.state == "refused"
    assert (await shop.view(placed)).refund == "refused"
    assert isinstance(await refunds.refuse(shop.desk, large.refund_id, **BOB), Problem)
    assert (await asked(shop, placed.order_id, 2)).state == "sent"
    with pytest.raises(ValueError, match="say why"):
        await refunds.approve(shop.desk, large.refund_id, reason=" ", actor="cli:bob")
    with pytest.raises(LookupError, match="no refund ref_none"):
        await refunds.approve(shop.desk, "ref_none", **BOB)


async def test_what_is_spent_meanwhile_refuses_an_approved_one(shop: Shop) -> None:
    """The balance decides at the yes, not at the question."""
    placed = await bought(shop)
    large = await asked(shop, placed.order_id, 20)
    row = await shop.row(placed.order_id)
    await keys.debit(shop.stores, row.key_id or "", USD, reason="spent")
    done = await refunds.approve(shop.desk, large.refund_id, **BOB)
    assert isinstance(done, refunds.RefundLine)
    assert (done.state, shop.card.refunds) == ("refused", {})
    assert await shop.balance(row.wallet) == 19 * USD


async def test_a_cancelled_order_is_credited_if_it_is_paid_all_the_same(shop: Shop) -> None:
    """It has ended for the buyer, and its money is not lost."""
    placed = await shop.place()
    shop.card.away = True
    away = await parcels.cancel(shop.desk, placed.order_id, **ADA)
    assert isinstance(away, Problem)
    shop.card.away = False
    assert await parcels.cancel(shop.desk, placed.order_id, **ADA) is None
    assert await settle(shop.desk.means, placed.order_id, via="poll")
    view = await shop.view(placed)
    assert (view.status, view.reason) == ("expired", "asked for")
    assert view.expires_at <= clock.utc_now() < view.expires_at + timedelta(minutes=5)
    shop.card.say(placed.order_id, "settled", paid(20 * USD, late=True))
    await settle(shop.desk.means, placed.order_id, via="poll")
    assert (await shop.view(placed)).status == "paid_confirmed"
    assert isinstance(await parcels.cancel(shop.desk, placed.order_id, **ADA), Problem)


async def test_mail_and_link_of_delivery(shop: Shop) -> None:
    """Sent again while there is a copy of the key; then nobody can show it."""
    placed = await bought(shop, email="me@example.com")
    assert await parcels.resend(shop.desk, placed.order_id, **ADA) is None
    kinds = await shop.fetch("select kind from mail order by created_at, mail_id")
    assert [row["kind"] for row in kinds].count("delivered") == 2
    assert isinstance(await parcels.claim_link(shop.desk, placed.order_id, **ADA), str)
    async with shop.stores.books.transaction() as connection:
        await connection.execute("update shop_order set secret_sealed = '', recovery_sealed = ''")
    for found in (
        await parcels.resend(shop.desk, placed.order_id, **ADA),
        await parcels.claim_link(shop.desk, placed.order_id, **ADA),
    ):
        assert isinstance(found, Problem)
        assert "handed over already" in found.sentence


async def test_what_a_movement_would_write_is_what_it_writes(shop: Shop) -> None:
    """The plan of a credit by hand, and the rows that stand in the books afterwards."""
    from corvus_proxy.service import orders

    placed = await bought(shop)
    plan = await planning.credit_order(shop.desk, placed.order_id, 3 * USD)
    await orders.credit_by_hand(shop.desk, placed.order_id, 3 * USD, **ADA)
    await shop.drain()
    written = [
        *await shop.fetch("select debit, credit, amount_nanos from cash order by at desc limit 1"),
        *await shop.fetch(
            "select debit, credit, amount_nanos from posting join event using (part, epoch, seq)"
            " order by wallet_seq desc limit 1"
        ),
    ]
    assert [tuple(row) for row in written] == [row[1:] for row in plan.rows]
    assert (plan.balance_nanos, plan.after_nanos) == (20 * USD, 23 * USD)
    row = await shop.row(placed.order_id)
    with pytest.raises(keys.ServiceRefused, match="are free"):
        await planning.move(shop.stores, row.key_id or "", -24 * USD, "adjustments")
