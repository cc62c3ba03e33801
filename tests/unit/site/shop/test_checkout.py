"""The checkout form over HTTP, without a script: as it comes, with errors, with a key typed in."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from corvus_proxy import secret
from corvus_proxy.books.db import Books
from corvus_proxy.service import orders
from corvus_proxy.service.orders import Form, Offer, Placed, Problem
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import BrandSettings, Settings, ShopSettings
from corvus_proxy.site.app import create
from corvus_proxy.till.client import Till
from tests.unit.site.shop import views

pytestmark = pytest.mark.anyio
USD = 10**9
SETTINGS = Settings(
    brand=BrandSettings(
        name="Rook", support="help@rook.example", independence="Independent.",
        refunds="Unspent balance, within 14 days.",
    ),
    shop=ShopSettings(fee_percent="2.5", fee_fixed_usd="0.30", tax_percent="10"),
)  # fmt: skip
OFFER = Offer(
    (5 * USD, 10 * USD, 20 * USD, 50 * USD), 20 * USD, USD, 10_000 * USD,
    (("stripe", "Card (Stripe)"), ("btcpay", "Bitcoin (BTCPay)")), True, "2.5",
    300_000_000, "10", "VAT", "",
)  # fmt: skip


class Service:
    """Stands where the orders' service is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offer = OFFER
        self.answer: Placed | Problem = Placed(
            "ord_1", views.TOKEN, "BROWSER", "https://pay.stripe.example/s/1"
        )
        self.forms: list[tuple[Form, str]] = []
        monkeypatch.setattr(orders, "offer", self.offered)
        monkeypatch.setattr(orders, "place", self._place)

    async def offered(self, desk: object) -> Offer:
        """What is sold."""
        return self.offer

    async def _place(
        self, desk: object, form: Form, *, session: object, browser: str
    ) -> Placed | Problem:
        self.forms.append((form, browser))
        return self.answer


class Provider:
    """Name and origin of a payment service; it is never asked anything here."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.origin = f"https://pay.{name}.example"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    return Service(monkeypatch)


def browse(settings: Settings = SETTINGS) -> httpx.AsyncClient:
    stores = Stores(
        Till.open("redis://127.0.0.1:1", timeout_ms=100), Books("postgresql://127.0.0.1:1/x"),
        b"p" * 32,
    )  # fmt: skip
    providers: Any = {name: Provider(name) for name in ("stripe", "btcpay")}
    transport = httpx.ASGITransport(create(stores, settings, providers), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://site")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with browse() as opened:
        yield opened


def fields(page: str) -> dict[str, str]:
    """What a browser sends when the form is sent as it comes."""
    form = page[page.index('<form class="card order"') : page.index("</form>")]
    assert "<select" not in form
    found: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        attribute = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        assert attribute["type"] in ("hidden", "radio", "text"), tag
        assert " required" not in tag
        if attribute["type"] != "radio" or " checked" in tag:
            found[attribute["name"]] = attribute["value"]
    return found


async def test_the_form_can_be_sent_as_it_comes(
    service: Service, client: httpx.AsyncClient
) -> None:
    """New key, first service, the preset; it leads to the payment service's page, and the policy
    allows exactly that."""
    page = await client.get("/checkout")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "form-action 'self' https://pay.btcpay.example https://pay.stripe.example;" in policy
    sent = fields(page.text)
    assert sent["provider"] == "stripe"
    assert sent["target"] == "new"
    assert (sent["preset_amount"], sent["amount"]) == ("20.00", "")
    answer = await client.post("/checkout", data=sent)
    assert answer.status_code == 303
    assert answer.headers["location"] == "https://pay.stripe.example/s/1"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("order=BROWSER; HttpOnly; Max-Age=2592000; Path=/; SameSite=lax")
    (form, browser) = service.forms[0]
    assert form == Form("", "20.00", "stripe", "new", "", "", sent["nonce"])
    assert browser == ""
    await client.post("/checkout", data=sent)
    assert service.forms[1] == (form, "BROWSER")


async def test_a_bitcoin_order_leads_to_its_own_page(
    service: Service, client: httpx.AsyncClient
) -> None:
    """Where the address, the code and a plain link to the service stand."""
    service.answer = Placed("ord_1", views.TOKEN, "B", "https://pay.btcpay.example/i/1")
    answer = await client.post("/checkout", data={"provider": "btcpay", "amount": "7"})
    assert answer.headers["location"] == f"/orders/{views.TOKEN}"


async def test_a_payment_page_of_elsewhere_is_not_led_to(
    service: Service, client: httpx.AsyncClient
) -> None:
    """The order's page has the link; nobody is sent to an address that no service is known by."""
    service.answer = Placed("ord_1", views.TOKEN, "B", "https://evil.example/s/1")
    answer = await client.post("/checkout", data={"provider": "stripe"})
    assert answer.headers["location"] == f"/orders/{views.TOKEN}"


