"""Crediting an order: once, whoever comes first, whatever crashes; and what reversals leave."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from corvus_proxy import secret
from corvus_proxy.books import quarantine, release
from corvus_proxy.books.db import Books
from corvus_proxy.ledger import outbox
from corvus_proxy.money.event import Poison, partition_of
from corvus_proxy.sealing import token_digest
from corvus_proxy.service import keys, owner
from corvus_proxy.service import orders as service
from corvus_proxy.service.orders import Placed
from corvus_proxy.shop import settle as settling
from corvus_proxy.shop.provider import Standing
from corvus_proxy.shop.settle import settle
from corvus_proxy.site.shop import words
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.reply import Look
from tests.shop import PEPPER, USD, Shop, paid

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(valkey_till: Till, books: Books) -> Shop:
    return Shop(valkey_till, books)


async def test_a_paid_order_makes_a_key_that_works_at_once(shop: Shop) -> None:
    placed = await shop.place()
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    view = await shop.view(placed)
    assert (view.status, view.exception, view.fulfilment) == ("paid_confirmed", "", "delivered")
    assert (view.credited_nanos, view.balance_nanos) == (20 * USD, 20 * USD)
    assert view.secret.startswith("sk-corvus_")
    look = await shop.stores.till.look(
        f"w_{view.secret[10:22]}", secret.digest(view.secret, PEPPER)
    )
    assert isinstance(look, Look)
    assert look.key_id == view.key_id
    [row] = await shop.fetch("select recovery_digest from wallet")
    assert row["recovery_digest"] == token_digest(PEPPER, view.recovery)
    assert [step.step for step in view.steps] == [
        "created", "opened", "key_made", "credited", "paid_confirmed", "delivered",
    ]  # fmt: skip
    accounts = await shop.accounts()
    assert accounts["cash:stripe"] == -20 * USD
    assert accounts["clearing:stripe"] == 0


async def test_another_browser_sees_the_order_and_no_key(shop: Shop) -> None:
    placed = await shop.place(email="me@example.com")
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    own = await shop.view(placed)
    for browser in ("", "x" * 24):
        view = await shop.view(placed, browser=browser)
        assert (view.status, view.own_browser) == ("paid_confirmed", False)
        assert (view.secret, view.recovery, view.email, view.masked) == ("", "", "", "")
        assert view.balance_nanos is None
    assert own.secret
    assert await service.view(shop.desk, "no such token", placed.browser) is None


async def test_fee_and_tax_have_accounts_of_their_own(valkey_till: Till, books: Books) -> None:
    shop = Shop(valkey_till, books, fee_percent="2.9", fee_fixed_usd="0.30", tax_percent="19")
    placed = await shop.place("10.01")
    shop.card.say(placed.order_id, "settled", paid(12_630_000_000))
    view = await shop.view(placed)
    assert view.credited_nanos == 10_010_000_000
    accounts = await shop.accounts()
    assert (accounts["fees"], accounts["tax"]) == (600_000_000, 2_020_000_000)
    assert (accounts["cash:stripe"], accounts["clearing:stripe"]) == (-12_630_000_000, 0)


async def test_webhook_poll_and_pages_at_once_credit_once(shop: Shop) -> None:
    """And the same message twice, and again a day later."""
    placed = await shop.place()
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    await shop.fetch("update shop_order set next_check_at = now()")
    answers = await asyncio.gather(
        *(shop.message(placed.order_id, event_id="evt_1") for _ in range(4)),
        *(service.tick(shop.desk) for _ in range(2)),
        *(shop.view(placed) for _ in range(4)),
    )
    assert answers[:4] == [200, 200, 200, 200]
    assert await shop.message(placed.order_id, event_id="evt_1") == 200
    row = await shop.row(placed.order_id)
    assert (await shop.balance(row.wallet), row.credited_nanos) == (20 * USD, 20 * USD)
    assert len(await shop.fetch("select from wallet")) == 1
    assert len(await shop.fetch("select from webhook")) == 1
    assert (await shop.accounts())["clearing:stripe"] == 0


async def test_a_message_alone_is_not_believed(shop: Shop) -> None:
    placed = await shop.place()
    assert await shop.message(placed.order_id) == 200
    assert (await shop.row(placed.order_id)).status == "awaiting_payment"


async def test_forged_and_unknown_messages_leave_no_trace(shop: Shop) -> None:
    placed = await shop.place()
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    body = f'["e", "paid", "stripe-{placed.order_id}"]'.encode()
    assert await service.webhook(shop.desk, "stripe", {"signature": "bad"}, body) == 400
    assert await service.webhook(shop.desk, "stripe", {}, body) == 400
    assert await service.webhook(shop.desk, "paypal", {"signature": "good"}, body) == 404
    assert await shop.message("ord_nobody") == 200
    assert (await shop.row(placed.order_id)).asked == 0
    assert not await shop.fetch("select from webhook")


async def test_while_the_service_is_away_the_page_says_when_it_last_answered(shop: Shop) -> None:
    placed = await shop.place()
    before = await shop.view(placed)
    shop.card.away = True
    view = await shop.view(placed)
    assert view.checked_at == before.checked_at
    assert "does not answer" in view.check_problem
    assert await shop.message(placed.order_id) == 503
    shop.card.away = False
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    view = await shop.view(placed)
    assert (view.check_problem, view.credited_nanos) == ("", 20 * USD)


async def test_an_answer_that_was_overtaken_is_dropped(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow answer from before a payment was taken back must not bring it again."""
    placed = await shop.place()
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    await shop.view(placed)
    real, asked, gate = shop.card.standing, asyncio.Event(), asyncio.Event()

    async def slow(reference: str) -> Standing:
        answer = await real(reference)
        asked.set()
        await gate.wait()
        return answer

    monkeypatch.setattr(shop.card, "standing", slow)
    old = asyncio.create_task(settle(shop.desk.means, placed.order_id, via="poll"))
    await asked.wait()
    monkeypatch.setattr(shop.card, "standing", real)
    shop.card.say(placed.order_id, "settled", paid(20 * USD, "reversed"))
    await settle(shop.desk.means, placed.order_id, via="poll")
    await shop.drain()
    gate.set()
    await old
    row = await shop.row(placed.order_id)
    assert (row.disputed, await shop.balance(row.wallet)) == (True, 0)


