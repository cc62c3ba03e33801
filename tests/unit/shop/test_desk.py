"""Placing, handing over and watching orders: what their pages and the worker ask for."""

import asyncio
from datetime import timedelta
from typing import NamedTuple

import pytest

from corvus_proxy import clock
from corvus_proxy.books.db import Books
from corvus_proxy.books.people import alarms
from corvus_proxy.books.shop import links, orders
from corvus_proxy.sealing import seal
from corvus_proxy.service import keys
from corvus_proxy.service import orders as service
from corvus_proxy.service.orders import Claimed, ClaimView, Form, Placed, Problem, open_desk
from corvus_proxy.service.orders import desk as desks
from corvus_proxy.settings import BrandSettings
from corvus_proxy.shop import delivering
from corvus_proxy.shop.settle import next_check, settle
from corvus_proxy.till.client import Till
from tests.shop import PEPPER, USD, Shop, paid

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(valkey_till: Till, books: Books) -> Shop:
    return Shop(valkey_till, books)


class Buyer(NamedTuple):
    """Who is logged in."""

    wallet: str
    key_id: str


def form(**words: str) -> Form:
    whole = {
        "amount": "", "preset": "20", "provider": "stripe", "target": "new", "key": "",
        "email": "", "nonce": clock.random_text(20),
    }  # fmt: skip
    return Form(**{**whole, **words})


async def answer(shop: Shop, **words: str) -> Placed | Problem:
    return await service.place(shop.desk, form(**words), session=None, browser="")


async def test_a_form_sent_twice_is_one_order(shop: Shop) -> None:
    """At once and later, by a browser that has no cookie yet; both answers open the same page."""
    sent = form()
    found = [
        await service.place(shop.desk, sent, session=None, browser=""),
        *await asyncio.gather(
            *(service.place(shop.desk, sent, session=None, browser="") for _ in range(4))
        ),
    ]
    assert len(set(found)) == 1
    assert len(await shop.fetch("select from shop_order")) == 1
    at_once = form()
    found = await asyncio.gather(
        *(service.place(shop.desk, at_once, session=None, browser="") for _ in range(5))
    )
    assert len(set(found)) == 1
    other = await service.place(shop.desk, at_once._replace(amount="7"), session=None, browser="")
    assert isinstance(other, Placed)
    assert len(await shop.fetch("select from shop_order")) == 3


async def test_a_typed_amount_wins_over_the_preset(shop: Shop) -> None:
    placed = await answer(shop, amount=" $7,50 ")
    assert isinstance(placed, Placed)
    assert (await shop.row(placed.order_id)).amount_nanos == 7_500_000_000


PROBLEMS: list[tuple[dict[str, str], str]] = [
    ({"amount": "0.5"}, "amount"),
    ({"amount": "a lot"}, "amount"),
    ({"preset": ""}, "amount"),
    ({"provider": "paypal"}, "provider"),
    ({"target": "mine"}, "target"),
    ({"email": "nobody"}, "email"),
    ({"email": "a@b.c\nBcc: d@e.f"}, "email"),
    ({"email": "a" * 250 + "@b.example"}, "email"),
    ({"target": "existing"}, "key"),
    ({"target": "existing", "key": "key_unknown"}, "key"),
    ({"target": "existing", "key": "sk-corvus_short"}, "key"),
]


async def test_each_field_has_its_own_problem(shop: Shop, subtests: pytest.Subtests) -> None:
    for words, field in PROBLEMS:
        with subtests.test(str(words)):
            found = await answer(shop, **words)
            assert isinstance(found, Problem)
            assert found.field == field
    assert not await shop.fetch("select from shop_order")


async def test_a_key_that_is_frozen_revoked_or_full_is_not_topped_up(shop: Shop) -> None:
    made = await keys.create(shop.stores, credit_nanos=0)
    await keys.set_frozen(shop.stores, made.key_id, frozen=True)
    found = await answer(shop, target="existing", key=made.key_id)
    assert isinstance(found, Problem)
    assert "frozen" in found.sentence
    full = await keys.create(shop.stores, credit_nanos=999_990 * USD)
    await shop.drain()
    found = await answer(shop, target="existing", key=full.secret)
    assert isinstance(found, Problem)
    assert found.field == "amount"


async def test_a_log_in_tops_up_its_own_key_and_may_see_its_balance(shop: Shop) -> None:
    made = await keys.create(shop.stores, credit_nanos=0)
    session = Buyer(made.wallet, made.key_id)
    for key in ("", made.key_id):
        placed = await service.place(
            shop.desk, form(target="existing", key=key), session=session, browser="b" * 24
        )
        assert isinstance(placed, Placed)
        row = await shop.row(placed.order_id)
        assert (row.key_id, row.by_owner, row.new_key) == (made.key_id, True, False)