@pytest.mark.parametrize(
    ("sent", "amount", "preset"),
    [
        ({"amount": "7.50", "preset_amount": "50.00"}, "7.50", "50.00"),
        ({"preset_amount": "50.00"}, "", "50.00"),
        ({"preset_amount": "7"}, "7", "7"),
        ({}, "", "20.00"),
    ],
)
async def test_a_typed_amount_wins(
    service: Service, client: httpx.AsyncClient, sent: dict[str, str], amount: str, preset: str
) -> None:
    """Over a choice; a choice that is none of ours counts as typed; what is missing is the
    preset."""
    await client.post("/checkout", data=sent)
    form, _ = service.forms[0]
    assert (form.amount, form.preset) == (amount, preset)


async def test_fee_and_tax_stand_on_the_page_before_paying(
    service: Service, client: httpx.AsyncClient
) -> None:
    """For the preset without a script, for each package beside it; a script asks for any other."""
    page = (await client.get("/checkout")).text
    lines = dict(re.findall(r'data-line="(\w+)">([^<]*)<', page))
    # 2.5 % of 20 and 0.30 are 0.80; 10 % of 20.80 are 2.08.
    assert lines == {"amount": "20.00", "fee": "0.80", "tax": "2.08", "total": "22.88"}
    assert "$50 <small>pay $56.71</small>" in page
    told = (await client.get("/checkout/price.json?amount=50")).json()
    assert (told["total_nanos"], told["total"], told["fee"]) == (56_710_000_000, "56.71", "1.55")
    wrong = await client.get("/checkout/price.json?amount=0.5")
    assert wrong.status_code == 200
    assert "at least $1.00" in wrong.json()["problem"]


async def test_rules_and_what_it_buys_stand_beside_the_form(
    service: Service, client: httpx.AsyncClient
) -> None:
    """The refund rule in full, that nothing expires, and the assumption of the table."""
    page = (await client.get("/checkout")).text
    assert "Unspent balance, within 14 days." in page
    assert "Balance does not expire." in page
    assert "What $20.00 buys" in page
    assert "A turn here is one call of a coding agent" in page
    assert "it is a second way back if the key is lost" in page


@pytest.mark.parametrize("field", ["amount", "key", "email", "provider", ""])
async def test_a_problem_stands_at_its_field_and_nothing_is_typed_twice(
    service: Service, client: httpx.AsyncClient, field: str
) -> None:
    """Everything typed is kept, but for a secret, which never comes back."""
    text = secret.new_secret(secret.new_wallet_id())
    service.answer = Problem(field, "That was wrong.")
    answer = await client.post(
        "/checkout",
        data={
            "amount": "12,5", "preset_amount": "5.00", "provider": "btcpay", "target": "existing",
            "key": f" {text[:20]}\r\n{text[20:]}", "email": "me@x.example", "nonce": "n",
        },
    )  # fmt: skip
    assert answer.status_code == (503 if field == "provider" else 422)
    assert service.forms[0][0].key == text
    page = answer.text
    assert "That was wrong." in page
    sent = fields(page)
    assert sent["amount"] == "12,5"
    assert sent["preset_amount"] == "5.00"
    assert sent["provider"] == "btcpay"
    assert sent["target"] == "existing"
    assert sent["email"] == "me@x.example"
    assert sent["key"] == ""
    assert text not in page
    assert text[20:] not in page
    if field in ("amount", "key", "email"):
        tag = re.search(rf'<input id="{field}"[^>]*>', page)
        assert tag is not None
        assert "aria-invalid" in tag[0]
        assert f'aria-describedby="{field}-wrong ' in tag[0]
        assert f'id="{field}-wrong">That was wrong.' in page
        assert f'href="#{field}"' in page