async def test_partial_payments_are_credited_as_they_come(shop: Shop) -> None:
    placed = await shop.place()
    one, two = paid(7 * USD, reference="a"), paid(13 * USD, reference="b")
    shop.card.say(placed.order_id, "open", one)
    view = await shop.view(placed)
    assert (view.status, view.exception, view.credited_nanos) == (
        "payment_seen", "underpaid", 7 * USD,
    )  # fmt: skip
    assert view.secret
    shop.card.say(placed.order_id, "settled", one, two)
    view = await shop.view(placed)
    assert (view.status, view.exception, view.credited_nanos) == ("paid_confirmed", "", 20 * USD)
    assert [one.credited_nanos for one in view.payments] == [7 * USD, 13 * USD]
    assert (await shop.accounts())["clearing:stripe"] == 0


async def test_a_top_up_goes_to_the_same_key_and_shows_no_secret(shop: Shop) -> None:
    made = await keys.create(shop.stores, credit_nanos=USD)
    placed = await shop.place("5", target="existing", key=made.secret, email="me@example.com")
    shop.card.say(placed.order_id, "settled", paid(5 * USD))
    view = await shop.view(placed)
    assert (view.key_id, view.secret, view.new_key) == (made.key_id, "", False)
    assert (view.balance_nanos, view.masked) == (6 * USD, secret.mask(made.secret))
    kinds = [row["kind"] for row in await shop.fetch("select kind from mail order by created_at")]
    assert kinds == ["order_created", "top_up"]


async def test_who_pays_for_another_ones_key_learns_nothing_of_it(shop: Shop) -> None:
    made = await keys.create(shop.stores, credit_nanos=USD)
    placed = await shop.place("5", target="existing", key=made.key_id)
    shop.card.say(placed.order_id, "settled", paid(5 * USD))
    view = await shop.view(placed)
    assert (view.credited_nanos, view.balance_nanos, view.masked) == (5 * USD, None, "")
    shop.card.say(placed.order_id, "settled", paid(5 * USD, "reversed"))
    await settle(shop.desk.means, placed.order_id, via="poll")
    assert await shop.balance(made.wallet) == USD
    assert (await keys.show(shop.stores, made.key_id)).status == "active"


async def test_beyond_what_a_wallet_may_hold_the_money_stays_visible(shop: Shop) -> None:
    """The balance grew between the order and its payment."""
    made = await keys.create(shop.stores, credit_nanos=0)
    placed = await shop.place("20", target="existing", key=made.secret)
    await keys.credit(shop.stores, made.key_id, 999_990 * USD, reason="grant")
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    view = await shop.view(placed)
    assert [one.refused for one in view.payments] == ["cap"]
    assert view.balance_nanos == 999_990 * USD
    assert (await shop.accounts())["clearing:stripe"] == 20 * USD


