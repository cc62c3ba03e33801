"""An order's page over HTTP, in every state, without a script."""

import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from corvus_proxy.books.db import Books
from corvus_proxy.service import orders
from corvus_proxy.service.orders import OrderView, Problem
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import BrandSettings, Settings
from corvus_proxy.shop.states import STATES
from corvus_proxy.site.app import create
from corvus_proxy.till.client import Till
from tests.unit.site.shop import views

pytestmark = pytest.mark.anyio
PATH = f"/orders/{views.TOKEN}"
SETTINGS = Settings(
    brand=BrandSettings(
        name="Rook",
        api_url="http://127.0.0.1:9",
        support="help@rook.example",
        independence="Independent.",
        refunds="Unspent balance, within 14 days.",
    )
)


class Service:
    """Stands where the orders' service is: answers with the views that a test gives it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.view: OrderView | None = None
        self.problem: Problem | None = None
        self.calls: list[tuple[Any, ...]] = []
        for name in ("correct_address", "resend"):
            monkeypatch.setattr(orders, name, self._act(name))
        monkeypatch.setattr(orders, "view", self._view)

    async def _view(
        self, desk: object, token: str, browser: str, *, check: bool = True
    ) -> OrderView | None:
        self.calls.append(("view", token, browser, check))
        return self.view if token == views.TOKEN else None

    def _act(self, name: str) -> Any:
        async def act(desk: object, *words: str) -> Problem | None:
            self.calls.append((name, *words))
            return self.problem

        return act


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    return Service(monkeypatch)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """The real application; its stores are away, and the orders' service is a test's."""
    stores = Stores(
        Till.open("redis://127.0.0.1:1", timeout_ms=100), Books("postgresql://127.0.0.1:1/x"),
        b"p" * 32,
    )  # fmt: skip
    transport = httpx.ASGITransport(create(stores, SETTINGS), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as opened:
        yield opened
    await stores.close()


def words_of(page: str) -> str:
    """What a reader sees."""
    body = page[page.index("<main") : page.index("</main>")]
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)))


@pytest.mark.parametrize("state", sorted(STATES))
async def test_each_state_is_a_page(
    service: Service, client: httpx.AsyncClient, state: tuple[str, str]
) -> None:
    """Heading, timeline, facts and support line; not to be stored, indexed or referred to."""
    service.view = views.in_state(*state)
    answer = await client.get(PATH)
    assert answer.status_code == 200
    text = words_of(answer.text)
    assert views.TITLES[state] in text
    for phrase in ("Payment confirmed", "On the balance", "ord_000000000001", "help@rook.example"):
        assert phrase in text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-robots-tag"] == "noindex"
    assert answer.headers["referrer-policy"] == "strict-origin"
    assert answer.text.count("<h1") == 1
    title = re.search(r"<title>(.*?)</title>", answer.text)
    assert title is not None
    assert "ord_" not in title[1]
    assert not re.search(r"<script(?! type=\"module\" src=)|\son\w+=|style=", answer.text)
    paying = state in (("awaiting_payment", ""), ("payment_seen", "underpaid"))
    assert (views.ADDRESS in text) == paying
    twin = (await client.get(f"{PATH}.json")).json()
    assert (twin["status"], twin["exception"]) == state
    assert twin["title"] == views.TITLES[state]


async def test_an_open_order_shows_where_to_pay(
    service: Service, client: httpx.AsyncClient
) -> None:
    """Amount and address as text, a code to scan, a link for the phone, the time left, a way to
    look again: all without a script."""
    service.view = views.order()
    page = (await client.get(PATH)).text
    assert f'href="bitcoin:{views.ADDRESS}?amount=0.0002"' in page
    assert 'class="qr"' in page
    assert 'role="img" aria-label="QR code' in page
    assert re.search(r'data-until="[^"]+">2[89] min<', page)
    assert f'<form method="post" action="{PATH}/check">' in page
    assert f'href="{PATH}">Refresh' in page
    assert 'href="https://pay.example/i/1"' in page
    for text in ("0.0002", views.ADDRESS):
        assert f"<code data-copy>{text}</code>" in page


async def test_a_card_order_leads_to_its_page(service: Service, client: httpx.AsyncClient) -> None:
    """No address, no code to scan: a plain link to the payment service."""
    service.view = views.order(destination="", asset="USD", asset_amount="20.00", due="")
    page = (await client.get(PATH)).text
    assert 'class="qr"' not in page
    assert 'href="https://pay.example/i/1">Pay with' in page
    assert "$20.00" in page


async def test_the_paid_order_hands_out_the_key(
    service: Service, client: httpx.AsyncClient
) -> None:
    """In full in the HTML, in fields that password managers know, with addresses and commands that
    work as they are pasted, and the recovery code."""
    service.view = views.paid()
    page = (await client.get(PATH)).text
    assert re.search(rf">{views.KEY}</code>", page)
    username = re.search(r'<input[^>]*autocomplete="username"[^>]*>', page)
    password = re.search(r'<input[^>]*autocomplete="new-password"[^>]*>', page)
    assert username is not None
    assert password is not None
    assert 'value="key_000000000001"' in username[0]
    assert f'value="{views.KEY}"' in password[0]
    text = unescape(page)
    for phrase in (
        "http://127.0.0.1:9/v1</code>", "http://127.0.0.1:9</code>",
        f"Authorization: Bearer {views.KEY}", f"x-api-key: {views.KEY}", f'api_key="{views.KEY}"',
        f"ANTHROPIC_AUTH_TOKEN={views.KEY}", views.CODE,
        f'action="{PATH}/test#test"', f'action="{PATH}/dashboard"', f'href="{PATH}/code"',
    ):  # fmt: skip
        assert phrase in text, phrase
    assert views.KEY not in (await client.get(f"{PATH}.json")).text
    assert views.CODE not in (await client.get(f"{PATH}.json")).text
    printed = await client.get(f"{PATH}/code")
    assert views.CODE in printed.text
    assert views.KEY not in printed.text


async def test_another_browser_learns_where_the_key_is(
    service: Service, client: httpx.AsyncClient
) -> None:
    """No key, no code, no address of the buyer's; words on how to get there."""
    service.view = views.paid(
        own_browser=False, secret="", recovery="", balance_nanos=None, mail_state="accepted"
    )
    page = await client.get(PATH)
    text = words_of(page.text)
    assert "Delivered. It is shown only in the browser that ordered, and by the link in the" in text
    assert "Use this address" not in text
    assert (await client.get(f"{PATH}/code")).status_code == 404
    answer = await client.post(f"{PATH}/dashboard")
    assert answer.headers["location"] == "/login"
    tested = await client.post(f"{PATH}/test")
    assert tested.status_code == 303


