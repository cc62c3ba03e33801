"""Several nodes behind the shipped front: every role is restarted, taken away and brought back
under load, and nobody notices."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from corvus_proxy.ops import children, embedded
from corvus_proxy.service import keys, ledger
from tests.front import API, SITE, Connection, Front
from tests.roles import CHAT, Answer, Roles, exchange, fresh_database

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
LEAVE_S = 3
"""What docs/nodes.md advises for the shipped front."""


def asking(tokens: int, delay_ms: int, *, stream: bool) -> bytes:
    """A request whose answer takes about `tokens` times `delay_ms`."""
    text = f"[[simulate: tokens={tokens}; delay_ms={delay_ms}]] hi"
    body: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": tokens + 10, "stream": stream}
    return json.dumps({**body, "messages": [{"role": "user", "content": text}]}).encode()


class Load:
    """Clients that ask one after the other through the front, and what each was told."""

    def __init__(self, front: Front, secret: str) -> None:
        self._front, self._secret = front, secret
        self.charged: dict[str, int] = {}
        self.asked: Counter[str] = Counter()
        self.failed: list[str] = []
        """Requests that got no answer, or one that is not theirs."""
        self.broken: list[str] = []
        """Streams that did not come to their end."""
        self.longest_s: Counter[str] = Counter()
        """The longest wait for a first byte, by kind."""
        self._stop = False
        kinds = (
            *[("stream", asking(20, 50, stream=True), 0.0)] * 4,
            *[("long stream", asking(160, 50, stream=True), 0.0)] * 6,
            *[("whole", asking(5, 0, stream=False), 0.02)] * 6,
            *[("slow whole", asking(20, 50, stream=False), 0.0)] * 2,
        )
        self._clients = [asyncio.create_task(self._infer(*kind)) for kind in kinds]
        self._clients += [
            asyncio.create_task(self._look("models", API, "/v1/models", secret)),
            asyncio.create_task(self._look("key", API, "/v1/key", secret)),
            *[asyncio.create_task(self._look("page", SITE, "/models"))] * 2,
        ]

    @property
    def clients(self) -> int:
        return len(self._clients)

    async def _infer(self, kind: str, body: bytes, pause_s: float) -> None:
        connection = Connection(self._front, API)
        while not self._stop:
            answer = await self._told(kind, connection, CHAT, self._secret, body)
            if answer is not None:
                self._charge(kind, answer)
            await asyncio.sleep(pause_s)
        connection.close()

    def _charge(self, kind: str, answer: Answer) -> None:
        end = answer.body.rpartition(b"data: [DONE]\n\n: corvus {")
        if "stream" in kind and not (end[1] and end[2].rstrip().endswith(b"}")):
            self.broken.append(f"{kind}: {answer.body[-200:]!r}")
        else:
            self.charged[answer.headers["x-request-id"]] = answer.cost_nanos

    async def _look(self, kind: str, host: str, path: str, secret: str = "") -> None:
        connection = Connection(self._front, host)
        while not self._stop:
            await self._told(kind, connection, path, secret)
            await asyncio.sleep(0.1)
        connection.close()

    async def _told(
        self, kind: str, connection: Connection, path: str, secret: str, body: bytes = b""
    ) -> Answer | None:
        """The answer, if it is one; counts it."""
        self.asked[kind] += 1
        try:
            answer = await connection.ask(path, secret, body)
        except (OSError, asyncio.IncompleteReadError) as error:
            connection.close()
            self.failed.append(f"{time.monotonic():.2f} {kind}: {error!r}")
            return None
        if answer.status != 200:
            self.failed.append(
                f"{time.monotonic():.2f} {kind}: {answer.status} {answer.body[:200]!r}"
            )
            return None
        self.longest_s[kind] = max(self.longest_s[kind], answer.took_s)  # type: ignore[assignment]
        return answer

    async def stop(self) -> None:
        """Every client has its last answer."""
        self._stop = True
        await asyncio.gather(*self._clients)

    def told(self) -> str:
        """The figures in one line."""
        waits = {kind: round(wait_s, 2) for kind, wait_s in self.longest_s.items()}
        return (
            f"{self.asked.total()} requests ({dict(self.asked)}), {len(self.failed)} failed,"
            f" {len(self.broken)} broken, longest wait for a first byte {waits} s"
        )


class Nodes(Roles):
    """Three gateways, two workers and two sites behind the front."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder,
            GATEWAY_LEAVE_S=LEAVE_S,
            SITE_LEAVE_S=LEAVE_S,
            GATEWAY_DRAIN_S=60,
            LEDGER_LEASE_S=10,
            REDIS_TIMEOUT_MS=2000,  # a busy machine is not what is measured here
            BRAND_SITE_URL=f"https://{SITE}",
            BRAND_API_URL=f"https://{API}",
            BRAND_SUPPORT="help@example.com",
            BRAND_INDEPENDENCE="Not affiliated with any vendor.",
            BRAND_REFUNDS="Unused balance within 14 days.",
        )
        self.sites = [embedded.free_port() for _ in range(2)]
        self.statuses = [embedded.free_port() for _ in range(2)]

    async def begin(self, database_url: str) -> None:
        """Starts all of it but the front."""
        await self.start(database_url, nodes=3)
        self.start_worker(1)
        for number in range(2):
            self.start_site(number)
        for port in (*self.sites, self.statuses[1]):
            await ready(port)

    def start_worker(self, number: int) -> None:
        """The first is the one that `start` starts."""
        name = f"worker{number}" if number else "worker"
        self.start_role(name, "worker", WORKER_STATUS_PORT=self.statuses[number])

    def start_site(self, number: int) -> None:
        self.start_role(f"site{number}", "site", SITE_PORT=self.sites[number])

    async def leave(self, name: str, *, timeout_s: float = 60) -> float:
        """Tells a role to stop and waits until it has ended by itself; how long that took."""
        began_s = time.monotonic()
        child = self.processes.pop(name)
        child.send_signal(signal.SIGTERM)
        while child.poll() is None:
            assert time.monotonic() < began_s + timeout_s, self.told(name)
            await asyncio.sleep(0.05)
        assert child.returncode == 0, (name, child.returncode, self.told(name))
        children.end(child, signal.SIGTERM, timeout_s=1)
        return time.monotonic() - began_s

    def journals(self, number: int) -> list[str]:
        """Files of a node's journal."""
        return sorted(path.name for path in (self.folder / f"node{number}").glob("*.journal"))


