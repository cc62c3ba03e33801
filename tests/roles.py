"""The roles alone, over stores that a test may kill: gateways on nodes of their own, one worker."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from corvus_proxy.books.db import Books
from corvus_proxy.ledger.verify import VerifyReport, verify
from corvus_proxy.money.amount import parse_usd
from corvus_proxy.ops import children, embedded
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till
from tests.link import Link

PEPPER = b"p" * 32
UPSTREAMS = (("anthropic", ""), ("openai", ""), ("glm", "/api/paas/v4"))
CHAT = "/v1/chat/completions"
READY = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


class Answer(NamedTuple):
    """One answer as its client read it. `took_s`: until its head was there."""

    status: int
    headers: dict[str, str]
    body: bytes
    took_s: float

    @property
    def cost_nanos(self) -> int:
        """What it says it cost: a whole answer in its head, a stream in its last comment."""
        if (told := self.headers.get("x-corvus-cost-usd")) is not None:
            return parse_usd(told)
        found = re.search(rb': corvus {.*"cost_usd":"([0-9.]+)"', self.body)
        assert found, self.body[-300:]
        return parse_usd(found[1].decode())


class Roles:
    """`await start()`, and `await stop()` whatever happened. `redis` and `postgres` may be stopped
    and started; everybody reaches Redis through `link` when it is asked for."""

    def __init__(self, folder: Path, *, linked: bool = False, **options: object) -> None:
        self.folder = folder
        self.redis = embedded.Redis(
            folder / "redis", folder / "redis.log", port=embedded.free_port()
        )
        self.link = Link(self.redis.port) if linked else None
        self.database_url = ""
        self.ports: list[int] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.python = [sys.executable]
        """What roles are started with: a test of upgrades has another release's."""
        self._options = {
            "LEDGER_LEASE_S": 5,
            "GATEWAY_DRAIN_S": 5,
            "REDIS_TIMEOUT_MS": 5000,
            "LEDGER_JOURNAL_STALL_MS": 10_000,
            **options,
        }

    @property
    def redis_url(self) -> str:
        return self.link.url if self.link is not None else self.redis.url

    async def start(self, database_url: str, *, nodes: int = 2) -> None:
        """Starts everything and waits until each gateway serves."""
        self.database_url = database_url
        self.folder.mkdir(parents=True, exist_ok=True)
        self.redis.start()
        await asyncio.to_thread(self.redis.wait)
        if self.link is not None:
            await self.link.start()
        self.till = Till.open(self.redis_url, timeout_ms=10_000)
        self.books = Books(database_url)
        self.stores = Stores(self.till, self.books, PEPPER)
        await asyncio.to_thread(self._start_providers)
        self.start_role("worker", "worker", WORKER_STATUS_PORT=embedded.free_port())
        for number in range(nodes):
            self.start_gateway(number)
        await self.until_served()

    def start_gateway(self, number: int) -> None:
        """A gateway on node `number`, at the port that it had before."""
        if number == len(self.ports):
            self.ports.append(embedded.free_port(self.ports))
        self.start_role(
            f"gateway{number}",
            "gateway",
            GATEWAY_PORT=self.ports[number],
            LEDGER_JOURNAL_DIR=self.folder / f"node{number}",
        )

    def start_role(self, name: str, role: str, **options: object) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("CORVUS_")
        }
        stores = {"REDIS_URL": self.redis_url, "DATABASE_URL": self.database_url}
        all_options = {**stores, **self._options, **options}
        self.processes[name] = children.start(
            [*self.python, "-m", "corvus_proxy.ops.role", role],
            self.folder / f"{name}.log",
            environment=environment
            | {f"CORVUS_{option}": str(value) for option, value in all_options.items()}
            | {"CORVUS_CONFIG": str(self.folder / "config.toml"), "CORVUS_PEPPER": PEPPER.decode()},
        )

    def _start_providers(self) -> None:
        port_file = self.folder / "providers-port"
        self.processes["providers"] = children.start(
            [sys.executable, "-m", "corvus_proxy.dev.providers", "--port-file", str(port_file)],
            self.folder / "providers.log",
        )
        deadline_s = time.monotonic() + 20
        while not port_file.exists() or not port_file.read_text().strip():
            assert time.monotonic() < deadline_s, (self.folder / "providers.log").read_text()
            time.sleep(0.02)
        providers = f"http://127.0.0.1:{port_file.read_text().strip()}"
        (self.folder / "secret").write_text("sim-key")
        (self.folder / "config.toml").write_text(
            "".join(
                f'[[upstream]]\nfamily = "{family}"\nbase_url = "{providers}{path}"\n'
                f'[[upstream.credential]]\nname = "{family}-1"\n'
                f'secret_file = "{self.folder / "secret"}"\n'
                for family, path in UPSTREAMS
            )
        )

    async def stop(self) -> None:
        """Ends every process that it started."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            await asyncio.to_thread(children.end, process, signal.SIGTERM, timeout_s=15)
        if self.link is not None:
            await self.link.stop()
        for store in (self.till, self.books):
            with contextlib.suppress(Exception):
                await store.close()
        self.redis.stop()

    async def ask(self, secret: str, body: dict[str, Any], *, node: int = 0) -> Answer:
        """One request on a connection of its own."""
        return await ask(self.ports[node], secret, body)

    async def until_served(self, *, timeout_s: float = 90) -> None:
        """Every gateway says that it is ready."""
        deadline_s = time.monotonic() + timeout_s
        for number, port in enumerate(self.ports):
            while True:
                assert time.monotonic() < deadline_s, self.told(f"gateway{number}")
                with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
                    if (await exchange(port, READY)).status == 200:
                        break
                await asyncio.sleep(0.05)

    def told(self, name: str) -> str:
        """The end of a process's log."""
        return (self.folder / f"{name}.log").read_text()[-3000:]

    async def agree(self, *, timeout_s: float = 90) -> VerifyReport:
        """Once every event is in the books and nothing is held: Redis and the books agree."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(Exception):
                report = await verify(self.till, self.books)
                if report.undrained == 0 and report.held_nanos == 0:
                    assert (report.ok, report.drift_nanos) == (True, 0), report
                    return report
            assert time.monotonic() < deadline_s, self.told("worker")
            await asyncio.sleep(0.1)

    async def booked(self, wallet: str) -> dict[str, int]:
        """Charges in the books by request."""
        async with self.books.connection() as connection:
            rows = await connection.fetch(
                "select request_id, charge_nanos from request where wallet = $1", wallet
            )
        return {row["request_id"]: row["charge_nanos"] for row in rows}

    def memory_kb(self) -> dict[str, int]:
        """Resident memory of every process and of all under it; of Redis too."""
        roots = {name: process.pid for name, process in self.processes.items()}
        roots["redis"] = self.redis.child.pid
        return {name: sum(map(_resident_kb, [pid, *_children(pid)])) for name, pid in roots.items()}


def _resident_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) if found else 0
    return 0


def _children(parent: int) -> list[int]:
    """Processes whose parent it is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, rest = stat.read_text().split(" ", 1)
            if int(rest.rpartition(")")[2].split()[1]) == parent:
                found.append(int(pid))
    return found


