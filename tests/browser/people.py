"""The customers whose pages are looked at. Each is made when a page first asks for it, by the
functions that make customers, on the stores of the running stack."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from corvus_proxy import sealing
from corvus_proxy.books import people as books_people
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.service import alarms, keys, ledger, orders, sessions
from corvus_proxy.service.orders import Form, Placed
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import load
from corvus_proxy.shop.services import providers
from corvus_proxy.till.refused import since_empty
from tests.stack import RunningStack

CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", {"model": "gpt-4o-mini", "max_tokens": 60}),
    ("/v1/chat/completions", {"model": "glm-4.6", "max_tokens": 40}),
    ("/v1/messages", {"model": "claude-sonnet-4-6", "max_tokens": 80}),
)
ASKED = [{"role": "user", "content": "Say hello in one sentence."}]


class People:
    """Customers by name; `stores` are those of the stack."""

    def __init__(self, stack: RunningStack, stores: Stores) -> None:
        self.stack = stack
        self.stores = stores
        self.cookies: dict[str, list[Any]] = {}
        """Of those who have logged in."""
        self.settings = load(stack.state / "up.toml", {})
        self._desk = orders.open_desk(self.settings, stores, providers(self.settings))
        self._known: dict[str, keys.Created] = {}
        self._addresses = 0

    async def close(self) -> None:
        """Closes what it has opened itself."""
        for provider in self._desk.providers.values():
            await provider.close()

    async def key(self, name: str) -> keys.Created:
        """A customer's key."""
        if name not in self._known:
            make: Callable[[], Awaitable[keys.Created]] = getattr(self, f"_{name}")
            self._known[name] = await make()
        return self._known[name]

    async def _with(self, usd: int) -> keys.Created:
        return await keys.create(self.stores, credit_nanos=usd * NANOS_PER_USD)

    async def _newcomer(self) -> keys.Created:
        """Money, and no request yet."""
        return await self._with(5)

    async def _regular(self) -> keys.Created:
        """Requests of every family."""
        made = await self._with(5)
        for path, body in CALLS:
            await self.ask(made.secret, path, {**body, "messages": ASKED})
        await self.listed()
        return made

    async def _poor(self) -> keys.Created:
        """Not a nano-dollar, and a program that has not noticed."""
        made = await self._with(0)
        for _ in range(3):
            await self.refused(made.secret)
        deadline_s = time.monotonic() + 60
        while await since_empty(self.stores.till, made.wallet) < 3:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.1)
        return made

    async def _rotating(self) -> keys.Created:
        """Goes on with a secret that was changed, for as long as that works."""
        made = await self._with(1)
        await keys.rotate(self.stores, made.key_id, grace_s=3600)
        return made

    async def _frozen(self) -> keys.Created:
        made = await self._with(1)
        await keys.set_frozen(self.stores, made.key_id, frozen=True)
        return made

    async def _owner(self) -> keys.Created:
        """A regular with sub-keys, one of them near its cap, an alarm and a read-only token."""
        made = await self._regular()
        spent = await self._sub(made, "CI", NANOS_PER_USD // 500)
        await self.ask(spent.secret, CALLS[2][0], {**CALLS[2][1], "messages": ASKED})
        await self._sub(made, "A colleague", 2 * NANOS_PER_USD)
        async with self.stores.books.connection() as connection:
            await books_people.set_email(connection, made.wallet, "owner@demo.example")
        wanted = alarms.Wanted("balance", NANOS_PER_USD, True, "")
        await alarms.add(self.stores, made.wallet, wanted, private=True)
        await self._token(made)
        return made

    async def _sub(self, made: keys.Created, label: str, cap_nanos: int) -> keys.Created:
        return await keys.create_sub(
            self.stores,
            made.wallet,
            label=label,
            cap_nanos=cap_nanos,
            period="month",
            actor=made.key_id,
        )

    async def _colleague(self) -> keys.Created:
        """Has a sub-key of somebody else's wallet."""
        return await self._sub(await self.key("regular"), "A colleague", NANOS_PER_USD)

    async def _accountant(self) -> keys.Created:
        """Has a read-only token."""
        made = await self.key("regular")
        return made._replace(secret=await self._token(made))

    async def _token(self, made: keys.Created) -> str:
        session = sessions.Session(made.wallet, made.key_id, "key", "", True, False)
        made_token = await sessions.make_token(self.stores, session, label="Books", days=90)
        return made_token.text

    async def order(
        self, provider: str, *acts: str, until: str = "", email: str = "", key: str = ""
    ) -> Placed:
        """An order, and what has happened to its payment; `until`: the status that it has then.
        The chain makes no block by itself."""
        await self.still()
        form = Form("", "20.00", provider, "existing" if key else "new", key, email,
                    sealing.new_token())  # fmt: skip
        placed = await orders.place(self._desk, form, session=None, browser="")
        assert isinstance(placed, Placed), placed
        for act in acts:
            await self.act(placed.order_id, act)
            await self.view(placed)
        deadline_s = time.monotonic() + 60
        while until and (await self.view(placed)).status != until:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.1)
        return placed

    async def refund(self, order_id: str) -> None:
        """Half of an order goes back."""
        done = await orders.refund(
            self._desk, order_id, 10 * NANOS_PER_USD, reason="Asked for by mail", actor="cli"
        )
        assert isinstance(done, orders.RefundView), done

    async def view(self, placed: Placed) -> orders.OrderView:
        """The order as its own browser sees it."""
        found = await orders.view(self._desk, placed.token, placed.browser)
        assert found is not None
        return found

    async def ask(self, secret: str, path: str, body: dict[str, Any]) -> httpx.Response:
        """One request that is answered."""
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            headers = {"authorization": f"Bearer {secret}"}
            answer = await client.post(self.stack.api + path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer

    async def refused(self, secret: str) -> None:
        """One request that is refused for want of balance."""
        path, body = CALLS[0]
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            headers = {"authorization": f"Bearer {secret}"}
            body = {**body, "messages": ASKED}
            answer = await client.post(self.stack.api + path, json=body, headers=headers)
        assert answer.status_code == 429, answer.text

    async def listed(self) -> None:
        """Until the books know every charge."""
        deadline_s = time.monotonic() + 60
        while (await ledger.verify(self.stores)).undrained:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.1)

    async def still(self) -> None:
        """From now on the chain makes a block only where a test does."""
        await self._control("set", block_s=3600)

    async def act(self, order_page: str, act: str, **more: object) -> None:
        """What happens to the payment of an order at its payment service; `order_page`: an address
        or a page that names the order."""
        found = re.search(r"ord_\w+", order_page)
        assert found is not None, order_page
        async with self.stores.books.connection() as connection:
            reference = await connection.fetchval(
                "select provider_ref from shop_order where order_id = $1", found[0]
            )
        await self._control("act", id=reference, act=act, **more)

    async def _control(self, what: str, **wish: object) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            answer = await client.post(f"{self.stack.facts['payments']}/control/{what}", json=wish)
        assert answer.status_code == 200, answer.text

    async def mailed(self, address: str, pattern: str) -> re.Match[str]:
        """What a pattern finds in a mail to an address, once that is there."""
        deadline_s = time.monotonic() + 60
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            while time.monotonic() < deadline_s:
                mails = (await client.get(f"{self.stack.facts['mail']}/__mails")).json()
                for one in reversed(mails):
                    found = re.search(pattern, one["text"])
                    if address in one["recipients"] and found:
                        return found
                await asyncio.sleep(0.1)
        raise AssertionError(f"no mail to {address} with {pattern}")

    def address(self) -> str:
        """One that has got no mail yet."""
        self._addresses += 1
        return f"buyer{self._addresses}@demo.example"
