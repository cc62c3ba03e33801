"""Buying by a program, and the payment services' door, as HTTP."""

from collections.abc import AsyncIterator

import httpx
import pytest

from corvus_proxy.account import orders as machines
from corvus_proxy.account import webhooks
from corvus_proxy.books.db import Books
from corvus_proxy.service import keys
from corvus_proxy.shop.settle import settle
from corvus_proxy.site import app as site
from corvus_proxy.till.client import Till
from tests.shop import USD, Shop, paid

pytestmark = pytest.mark.anyio
IDEMPOTENCY = {"idempotency-key": "a-random-one-of-a-program"}


@pytest.fixture
async def shop(valkey_till: Till, books: Books) -> Shop:
    return Shop(valkey_till, books)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    services = {one.name: one for one in (shop.card, shop.chain)}
    application = site.create(shop.stores, shop.settings, services)
    transport = httpx.ASGITransport(application, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://site.test") as one:
        yield one


async def test_a_program_buys_a_key(shop: Shop, client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/orders", json={"amount": "20"})
    assert made.status_code == 201
    order = made.json()
    assert (order["status"], order["total"], order["total_nanos"]) == (
        "awaiting_payment", "20.00", 20 * USD,
    )  # fmt: skip
    assert order["pay_url"].startswith("https://pay.test/")
    assert made.headers["cache-control"] == "no-store"
    shop.card.say(order["order_id"], "settled", paid(20 * USD))
    path = f"/v1/orders/{order['token']}"
    stranger = (await client.get(path)).json()
    assert (stranger["status"], stranger["secret"], stranger["recovery"]) == (
        "paid_confirmed", "", "",
    )  # fmt: skip
    own = (await client.get(path, headers={"x-corvus-buyer-token": order["buyer_token"]})).json()
    assert own["secret"].startswith("sk-corvus_")
    assert own["recovery"].startswith("rc-")
    assert (own["balance"], own["credited"]) == ("20.00", "20.00")
    assert [step["step"] for step in own["steps"]][-1] == "delivered"


async def test_with_a_key_it_tops_that_key_up(shop: Shop, client: httpx.AsyncClient) -> None:
    key = await keys.create(shop.stores, credit_nanos=USD)
    headers = {"authorization": f"Bearer {key.secret}", "idempotency-key": "1"}
    body = {"amount": "5", "provider": "btcpay"}
    first, second = [
        (await client.post("/v1/orders", json=body, headers=headers)).json() for _ in range(2)
    ]
    assert first == second
    shop.chain.say(first["order_id"], "settled", paid(5 * USD))
    await settle(shop.desk.means, first["order_id"], via="poll")
    assert await shop.balance(key.wallet) == 6 * USD
    assert len(await shop.fetch("select from wallet")) == 1


async def test_the_same_wish_twice_is_one_order_for_the_caller_alone(
    shop: Shop, client: httpx.AsyncClient
) -> None:
    """Another key with the same Idempotency-Key gets an order of its own."""
    one, two = [await keys.create(shop.stores, credit_nanos=0) for _ in range(2)]
    tokens = set()
    for headers in (
        IDEMPOTENCY,
        IDEMPOTENCY,
        {**IDEMPOTENCY, "authorization": f"Bearer {one.secret}"},
        {**IDEMPOTENCY, "authorization": f"Bearer {two.secret}"},
    ):
        answer = await client.post("/v1/orders", json={"amount": "5"}, headers=headers)
        assert answer.status_code == 201
        tokens.add(answer.json()["token"])
    assert len(tokens) == 3


REFUSALS: list[tuple[bytes, dict[str, str], str, str | None]] = [
    (b"{", {}, "invalid_request", None),
    (b"[]", {}, "invalid_request", None),
    (b'{"amount": 5}', {}, "invalid_request", "amount"),
    (b'{"amount": "0"}', {}, "invalid_request", "amount"),
    (b"{}", {}, "invalid_request", "amount"),
    (b'{"amount": "5", "price": "1"}', {}, "invalid_request", "price"),
    (b'{"amount": "5", "provider": "paypal"}', {}, "invalid_request", "provider"),
    (b'{"amount": "5", "email": "me"}', {}, "invalid_request", "email"),
    (b'{"amount": "5"}', {"idempotency-key": "1"}, "invalid_request", "Idempotency-Key"),
    (b'{"amount": "5"}', {"authorization": "Bearer no"}, "invalid_api_key", None),
    (b'{"amount": "5"}', {"authorization": "Basic x"}, "invalid_api_key", None),
    (b" " * (machines.BODY_BYTES_MAX + 1), {}, "request_too_large", None),
]


async def test_refusals_are_json_and_name_what_is_wrong(
    shop: Shop, client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for body, headers, code, param in REFUSALS:
        with subtests.test(str(body[:60])):
            answer = await client.post("/v1/orders", content=body, headers=headers)
            error = answer.json()["error"]
            assert answer.status_code == machines.CODES[code][0]
            assert (error["code"], error.get("param")) == (code, param)
            assert error["message"]
    assert not await shop.fetch("select from shop_order")


async def test_services_and_stores_that_are_away(
    shop: Shop, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.card.away = True
    answer = await client.post("/v1/orders", json={"amount": "5"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (
        503, "payment_service_unavailable",
    )  # fmt: skip
    assert (await client.get("/v1/orders/none")).status_code == 404
    monkeypatch.setattr(shop.stores.books, "_url", "postgresql://127.0.0.1:1/x")
    await shop.stores.books.close()
    answer = await client.get("/v1/orders/none")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "books_unavailable")
    assert answer.headers["retry-after"]
    body = b'["e", "paid", "stripe-x"]'
    told = await client.post("/webhooks/stripe", content=body, headers={"signature": "good"})
    assert told.status_code == 503


async def test_one_address_places_so_many_orders_and_no_more(client: httpx.AsyncClient) -> None:
    for _ in range(site.ORDERS_MAX):
        await client.post("/v1/orders", content=b"[]")
    answer = await client.post("/v1/orders", json={"amount": "5"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_orders")
    assert int(answer.headers["retry-after"]) > 0


async def test_the_door_of_messages(shop: Shop, client: httpx.AsyncClient) -> None:
    """Signed: taken. Altered, unsigned, too large, for nobody, not a POST: nothing happens."""
    placed = await shop.place()
    shop.card.say(placed.order_id, "settled", paid(20 * USD))
    body = f'["evt", "paid", "stripe-{placed.order_id}"]'.encode()
    large = b" " * (webhooks.BODY_BYTES_MAX + 1)
    for path, content, headers, status in (
        ("/webhooks/stripe", body, {}, 400),
        ("/webhooks/stripe", body, {"signature": "bad"}, 400),
        ("/webhooks/stripe", large, {"signature": "good"}, 413),
        ("/webhooks/paypal", body, {"signature": "good"}, 404),
    ):
        answer = await client.post(path, content=content, headers=headers)
        assert answer.status_code == status
    assert (await client.get("/webhooks/stripe")).status_code == 405
    assert (await shop.row(placed.order_id)).asked == 0
    answer = await client.post("/webhooks/stripe", content=body, headers={"Signature": "good"})
    assert answer.status_code == 200
    assert (await shop.row(placed.order_id)).credited_nanos == 20 * USD
