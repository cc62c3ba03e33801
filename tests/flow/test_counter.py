"""Buying as a browser without a script does it: the real site and stores, payment services and a
mail server on sockets."""

import contextlib
import re
import time
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from corvus_proxy import clock, secret
from corvus_proxy.books.db import Books
from corvus_proxy.dev.mail.server import Control, MailServer
from corvus_proxy.dev.mail.server import serve as serve_mail
from corvus_proxy.dev.payments.server import Payments
from corvus_proxy.dev.payments.server import serve as serve_payments
from corvus_proxy.ledger import outbox
from corvus_proxy.money.amount import parse_usd
from corvus_proxy.service import account, keys, owner, recovery, sessions
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import (
    BrandSettings,
    BtcpaySettings,
    MailSettings,
    Settings,
    ShopSettings,
    StripeSettings,
)
from corvus_proxy.shop import mail
from corvus_proxy.shop.services import providers
from corvus_proxy.site.app import create
from corvus_proxy.till.client import Till
from tests.stack import RunningStack

pytestmark = pytest.mark.anyio
PEPPER = b"p" * 32
SITE = "http://site"
USD = 10**9


class World(NamedTuple):
    """Everything of one test."""

    stores: Stores
    settings: Settings
    payments: Payments
    pay_url: str
    mails: MailServer
    browser: httpx.AsyncClient
    other: httpx.AsyncClient
    """Another browser: no cookie of the first."""

    async def act(self, order: str, act: str, **more: object) -> None:
        """Does something to an order's payment at its service."""
        async with self.stores.books.connection() as connection:
            reference = await connection.fetchval(
                "select provider_ref from shop_order where order_id = $1", order
            )
        self.payments.control.act(reference, act, **more)

    async def mail(self) -> None:
        """The worker's turn; what was put off is due."""
        async with self.stores.books.connection() as connection:
            await connection.execute("update mail set next_at = now() where ended_at is null")
        mailer = mail.open_mailer(self.stores.books, PEPPER, self.settings)
        await mail.tick(mailer)

    async def waited(self) -> None:
        """Two minutes have passed since the last mail."""
        async with self.stores.books.connection() as connection:
            await connection.execute("update mail set created_at = created_at - interval '2 min'")