async def test_without_its_facts_nothing_is_sold(shop: Shop) -> None:
    from msgspec.structs import replace

    shop.settings = replace(shop.settings, brand=BrandSettings(support="x", independence="y"))
    found = await answer(shop)
    assert isinstance(found, Problem)
    assert "brand.refunds" in found.sentence == (await service.offer(shop.desk)).paused
    none = open_desk(Shop(shop.stores.till, shop.stores.books).settings, shop.stores, {})
    assert "no payment service" in (await service.offer(none)).paused


async def test_a_service_that_is_away_makes_no_order_and_the_same_form_may_be_sent_again(
    shop: Shop,
) -> None:
    sent = form()
    shop.card.away = True
    found = await service.place(shop.desk, sent, session=None, browser="")
    assert isinstance(found, Problem)
    assert found.field == "provider"
    shop.card.away = False
    again = await service.place(shop.desk, sent, session=None, browser="")
    assert isinstance(again, Placed)
    assert (await shop.view(again)).pay_url == again.pay_url


async def test_an_order_that_was_never_opened_expires(shop: Shop) -> None:
    shop.card.away = True
    await answer(shop)
    await shop.fetch("update shop_order set expires_at = now() - interval '1 minute'")
    await service.tick(shop.desk)
    [row] = await shop.fetch("select status, next_check_at from shop_order")
    assert tuple(row) == ("expired", None)


async def claim_link(shop: Shop, order_id: str) -> str:
    """The token of the newest delivery mail."""
    import json

    from corvus_proxy.sealing import unseal

    rows = await shop.fetch(
        "select view_sealed from mail where order_id = $1 and kind = 'delivered'"
        " order by created_at desc, mail_id",
        order_id,
    )
    view = json.loads(unseal(PEPPER, "mail", rows[0]["view_sealed"]))
    return str(view["claim_url"]).rpartition("/")[2]


async def test_a_claim_gives_the_key_once_and_destroys_the_copies(shop: Shop) -> None:
    placed = await shop.place(email="me@example.com")
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    view = await shop.view(placed)
    token = await claim_link(shop, placed.order_id)
    for _ in range(3):  # a mail scanner looks
        assert await service.claim_view(shop.desk, token) == ClaimView(
            placed.order_id, "open", None
        )
    found = await asyncio.gather(*(service.claim(shop.desk, token) for _ in range(4)))
    claimed = [one for one in found if isinstance(one, Claimed)]
    assert [(one.secret, one.recovery, one.key_id) for one in claimed] == [
        (view.secret, view.recovery, view.key_id)
    ]
    row = await shop.row(placed.order_id)
    assert (row.fulfilment, row.secret_sealed, row.recovery_sealed) == ("claimed", "", "")
    after = await shop.view(placed)
    assert (after.secret, after.fulfilment, after.own_browser) == ("", "claimed", True)
    looked = await service.claim_view(shop.desk, token)
    assert looked is not None
    assert looked.state == "used"
    assert await service.claim_view(shop.desk, "another token") is None
    assert isinstance(await service.claim(shop.desk, "another token"), Problem)


async def test_a_link_is_used_once_and_in_its_time(shop: Shop) -> None:
    soon, past = [clock.utc_now() + timedelta(hours=hours) for hours in (1, -1)]
    async with shop.stores.books.connection() as connection:
        for digest, ends in (("fresh", soon), ("stale", past)):
            await links.insert(connection, digest, "claim", ends, order_id="ord_1")
        assert await links.use(connection, "fresh", "login") is None
        assert await links.use(connection, "stale", "claim") is None
        found = [await links.use(connection, "fresh", "claim") for _ in range(3)]
    assert [one.order_id if one else "" for one in found] == ["ord_1", "", ""]


async def test_copies_are_destroyed_after_their_days(shop: Shop) -> None:
    placed = await shop.place(email="me@example.com")
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    await shop.view(placed)
    token = await claim_link(shop, placed.order_id)
    await shop.fetch("update shop_order set confirmed_at = now() - interval '8 days'")
    await service.tick(shop.desk)
    row = await shop.row(placed.order_id)
    assert (row.secret_sealed, row.recovery_sealed) == ("", "")
    assert (await shop.view(placed)).secret == ""
    looked = await service.claim_view(shop.desk, token)
    assert looked is not None
    assert looked.state == "gone"
    assert isinstance(await service.claim(shop.desk, token), Problem)


