"""The drill's own stack: servers and roles as child processes, with a link between every two.

Two gateways with a journal folder each (two nodes), a worker, simulated providers, Redis and
Postgres. Everything lies in one folder and listens on loopback and free ports. The drill kills,
freezes and starts the processes itself: there is no supervisor that could hide a fault.
"""

import asyncio
import functools
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from corvus_proxy import clock
from corvus_proxy.books.db import Books
from corvus_proxy.errors import CorvusError
from corvus_proxy.money.pricing import Price
from corvus_proxy.ops import children, embedded, migrate
from corvus_proxy.ops.drill.guard import Guard
from corvus_proxy.ops.drill.links import Link
from corvus_proxy.ops.drill.stack.process import Process
from corvus_proxy.ops.state import to_toml, write_private
from corvus_proxy.roles.parent import die_with_parent
from corvus_proxy.service import demo
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till

GATEWAYS = ("a", "b")
LEASE_S = 2
LAG_LIMIT = 400
"""Events a partition may hold that the books do not: low, so that a drill reaches it."""
SLICE_TOKENS = 200
"""Small, so that streams of a drill ask for further slices."""
START_S = 60
FAMILIES = {"anthropic": "", "openai": "", "glm": "/api/paas/v4"}
PAYMENT_SECRETS = {
    "stripe-key": "sk_test_drill",
    "stripe-hook": "whsec_drill",
    "btcpay-key": "drill-btcpay-key",
    "btcpay-hook": "drill-btcpay-hook",
}


class RedisServer(NamedTuple):
    """A Redis of the drill."""

    folder: Path
    """Its append-only files lie in `appendonlydir` here."""
    server: embedded.Redis
    process: Process