async def test_dust_is_left_to_the_operator(shop: Shop) -> None:
    placed = await shop.place()
    shop.card.say(placed.order_id, "expired", paid(USD // 20))
    view = await shop.view(placed)
    assert (view.status, view.exception) == ("expired", "underpaid")
    assert view.check_problem
    assert (view.credited_nanos, view.key_id) == (0, "")


async def lost(shop: Shop, monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> int:
    """Runs settlings that end at each call of something in turn; how many calls there were."""
    real: Callable[..., Any] = getattr(target, name)
    for at in range(100):
        count = [0]

        async def crash(*args: Any, at: int = at, count: list[int] = count, **named: Any) -> Any:
            count[0] += 1
            if count[0] == at + 1:
                raise KeyboardInterrupt
            return await real(*args, **named)

        # Another address each time: one gets only so many mails of new orders an hour.
        placed = await shop.place(email=f"{name}.{at}@example.com")
        shop.card.say(placed.order_id, "settled", paid(20 * USD, reference=f"pi_{name}_{at}"))
        with monkeypatch.context() as patch:
            patch.setattr(target, name, crash)
            with contextlib.suppress(KeyboardInterrupt):
                await settle(shop.desk.means, placed.order_id, via="poll")
        done = await settle(shop.desk.means, placed.order_id, via="poll")
        assert done.status == "paid_confirmed"
        row = await shop.row(placed.order_id)
        assert await shop.balance(row.wallet) == row.credited_nanos == 20 * USD
        kinds = await shop.fetch("select kind from mail where order_id = $1", placed.order_id)
        assert sorted(row["kind"] for row in kinds) == ["delivered", "order_created"]
        if count[0] <= at:
            return at
    raise AssertionError("it never came to an end")


CALLS = [
    ("orders", "ask", 1),
    ("orders", "lock", 1),
    ("orders", "change", 2),
    ("orders", "add_step", 4),
    ("payments", "put", 1),
    ("payments", "cash", 1),
    ("wallets", "insert_outbox", 1),
    ("outbox", "send", 2),
]
"""What a settling calls, and how often at least."""


async def test_a_crash_at_any_step_loses_and_doubles_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    for module, name, least in CALLS:
        with subtests.test(f"{module}.{name}"):
            assert await lost(shop, monkeypatch, getattr(settling, module), name) >= least
    accounts = await shop.accounts()
    assert accounts["clearing:stripe"] == 0


async def test_while_redis_is_away_the_credit_waits_in_the_books(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = await shop.place()
    shop.card.say(placed.order_id, "settled", paid(20 * USD))

    async def away(*_: object) -> object:
        raise TillUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "send", away)
        view = await shop.view(placed)
    assert (view.status, view.credited_nanos) == ("paid_confirmed", 20 * USD)
    assert view.secret
    assert await shop.balance((await shop.row(placed.order_id)).wallet) == 20 * USD


async def test_a_reversal_takes_what_is_free_and_freezes_and_a_won_dispute_gives_it_back(
    shop: Shop,
) -> None:
    placed = await shop.place()
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    view = await shop.view(placed)
    wallet = (await shop.row(placed.order_id)).wallet or ""
    await keys.debit(shop.stores, view.key_id, 8 * USD, reason="spent")
    for round_ in (1, 2):
        shop.card.say(placed.order_id, "settled", paid(20 * USD, "reversed"))
        await settle(shop.desk.means, placed.order_id, via="webhook")
        await settle(shop.desk.means, placed.order_id, via="webhook")
        assert await shop.balance(wallet) == 0
        await shop.drain()
        [row] = await shop.fetch("select status, frozen_by, receivable_nanos from wallet")
        assert tuple(row) == (0, "chargeback", 8 * USD)
        view = await shop.view(placed)
        assert (view.disputed, view.credited_nanos) == (True, 20 * USD)
        assert (await keys.show(shop.stores, view.key_id)).status == "frozen"
        accounts = await shop.accounts()
        assert accounts.get("cash:stripe", 0) == 0
        assert (accounts["chargebacks"], accounts[f"receivable:{wallet}"]) == (0, -8 * USD)
        shop.card.say(placed.order_id, "settled", paid(20 * USD))
        await settle(shop.desk.means, placed.order_id, via="webhook")
        assert await shop.balance(wallet) == 12 * USD, round_
        await shop.drain()
        [row] = await shop.fetch("select status, frozen_by, receivable_nanos from wallet")
        assert tuple(row) == (1, "", 0)
        accounts = await shop.accounts()
        assert accounts["cash:stripe"] == -20 * USD
        assert (accounts["chargebacks"], accounts[f"receivable:{wallet}"]) == (0, 0)
    assert not (await shop.view(placed)).disputed


async def top_up(shop: Shop, key: str, amount: int, reference: str) -> Placed:
    """A paid order for a key, by its secret or its id."""
    placed = await shop.place(str(amount), target="existing", key=key)
    shop.card.say(placed.order_id, "settled", paid(amount * USD, reference=reference))
    await settle(shop.desk.means, placed.order_id, via="webhook")
    return placed


async def owing(shop: Shop) -> tuple[str, str, str, str]:
    """A wallet that owes 8 USD of a stranger's payment: its id, its key's id and secret, and the
    stranger's order."""
    placed = await shop.place()
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    view = await shop.view(placed)
    wallet = (await shop.row(placed.order_id)).wallet or ""
    stranger = await top_up(shop, view.key_id, 20, "pi_s")
    await keys.debit(shop.stores, view.key_id, 28 * USD, reason="spent")
    await dispute(shop, stranger.order_id, "reversed", reference="pi_s")
    assert (await shop.balance(wallet), await owed(shop, wallet)) == (0, 8 * USD)
    return wallet, view.key_id, view.secret, stranger.order_id


async def owed(shop: Shop, wallet: str) -> int:
    await shop.drain()
    [row] = await shop.fetch("select receivable_nanos from wallet where wallet = $1", wallet)
    return int(row[0])


async def test_what_a_wallet_owes_is_taken_from_its_next_payments(shop: Shop) -> None:
    """As a line of its own behind the credit, no more than was paid and than is owed, once; a grant
    pays nothing of it. A dispute that is won after all gives back everything."""
    wallet, key_id, text, disputed_id = await owing(shop)
    await keys.credit(shop.stores, key_id, USD, reason="grant")
    assert await owed(shop, wallet) == 8 * USD
    small = await top_up(shop, key_id, 5, "pi_2")
    assert (await shop.balance(wallet), await owed(shop, wallet)) == (USD, 3 * USD)
    large = await top_up(shop, text, 20, "pi_3")
    assert (await shop.balance(wallet), await owed(shop, wallet)) == (18 * USD, 0)
    await settle(shop.desk.means, large.order_id, via="poll")
    await top_up(shop, text, 10, "pi_4")
    assert (await shop.balance(wallet), await owed(shop, wallet)) == (28 * USD, 0)
    rows = await shop.fetch(
        "select delta_nanos, reason from event where wallet = $1 order by wallet_seq", wallet
    )
    deltas = [row["delta_nanos"] // USD for row in rows]
    assert deltas == [20, 20, -28, -12, 1, 5, -5, 20, -3, 10]
    assert rows[6]["reason"].startswith("owed of a payment that was taken back")
    accounts = await shop.accounts()
    assert (accounts["chargebacks"], accounts[f"receivable:{wallet}"]) == (0, 0)
    await dispute(shop, disputed_id, "confirmed", reference="pi_s")
    assert await shop.balance(wallet) == 48 * USD
    accounts = await shop.accounts()
    assert (accounts["chargebacks"], accounts[f"receivable:{wallet}"]) == (0, 0)
    assert "collected" not in [step.step for step in (await shop.view(small)).steps]
    view = await shop.view(large)
    assert [s.details["amount_nanos"] for s in view.steps if s.step == "collected"] == [3 * USD]
    assert "3.00 USD of it pays what this key owed" in " ".join(words.tell(view).sentences)


async def test_what_is_spent_before_it_is_collected_is_owed_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is already trying takes the money first; the next payment pays the rest. The
    worker, which finds both lines at once, sends the credit first."""
    wallet, key_id, text, _ = await owing(shop)
    send = outbox.send

    async def spending(till: Till, books: Books, row: Any) -> object:
        if row.id.startswith("owed:"):
            await keys.debit(shop.stores, key_id, 15 * USD, reason="spent")
        return await send(till, books, row)

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "send", spending)
        await top_up(shop, text, 20, "pi_2")
    assert (await shop.balance(wallet), await owed(shop, wallet)) == (0, 3 * USD)

    async def away(*_: object) -> object:
        raise TillUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "send", away)
        await top_up(shop, text, 20, "pi_3")
    assert (await shop.balance(wallet), await owed(shop, wallet)) == (17 * USD, 0)
    accounts = await shop.accounts()
    assert (accounts["chargebacks"], accounts[f"receivable:{wallet}"]) == (0, 0)


async def disputed(shop: Shop) -> tuple[str, str, str]:
    """An order that was paid for a new key: its id, its wallet and its key."""
    placed = await shop.place()
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    view = await shop.view(placed)
    return placed.order_id, (await shop.row(placed.order_id)).wallet or "", view.key_id


async def dispute(shop: Shop, order_id: str, state: str, *, reference: str = "pi_1") -> None:
    shop.card.say(order_id, "settled", paid(20 * USD, state, reference=reference))
    await settle(shop.desk.means, order_id, via="webhook")
    await shop.drain()


async def stands(shop: Shop, key_id: str) -> tuple[int, str, str]:
    """A wallet in the books, and its key in Redis."""
    [row] = await shop.fetch("select status, frozen_by from wallet")
    return (*row, (await keys.show(shop.stores, key_id)).status)


@pytest.mark.parametrize("before", [True, False])
async def test_a_won_dispute_leaves_the_wallet_as_its_owner_had_frozen_it(
    shop: Shop, before: bool
) -> None:
    """Before the dispute or during it; the owner's code opens what nothing else stops."""
    order_id, wallet, key_id = await disputed(shop)
    if before:
        await owner.freeze(shop.stores, key_id, actor=key_id)
    await dispute(shop, order_id, "reversed")
    if not before:
        await owner.freeze(shop.stores, key_id, actor=key_id)
    assert await stands(shop, key_id) == (0, "owner+chargeback", "frozen")
    await dispute(shop, order_id, "confirmed")
    assert await stands(shop, key_id) == (0, "owner", "frozen")
    assert await owner.unfreeze_wallet(shop.stores, wallet, actor="code") == ""
    assert await stands(shop, key_id) == (1, "", "active")


async def test_a_strangers_dispute_stops_nobody_and_keeps_nobody_stopped(shop: Shop) -> None:
    """Who pays for a key of which he knows the id alone takes his money back, and no more."""
    order_id, wallet, key_id = await disputed(shop)
    gift = await shop.place(target="existing", key=key_id)
    await dispute(shop, gift.order_id, "confirmed", reference="pi_gift")
    assert await shop.balance(wallet) == 40 * USD
    await dispute(shop, gift.order_id, "reversed", reference="pi_gift")
    assert await stands(shop, key_id) == (1, "", "active")
    await dispute(shop, order_id, "reversed")
    assert await stands(shop, key_id) == (0, "chargeback", "frozen")
    await dispute(shop, order_id, "confirmed")
    assert await stands(shop, key_id) == (1, "", "active")
    assert await shop.balance(wallet) == 20 * USD


@pytest.mark.parametrize("frozen", [True, False])
async def test_the_operator_opens_what_a_lost_dispute_has_stopped(shop: Shop, frozen: bool) -> None:
    """By the main key, its owner's freeze included; a wallet with events in quarantine stays shut,
    and opens when they are released."""
    order_id, wallet, key_id = await disputed(shop)
    if frozen:
        await owner.freeze(shop.stores, key_id, actor=key_id)
    await dispute(shop, order_id, "reversed")
    assert (await stands(shop, key_id))[0] == 0
    await keys.set_frozen(shop.stores, key_id, frozen=False)
    assert await stands(shop, key_id) == (1, "", "active")
    poison = Poison(partition_of(wallet), 1, 9_000, wallet, {"t": "S", "id": "bad"}, "unreadable")
    async with shop.stores.books.transaction() as connection:
        await quarantine.insert(connection, [poison])
    await keys.set_frozen(shop.stores, key_id, frozen=False)
    assert await stands(shop, key_id) == (0, "", "frozen")


async def test_an_owner_s_way_out_does_not_open_a_disputed_wallet(shop: Shop) -> None:
    order_id, wallet, key_id = await disputed(shop)
    await owner.freeze(shop.stores, key_id, actor=key_id)
    await dispute(shop, order_id, "reversed")
    assert await owner.unfreeze_wallet(shop.stores, wallet, actor="code") == "chargeback"
    assert await stands(shop, key_id) == (0, "chargeback", "frozen")
    await dispute(shop, order_id, "confirmed")
    assert await stands(shop, key_id) == (1, "", "active")


async def test_a_won_dispute_opens_no_key_that_was_frozen_alone(shop: Shop) -> None:
    order_id, _, key_id = await disputed(shop)
    await keys.set_frozen(shop.stores, key_id, frozen=True)
    await dispute(shop, order_id, "reversed")
    await dispute(shop, order_id, "confirmed")
    assert await stands(shop, key_id) == (1, "", "frozen")


@pytest.mark.parametrize("before", [True, False])
async def test_a_won_dispute_does_not_open_a_wallet_in_quarantine(shop: Shop, before: bool) -> None:
    """Each stop ends by itself. What is taken back while a wallet is in quarantine is not booked,
    so its win waits for the quarantine's end, too."""
    order_id, wallet, key_id = await disputed(shop)
    bad = Poison(partition_of(wallet), 1, 9_000, wallet, {"t": "S", "id": "bad"}, "unreadable")
    if not before:
        await dispute(shop, order_id, "reversed")
    async with shop.stores.books.transaction() as connection:
        await quarantine.insert(connection, [bad])
    if before:
        await dispute(shop, order_id, "reversed")
    assert (await stands(shop, key_id))[:2] == (0, "chargeback")
    await dispute(shop, order_id, "confirmed")
    kept = "chargeback" if before else ""
    assert await stands(shop, key_id) == (0, kept, "frozen")
    async with shop.stores.books.transaction() as connection:
        await release.release(connection, wallet)
    assert (await stands(shop, key_id))[:2] == ((0, "chargeback") if before else (1, ""))
    await dispute(shop, order_id, "confirmed")
    assert (await stands(shop, key_id))[:2] == (1, "")


async def test_a_dispute_that_is_won_before_it_is_booked_waits(shop: Shop) -> None:
    placed = await shop.place()
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    await shop.view(placed)
    for state in ("reversed", "confirmed"):
        shop.card.say(placed.order_id, "settled", paid(20 * USD, state))
        await settle(shop.desk.means, placed.order_id, via="webhook")
    row = await shop.row(placed.order_id)
    assert (row.disputed, "in a moment" in row.check_problem) == (True, True)
    await shop.drain()
    await settle(shop.desk.means, placed.order_id, via="poll")
    row = await shop.row(placed.order_id)
    assert (row.disputed, row.check_problem, await shop.balance(row.wallet)) == (
        False, "", 20 * USD,
    )  # fmt: skip


async def test_a_double_spend_makes_the_order_invalid(shop: Shop) -> None:
    placed = await shop.place(provider="btcpay")
    shop.chain.say(placed.order_id, "settled", paid(20 * USD))
    await shop.view(placed)
    shop.chain.say(placed.order_id, "invalid", paid(20 * USD, "reversed"))
    await settle(shop.desk.means, placed.order_id, via="poll")
    row = await shop.row(placed.order_id)
    assert (row.status, row.disputed, await shop.balance(row.wallet)) == ("invalid", True, 0)


async def test_marked_by_hand_at_the_service_counts_as_paid(shop: Shop) -> None:
    placed = await shop.place()
    shop.card.say(placed.order_id, "settled", by_hand=True)
    view = await shop.view(placed)
    assert (view.status, view.exception, view.credited_nanos) == (
        "paid_confirmed", "manual", 20 * USD,
    )  # fmt: skip
    accounts = await shop.accounts()
    assert (accounts["cash:manual"], accounts["clearing:stripe"]) == (-20 * USD, 0)


async def test_the_operator_credits_by_hand_and_the_buyer_reads_why(shop: Shop) -> None:
    placed = await shop.place()
    shop.card.say(placed.order_id, "expired")
    assert (await shop.view(placed)).status == "expired"
    await service.credit_by_hand(
        shop.desk, placed.order_id, 20 * USD, reason="paid by wire", actor="cli"
    )
    await settle(shop.desk.means, placed.order_id, via="poll")
    view = await shop.view(placed)
    assert (view.status, view.exception, view.reason) == (
        "paid_confirmed", "manual", "paid by wire",
    )  # fmt: skip
    assert view.balance_nanos == 20 * USD
    shop.card.say(placed.order_id, "invalid")
    await settle(shop.desk.means, placed.order_id, via="poll")
    assert (await shop.view(placed)).balance_nanos == 20 * USD
    assert (await shop.accounts())["clearing:manual"] == 0