def gateway_pids(roles: Roles, node: int) -> list[int]:
    """The processes under a gateway's master."""
    return _children(roles.processes[f"gateway{node}"].pid)


async def ask(port: int, secret: str, body: dict[str, Any]) -> Answer:
    """One request with a key, over a socket of its own. Raises OSError, IncompleteReadError."""
    text = json.dumps(body).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(text)}\r\n"
        "connection: close\r\n\r\n"
    )
    return await exchange(port, head.encode() + text)


async def exchange(port: int, request: bytes) -> Answer:
    """Writes a request and reads its answer to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        began_s = time.monotonic()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        took_s = time.monotonic() - began_s
        status = int(head.split(" ", 2)[1])
        lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value for name, _, value in lines}
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, await chunks(reader), took_s)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(status, headers, body, took_s)
    finally:
        writer.close()


async def chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body to its end."""
    found = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        found += (await reader.readexactly(size + 2))[:-2]
    return found


@contextlib.asynccontextmanager
async def fresh_database(server: embedded.Postgres) -> AsyncIterator[str]:
    """A migrated database of its own on a running server; its URL."""
    import asyncpg

    base = server.url.rpartition("/")[0]
    name = f"t{os.urandom(6).hex()}"
    admin = await asyncpg.connect(f"{base}/postgres")
    try:
        await admin.execute(f"create database {name} template corvus")
        yield f"{base}/{name}"
    finally:
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.close()