async def test_the_address_is_corrected_by_the_browser_that_ordered_and_not_too_often(
    shop: Shop,
) -> None:
    placed = await shop.place(email="typo@example.con")
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    await shop.view(placed)
    desk = shop.desk
    for browser in ("", "x" * 24):
        found = await service.correct_address(desk, placed.token, browser, "thief@example.com")
        assert isinstance(found, Problem)
        assert isinstance(await service.resend(desk, placed.token, browser), Problem)
    assert isinstance(await service.resend(desk, placed.token, placed.browser), Problem)
    await shop.fetch("update mail set created_at = created_at - interval '2 minutes'")
    right = "me@example.com"
    assert await service.correct_address(desk, placed.token, placed.browser, right) is None
    assert (await shop.view(placed)).email == right
    [first, second] = await shop.fetch(
        "select address from mail where kind = 'delivered' order by created_at"
    )
    assert (first["address"], second["address"]) == ("typo@example.con", right)
    found = await service.correct_address(desk, placed.token, placed.browser, "none")
    assert isinstance(found, Problem)
    claimed = await service.claim(desk, await claim_link(shop, placed.order_id))
    assert isinstance(claimed, Claimed)
    await shop.fetch("update mail set created_at = created_at - interval '2 minutes'")
    gone = await service.resend(desk, placed.token, placed.browser)
    assert isinstance(gone, Problem)
    assert "destroyed" in gone.sentence


async def test_nothing_that_opens_anything_stands_in_the_database(shop: Shop) -> None:
    placed = await shop.place(email="me@example.com")
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    view = await shop.view(placed)
    token = await claim_link(shop, placed.order_id)
    tables = await shop.fetch(
        "select table_name from information_schema.tables where table_schema = 'public'"
    )
    dump = ""
    for table in tables:
        name = table["table_name"]
        if name not in ("installation", "schema_migrations"):
            dump += str(await shop.fetch(f"select t::text from {name} t"))
    assert view.key_id in dump
    for planted in (placed.token, placed.browser, view.secret, view.recovery, token):
        assert planted
        assert planted not in dump


async def test_the_worker_asks_ever_less_and_in_the_end_not_at_all(shop: Shop) -> None:
    placed = await shop.place()
    order = await shop.row(placed.order_id)
    now = clock.utc_now()
    pauses = []
    for age_s in (0, 600, 3600, 86_400, 6 * 86_400):
        at = next_check(order._replace(created_at=now - timedelta(seconds=age_s)), order.status, 15)
        assert at is not None
        pauses.append(round((at - now).total_seconds()))
    assert pauses == [15, 15, 90, 2160, 12960]
    old = order._replace(created_at=now - timedelta(days=6))
    at = next_check(old, "payment_seen", 15)
    assert at is not None
    assert round((at - now).total_seconds()) == 60
    assert next_check(order._replace(watched_until=now), order.status, 15) is None


async def test_ten_thousand_open_orders_do_not_hammer_the_service(shop: Shop) -> None:
    placed = await shop.place()
    reference = (await shop.row(placed.order_id)).provider_ref
    await shop.fetch(
        """insert into shop_order (order_id, token_digest, token_sealed, provider, provider_ref,
            status, amount_nanos, total_nanos, new_key, expires_at, watched_until, next_check_at)
        select 'o' || n, 't' || n, '', 'stripe', 'r' || n, 'awaiting_payment', 1, 1, true,
            now() + interval '1 hour', now() + interval '7 days', now()
        from generate_series(1, 10000) n"""
    )
    answer_of = shop.card.standings[reference or ""]
    shop.card.standings |= {f"r{n}": answer_of for n in range(1, 10_001)}
    desk, before = shop.desk, shop.card.asked
    assert [await service.tick(desk) for _ in range(3)] == [20, 20, 20]
    assert shop.card.asked - before == 60
    twice = await shop.fetch("select 1 from shop_order where asked > 1")
    assert not twice
    shop.card.away, before = True, shop.card.asked
    await service.tick(desk)
    first = shop.card.asked - before
    assert first <= 5
    await service.tick(desk)
    assert shop.card.asked - before == first


