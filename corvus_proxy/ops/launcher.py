"""`corvus up`: everything on one machine, under one parent that nothing outlives.

The order of start: Redis and Postgres and all roles at once (a role waits for what is not there
yet), then migrations, then the demo key, then readiness of each. The order of stop: what takes
requests first, what holds the data last. Children are stopped before anything is printed.
"""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corvus_proxy.errors import ConfigurationError, CorvusError
from corvus_proxy.ops import children, embedded, migrate
from corvus_proxy.ops.state import State, to_toml, write_private
from corvus_proxy.service import guard
from corvus_proxy.settings import load

START_S = 60
RESTARTS_MAX = 5
RESTART_WINDOW_S = 60
FAMILIES = {"anthropic": "", "openai": "", "glm": "/api/paas/v4"}
"""Simulated providers, and the prefix of their paths."""


@dataclass
class Options:
    """What `corvus up` was asked for; port 0 takes a free one."""

    state: Path = Path(".corvus")
    host: str = "127.0.0.1"
    api_port: int = 8080
    site_port: int = 8081
    console_port: int = 8082
    status_port: int = 8083
    config: Path | None = None
    workers: int = 1
    demo: bool = True


@dataclass
class Child:
    """One supervised process."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    stop_signal: int = signal.SIGTERM
    stop_s: float = 15
    process: subprocess.Popen[bytes] | None = None
    ends: list[float] = field(default_factory=list)
    start_again_at: float | None = None


class Stack:
    """All processes of one `corvus up`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.state = State(options.state)
        self.children: list[Child] = []
        self.demo_key: str | None = None
        self._stopping = False
        self._lock: int | None = None

    # -- start ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts everything and waits until all are ready. Raises CorvusError."""
        self.state.prepare()
        self._lock = self.state.lock()
        data_lock = self.state.lock_data()
        self.state.clear_metrics()
        options = self.options
        taken: dict[int, str] = {}
        for name in ("api_port", "site_port", "console_port", "status_port"):
            port = getattr(options, name) or embedded.free_port(taken)
            _check_port(name, port, taken)
            setattr(options, name, port)
        self._postgres = embedded.Postgres(
            self.state.folder,
            self.state.log("postgres"),
            port=embedded.free_port(taken),
            lock=data_lock,
        )
        self._redis = embedded.Redis(
            self.state.folder / "redis",
            self.state.log("redis"),
            port=embedded.free_port(taken),
            lock=data_lock,
        )
        self._providers_port = embedded.free_port(taken)
        self._mail_ports = embedded.free_port(taken), embedded.free_port(taken)
        write_private(self.state.config, to_toml(self._configuration()))
        self.settings = load(self.state.config, {})
        guard.refuse_demo(self.settings, str(self.state.config))
        self._add_children()
        for child in self.children:
            child.process = child.start()
        self._redis.wait()
        self._postgres.wait()
        self._migrate()
        asyncio.run(self._seed())
        self._wait_ready()
        write_private(self.state.up, json.dumps(self.summary(), indent=1))

    def _configuration(self) -> dict[str, Any]:
        """The user's file with what this stack knows better on top."""
        options, state = self.options, self.state
        tree: dict[str, Any] = {}
        if options.config is not None:
            try:
                tree = tomllib.loads(options.config.read_text())
            except (OSError, tomllib.TOMLDecodeError) as error:
                raise ConfigurationError(f"{options.config}: {error}") from None
        host = "127.0.0.1" if options.host == "0.0.0.0" else options.host  # noqa: S104
        given: dict[str, dict[str, Any]] = {
            "redis": {"url": self._redis.url},
            "database": {"url": self._postgres.url},
            "gateway": {
                "host": options.host,
                "port": options.api_port,
                "processes": options.workers,
            },
            "site": {"host": options.host, "port": options.site_port},
            "console": {"port": options.console_port},
            "worker": {"status_port": options.status_port},
            "ledger": {
                "journal_dir": str(state.folder / "journal"),
                "archive_dir": str(state.folder / "archive"),
            },
            "secrets": {"pepper_file": str(state.pepper)},
            "metrics": {"dir": str(state.folder / "metrics")},
            "brand": {
                "site_url": f"http://{host}:{options.site_port}",
                "api_url": f"http://{host}:{options.api_port}",
            },
            "demo": {"enabled": options.demo},
        }
        for section, values in given.items():
            mine = tree.setdefault(section, {})
            # An operator's own public addresses stay; everything else is this stack's to say.
            tree[section] = {**values, **mine} if section == "brand" else {**mine, **values}
        if options.demo and not tree.get("mail"):
            tree["mail"] = {
                "host": "127.0.0.1",
                "port": self._mail_ports[0],
                "security": "none",
                "sender": "Demonstration <keys@demo.invalid>",
            }
        if options.demo and not tree.get("upstream"):
            tree["upstream"] = [self._simulated(family) for family in FAMILIES]
        return tree

    def _simulated(self, family: str) -> dict[str, Any]:
        secret = self.state.folder / f"simulated-{family}"
        if not secret.exists():
            write_private(secret, f"sim-{family}-key")
        return {
            "family": family,
            "base_url": f"http://127.0.0.1:{self._providers_port}{FAMILIES[family]}",
            "allow_private": True,
            "credential": [
                {
                    "name": f"simulated-{family}",
                    "secret_file": str(secret),
                    # What an operator who sells at these shares must not pay more than.
                    "cost_factor": 0.3,
                }
            ],
        }

    def _add_children(self) -> None:
        self.children = [
            Child("redis", self._start_redis),
            Child("postgres", self._start_postgres, signal.SIGINT, 20),
        ]
        if self.options.demo:
            self.children.append(
                Child(
                    "providers",
                    lambda: self._python(
                        "providers",
                        "corvus_proxy.dev.providers",
                        "--port",
                        str(self._providers_port),
                        "--log",
                        str(self.state.folder / "providers.jsonl"),
                    ),
                )
            )
            smtp_port, mail_port = map(str, self._mail_ports)
            mail_words = (
                "--host",
                self.options.host,
                "--port",
                mail_port,
                "--smtp-port",
                smtp_port,
            )
            self.children.append(
                Child("mail", lambda: self._python("mail", "corvus_proxy.dev.mail", *mail_words))
            )
        # A real port is bound by Granian's master: it drains as long as the settings allow.
        for name, stop_s in (
            ("worker", 15.0),
            ("gateway", self.settings.gateway.drain_s + 10.0),
            ("site", 15.0),
            ("console", 15.0),
        ):
            self.children.append(
                Child(
                    name,
                    lambda name=name: self._python(name, "corvus_proxy.ops.role", name),  # type: ignore[misc]
                    stop_s=stop_s,
                )
            )

    def _start_redis(self) -> subprocess.Popen[bytes]:
        self._redis.start()
        return self._redis.child

    def _start_postgres(self) -> subprocess.Popen[bytes]:
        self._postgres.start()
        return self._postgres.child

    def _python(self, name: str, module: str, *words: str) -> subprocess.Popen[bytes]:
        environment = children.child_environment(
            {
                "CORVUS_CONFIG": str(self.state.config),
                "PROMETHEUS_MULTIPROC_DIR": str(self.state.folder / "metrics"),
                "PYTHONUNBUFFERED": "1",
            }
        )
        return children.start(
            [sys.executable, "-m", module, *words], self.state.log(name), environment=environment
        )

    def _migrate(self) -> None:
        done = self.state.folder / "migrations"
        if not done.exists() or done.read_text() != migrate.digest():
            migrate.migrate(self._postgres.url)
            done.write_text(migrate.digest())

    async def _seed(self) -> None:
        # Imported while the roles start: the clients of both stores take a quarter of a second.
        from corvus_proxy.service import demo
        from corvus_proxy.service.stores import open_stores

        stores = open_stores(self.settings)
        try:
            await demo.wait_until_open(stores, timeout_s=START_S, watch=self._check_first_start)
            guard.refuse_simulated(self.settings, marked=await demo.marked(stores))
            if self.options.demo:
                self.demo_key = await demo.seed(stores, self.state.sealed_key)
        finally:
            await stores.close()

    def _check_first_start(self) -> None:
        """Raises CorvusError with its last words when a child ends while all are starting."""
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                raise CorvusError(
                    f"{child.name} did not start:\n{children.tail(self.state.log(child.name))}"
                )

    def _wait_ready(self) -> None:
        options = self.options
        checks = {
            "gateway": (options.api_port, "/readyz"),
            "site": (options.site_port, "/livez"),
            "console": (options.console_port, "/livez"),
            "worker": (options.status_port, "/readyz"),
        }
        if options.demo:
            checks["mail"] = (self._mail_ports[1], "/")
        deadline = time.monotonic() + START_S
        for name, (port, path) in checks.items():
            while not _answers(options.host, port, path):
                self._check_first_start()
                if time.monotonic() > deadline:
                    raise CorvusError(
                        f"{name} did not start:\n{children.tail(self.state.log(name))}"
                    )
                time.sleep(0.01)

    def summary(self) -> dict[str, Any]:
        """`up.json`."""
        brand, options = self.settings.brand, self.options
        return {
            "api": brand.api_url,
            "site": brand.site_url,
            "console": f"http://127.0.0.1:{options.console_port}",
            "status": f"http://127.0.0.1:{options.status_port}",
            "mail": self._mail_url(),
            "redis": self._redis.url,
            "postgres": self._postgres.url,
            "demo_key": self.demo_key,
            "state": str(self.state.folder),
            "data": str(self._postgres.folder),
            "pids": {
                "launcher": os.getpid(),
                **{child.name: child.process.pid for child in self.children if child.process},
            },
        }

    def _mail_url(self) -> str | None:
        """Where the simulated mail server shows what it received."""
        host = "127.0.0.1" if self.options.host == "0.0.0.0" else self.options.host  # noqa: S104
        return f"http://{host}:{self._mail_ports[1]}" if self.options.demo else None

    # -- watch ----------------------------------------------------------------------------------

    def watch(self) -> None:
        """Restarts what ends, until SIGTERM or SIGINT. Raises CorvusError after too many ends."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        while not self._stopping:
            for child in self.children:
                self._look(child)
            time.sleep(0.05)

    def _on_signal(self, number: int, frame: object) -> None:
        self._stopping = True

    def _look(self, child: Child) -> None:
        now = time.monotonic()
        if child.start_again_at is not None:
            if now >= child.start_again_at and not self._stopping:
                child.start_again_at = None
                child.process = child.start()
                write_private(self.state.up, json.dumps(self.summary(), indent=1))
            return
        if child.process is None or child.process.poll() is None or self._stopping:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)  # what the dead one left behind
        child.ends = [at for at in child.ends if now - at < RESTART_WINDOW_S] + [now]
        if len(child.ends) >= RESTARTS_MAX:
            raise CorvusError(
                f"{child.name} ended {RESTARTS_MAX} times within {RESTART_WINDOW_S} s:\n"
                f"{children.tail(self.state.log(child.name))}"
            )
        # At once the first time, then after 0.5, 1, 2 … s.
        delay = 0.0 if len(child.ends) == 1 else 0.25 * 2 ** (len(child.ends) - 1)
        child.start_again_at = now + delay

    def cut_streams(self) -> None:
        """Ends the gateway without waiting for its streams; the rest still stops in order."""
        for child in self.children:
            if child.name == "gateway" and child.process is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stops everything: the gateway first, the data last."""
        self._stopping = True
        order = ("gateway", "site", "console", "worker", "providers", "mail", "postgres", "redis")
        for name in order:
            for child in self.children:
                if child.name == name and child.process is not None:
                    children.end(child.process, child.stop_signal, timeout_s=child.stop_s)
        if self._lock is not None:  # else it is another launcher's
            self.state.up.unlink(missing_ok=True)


def _check_port(name: str, port: int, taken: dict[int, str]) -> None:
    """Raises ConfigurationError when the port cannot be used; else notes it in `taken`."""
    option = f"--{name.replace('_', '-')}"
    if port in taken:
        raise ConfigurationError(f"{option} and {taken[port]} are both {port}; 0 takes a free one")
    taken[port] = option
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"port {port} cannot be used ({getattr(error, 'strerror', error)}); choose another"
                f" with {option}, 0 takes a free one"
            ) from None


def _answers(host: str, port: int, path: str) -> bool:
    if host == "0.0.0.0":  # noqa: S104
        host = "127.0.0.1"
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