@pytest.mark.parametrize(
    ("changed", "phrase"),
    [
        ({"fulfilment": "claimed"}, "The key was shown by the link in the mail"),
        ({"fulfilment": "delivered"}, "The copy of the key that was kept here is destroyed"),
        (
            {"new_key": False, "masked": "sk-corvus_AAAA…zzzz", "balance_nanos": 33 * views.USD},
            "The same key goes on",
        ),
    ],
)
async def test_an_order_without_a_key_to_show(
    service: Service, client: httpx.AsyncClient, changed: dict[str, Any], phrase: str
) -> None:
    """Claimed, too old, or a top-up."""
    service.view = views.paid(secret="", recovery="", **changed)
    text = words_of((await client.get(PATH)).text)
    assert phrase in text
    assert "Test this key" not in text
    if "masked" in changed:
        assert "$33.00 balance now" in text


@pytest.mark.parametrize(
    ("state", "phrase"),
    [
        ("queued", "waits to be sent"),
        ("accepted", "was taken by the address's mail server"),
        ("deferred", "tried again by itself"),
        ("bounced", "could not be delivered"),
        ("off", "this service sends no mail"),
    ],
)
async def test_the_mails_state_is_told(
    service: Service, client: httpx.AsyncClient, state: str, phrase: str
) -> None:
    """With the server's own words, and a way to put the address right."""
    service.view = views.paid(
        email="me@x.example", mail_state=state, mail_problem="550 no such mailbox"
    )
    page = (await client.get(PATH)).text
    text = words_of(page)
    assert phrase in text
    assert "550 no such mailbox" in text
    assert ("Correct the address" in text) == (state == "bounced")
    assert 'value="me@x.example"' in page