async def test_no_plan_takes_more_than_was_asked_for(shop: Shop) -> None:
    """A nested loop asks for the due ones again for each row: where they are a part of the join,
    and not materialized, each time others are taken."""
    await shop.fetch(
        """insert into shop_order (order_id, token_digest, token_sealed, provider, provider_ref,
            status, amount_nanos, total_nanos, new_key, expires_at, watched_until, next_check_at)
        select 'o' || n, 't' || n, '', 'stripe', 'r' || n, 'awaiting_payment', 1, 1, true,
            now() + interval '1 hour', now() + interval '7 days', now()
        from generate_series(1, 200) n"""
    )
    await shop.fetch(
        """insert into notice (notice_id, alarm_id, wallet, url, body)
        select 'n' || n, 'a', 'w', '', '{}' from generate_series(1, 200) n"""
    )
    async with shop.stores.books.transaction() as connection:
        for way in ("hashjoin", "mergejoin", "hashagg", "material", "indexscan", "sort"):
            await connection.execute(f"set local enable_{way} = off")
        assert len(await connection.fetch(orders.DUE, 15, 20, [])) == 20
        assert len(await connection.fetch(alarms.DUE, 20, 15)) == 20


async def test_the_pause_of_a_silent_service_doubles_and_ends_with_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(desks.clock, "monotonic_s", lambda: now[0])
    rests = desks.Rests()
    for pause_s in (1, 2, 4):
        rests.failed("stripe")
        now[0] += pause_s - 0.1
        assert rests.now() == ["stripe"]
        now[0] += 0.2
        assert rests.now() == []
    for _ in range(10):
        rests.failed("stripe")
    now[0] += desks.REST_MAX_S + 0.1
    assert rests.now() == []
    rests.failed("stripe")
    rests.answered("stripe")
    assert rests.now() == []


async def test_a_page_that_is_loaded_over_and_over_does_not_hammer_the_service(
    shop: Shop,
) -> None:
    placed = await shop.place()
    desk, before = shop.desk, shop.card.asked
    for _ in range(30):
        await service.view(desk, placed.token, placed.browser)
    assert desks.LOOKS <= shop.card.asked - before <= desks.LOOKS + 3


async def test_the_doctor_names_the_broken_link(shop: Shop) -> None:
    """Each link in turn: the service away, no payment, no message, the wallet full, and none."""
    placed = await shop.place()
    shop.card.away = True
    found = await service.doctor(shop.desk, placed.order_id)
    assert (found.broken, "does not answer" in found.verdict) == ("payment service", True)
    shop.card.away = False
    assert (await service.doctor(shop.desk, placed.order_id)).broken == "payment"
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    await settle(shop.desk.means, placed.order_id, via="poll")
    assert (await service.doctor(shop.desk, placed.order_id)).broken == "redis"
    await shop.drain()
    found = await service.doctor(shop.desk, placed.order_id)
    assert (found.broken, found.verdict) == ("", "Every link holds: the money is on the key.")
    told = {one.link: one.sentence for one in found.findings}
    assert "No message of stripe ever came" in told["webhook"]
    assert "the worker found it" in told["webhook"]
    await shop.message(placed.order_id, kind="checkout.session.completed")
    told = {
        one.link: one.sentence
        for one in (await service.doctor(shop.desk, placed.order_id)).findings
    }
    assert "checkout.session.completed" in told["webhook"]
    shop.card.say(placed.order_id, "settled", paid(20 * USD, "reversed"))
    found = await service.doctor(shop.desk, placed.order_id)
    assert (found.broken, "taken back" in found.verdict) == ("payment", True)
    with pytest.raises(LookupError):
        await service.doctor(shop.desk, "ord_none")


async def test_what_the_operator_reads_has_no_seal(shop: Shop) -> None:
    placed = await shop.place(email="me@example.com")
    shop.card.say(placed.order_id, "expired")
    await settle(shop.desk.means, placed.order_id, via="poll")
    [row] = await service.listing(shop.desk, status="expired")
    assert row["order_id"] == placed.order_id
    assert not await service.listing(shop.desk, exceptions_only=True)
    found = await service.file(shop.desk, placed.order_id)
    for name in ("token_sealed", "browser_digest", "secret_sealed", "recovery_sealed"):
        assert name not in row
        assert name not in found.order
    assert [step.step for step in found.steps] == ["created", "opened", "expired"]


def test_seals_of_one_purpose_do_not_open_as_another() -> None:
    from corvus_proxy.sealing import SealBroken, unseal

    sealed = seal(PEPPER, delivering.SECRET, "text")
    assert unseal(PEPPER, delivering.SECRET, sealed) == "text"
    for pepper, purpose in ((PEPPER, delivering.RECOVERY), (b"q" * 32, delivering.SECRET)):
        with pytest.raises(SealBroken):
            unseal(pepper, purpose, sealed)