class Stack:
    """All processes and links of one drill, and the two stores as an operator opens them."""

    clustered = False

    def __init__(self, folder: Path, guard: Guard) -> None:
        self.folder = folder
        self.pepper = secrets.token_hex(32)
        self.environment: dict[str, dict[str, str]] = {}
        """Variables that a process gets beside the usual ones, by its name."""
        self.prices: dict[tuple[str, str], Price] = {}
        """Prices by slug and version that are in force beside those of the shipped book."""
        self.redis: Process
        self.redis_server: embedded.Redis
        self.redis_folder: Path
        self.postgres_server: embedded.Postgres
        self.stores: Stores
        self._guard = guard
        self.postgres = Process(
            "postgres", self._start_postgres, guard=guard, stop_signal=signal.SIGINT
        )
        self.providers = Process("providers", self._start_providers, guard=guard)
        self.worker = Process("worker", lambda: self._start_role("worker", "worker"), guard=guard)
        self.site = Process("site", lambda: self._start_role("site", "site"), guard=guard)
        """Started with `payments` by the faults that sell something."""
        self.payments = Process("payments", self._start_payments, guard=guard)
        self.gateways = {
            name: Process(
                f"gateway-{name}",
                functools.partial(self._start_role, "gateway", f"gateway-{name}"),
                guard=guard,
            )
            for name in GATEWAYS
        }
        self.links: dict[str, Link] = {}
        self.ports: dict[str, int] = {}

    @property
    def processes(self) -> list[Process]:
        """In the order of an orderly stop."""
        roles = (*self.gateways.values(), self.worker, self.site)
        return [*roles, self.payments, self.providers, self.postgres, *self.redis_processes]

    @property
    def redis_processes(self) -> list[Process]:
        """Every server of Redis."""
        return [self.redis]

    @property
    def redis_links(self) -> list[Link]:
        """The links over which the gateways talk to Redis."""
        return [self.links[f"{name}>redis"] for name in GATEWAYS]

    # -- start and stop -----------------------------------------------------------------------

    async def start(self) -> None:
        """Starts everything; all partitions are open when it returns. Raises CorvusError."""
        for name in ("logs", "metrics", "archive", *(f"journal-{one}" for one in GATEWAYS)):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self.folder / "pepper", self.pepper)
        write_private(self.folder / "provider-secret", "sim-drill-key")
        taken: set[int] = set()
        (self.folder / "payments").mkdir(mode=0o700)
        for name, text in PAYMENT_SECRETS.items():
            write_private(self.folder / "payments" / name, text)
        for name in ("redis", "postgres", "providers", "worker", "site", "payments", *GATEWAYS):
            self.ports[name] = embedded.free_port(taken)
            taken.add(self.ports[name])
        await self._make_redis()
        self.postgres_server = embedded.Postgres(
            self.folder, self.log("postgres"), port=self.ports["postgres"]
        )
        await self._open_links()
        self._write_configurations()
        for redis in self.redis_processes:
            redis.start()
        self.postgres.start()
        self.providers.start()
        await self.until_stores_answer()
        await asyncio.to_thread(migrate.migrate, self.postgres_server.url)
        self.stores = Stores(
            Till.open(self._redis_url("drill>redis"), timeout_ms=2000, connections=32),
            Books(self.postgres_server.url),
            self.pepper.encode(),
        )
        self.worker.start()
        for gateway in self.gateways.values():
            gateway.start()
        await demo.wait_until_open(self.stores, timeout_s=START_S, watch=self._check_alive)
        for name in GATEWAYS:
            await self.until_ready(name, timeout_s=START_S)

    async def stop(self) -> None:
        """Ends every process and link, whatever state they are in."""
        for process in (*self.gateways.values(), self.worker, self.site, self.payments):
            process.kill()  # nobody needs their orderly end, and a frozen one has none
        if hasattr(self, "stores"):
            await self.stores.close()
        for link in self.links.values():
            await link.close()
        self.postgres.stop()
        for redis in self.redis_processes:
            redis.kill()

    async def until_stores_answer(self) -> None:
        """Until both servers serve. Raises ConfigurationError."""
        await asyncio.to_thread(self.redis_server.wait)
        await asyncio.to_thread(self.postgres_server.wait)

    async def until_ready(self, gateway: str, *, timeout_s: float) -> None:
        """Until a gateway says that it serves. Raises CorvusError."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while not await answers(self.ports[gateway], "/readyz"):
            if loop.time() > deadline_s:
                tail = children.tail(self.log(f"gateway-{gateway}"))
                raise CorvusError(f"gateway {gateway} is not ready after {timeout_s} s:\n{tail}")
            await asyncio.sleep(0.02)

    def log(self, name: str) -> Path:
        """A process's log."""
        return self.folder / "logs" / f"{name}.log"

    def journal(self, gateway: str) -> Path:
        """A gateway's node: the folder of its journals."""
        return self.folder / f"journal-{gateway}"

    @property
    def served(self) -> Path:
        """The providers' own log, a JSON line a request."""
        return self.folder / "providers.jsonl"

    @property
    def paid(self) -> Path:
        """The payment services' own log."""
        return self.folder / "payments.jsonl"

    # -- servers of Redis -----------------------------------------------------------------------

    def free_port(self) -> int:
        """A port that none of the stack's parts has."""
        return embedded.free_port(set(self.ports.values()))

    async def _make_redis(self) -> None:
        """Before anything starts, and before the links to it are made."""
        self.take_redis(self.new_redis("redis", self.ports["redis"]))

    def _links_to_redis(self) -> list[Link]:
        speaks = ("worker", *GATEWAYS)
        return [
            Link(f"{name}>redis", self.ports["redis"], speaks_redis=name in speaks)
            for name in ("drill", *speaks)
        ]

    def new_redis(self, name: str, port: int = 0) -> "RedisServer":
        """A further Redis with a folder of its own below the stack's; it is not started."""
        port = port or embedded.free_port(set(self.ports.values()))
        folder = self.folder / name
        server = embedded.Redis(folder, self.log(name), port=port, prepare=_write_to_a_full_disk)

        def start() -> subprocess.Popen[bytes]:
            server.start()
            return server.child

        return RedisServer(folder, server, Process(name, start, guard=self._guard))

    def take_redis(self, server: "RedisServer") -> None:
        """From now on this is the stack's Redis: every link leads to it."""
        self.redis_folder, self.redis_server, self.redis = server
        self.ports["redis"] = server.server.port
        for name, link in self.links.items():
            if name.endswith(">redis"):
                link.retarget(server.server.port)

    # -- a second worker ------------------------------------------------------------------------

    async def new_worker(self, name: str) -> Process:
        """A further worker with links of its own; it is not started. `end_worker` ends it."""
        for link in (
            Link(f"{name}>redis", self.ports["redis"], speaks_redis=True),
            Link(f"{name}>postgres", self.ports["postgres"]),
        ):
            self.links[link.name] = link
            await link.open()
        self.ports[name] = embedded.free_port(set(self.ports.values()))
        self._write_worker(name)
        return Process(name, lambda: self._start_role("worker", name), guard=self._guard)

    async def end_worker(self, process: Process) -> None:
        """kill -9 of a further worker, whatever its state, and the end of its links."""
        process.kill()
        for server in ("redis", "postgres"):
            await self.links.pop(f"{process.name}>{server}").close()
        del self.ports[process.name]

    # -- what it is made of -------------------------------------------------------------------

    async def _open_links(self) -> None:
        ports = self.ports
        links = [*self._links_to_redis(), Link("worker>postgres", ports["postgres"])]
        for name in GATEWAYS:
            links.append(Link(f"{name}>providers", ports["providers"]))
            links.append(Link(f"clients>{name}", ports[name], narrow=True))
        for link in links:
            self.links[link.name] = link
            await link.open()

    def _write_configurations(self) -> None:
        self._write_worker("worker")
        for name in GATEWAYS:
            gateway = self._configuration(f"{name}>redis")
            gateway["gateway"]["port"] = self.ports[name]
            gateway["ledger"]["journal_dir"] = str(self.journal(name))
            port = self.links[f"{name}>providers"].port
            gateway["upstream"] = [self._upstream(family, port) for family in FAMILIES]
            write_private(self.folder / f"gateway-{name}.toml", to_toml(gateway))

        site = self._configuration("drill>redis")
        site |= {**self._selling(), "site": {"port": self.ports["site"]}}
        site["database"]["url"] = self.postgres_server.url
        write_private(self.folder / "site.toml", to_toml(site))

    def _write_worker(self, name: str) -> None:
        worker = self._configuration(f"{name}>redis") | self._selling()
        worker["worker"] = {"status_port": self.ports[name]}
        worker["database"]["url"] = self.postgres_server.url.replace(
            f":{self.ports['postgres']}/", f":{self.links[f'{name}>postgres'].port}/"
        )
        write_private(self.folder / f"{name}.toml", to_toml(worker))

    def _redis_url(self, link: str) -> str:
        return f"redis://127.0.0.1:{self.links[link].port}/0"

    def _configuration(self, redis_link: str) -> dict[str, Any]:
        return {
            "redis": {"url": self._redis_url(redis_link)},
            "database": {"url": ""},
            "gateway": {"drain_s": 10},
            "relay": {"cancel_drain_s": 0.3, "keepalive_s": 1, "client_stall_s": 3},
            "timeouts": {"connect_s": 1, "first_byte_s": 4, "silence_s": 3},
            "hold": {"slice_tokens": SLICE_TOKENS, "floor_tokens": SLICE_TOKENS // 2},
            "ledger": {
                "lease_s": LEASE_S,
                "lag_limit": LAG_LIMIT,
                "archive_dir": str(self.folder / "archive"),
            },
            "secrets": {"pepper_file": str(self.folder / "pepper")},
            "metrics": {"dir": str(self.folder / "metrics")},
        }

    def _selling(self) -> dict[str, Any]:
        secret = self.folder / "payments"
        payments = f"http://127.0.0.1:{self.ports['payments']}"
        return {
            "brand": {
                "site_url": f"http://127.0.0.1:{self.ports['site']}",
                **dict.fromkeys(("support", "independence", "refunds"), "This is a drill."),
            },
            "shop": {"poll_s": 1},
            "stripe": {
                "api_base": payments,
                "secret_key_file": str(secret / "stripe-key"),
                "webhook_secret_file": str(secret / "stripe-hook"),
                "checkout_origin": payments,
                "timeout_s": 3.0,
            },
            "btcpay": {
                "url": payments,
                "store_id": "SimulatedStore",
                "api_key_file": str(secret / "btcpay-key"),
                "webhook_secret_file": str(secret / "btcpay-hook"),
                "timeout_s": 3.0,
            },
        }

    def _upstream(self, family: str, port: int) -> dict[str, Any]:
        return {
            "family": family,
            "base_url": f"http://127.0.0.1:{port}{FAMILIES[family]}",
            "credential": [
                {
                    "name": f"drill-{family}",
                    "secret_file": str(self.folder / "provider-secret"),
                    "cost_factor": 0.3,
                }
            ],
        }

    def _start_postgres(self) -> subprocess.Popen[bytes]:
        self.postgres_server.start()
        return self.postgres_server.child

    def _start_providers(self) -> subprocess.Popen[bytes]:
        words = ["--port", str(self.ports["providers"]), "--log", str(self.served)]
        return self._python("providers", "corvus_proxy.dev.providers", *words)

    def _start_payments(self) -> subprocess.Popen[bytes]:
        hooks = f"http://127.0.0.1:{self.ports['site']}/webhooks"
        words = ["--port", str(self.ports["payments"]), "--log", str(self.paid), "--block-s", "0"]
        words += ["--stripe-hook", f"{hooks}/stripe", "--btcpay-hook", f"{hooks}/btcpay"]
        words += ["--secrets", str(self.folder / "payments")]
        return self._python("payments", "corvus_proxy.dev.payments", *words)

    def _start_role(self, role: str, name: str) -> subprocess.Popen[bytes]:
        return self._python(name, "corvus_proxy.ops.role", role)

    def _python(self, name: str, module: str, *words: str) -> subprocess.Popen[bytes]:
        # An operator's own variables must not lead the drill to the operator's own stores.
        kept = {
            variable: text
            for variable, text in children.child_environment().items()
            if not variable.startswith("CORVUS_")
        }
        environment = {
            **kept,
            "CORVUS_CONFIG": str(self.folder / f"{name}.toml"),
            "PROMETHEUS_MULTIPROC_DIR": str(self.folder / "metrics"),
            "PYTHONUNBUFFERED": "1",
            **self.environment.get(name, {}),
        }
        return children.start(
            [sys.executable, "-m", module, *words], self.log(name), environment=environment
        )

    def _check_alive(self) -> None:
        """Raises CorvusError with its last words when a process has ended."""
        for process in self.processes:
            if process.child is not None and not process.alive:
                tail = children.tail(self.log(process.name))
                raise CorvusError(f"{process.name} did not start:\n{tail}")


def _write_to_a_full_disk() -> None:
    """In the child: a write beyond the file size limit fails, as on a full disk, and kills
    nobody."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    die_with_parent()


async def answers(port: int, path: str, *, timeout_s: float = 1.0) -> bool:
    """Whether GET `path` is answered with 200."""
    began_s = clock.monotonic_s()
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nhost: drill\r\nconnection: close\r\n\r\n".encode()
                )
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        await asyncio.sleep(max(0.0, 0.02 - (clock.monotonic_s() - began_s)))
        return False