async def test_the_address_is_corrected_and_the_mail_sent_again(
    service: Service, client: httpx.AsyncClient
) -> None:
    """Forms of the page; what the service refuses stands beside them with what was typed kept."""
    service.view = views.paid(email="me@x.example", mail_state="bounced")
    client.cookies.set("order", "BROWSER")
    answer = await client.post(f"{PATH}/address", data={"email": " new@x.example "})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}#mail")
    assert ("correct_address", views.TOKEN, "BROWSER", "new@x.example") in service.calls
    assert (await client.post(f"{PATH}/resend")).status_code == 303
    service.problem = Problem("email", "This is no mail address.")
    answer = await client.post(f"{PATH}/address", data={"email": "new@"})
    assert answer.status_code == 422
    assert "This is no mail address." in answer.text
    assert 'value="new@"' in answer.text
    service.problem = Problem("", "It was sent a moment ago.")
    answer = await client.post(f"{PATH}/resend")
    assert (answer.status_code, "It was sent a moment ago." in answer.text) == (429, True)


async def test_checking_asks_the_service_but_not_all_the_time(
    service: Service, client: httpx.AsyncClient
) -> None:
    """Ten times a minute; then the page says so and asks nobody."""
    service.view = views.order()
    for _ in range(10):
        assert (await client.post(f"{PATH}/check")).headers["location"] == PATH
    answer = await client.post(f"{PATH}/check")
    assert answer.status_code == 429
    assert service.calls[-1] == ("view", views.TOKEN, "", False)


async def test_refunds_and_disputes_are_told(service: Service, client: httpx.AsyncClient) -> None:
    """Amount, progress, reference and rule."""
    for state in ("requested", "approved", "sent", "refused"):
        service.view = views.paid(refund=state, refunds=[views.refund(state)], disputed=True)
        text = words_of((await client.get(PATH)).text)
        assert "$5.00" in text
        assert "re_77" in text
        assert "Unspent balance, within 14 days." in text
        assert "is disputed" in text


async def test_a_refund_that_waits_for_an_address_has_its_link(
    service: Service, client: httpx.AsyncClient
) -> None:
    """And is not said to be on its way."""
    url = "https://coins.example/pull-payments/abc"
    service.view = views.paid(refund="sent", refunds=[views.refund("sent", url)])
    page = (await client.get(PATH)).text
    assert f'<a class="button" href="{url}" rel="noreferrer">Name your address</a>' in page
    assert "sent back by" not in words_of(page)
    service.view = views.paid(refund="sent", refunds=[views.refund("sent")])
    assert "Name your address" not in (await client.get(PATH)).text


@pytest.mark.parametrize("path", ["", ".json", "/code"])
async def test_a_wrong_token_is_no_page(
    service: Service, client: httpx.AsyncClient, path: str
) -> None:
    """The same as any other address that leads nowhere."""
    service.view = views.paid()
    wrong = await client.get(f"/orders/{'x' * 24}{path}")
    nowhere = await client.get("/nowhere")
    assert (wrong.status_code, wrong.text) == (404, nowhere.text)


@pytest.mark.parametrize("act", ["check", "address", "resend", "test", "dashboard"])
async def test_another_sites_form_changes_nothing(
    service: Service, client: httpx.AsyncClient, act: str
) -> None:
    """Refused before the service is asked."""
    service.view = views.paid()
    answer = await client.post(f"{PATH}/{act}", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    assert service.calls == []


async def test_an_api_that_is_away_is_not_the_keys_fault(
    service: Service, client: httpx.AsyncClient
) -> None:
    """The trial call says what went wrong, in place, and is not repeated without end."""
    service.view = views.paid()
    answer = await client.post(f"{PATH}/test")
    assert "The API did not answer. The key is not to blame" in answer.text
    assert views.KEY in answer.text
    for _ in range(5):
        answer = await client.post(f"{PATH}/test")
    assert answer.status_code == 429
    assert "often enough" in answer.text


def test_the_twin_changes_its_stand_when_the_page_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a script compares: not time, but confirmations, states, mail."""
    service = Service(monkeypatch)
    stores = Stores(Till.open("redis://127.0.0.1:1", timeout_ms=100), Books("x"), b"p" * 32)
    client = TestClient(create(stores, SETTINGS))
    stands = []
    for view in (
        views.order(), views.order(), views.in_state("payment_seen", ""),
        views.order(status="payment_seen", payments=[views.payment(confirmations=2)]),
        views.paid(), views.paid(mail_state="queued"), views.paid(mail_state="accepted"),
    ):  # fmt: skip
        service.view = view
        page = client.get(PATH).text
        twin = client.get(f"{PATH}.json").json()
        assert f'data-stand="{twin["stand"]}"' in page
        stands.append(twin["stand"])
    assert stands[0] == stands[1]
    assert len(set(stands)) == 6
    assert [view.get("settled") for view in (twin,)] == [True]
