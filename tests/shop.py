"""A desk over real stores with payment services that do as a test says, and its writer."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from corvus_proxy import clock
from corvus_proxy.books import views
from corvus_proxy.books.db import Books
from corvus_proxy.books.shop import orders, payments
from corvus_proxy.ledger import outbox
from corvus_proxy.ledger.verify import verify
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.service import orders as service
from corvus_proxy.service.orders import Desk, Form, OrderView, Placed, open_desk
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import BrandSettings, MailSettings, Settings, ShopSettings
from corvus_proxy.shop.provider import (
    Forged,
    Notice,
    Opened,
    Paid,
    Provider,
    ProviderRefused,
    ProviderUnavailable,
    Standing,
    Wanted,
)
from corvus_proxy.till.client import Till

PEPPER = b"p" * 32
USD = 10**9
BRAND = BrandSettings(support="help@example.com", independence="Of nobody.", refunds="Always.")


class Service:
    """A payment service in this process: it says what a test has put into it."""

    title = "Card (test)"
    origin = "https://pay.test"

    def __init__(self, name: str) -> None:
        self.name = name
        self.standings: dict[str, Standing] = {}
        self.wanted: list[Wanted] = []
        self.refunds: dict[str, tuple[str, int]] = {}
        self.away = False
        self.refuses = False
        self.asked = 0
        self.claims = ""
        """Where payers claim refunds; empty: they go back by themselves."""

    async def open(self, wanted: Wanted) -> Opened:
        self._there()
        self.wanted.append(wanted)
        reference = f"{self.name}-{wanted.order_id}"
        self.standings.setdefault(reference, Standing("open", False, "", ()))
        return Opened(
            reference,
            f"{self.origin}/{reference}",
            "",
            "USD",
            f"{wanted.total_nanos / USD:.2f}",
            clock.utc_now() + timedelta(seconds=wanted.quote_s),
        )

    async def check(self) -> None:
        self._there()

    async def standing(self, reference: str) -> Standing:
        self.asked += 1
        self._there()
        return self.standings[reference]

    async def refund(self, paid_reference: str, nanos: int, refund_id: str) -> str:
        self._there()
        if self.refuses:
            raise ProviderRefused("no")
        self.refunds.setdefault(refund_id, (paid_reference, nanos))
        return f"re-{refund_id}"

    def claim_url(self, refund_reference: str) -> str:
        return f"{self.claims}/{refund_reference}" if self.claims else ""

    def notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        if headers.get("signature") != "good":
            raise Forged("the signature does not fit")
        return Notice(*msgspec.json.decode(body, type=tuple[str, str, str]))

    async def close(self) -> None:
        """Nothing is open."""

    def _there(self) -> None:
        if self.away:
            raise ProviderUnavailable("it does not answer")

    def say(self, order_id: str, status: str, *payments: Paid, by_hand: bool = False) -> None:
        """How an order stands from now on."""
        self.standings[f"{self.name}-{order_id}"] = Standing(status, by_hand, "", payments)


def paid(
    value: int, state: str = "confirmed", *, reference: str = "pi_1", late: bool = False
) -> Paid:
    """A payment of USD."""
    return Paid(reference, state, "USD", f"{value / USD:.9f}", "1", value, "", "", 1, 1, late)


class Shop:
    """A desk, its payment services, and what a test asks of the books."""

    def __init__(self, till: Till, books: Books, **shop: Any) -> None:
        self.stores = Stores(till, books, PEPPER)
        self.settings = Settings(
            brand=BRAND, shop=ShopSettings(**shop), mail=MailSettings(host="mail.test")
        )
        self.card, self.chain = Service("stripe"), Service("btcpay")
        self.services: Mapping[str, Provider] = {"stripe": self.card, "btcpay": self.chain}
        self.writer = Writer(till, books, keep=10)

    @property
    def desk(self) -> Desk:
        """Another process each time."""
        return open_desk(self.settings, self.stores, self.services)

    async def place(self, amount: str = "20", **form: str) -> Placed:
        """An order by Stripe for a new key, unless the form says otherwise."""
        whole = {"preset": "", "provider": "stripe", "target": "new", "key": "", "email": ""}
        nonce = form.pop("nonce", clock.random_text(20))
        found = await service.place(
            self.desk, Form(amount, **{**whole, **form}, nonce=nonce), session=None, browser=""
        )
        assert isinstance(found, Placed), found
        return found

    async def view(self, placed: Placed, *, browser: str | None = None) -> OrderView:
        found = await service.view(
            self.desk, placed.token, placed.browser if browser is None else browser
        )
        assert found is not None
        return found

    async def message(self, order_id: str, *, event_id: str = "", kind: str = "paid") -> int:
        """A signed message of Stripe about an order."""
        body = msgspec.json.encode([event_id or clock.random_text(9), kind, f"stripe-{order_id}"])
        return await service.webhook(self.desk, "stripe", {"signature": "good"}, body)

    async def row(self, order_id: str) -> orders.OrderRow:
        async with self.stores.books.connection() as connection:
            found = await orders.by_id(connection, order_id)
        assert found is not None
        return found

    async def payments(self, order_id: str) -> list[payments.PaymentRow]:
        async with self.stores.books.connection() as connection:
            return await payments.of_order(connection, order_id)

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        async with self.stores.books.connection() as connection:
            return list(await connection.fetch(query, *arguments))

    async def balance(self, wallet: str | None) -> int:
        """In Redis, once the outbox is empty."""
        await outbox.tick(self.stores.till, self.stores.books)
        state = await self.stores.till.wallet(wallet or "")
        return state.balance_nanos if state else 0

    async def drain(self) -> None:
        """Everything that waits is in Redis and in the books."""
        await outbox.tick(self.stores.till, self.stores.books)
        while await self.writer.tick(block_ms=1):
            pass

    async def accounts(self) -> dict[str, int]:
        """The operator's accounts, once everything is in the books, which agree with Redis."""
        await self.drain()
        report = await verify(self.stores.till, self.stores.books)
        assert report.ok, report.problems
        async with self.stores.books.connection() as connection:
            return await views.accounts(connection)