async def test_a_key_id_in_the_address_is_filled_in_and_a_secret_refused(
    service: Service, client: httpx.AsyncClient
) -> None:
    """`/checkout?key=key_…` is the link of error bodies; anything else there is ignored."""
    key_id = secret.new_key_id()
    sent = fields((await client.get(f"/checkout?key={key_id}")).text)
    assert (sent["target"], sent["key"]) == ("existing", key_id)
    sent = fields((await client.get("/checkout?key=%3Cscript%3E&amount=%3Cb%3E")).text)
    assert (sent["target"], sent["key"], sent["amount"]) == ("new", "", "")
    assert fields((await client.get("/checkout?amount=12.50")).text)["amount"] == "12.50"
    text = secret.new_secret(secret.new_wallet_id())
    answer = await client.get(f"/checkout?key={text}")
    assert answer.status_code == 400
    assert text not in answer.text


async def test_a_key_that_was_typed_for_a_new_one_is_dropped(
    service: Service, client: httpx.AsyncClient
) -> None:
    """The choice decides: a password manager that fills the field changes nothing."""
    await client.post("/checkout", data={"target": "new", "key": "key_000000000001"})
    assert service.forms[0][0].key == ""


@pytest.mark.parametrize("missing", ["support", "independence", "refunds"])
async def test_without_the_operators_facts_nothing_is_sold(service: Service, missing: str) -> None:
    """503 in words, with the option's name; neither form nor order."""
    brand = msgspec.structs.replace(SETTINGS.brand, **{missing: " "})
    async with browse(msgspec.structs.replace(SETTINGS, brand=brand)) as client:
        for answer in (await client.get("/checkout"), await client.post("/checkout", data={})):
            assert answer.status_code == 503
            assert f"brand.{missing}" in answer.text
            assert answer.headers["retry-after"]
            assert '<form class="card order"' not in answer.text
    assert service.forms == []


async def test_paused_sales_and_no_service_are_told(
    service: Service, client: httpx.AsyncClient
) -> None:
    """Honest words instead of a form; a form that was open before is not taken."""
    service.offer = OFFER._replace(paused="New balance is paused until Monday.")
    page = await client.get("/checkout")
    assert "New balance is paused until Monday." in page.text
    assert '<form class="card order"' not in page.text
    answer = await client.post("/checkout", data={})
    assert "New balance is paused until Monday." in answer.text
    assert answer.status_code == 503
    service.offer = OFFER._replace(providers=())
    assert "nothing can be bought" in (await client.get("/checkout")).text
    assert service.forms == []


async def test_without_mail_the_page_says_so(service: Service, client: httpx.AsyncClient) -> None:
    """And that the order's page is then the only way."""
    service.offer = OFFER._replace(mail=False)
    page = (await client.get("/checkout")).text
    assert "This service sends no mail." in page
    assert re.search(r'<input id="email"[^>]* disabled', page)


async def test_another_sites_form_and_a_flood_make_no_order(
    service: Service, client: httpx.AsyncClient
) -> None:
    """Refused in words on the form itself, so that a person goes on at once."""
    answer = await client.post("/checkout", data={}, headers={"sec-fetch-site": "cross-site"})
    assert "sent from another site" in answer.text
    for _ in range(20):
        assert (await client.post("/checkout", data={})).status_code == 303
    answer = await client.post("/checkout", data={"amount": "33"})
    assert answer.status_code == 429
    assert fields(answer.text)["amount"] == "33"
    assert len(service.forms) == 20


async def test_with_https_the_cookie_is_bound_to_this_host(service: Service) -> None:
    """`__Host-order`, `Secure`, as log-in's."""
    brand = msgspec.structs.replace(SETTINGS.brand, site_url="https://rook.example")
    async with browse(msgspec.structs.replace(SETTINGS, brand=brand)) as client:
        answer = await client.post("/checkout", data={})
        assert answer.headers["set-cookie"].startswith("__Host-order=BROWSER;")
        assert "; Secure" in answer.headers["set-cookie"]
