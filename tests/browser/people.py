"""The customers whose pages are looked at. Each is made when a page first asks for it, by the
functions that make customers, on the stores of the running stack."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.service import keys, ledger
from corvus_proxy.service.stores import Stores
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
        self._known: dict[str, keys.Created] = {}

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
        """Not a nano-dollar."""
        return await self._with(0)

    async def _frozen(self) -> keys.Created:
        made = await self._with(1)
        await keys.set_frozen(self.stores, made.key_id, frozen=True)
        return made

    async def ask(self, secret: str, path: str, body: dict[str, Any]) -> httpx.Response:
        """One request that is answered."""
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            headers = {"authorization": f"Bearer {secret}"}
            answer = await client.post(self.stack.api + path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer

    async def listed(self) -> None:
        """Until the books know every charge."""
        deadline_s = time.monotonic() + 20
        while (await ledger.verify(self.stores)).undrained:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.1)
