"""Storms of messages: whatever is lost, doubled, reordered, replayed, forged, altered or too early,
and whatever polls and page visits come between, each payment is credited exactly once.

The simulated payment services' own record says what was paid; it knows nothing of our books.
"""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.dev.payments import cards, coins, hooks, server
from corvus_proxy.dev.payments.record import Record
from corvus_proxy.ops import embedded
from corvus_proxy.roles.process import serve_until
from corvus_proxy.service import keys
from corvus_proxy.service import orders as service
from corvus_proxy.service.orders import Desk, Placed, open_desk
from corvus_proxy.shop.services import providers
from corvus_proxy.site import app
from corvus_proxy.till.client import Till
from tests.payments import BTCPAY_HOOK_SECRET, STRIPE_HOOK_SECRET, selling
from tests.shop import BRAND, Shop

pytestmark = pytest.mark.anyio

AT_ONCE = 6
KEYS = 5
AMOUNTS = ("1", "5", "20", "50.37", "9.99")
STORIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "stripe": (
        ("pay",),
        ("pay",),
        ("pay_later", "confirm"),
        ("pay_later", "fail"),
        ("expire",),
        ("lie", "pay"),
        ("lie",),
        ("pay", "reverse"),
        ("pay", "reverse", "dispute_lost"),
        ("pay", "reverse", "dispute_won"),
        ("pay", "refund"),
    ),
    "btcpay": (
        ("pay", "confirm"),
        ("pay", "confirm"),
        ("under", "confirm"),
        ("under", "confirm", "pay", "confirm"),
        ("under", "expire", "confirm"),
        ("over", "confirm"),
        ("late", "confirm"),
        ("expire",),
        ("lie", "pay", "confirm"),
        ("pay", "reverse"),
        ("pay", "reverse", "pay", "confirm"),
        ("pay", "confirm", "reverse"),
    ),
}
"""What buyers, banks and chains do to one order."""
TAKEN_BACK = {"reverse", "refund"}
TROUBLES: tuple[dict[str, Any], ...] = ({"status": 500}, {"cut": True}, {"garbage": True})
REFUSED = {
    "stripe": {"old", "wrong_signature", "unsigned", "altered"},
    # BTCPay signs no time: an old message is a true one.
    "btcpay": {"wrong_signature", "unsigned", "altered"},
}


