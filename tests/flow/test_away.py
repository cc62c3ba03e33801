"""A store is away: what its clients are told meanwhile, and that nothing is lost by it."""

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from corvus_proxy.money.event import partition_of
from corvus_proxy.ops import embedded, migrate
from corvus_proxy.service import keys
from tests.roles import Answer, Roles, fresh_database

pytestmark = pytest.mark.anyio
BODY: dict[str, Any] = {
    "model": "gpt-4o-mini", "max_tokens": 20,
    "messages": [{"role": "user", "content": "[[simulate: tokens=5; delay_ms=0]] hi"}],
}  # fmt: skip


class Load:
    """Clients that ask one after the other, and what each was told."""

    def __init__(self, roles: Roles, secret: str, *, clients: int, pause_s: float) -> None:
        self._roles, self._secret, self._pause_s = roles, secret, pause_s
        self.charged: dict[str, int] = {}
        self.told: list[tuple[float, Answer]] = []
        self._stop = False
        self._clients = [asyncio.create_task(self._ask(number)) for number in range(clients)]

    async def _ask(self, number: int) -> None:
        while not self._stop:
            answer = await self._roles.ask(self._secret, BODY, node=number % len(self._roles.ports))
            self.told.append((time.monotonic(), answer))
            if answer.status == 200:
                self.charged[answer.headers["x-request-id"]] = answer.cost_nanos
            await asyncio.sleep(self._pause_s)

    async def stop(self) -> None:
        self._stop = True
        await asyncio.gather(*self._clients)

    def statuses(self, since_s: float = 0) -> Counter[int]:
        return Counter(answer.status for at, answer in self.told if at >= since_s)


async def sampled(roles: Roles, seconds: float, every_s: float) -> list[dict[str, int]]:
    """Resident memory meanwhile, in KB by process."""
    found = []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        found.append(roles.memory_kb())
        await asyncio.sleep(min(every_s, max(0.0, until_s - time.monotonic())))
    return found