def settings_of(tmp_path: Path, pay_url: str, smtp_port: int) -> Settings:
    """Both payment services and the mail server, as `up` sets them."""
    for name, text in (
        ("stripe", "sk_test_simulated"), ("stripe-hook", "whsec_simulated"),
        ("btcpay", "simulated-btcpay-key"), ("btcpay-hook", "simulated-btcpay-hook"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
    return Settings(
        brand=BrandSettings(
            name="Rook", site_url=SITE, support="help@rook.example", independence="Independent.",
            refunds="Unspent balance, within 14 days.", api_url="http://127.0.0.1:9",
        ),
        shop=ShopSettings(),
        stripe=StripeSettings(
            api_base=pay_url, checkout_origin=pay_url, secret_key_file=str(tmp_path / "stripe"),
            webhook_secret_file=str(tmp_path / "stripe-hook"),
        ),
        btcpay=BtcpaySettings(
            url=pay_url, store_id="SimulatedStore", api_key_file=str(tmp_path / "btcpay"),
            webhook_secret_file=str(tmp_path / "btcpay-hook"),
        ),
        mail=MailSettings(
            host="127.0.0.1", port=smtp_port, security="none", sender="Rook <keys@rook.example>"
        ),
    )  # fmt: skip


@pytest.fixture
async def world(valkey_till: Till, books: Books, tmp_path: Path) -> AsyncIterator[World]:
    stores = Stores(valkey_till, books, PEPPER)
    async with (
        serve_payments(block_s=0.0) as (payments, pay_url),
        serve_mail() as mails,
        contextlib.AsyncExitStack() as opened,
    ):
        settings = settings_of(tmp_path, pay_url, mails.smtp_port)
        services = providers(settings)
        transport = httpx.ASGITransport(create(stores, settings, services))
        browser, other = [
            await opened.enter_async_context(httpx.AsyncClient(transport=transport, base_url=SITE))
            for _ in range(2)
        ]
        yield World(stores, settings, payments, pay_url, mails, browser, other)
        for service in services.values():
            await service.close()


def form(page: str, *, first: str = "<form") -> dict[str, str]:
    """What a browser sends when a form is sent as it comes."""
    text = page[page.index(first) :]
    found = {}
    for tag in re.findall(r"<input[^>]*>", text[: text.index("</form>")]):
        attribute = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if attribute.get("type") != "radio" or " checked" in tag:
            found[attribute["name"]] = unescape(attribute.get("value", ""))
    return found


async def place(world: World, **typed: str) -> str:
    """Sends the checkout form; where it leads to."""
    page = (await world.browser.get("/checkout")).text
    sent = form(page, first='<form class="card order"') | typed
    answer = await world.browser.post("/checkout", data=sent)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def pay_by_card(world: World, location: str) -> str:
    """Presses the first button of the payment service's page; the order's path."""
    async with httpx.AsyncClient(trust_env=False) as card:
        page = await card.get(location)
        action = re.search(r'<form class="first" method="post" action="([^"]+)"', page.text)
        assert action is not None
        url = httpx.URL(location).join(unescape(action[1]))
        answer = await card.post(url, data=form(page.text))
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{SITE}/orders/")
    return answer.headers["location"].removeprefix(SITE)


async def buy(world: World, **typed: str) -> tuple[str, str]:
    """Buys by card; the order's path and its page."""
    path = await pay_by_card(world, await place(world, **typed))
    return path, (await world.browser.get(path)).text


def key_of(page: str) -> str:
    """The key that a page hands out."""
    found = re.search(r'id="the-key"[^>]*>(sk-corvus_\w+)<', page)
    assert found is not None, page
    return found[1]


def code_of(page: str) -> str:
    """The recovery code that a page hands out."""
    found = re.search(r">(rc-[\w-]+)<", page)
    assert found is not None, page
    return found[1]


def order_of(page: str) -> str:
    """The order's number."""
    found = re.search(r">(ord_\w+)<", page)
    assert found is not None
    return found[1]


async def balance(world: World, key: str) -> int:
    """What the key's wallet holds, by the key itself."""
    ticket = await sessions.by_key(world.stores, key)
    assert ticket is not None
    return (await account.overview(world.stores, ticket.wallet)).balance_nanos


async def test_buying_by_card_ends_with_a_working_key(world: World) -> None:
    """Form, payment page, order page: the key is there in full for the browser that paid, works at
    once, opens the dashboard, and is shown to nobody else."""
    location = await place(world, amount="12.50", email="")
    assert location.startswith(f"{world.pay_url}/pay/")
    path = await pay_by_card(world, location)
    page = (await world.browser.get(path)).text
    assert "Paid. 12.50 USD is live." in page
    key = key_of(page)
    assert await balance(world, key) == 12_500_000_000
    assert secret.parse_code(code_of(page)) == code_of(page)
    stranger = (await world.other.get(path)).text
    assert key not in stranger
    assert "shown only in the browser that ordered" in stranger
    assert (await world.other.get(f"{path}/code")).status_code == 404
    answer = await world.browser.post(f"{path}/dashboard", data={"key": key})
    assert answer.headers["location"] == "/dashboard"
    assert "12.50" in (await world.browser.get("/dashboard")).text
    assert key_of((await world.browser.get(path)).text) == key


async def test_a_form_sent_twice_is_one_order(world: World) -> None:
    """A double click, and a reload of the answer."""
    page = (await world.browser.get("/checkout")).text
    sent = form(page, first='<form class="card order"')
    answers = [await world.browser.post("/checkout", data=sent) for _ in range(3)]
    assert len({answer.headers["location"] for answer in answers}) == 1


async def test_buying_with_bitcoin_passes_through_its_states(world: World) -> None:
    """Address and code; less than asked; the rest; confirmed: each as the page says it."""
    path = await place(world, provider="btcpay", amount="20")
    page = (await world.browser.get(path)).text
    order = order_of(page)
    assert "Waiting for your payment" in page
    assert 'class="qr"' in page
    await world.act(order, "under")
    await world.browser.post(f"{path}/check")
    page = (await world.browser.get(path)).text
    assert "of 20.00 USD have come" in page
    assert "Send 0." in page
    await world.act(order, "pay")
    page = (await world.browser.get(path)).text
    assert "Your payment was seen" in page
    assert "0 of 2 confirmations" in page or "of 2 confirmations" in page
    await world.act(order, "confirm")
    page = (await world.browser.get(path)).text
    assert "Paid. 20.00 USD is live." in page
    assert await balance(world, key_of(page)) == 20 * USD


async def test_a_top_up_needs_the_key_id_alone_and_tells_nothing_of_it(world: World) -> None:
    """Same key, new balance; whoever pays for another's key sees neither balance nor key."""
    _, page = await buy(world)
    key = key_of(page)
    ticket = await sessions.by_key(world.stores, key)
    assert ticket is not None
    world.browser.cookies.clear()
    path, page = await buy(world, target="existing", key=ticket.key_id, amount="5")
    assert "Paid. 5.00 USD was added." in page
    assert "The same key goes on" in page
    assert key not in page
    assert "25.00" not in page
    assert await balance(world, key) == 25 * USD
    _, page = await buy(world, target="existing", key=key, amount="5")
    assert "$30.00 <small>balance now" in page
    assert key not in page
    assert path != "/"


async def test_a_service_that_is_down_leaves_the_other(world: World) -> None:
    """Words at the method, everything typed kept; the other one works at once."""
    await world.payments.control.do("trouble", {"service": "stripe", "status": 500, "times": 99})
    page = (await world.browser.get("/checkout")).text
    sent = form(page, first='<form class="card order"') | {"amount": "33", "email": "me@x.example"}
    answer = await world.browser.post("/checkout", data=sent)
    assert answer.status_code == 503
    assert "does not answer at the moment" in answer.text
    kept = form(answer.text, first='<form class="card order"')
    assert (kept["amount"], kept["email"]) == ("33", "me@x.example")
    answer = await world.browser.post("/checkout", data=kept | {"provider": "btcpay"})
    assert answer.headers["location"].startswith("/orders/")


async def test_the_mail_brings_a_link_and_a_bounce_flips_the_page(world: World) -> None:
    """Undelivered: the page says so and takes another address; the new mail's link shows the key by
    POST, once, and no program that only looks at links uses it up."""
    world.mails.box.control = Control(mode="bounce", only="wrong@x.example")
    path, page = await buy(world, email="wrong@x.example")
    key = key_of(page)
    await world.mail()
    page = (await world.browser.get(path)).text
    assert "could not be delivered" in page
    assert "550 5.1.1 no such mailbox here" in page
    assert "wrong@x.example" not in (await world.other.get(path)).text
    await world.waited()
    answer = await world.browser.post(f"{path}/address", data={"email": "right@x.example"})
    assert answer.headers["location"] == f"{path}#mail"
    answer = await world.browser.post(f"{path}/resend")
    assert answer.status_code == 429
    await world.mail()
    (came,) = [one for one in world.mails.box.mails if one.recipients == ["right@x.example"]]
    ticket = await sessions.by_key(world.stores, key)
    assert ticket is not None
    async with world.stores.books.connection() as connection:
        wallet = "select email from wallet where wallet = $1"
        assert await connection.fetchval(wallet, ticket.wallet) == "right@x.example"
        living = "select count(*) from link where kind = 'claim' and expires_at > now()"
        assert await connection.fetchval(living) == 1
    assert key not in came.text + came.html
    link = re.search(rf"{SITE}(/claim/\w+)", came.text)
    assert link is not None
    assert "was taken by the address" in (await world.browser.get(path)).text
    for _ in range(3):  # a scanner
        await world.other.head(link[1])
        looked = await world.other.get(link[1])
        assert looked.status_code == 200
        assert key not in looked.text
    claimed = await world.other.post(link[1])
    assert key_of(claimed.text) == key
    assert secret.parse_code(code_of(claimed.text)) is not None
    again = await world.other.post(link[1])
    assert again.status_code == 410
    assert key not in again.text
    assert "This link has been used" in (await world.other.get(link[1])).text
    page = (await world.browser.get(path)).text
    assert key not in page
    assert "The key was shown by the link in the mail" in page
    assert (await world.other.get("/claim/nothing")).status_code == 404
    await world.mail()
    assert "was shown" in world.mails.box.mails[-1].subject


async def test_the_recovery_code_takes_the_key_back_from_a_thief(world: World) -> None:
    """The thief changes the secret; the code makes another, the thief's is dead, the balance is
    what it was."""
    _, page = await buy(world, email="me@x.example")
    key, code = key_of(page), code_of(page)
    ticket = await sessions.by_key(world.stores, key)
    assert ticket is not None
    stolen = await keys.rotate(world.stores, ticket.key_id, grace_s=0)
    assert await sessions.by_key(world.stores, key) is None
    answer = await world.other.post("/recover", data={"door": "code", "code": code.upper()})
    found = key_of(answer.text)
    assert await sessions.by_key(world.stores, stolen) is None
    assert await balance(world, found) == 20 * USD
    assert answer.headers["cache-control"] == "no-store"
    await world.mail()
    assert "has a new secret" in world.mails.box.mails[-1].subject


async def test_guessing_is_throttled_and_every_shut_door_looks_the_same(world: World) -> None:
    """A code that nobody has, a damaged one, an order that is not there, a wrong reference."""
    _, page = await buy(world)
    order = order_of(page)
    texts = set()
    for data in (
        {"door": "code", "code": owner.new_code()}, {"door": "code", "code": "rc-nonsense"},
        {"door": "payment", "order_id": order, "reference": "tx"},
        {"door": "payment", "order_id": "ord_none", "reference": "tx"},
    ):  # fmt: skip
        answer = await world.other.post("/recover", data=data)
        assert answer.status_code == 401
        problem = re.search(r'role="alert"[^>]*>(.*?)<', answer.text)
        assert problem is not None
        texts.add(problem[1])
    assert len(texts) == 1
    for _ in range(3):
        answer = await world.other.post("/recover", data={"door": "code", "code": "rc-x"})
    assert answer.status_code == 429
    assert answer.headers["retry-after"]


async def reference_of(world: World, order: str) -> str:
    async with world.stores.books.connection() as connection:
        return str(
            await connection.fetchval("select reference from payment where order_id = $1", order)
        )


async def test_the_proof_of_payment_waits_and_the_owner_can_stop_it(world: World) -> None:
    """The door opens after the wait; a mail to the owner shuts it; looking changes nothing."""
    _, page = await buy(world, email="me@x.example")
    key, order = key_of(page), order_of(page)
    proof = {"door": "payment", "order_id": order, "reference": await reference_of(world, order)}
    answer = await world.other.post("/recover", data=proof)
    assert answer.status_code == 303
    room = answer.headers["location"]
    page = (await world.other.get(room)).text
    assert "Wait until" in page
    assert "Wait until" in (await world.other.post(room)).text
    assert await balance(world, key) == 20 * USD
    await world.mail()
    came = world.mails.box.mails[-1]
    assert came.subject.startswith("Somebody wants a new secret")
    stop = re.search(rf"{SITE}(/recover/stop/\w+)", came.text)
    assert stop is not None
    ticket = await sessions.by_key(world.stores, key)
    assert ticket is not None
    (waiting,) = await recovery.waiting(world.stores, ticket.wallet)
    assert (waiting.state, waiting.how, waiting.order_id) == ("waiting", "payment", order)
    assert "Stop it" in (await world.browser.get(stop[1])).text
    await world.browser.post("/login", data={"key": key})
    assert "Somebody asks for a new secret" in (await world.browser.get("/dashboard")).text
    assert "Wait until" in (await world.other.get(room)).text
    assert "It was stopped" in (await world.browser.post(stop[1])).text
    assert "It was stopped" in (await world.other.post(room)).text
    assert await recovery.waiting(world.stores, ticket.wallet) == []
    assert await sessions.by_key(world.stores, key) is not None


async def test_the_proof_of_payment_opens_after_the_wait(world: World) -> None:
    """A new secret and a new code: the old of both are dead; a top-up's payment proves nothing."""
    _, page = await buy(world)
    key, code, order = key_of(page), code_of(page), order_of(page)
    _, topped = await buy(world, target="existing", key=key, amount="5")
    paid = order_of(topped)
    for one in (paid, order):
        proof = {"door": "payment", "order_id": one, "reference": await reference_of(world, one)}
        answer = await world.other.post("/recover", data=proof)
        assert answer.status_code == (401 if one == paid else 303)
    room = answer.headers["location"]
    async with world.stores.books.connection() as connection:
        await connection.execute("update recovery set opens_at = now()")
    assert "Get the new secret" in (await world.other.get(room)).text
    given = (await world.other.post(room)).text
    found = key_of(given)
    assert found != key
    assert code_of(given) != code
    assert await sessions.by_key(world.stores, key) is None
    assert await balance(world, found) == 25 * USD
    assert "This door was opened" in (await world.other.post(room)).text
    assert await recovery.by_code(world.stores, code) is None


async def test_who_is_logged_in_or_has_the_code_ends_every_other_way(world: World) -> None:
    """From the dashboard by a button; by the code in any case: what a thief began is over."""
    _, page = await buy(world)
    key, code, order = key_of(page), code_of(page), order_of(page)
    proof = {"door": "payment", "order_id": order, "reference": await reference_of(world, order)}
    rooms = []
    for _ in range(2):
        answer = await world.other.post("/recover", data=proof)
        rooms.append(answer.headers["location"])
        if len(rooms) == 1:
            await world.browser.post("/login", data={"key": key})
            answer = await world.browser.post("/dashboard/recovery/stop")
            assert answer.headers["location"] == "/dashboard"
            assert "Somebody asks" not in (await world.browser.get("/dashboard")).text
    assert await recovery.by_code(world.stores, code) is not None
    for room in rooms:
        assert "It was stopped" in (await world.other.get(room)).text


async def test_the_mailbox_leads_back_and_nobody_learns_whose_it_is(world: World) -> None:
    """The same answer for every address; the link works by POST, once."""
    _, page = await buy(world, email="me@x.example")
    key = key_of(page)
    said = set()
    for address in ("me@x.example", "nobody@x.example"):
        answer = await world.other.post("/recover", data={"door": "mail", "email": address})
        assert answer.status_code == 200
        found = re.search(r'role="status">(.*?)<', answer.text, re.DOTALL)
        assert found is not None
        said.add(found[1])
    assert len(said) == 1
    await world.mail()
    came = [
        one for one in world.mails.box.mails if "/recover/" in one.text.replace("/recover\n", "")
    ]
    link = re.search(rf"{SITE}(/recover/\w+)", came[-1].text)
    assert link is not None
    assert came[-1].recipients == ["me@x.example"]
    assert "Get the new secret" in (await world.other.get(link[1])).text
    fresh = key_of((await world.other.post(link[1])).text)
    assert fresh != key
    assert await sessions.by_key(world.stores, key) is None
    assert await balance(world, fresh) == 20 * USD


async def test_no_token_or_key_is_told_to_the_payment_or_mail_server_but_what_they_need(
    world: World,
) -> None:
    """The services get the order's address to return to and no key; the mail has no key."""
    _, page = await buy(world, email="me@x.example")
    key, code = key_of(page), code_of(page)
    await outbox.tick(world.stores.till, world.stores.books)
    await world.mail()
    told = str(world.payments.control.state()) + str(world.payments.record.rows)
    told += "".join(one.text + one.html for one in world.mails.box.mails)
    assert key not in told
    assert code not in told


def mails_to(stack: RunningStack, address: str) -> list[dict[str, Any]]:
    """What the stack's mail server has received for an address, once there is something."""
    deadline_s = time.monotonic() + 60
    while True:
        listed = httpx.get(f"{stack.facts['mail']}/__mails", trust_env=False).json()
        found = [one for one in listed if one["recipients"] == [address]]
        if len(found) > 1 or time.monotonic() > deadline_s:
            return found
        time.sleep(0.1)


def test_the_running_stack_sells_a_key_that_is_tested_on_its_page(stack: RunningStack) -> None:
    """Two presses of a button from the form to the key; the page's own trial call costs what the
    API says; the mail comes; the key answers in the API at once."""
    address = f"{clock.random_text(8)}@x.example"
    site = stack.facts["site"]
    with httpx.Client(base_url=site, trust_env=False, follow_redirects=True) as browser:
        page = browser.get("/checkout").text
        sent = form(page, first='<form class="card order"') | {"amount": "3", "email": address}
        paying = browser.post("/checkout", data=sent)
        action = re.search(r'<form class="first" method="post" action="([^"]+)"', paying.text)
        assert action is not None
        page = browser.post(
            paying.url.join(unescape(action[1])), data=form(paying.text)
        )  # fmt: skip
        path = page.url.path
        key = key_of(page.text)
        standing = stack.ask_get("/v1/key", key=key)
        assert standing.json()["balance_nanos"] == 3 * USD
        tested = browser.post(f"{path}/test").text
        told = re.search(r"It cost <strong>([\d.]+) USD</strong>", tested)
        left = re.search(r"Balance: <strong>([\d.]+) USD</strong>", tested)
        assert told is not None
        assert left is not None
        cost = parse_usd(told[1])
        assert 0 < cost < USD // 100
        assert parse_usd(left[1]) == 3 * USD - cost
        assert key_of(tested) == key
    kinds = [one["subject"] for one in mails_to(stack, address)]
    assert [kind.partition(" ")[0] for kind in kinds] == ["Order", "Your"]
    assert all(key not in one["text"] + one["html"] for one in mails_to(stack, address))