class Weather(Shop):
    """A shop with the real adapters before the simulated services, its site on a port, and a
    source of chance."""

    def __init__(
        self, till: Till, books: Books, folder: Path, payments: server.Payments, url: str, seed: int
    ) -> None:
        super().__init__(till, books)
        self.payments = payments
        self.chance = random.Random(seed)
        self.port = embedded.free_port()
        site_url = f"http://127.0.0.1:{self.port}"
        self.settings = selling(
            folder,
            url,
            brand=msgspec.structs.replace(BRAND, site_url=site_url),
            mail=self.settings.mail,
        )
        self.providers = providers(self.settings)
        self.browser = httpx.AsyncClient(base_url=site_url, trust_env=False, timeout=30)
        for one, secret in (
            (payments.cards, STRIPE_HOOK_SECRET),
            (payments.coins, BTCPAY_HOOK_SECRET),
        ):
            one.hooks.url = f"{site_url}/webhooks/{one.name}"
            one.hooks.secret = secret
            one.hooks.pause_factor = 0.005

    @property
    def desk(self) -> Desk:
        """Another process each time."""
        return open_desk(self.settings, self.stores, self.providers)

    def service(self, name: str) -> cards.Cards | coins.Coins:
        return self.payments.cards if name == "stripe" else self.payments.coins

    async def storm(self, key_id: str) -> None:
        """One order, everything that happens to it, and all the noise around it."""
        provider = self.chance.choice(("stripe", "btcpay"))
        story = self.chance.choice(STORIES[provider])
        top_up = bool(key_id) and not TAKEN_BACK & set(story)
        target = {"target": "existing", "key": key_id} if top_up else {}
        self.payments.coins.hooks.play(self.chance.choice(hooks.TRICKS), 1)
        placed = await self._placed(self.chance.choice(AMOUNTS), provider=provider, **target)
        reference = (await self.row(placed.order_id)).provider_ref
        for act in story:
            if self.chance.random() < 0.5:
                trick = self.chance.choice(hooks.TRICKS)
                self.service(provider).hooks.play(trick, self.chance.randint(1, 2))
            self.payments.control.act(str(reference), act)
            await asyncio.gather(*(self._noise(placed, provider) for _ in range(3)))

    async def _placed(self, amount: str, **form: str) -> Placed:
        """An order; the same form again while the service is in trouble."""
        form["nonce"] = str(self.chance.random())
        while True:
            with contextlib.suppress(AssertionError):
                return await self.place(amount, **form)

    async def _noise(self, placed: Placed, provider: str) -> None:
        """One thing of those that may come at any time."""
        kind = self.chance.choice(("visit", "poll", "again", "again", "release", "trouble", "wait"))
        if kind == "visit":
            answer = await self.browser.get(f"/orders/{placed.token}")
            assert answer.status_code in (200, 503)  # 503: the books did not answer in time
        elif kind == "poll":
            await self.fetch(
                "update shop_order set next_check_at = now() where order_id = $1", placed.order_id
            )
            await service.tick(self.desk)
        elif kind == "again" and self.service(provider).hooks.made:
            await self.again(provider)
        elif kind == "release":
            self.service(provider).hooks.release()
        elif kind == "trouble":
            wish = {"service": provider, **self.chance.choice(TROUBLES)}
            await self.payments.control.do("trouble", wish)
        else:
            await asyncio.sleep(self.chance.random() * 0.02)

    async def again(self, provider: str) -> None:
        """Any message of the past once more, true or forged; the forged ones are told so."""
        made = self.service(provider).hooks.made
        name, how = self.chance.choice(made).id, self.chance.choice(hooks.FORGERIES)
        status = await self.service(provider).hooks.again(name, how)
        # No answer in time (0) is a busy machine; whoever sent the message would send it again.
        assert status in ((0, 400) if how in REFUSED[provider] else (0, 200, 503)), (how, status)

    async def calm(self) -> None:
        """The weather is over: what was held comes, and the worker asks about every order."""
        for one in (self.payments.cards, self.payments.coins):
            await self.payments.control.do("trouble", {"service": one.name, "times": 0})
            one.hooks.release()
        await asyncio.sleep(0.3)
        # Twice: what a reversal took must be in the books before it can be given again.
        for _ in range(2):
            await self.drain()
            await self.fetch("update shop_order set next_check_at = now()")
            desk = self.desk
            while await service.tick(desk):
                pass

    def paid(self) -> dict[str, int]:
        """What each order's payments are worth in the end, by the services' own record."""
        last: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        for row in self.payments.record.rows:
            if row["row"] == "payment":
                last[row["order_id"]][row["reference"]] = row
        return {
            order: _worth([row for row in rows.values() if row["state"] == "confirmed"])
            for order, rows in last.items()
        }


def _worth(rows: list[dict[str, Any]]) -> int:
    if rows and "quoted_amount" in rows[0] and not any(row["late"] for row in rows):
        came = sum(Decimal(row["asset_amount"]) for row in rows)
        if came == Decimal(rows[0]["quoted_amount"]):
            return int(rows[0]["quoted_nanos"])
    return sum(row["value_nanos"] for row in rows)


@contextlib.asynccontextmanager
async def weather(till: Till, books: Books, folder: Path, seed: int) -> AsyncIterator[Weather]:
    async with server.serve(block_s=0) as (payments, url):
        found = Weather(till, books, folder, payments, url, seed)
        stop = asyncio.Event()
        site = app.create(found.stores, found.settings, found.providers)
        serving = asyncio.create_task(serve_until(stop, site, "127.0.0.1", found.port))
        try:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await found.browser.get("/livez")).status_code == 200:
                        break
                await asyncio.sleep(0.02)
            yield found
        finally:
            await found.browser.aclose()
            for one in found.providers.values():
                await one.close()
            stop.set()
            await serving