async def ready(port: int, *, timeout_s: float = 30) -> None:
    """Returns when the role at `port` says that it is ready."""
    deadline_s = time.monotonic() + timeout_s
    request = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    while True:
        try:
            if (await exchange(port, request)).status == 200:
                return
        except (OSError, asyncio.IncompleteReadError):
            pass
        assert time.monotonic() < deadline_s, port
        await asyncio.sleep(0.05)


@pytest.fixture
async def nodes(tmp_path: Path, postgres_server: embedded.Postgres) -> AsyncIterator[Nodes]:
    """Everything but the front, on fresh stores."""
    running = Nodes(tmp_path / "roles")
    async with fresh_database(postgres_server) as url:
        try:
            await running.begin(url)
            yield running
        finally:
            await running.stop()


@pytest.fixture
async def front(tmp_path: Path, nodes: Nodes) -> AsyncIterator[Front]:
    """The shipped nginx before them."""
    running = Front(tmp_path / "front", nodes.ports, nodes.sites)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


async def check_books(nodes: Nodes, load: Load, created: keys.Created) -> str:
    """Nobody failed, no stream broke, and the books have each charge that a client was told of,
    once and no other."""
    assert (load.failed, load.broken) == ([], []), load.told()
    report = await nodes.agree(timeout_s=60)
    assert await nodes.booked(created.wallet) == load.charged
    shown = await keys.show(nodes.stores, created.key_id)
    assert shown.balance_nanos == created.balance_nanos - sum(load.charged.values())
    return f"{len(load.charged)} charges in the books, drift {report.drift_nanos} nanos"


