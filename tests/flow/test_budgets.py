"""What a credential may cost a day, over two gateways on nodes of their own: one count for both,
and no restart begins it anew."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy.ops import children, embedded
from corvus_proxy.service import keys
from tests.flow.test_pools import NAMES, Pools, asked, lines, pools, seen_as, until

pytestmark = pytest.mark.anyio
DAY_USD = "0.002"


@pytest.mark.slow
async def test_a_budget_is_one_for_all_gateways_and_outlives_them(
    postgres_server: embedded.Postgres, tmp_path: Path
) -> None:
    """Spent through both gateways, it closes the credential in both; another serves every client;
    a new gateway process knows at once; a raised budget opens it again."""
    async with pools(postgres_server, tmp_path, nodes=2) as roles:
        made = await keys.create(roles.stores, credit_nanos=100 * 10**9)
        limited = {"c1": f'budget_day_usd = "{DAY_USD}"'}
        roles.configure(NAMES, more=limited)
        await until(lambda: all(reloads(roles, node) == 1 for node in (0, 1)))
        asking = Asking(roles, made.secret)
        while not all(closed(roles, node) for node in (0, 1)):
            assert asking.number < 600, await cost_nanos(roles)
            await asking.both()
            await asyncio.sleep(0.1)  # what is asked before the news is little beside the budget
        told = [row for row in roles.log(1) if row["event"] == "credential_state"]
        assert [(row["credential"], row["state"], row["why"]) for row in told] == [
            ("c1", "empty", "budget_day")
        ]
        assert 0 < told[0]["for_s"] <= 86_400
        await roles.agree()
        spent = await cost_nanos(roles)
        assert 2_000_000 <= spent < 4_000_000  # each for itself would be twice as much
        assert roles.figure("corvus_credential_budget_nanos", period="day", **C1) == 2_000_000
        assert roles.figure("corvus_credentials", state="empty", **C1) == 2
        await untouched(roles, asking)
        assert roles.figure("corvus_credential_cost_nanos", period="day", **C1) == spent

        gateway = roles.processes["gateway1"]
        gateway.terminate()
        children.end(gateway, signal.SIGTERM, timeout_s=15)
        roles.start_gateway(1)
        await roles.until_served()
        await untouched(roles, asking)

        roles.configure(NAMES, more={"c1": 'budget_day_usd = "1"'})
        await until(lambda: lines(roles, "reloaded") == 2)
        before = len(await roles.served())
        for _ in range(12):
            await asking.both()
        rows = (await roles.served())[before:]
        assert seen_as("c1") in {row["credential"] for row in rows}
        why = [row["why"] for row in roles.log() if row["event"] == "credential_state"]
        assert why == ["budget_day", "budget_open"]
        await roles.agree()


C1 = {"family": "anthropic", "credential": "c1"}


class Asking:
    """Requests in turn to both gateways, each a session of its own, all answered."""

    def __init__(self, roles: Pools, secret: str) -> None:
        self._roles, self._secret = roles, secret
        self.number = 0

    async def both(self) -> None:
        for port in self._roles.ports:
            base = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as http:
                self.number += 1
                seen = await asked(http, self._secret, self.number, stream=bool(self.number % 2))
                assert (seen.status, seen.whole) == (200, True)


async def untouched(roles: Pools, asking: Asking) -> None:
    """The closed credential takes nothing, on either gateway."""
    before = len(await roles.served())
    for _ in range(15):
        await asking.both()
    rows: list[dict[str, Any]] = (await roles.served())[before:]
    assert len(rows) == 30
    assert {row["credential"] for row in rows} == {seen_as("c2"), seen_as("c3")}


def closed(roles: Pools, node: int) -> bool:
    return any(row.get("why") == "budget_day" for row in roles.log(node))


def reloads(roles: Pools, node: int) -> int:
    return sum(row["event"] == "reloaded" for row in roles.log(node))


async def cost_nanos(roles: Pools) -> int:
    """What the requests with c1 have cost, by their own rows."""
    async with roles.books.connection() as connection:
        found = await connection.fetchval(
            "select coalesce(sum(cost_nanos), 0)::bigint from request where credential = 'c1'"
        )
    return int(found)