async def _check(sky: Weather) -> None:
    """Every wallet has what its orders are worth; each payment moved money once; books agree."""
    expected, orders = sky.paid(), await sky.fetch("select * from shop_order")
    wallets: dict[str, int] = defaultdict(int)
    for order in orders:
        worth = expected.get(order["order_id"], 0)
        if order["wallet"] is None:
            assert worth == 0, f"{order['order_id']} was paid and never credited"
        else:
            wallets[order["wallet"]] += worth
    for wallet, worth in wallets.items():
        assert await sky.balance(wallet) == worth, wallet
    accounts = await sky.accounts()
    assert {name: n for name, n in accounts.items() if name.startswith("clearing:") and n} == {}
    moved = Counter(
        row["ext_id"]
        for row in await sky.fetch("select ext_id from event where ext_id like 'pay:%'")
    )
    assert set(moved.values()) <= {1}
    confirmed = {
        f"pay:{row['service']}:{row['reference']}"
        for row in sky.payments.record.rows
        if row["row"] == "payment" and row["state"] == "confirmed"
    }
    assert set(moved) <= confirmed, "a credit without a payment"


async def _forgeries_leave_no_trace(sky: Weather) -> None:
    """In the calm: each kind of forgery of each service is a 400 after which nothing differs."""
    tables = ("shop_order", "payment", "cash", "webhook", "outbox", "order_step", "mail")

    async def snapshot() -> list[list[str]]:
        return [
            sorted(str(tuple(row)) for row in await sky.fetch(f"select * from {table}"))
            for table in tables
        ]

    before = await snapshot()
    for provider, refused in REFUSED.items():
        made = sky.service(provider).hooks
        for how in refused:
            assert await made.again(made.made[-1].id, how) == 400
    assert await snapshot() == before


async def _storms(till: Till, books: Books, folder: Path, *, seed: int, count: int) -> None:
    async with weather(till, books, folder, seed) as sky:
        made = [(await keys.create(sky.stores, credit_nanos=0)).key_id for _ in range(KEYS)]
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with gate:
                await sky.storm(made[number % KEYS] if number % 3 == 0 else "")

        await asyncio.gather(*(one(number) for number in range(count)))
        await sky.calm()
        await _check(sky)
        await _forgeries_leave_no_trace(sky)
        vias = await sky.fetch("select distinct details->>'via' as via from order_step")
        assert {"webhook", "poll", "page"} <= {row["via"] for row in vias}


async def test_storms(valkey_till: Till, books: Books, tmp_path: Path) -> None:
    """Forty of them."""
    await _storms(valkey_till, books, tmp_path, seed=1, count=40)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
async def test_five_hundred_storms(
    valkey_till: Till, books: Books, tmp_path: Path, seed: int
) -> None:
    """Fifty for each of ten seeds."""
    await _storms(valkey_till, books, tmp_path, seed=seed, count=50)


async def test_a_message_before_the_order_exists(
    valkey_till: Till, books: Books, tmp_path: Path
) -> None:
    """The service speaks of a payment that we know nothing of, yet: taken, and nothing else; when
    the order is there, the same message credits it."""
    async with weather(valkey_till, books, tmp_path, 1) as sky:
        placed = await sky.place()
        reference = str((await sky.row(placed.order_id)).provider_ref)
        await sky.fetch("update shop_order set provider_ref = null")
        sky.payments.control.act(reference, "pay")
        paid = sky.payments.cards.hooks.made[-1].id
        assert await sky.payments.cards.hooks.again(paid, "copy") == 200
        assert not await sky.fetch("select from webhook")
        assert not await sky.fetch("select from payment")
        await sky.fetch(
            "update shop_order set provider_ref = $1 where order_id = $2",
            reference,
            placed.order_id,
        )
        assert await sky.payments.cards.hooks.again(paid, "copy") == 200
        row = await sky.row(placed.order_id)
        assert row.credited_nanos == 20 * 10**9
        assert await sky.balance(row.wallet) == 20 * 10**9


def test_the_stories_are_all_there() -> None:
    """Each act of both services is in a story, but for what a person at the service does."""
    told = {name: {act for story in found for act in story} for name, found in STORIES.items()}
    record = Record()
    assert set(cards.Cards(record, "").acts()) == told["stripe"]
    by_hand = {"mark_settled", "mark_invalid"}
    assert set(coins.Coins(record, "", "").acts()) - by_hand == told["btcpay"]
