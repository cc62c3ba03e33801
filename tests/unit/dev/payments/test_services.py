"""The simulated payment services by themselves: messages, pages, their memory, the record."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy.dev.payments import server
from corvus_proxy.dev.payments.cards import nested
from tests.payments import Receiver, receiving, until

pytestmark = pytest.mark.anyio

SESSION = {
    "mode": "payment",
    "success_url": "http://shop/back?session={CHECKOUT_SESSION_ID}",
    "line_items[0][price_data][currency]": "usd",
    "line_items[0][price_data][unit_amount]": "2000",
    "line_items[0][price_data][product_data][name]": "Balance",
    "line_items[0][quantity]": "1",
    "metadata[order_id]": "ord_1",
}


def stripe(url: str, key: str = server.STRIPE_KEY) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url, trust_env=False, headers={"authorization": f"Bearer {key}"}
    )


async def opened(payments: server.Payments) -> str:
    """A new session's id."""
    status, session = payments.cards.serve(
        "POST",
        "/v1/checkout/sessions",
        "",
        {"authorization": f"Bearer {server.STRIPE_KEY}"},
        httpx.Request("POST", "http://x", data=SESSION).content,
    )
    assert status == 200
    return str(session["id"])


def kinds(receiver: Receiver) -> list[str]:
    return [json.loads(body)["type"] for _, _, body in receiver.got]


def test_forms_are_trees() -> None:
    """Numbers and empty brackets make lists; what is a value and a tree at once is refused."""
    assert nested("a[b]=1&c[]=x&c[]=y&d[0][e]=2&f=") == {
        "a": {"b": "1"},
        "c": ["x", "y"],
        "d": [{"e": "2"}],
        "f": "",
    }
    with pytest.raises(ValueError, match="at once"):
        nested("a=1&a[b]=2")


async def test_errors_have_stripes_shape() -> None:
    """A wrong key, an unknown session, a missing field, a key used twice for different wishes."""
    async with server.serve() as (_, url), stripe(url, "sk_test_wrong") as stranger:
        answer = await stranger.get("/v1/checkout/sessions/cs_1")
        assert (answer.status_code, answer.json()["error"]["type"]) == (
            401,
            "invalid_request_error",
        )
        async with stripe(url) as client:
            missing = await client.get("/v1/checkout/sessions/cs_1")
            assert missing.status_code == 404
            assert missing.json()["error"]["code"] == "resource_missing"
            less = {**SESSION, "success_url": ""}
            refused = await client.post("/v1/checkout/sessions", data=less)
            assert refused.json()["error"]["param"] == "success_url"
            once = {"idempotency-key": "k"}
            first = await client.post("/v1/checkout/sessions", data=SESSION, headers=once)
            again = await client.post("/v1/checkout/sessions", data=SESSION, headers=once)
            assert first.json() == again.json()
            other = await client.post(
                "/v1/checkout/sessions", data={**SESSION, "mode": "x"}, headers=once
            )
            assert other.json()["error"]["type"] == "idempotency_error"


async def test_the_session_is_named_in_the_way_back() -> None:
    async with server.serve() as (payments, _):
        name = await opened(payments)
        assert payments.cards.objects[name]["success_url"].endswith(f"session={name}")


async def test_messages_are_repeated_until_they_are_taken() -> None:
    """A receiver that says 503 hears the same event again; once it says 200, no more."""
    async with server.serve() as (payments, _), receiving(payments) as receiver:
        receiver.status = 503
        payments.cards.pay(await opened(payments))
        await receiver.wait(3)
        receiver.status = 200
        await receiver.wait(len(receiver.got) + 1)
        await asyncio.sleep(0.1)
        count = len(receiver.got)
        await asyncio.sleep(0.1)
        assert len(receiver.got) == count
        assert set(kinds(receiver)) == {"checkout.session.completed"}
        assert len({body for _, _, body in receiver.got}) == 1


@pytest.mark.parametrize(("trick", "times"), [("drop", 0), ("double", 2), ("hold", 0)])
async def test_tricks(trick: str, times: int) -> None:
    """A lost message never comes, a doubled one comes twice, a held one waits; only the next."""
    async with server.serve() as (payments, _), receiving(payments) as receiver:
        await payments.control.do("hooks", {"service": "stripe", "trick": trick})
        payments.cards.pay(await opened(payments))
        payments.cards.expire(await opened(payments))
        await receiver.wait(times + 1)
        await asyncio.sleep(0.05)
        assert kinds(receiver).count("checkout.session.completed") == times
        assert kinds(receiver).count("checkout.session.expired") == 1