async def test_every_role_is_restarted_under_load(nodes: Nodes, front: Front) -> None:
    """One after the other: three gateways, two workers, two sites."""
    created = await keys.create(nodes.stores, credit_nanos=1000 * 10**9)
    load = Load(front, created.secret)
    await asyncio.sleep(3)
    took: dict[str, float] = {}

    async def restart(name: str, start: Callable[[int], None], number: int, port: int) -> None:
        took[name] = round(await nodes.leave(name), 1)
        start(number)
        await ready(port)
        await asyncio.sleep(2)

    for number, port in enumerate(nodes.ports):
        await restart(f"gateway{number}", nodes.start_gateway, number, port)
    for number, port in enumerate(nodes.statuses):
        await restart(f"worker{number or ''}", nodes.start_worker, number, port)
    for number, port in enumerate(nodes.sites):
        await restart(f"site{number}", nodes.start_site, number, port)
    await load.stop()
    assert max(took.values()) > LEAVE_S + 1  # a stream went on after its port was closed
    books = await check_books(nodes, load, created)
    again = sum("," in line or " : " in line for line in front.access())
    print(f"rolling restart: {load.told()}; {again} tried a second server; stops {took} s; {books}")


async def test_three_gateways_become_one_and_three_again(nodes: Nodes, front: Front) -> None:
    """What leaves hands its journal over; nobody waits for it, and its folder is taken up again."""
    created = await keys.create(nodes.stores, credit_nanos=1000 * 10**9)
    load = Load(front, created.secret)
    await asyncio.sleep(3)
    assert nodes.journals(1)
    assert nodes.journals(2)
    await asyncio.gather(nodes.leave("gateway1"), nodes.leave("gateway2"))
    assert nodes.journals(1) == []
    assert nodes.journals(2) == []
    alone = load.asked.total()
    await asyncio.sleep(5)
    alone = load.asked.total() - alone
    processes = await service_processes(nodes)
    for number in (1, 2):
        nodes.start_gateway(number)
        await ready(nodes.ports[number])
    await asyncio.sleep(3)
    await load.stop()
    books = await check_books(nodes, load, created)
    assert processes == 1
    assert await service_processes(nodes) == 3
    print(f"3 → 1 → 3: {load.told()}, {alone} of them in 5 s of one gateway; {books}")


async def test_a_killed_gateway_is_finished_from_elsewhere(nodes: Nodes, front: Front) -> None:
    """One of three is gone with what it was doing. Its clients' requests are the only ones that are
    lost; what it had journalled is settled without it, and then nobody waits for it."""
    created = await keys.create(nodes.stores, credit_nanos=1000 * 10**9)
    load = Load(front, created.secret)
    await asyncio.sleep(3)
    gone = nodes.processes.pop("gateway2")
    at_s = time.monotonic()
    os.killpg(gone.pid, signal.SIGKILL)
    gone.wait()
    await asyncio.sleep(4)
    assert await service_processes(nodes) == 3
    left = len(nodes.journals(2))
    found = await ledger.finish(nodes.stores, nodes.folder / "node2", timeout_s=30)
    assert (found.processes, found.waiting, nodes.journals(2)) == (1, 0, [])
    until_s = time.monotonic() + 15
    while await service_processes(nodes) != 2:
        assert time.monotonic() < until_s
    since = load.asked.total()
    failed = len(load.failed)
    await asyncio.sleep(3)
    assert len(load.failed) == failed
    await load.stop()
    # Those that it was serving, and at most one that was on its way to it for each client.
    assert len(load.failed) <= load.clients
    assert all(float(one.split()[0]) < at_s + 1 for one in load.failed), load.failed
    report = await nodes.agree(timeout_s=60)
    booked = await nodes.booked(created.wallet)
    assert load.charged.items() <= booked.items()
    print(
        f"killed: {load.told()}, {load.asked.total() - since} after it was finished; {left} journal"
        f" with {found.charges} charges that Redis had not answered; {len(booked)} in the books,"
        f" {len(booked) - len(load.charged)} of them what it was doing; drift {report.drift_nanos}"
    )


async def service_processes(nodes: Nodes) -> int:
    """How many gateway processes a rebuild would wait for."""
    await asyncio.sleep(1)
    return len(await ledger.processes(nodes.stores))