@pytest.mark.parametrize(
    ("away_s", "lag_limit", "clients", "pause_s"),
    [
        pytest.param(10, 200, 4, 0.05, id="10s"),
        pytest.param(600, 20_000, 4, 0.05, id="10min", marks=pytest.mark.slow),
    ],
)
async def test_postgres_is_away(
    tmp_path: Path, away_s: int, lag_limit: int, clients: int, pause_s: float
) -> None:
    """Killed and gone: service goes on to the lag limit of the busy partition, then that one is
    refused with a time to come back; the others go on; all of it is in the books afterwards."""
    postgres = embedded.Postgres(tmp_path, tmp_path / "pg.log", port=embedded.free_port())
    postgres.start()
    await asyncio.to_thread(postgres.wait)
    migrate.migrate(postgres.url)
    # A busy machine is not what is measured here: nobody is refused because it is slow.
    roles = Roles(tmp_path / "roles", LEDGER_LAG_LIMIT=lag_limit)
    try:
        await roles.start(postgres.url)
        busy = await keys.create(roles.stores, credit_nanos=1000 * 10**9)
        calm = await keys.create(roles.stores, credit_nanos=1000 * 10**9)
        while partition_of(calm.wallet) == partition_of(busy.wallet):
            calm = await keys.create(roles.stores, credit_nanos=1000 * 10**9)
        load = Load(roles, busy.secret, clients=clients, pause_s=pause_s)
        other = Load(roles, calm.secret, clients=1, pause_s=0.5)
        await asyncio.sleep(2)
        before = roles.memory_kb()
        os.killpg(postgres.child.pid, signal.SIGKILL)
        postgres.child.wait()
        gone_s = time.monotonic()
        memory = await sampled(roles, away_s, min(10, away_s / 10))
        while not load.statuses(since_s=gone_s)[503]:  # a busy machine takes longer to get there
            assert time.monotonic() < gone_s + away_s + 60
            await asyncio.sleep(0.1)
        lag = max(state.seq - state.committed for state in await roles.till.partitions())
        asked = len(load.told)
        await asyncio.to_thread(postgres.start)
        await asyncio.to_thread(postgres.wait)
        back_s = time.monotonic()
        refused = [answer for at, answer in load.told if answer.status == 503]
        while load.statuses(since_s=time.monotonic() - 0.5)[200] == 0:
            assert time.monotonic() < back_s + 120, roles.told("worker")
            await asyncio.sleep(0.1)
        served_again_s = time.monotonic() - back_s
        await load.stop()
        await other.stop()
        report = await roles.agree(timeout_s=60)
        caught_up_s = time.monotonic() - back_s
        assert load.statuses().keys() == {200, 503}
        assert other.statuses().keys() == {200}
        assert refused
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        assert lag_limit < lag <= lag_limit + 2 * clients
        assert await roles.booked(busy.wallet) == load.charged
        assert await roles.booked(calm.wallet) == other.charged
        shown = await keys.show(roles.stores, busy.key_id)
        assert shown.balance_nanos == 1000 * 10**9 - sum(load.charged.values())
        most = {name: max(row[name] for row in memory) // 1024 for name in before}
        grown = {name: most[name] - before[name] // 1024 for name in before}
        first = min(at for at, answer in load.told if answer.status == 503) - gone_s
        print(
            f"Postgres away {away_s} s: {asked} asked, {len(load.charged)} charged,"
            f" {len(refused)} refused, the first after {first:.1f} s at a lag of {lag}; served"
            f" again {served_again_s:.1f} s and caught up {caught_up_s:.1f} s after its return;"
            f" most MB {most}, grown by {grown}; drift {report.drift_nanos} nanos"
        )
        # What grows is the stream, some hundred bytes an event; no process keeps events itself.
        assert grown["redis"] <= 16 + 2 * lag_limit // 1024
        assert all(grown[name] <= 24 for name in grown if name not in ("redis", "providers"))
    finally:
        await roles.stop()
        postgres.stop()


def at_99(values: list[float]) -> float:
    """The 99th percentile, by the nearest rank."""
    return sorted(values)[-(-99 * len(values) // 100) - 1]


@pytest.mark.slow
async def test_redis_is_away(tmp_path: Path, postgres_server: embedded.Postgres) -> None:
    """Frozen, then refused: of 240 requests from 8 clients each gets 503 and a time to come back,
    99 % within 300 ms of the request, in the best of three rounds (the machine is not ours
    alone)."""
    roles = Roles(tmp_path / "roles", REDIS_TIMEOUT_MS=250)
    async with fresh_database(postgres_server) as url:
        try:
            await roles.start(url, nodes=1)
            made = await keys.create(roles.stores, credit_nanos=10**9)
            served = 0
            for how in ("frozen", "refused"):
                rounds: list[float] = []
                while len(rounds) < 3 and min(rounds, default=1) > 0.3:
                    await roles.until_served()
                    assert (await roles.ask(made.secret, BODY)).status == 200
                    served += 1
                    rounds.append(at_99(await refusals(roles, made.secret, how)))
                shown = ", ".join(f"{took_s * 1000:.0f}" for took_s in rounds)
                print(f"Redis {how}: refused within {shown} ms at p99 of 240 requests a round")
                assert min(rounds) <= 0.3
            await roles.until_served()
            report = await roles.agree()
            # What Redis had granted unseen was released: an event of nothing.
            charges = [nanos for nanos in (await roles.booked(made.wallet)).values() if nanos]
            assert len(charges) == served
            assert report.drift_nanos == 0
        finally:
            await roles.stop()


async def refusals(roles: Roles, secret: str, how: str) -> list[float]:
    """Takes Redis away, asks, and brings it back: how long each refusal took."""
    pid = roles.redis.child.pid
    os.kill(pid, signal.SIGSTOP if how == "frozen" else signal.SIGKILL)
    told: list[Answer] = []

    async def client() -> None:
        for _ in range(30):
            told.append(await roles.ask(secret, BODY))

    try:
        await asyncio.gather(*(client() for _ in range(8)))
    finally:
        if how == "frozen":
            os.kill(pid, signal.SIGCONT)
        else:
            roles.redis.child.wait()
            roles.redis.start()
            await asyncio.to_thread(roles.redis.wait)
    assert {answer.status for answer in told} == {503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in told)
    return [answer.took_s for answer in told]