async def test_held_messages_come_in_another_order() -> None:
    async with server.serve() as (payments, _), receiving(payments) as receiver:
        await payments.control.do("hooks", {"service": "stripe", "trick": "hold", "times": 2})
        name = await opened(payments)
        payments.cards.pay(name)
        payments.cards.dispute(name)
        assert (await payments.control.do("hooks", {"release": True})) == {"released": 2}
        await receiver.wait(2)
        assert sorted(kinds(receiver)) == ["charge.dispute.created", "checkout.session.completed"]


async def test_the_services_remember(tmp_path: Path) -> None:
    """Ended and started on the same file: sessions, invoices, answers and payments are there."""
    log = tmp_path / "payments.jsonl"
    async with server.serve(log=log, block_s=0) as (payments, _):
        session = await opened(payments)
        payments.cards.pay(session)
        _, invoice = payments.coins.serve(
            "POST",
            f"/api/v1/stores/{server.STORE}/invoices",
            "",
            {"authorization": f"token {server.BTCPAY_KEY}"},
            json.dumps({"amount": "20.00", "currency": "USD"}).encode(),
        )
        payments.coins.pay(invoice["id"])
        before = payments.control.state()
    with log.open("a") as file:
        file.write('{"row": "object", "kind": "stripe", "id": "cs_cut')
    async with server.serve(log=log, block_s=0) as (payments, _):
        after = payments.control.state()
        assert {row["id"]: row for row in after["stripe"]} == {
            row["id"]: row for row in before["stripe"]
        }
        assert after["btcpay"] == before["btcpay"]
        payments.coins.confirm(invoice["id"])
        assert payments.coins.invoices[invoice["id"]].status == "Settled"


async def test_a_chain_that_confirms_by_itself() -> None:
    """Pay, and blocks come: seen first, settled after as many blocks as the store waits for."""
    async with server.serve(block_s=0.15) as (payments, _):
        _, shown = payments.coins.serve(
            "POST",
            f"/api/v1/stores/{server.STORE}/invoices",
            "",
            {"authorization": f"token {server.BTCPAY_KEY}"},
            json.dumps({"amount": "5", "currency": "USD"}).encode(),
        )
        invoice = payments.coins.invoices[shown["id"]]
        payments.coins.pay(invoice.id)
        assert invoice.status == "Processing"
        await until(lambda: invoice.status == "Settled")
        assert invoice.payments[0].confirmations == 2


async def control(url: str, what: str, wish: dict[str, Any]) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{url}/control/{what}", json=wish)


@pytest.mark.parametrize(
    ("what", "wish"),
    [
        ("act", {"id": "nobody", "act": "pay"}),
        ("act", {"id": "nobody", "act": "dance"}),
        ("hooks", {"trick": "vanish"}),
        ("hooks", {"again": "nothing"}),
        ("hooks", {"colour": "red"}),
        ("hooks", {"service": "paypal", "trick": "drop"}),
        ("trouble", {"service": "stripe", "mood": "bad"}),
        ("set", {"weather": "rain"}),
        ("weather", {}),
    ],
)
async def test_wrong_words_are_told(what: str, wish: dict[str, Any]) -> None:
    async with server.serve() as (_, url):
        answer = await control(url, what, wish)
        assert answer.status_code in (400, 409)
        assert answer.json()["error"]


async def test_pages_refuse_what_cannot_be() -> None:
    """A paid session cannot be paid again; no such payment, no such act, no form by GET."""
    async with server.serve() as (payments, url), stripe(url) as browser:
        name = await opened(payments)
        assert (await browser.post(f"/pay/{name}/pay")).status_code == 303
        assert (await browser.post(f"/pay/{name}/pay")).status_code == 409
        assert (await browser.post(f"/pay/{name}/dance")).status_code == 409
        assert (await browser.get(f"/pay/{name}/pay")).status_code == 405
        assert (await browser.get("/pay/nobody")).status_code == 404
        page = await browser.get(f"/pay/{name}")
        assert "complete, paid" in page.text
        assert 'class="first"' not in page.text
