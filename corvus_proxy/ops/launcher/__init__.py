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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corvus_proxy.errors import ConfigurationError, CorvusError
from corvus_proxy.ops import children, embedded, migrate
from corvus_proxy.ops.launcher import configuration, neighbours
from corvus_proxy.ops.launcher.neighbours import Neighbour, Place
from corvus_proxy.ops.state import State, to_toml, write_private
from corvus_proxy.service import guard
from corvus_proxy.settings import load

START_S = 60
RESTARTS_MAX = 5
RESTART_WINDOW_S = 60


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
        self._neighbours: list[Neighbour] = []
        self._stopping = False
        self._followed = configuration.stamp(options.config)
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
        if options.demo:
            place = Place(self.state, self._host, options.host, options.site_port)
            self._neighbours = [kind(place, taken) for kind in neighbours.ALL]
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

    @property
    def _host(self) -> str:
        """The address that browsers on this machine reach the public ports at."""
        return "127.0.0.1" if self.options.host == "0.0.0.0" else self.options.host  # noqa: S104

    def _configuration(self) -> dict[str, Any]:
        options, state = self.options, self.state
        given: dict[str, dict[str, Any]] = {
            "redis": {"url": self._redis.url, "password_file": ""},
            "database": {"url": self._postgres.url, "password_file": ""},
            "gateway": {
                "host": options.host,
                "port": options.api_port,
                "processes": options.workers,
            },
            "site": {"host": options.host, "port": options.site_port},
            "console": {"port": options.console_port},
            "worker": {"status_port": options.status_port},
            "status": {"dir": str(state.folder / "status")},
            "ledger": {
                "journal_dir": str(state.folder / "journal"),
                "archive_dir": str(state.folder / "archive"),
            },
            "secrets": {"pepper_file": str(state.pepper)},
            "metrics": {"dir": str(state.folder / "metrics")},
            "brand": {
                "site_url": f"http://{self._host}:{options.site_port}",
                "api_url": f"http://{self._host}:{options.api_port}",
            },
            "demo": {"enabled": options.demo},
        }
        return configuration.merged(options.config, given, self._neighbours, demo=options.demo)

    def _add_children(self) -> None:
        self.children = [
            Child("redis", self._start_redis),
            Child("postgres", self._start_postgres, signal.SIGINT, 20),
        ]
        for one in self._neighbours:
            self.children.append(
                Child(one.name, lambda one=one: self._python(one.name, one.module, *one.words()))  # type: ignore[misc]
            )
        # A real port is bound by Granian's master: it drains as long as the settings allow.
        for name, stop_s in (
            ("worker", 15.0),
            ("gateway", self.settings.gateway.leave_s + self.settings.gateway.drain_s + 10.0),
            ("site", self.settings.site.leave_s + 15.0),
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
        for one in self._neighbours:
            if (where := one.answers_at()) is not None:
                checks[one.name] = where
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
            **{one.name: url for one in self._neighbours if (url := one.url())},
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

    # -- watch ----------------------------------------------------------------------------------

    def watch(self) -> None:
        """Restarts what ends, until SIGTERM or SIGINT. Raises CorvusError after too many ends."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        while not self._stopping:
            for child in self.children:
                self._look(child)
            self._follow()
            time.sleep(0.05)

    def _on_signal(self, number: int, frame: object) -> None:
        self._stopping = True

    def interrupt(self, number: int, frame: object) -> None:
        """A signal's handler for the time of the start. It also notes the signal: what it raises is
        lost where Python is in the middle of a callback of its own."""
        self._stopping = True
        raise KeyboardInterrupt

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

    def _follow(self) -> None:
        """The operator's file has changed while all runs: the stack's own is written anew, from
        which gateways take other upstreams. One that the start would refuse is left alone."""
        seen = configuration.stamp(self.options.config)
        if seen == self._followed:
            return
        self._followed = seen
        fresh = self.state.config.with_suffix(".partial")
        try:
            write_private(fresh, to_toml(self._configuration()))
            guard.refuse_demo(load(fresh, {}), str(self.options.config))
        except ConfigurationError as error:
            sys.stderr.write(f"corvus up: the changed configuration is not taken: {error}\n")
            return
        os.replace(fresh, self.state.config)

    def cut_streams(self) -> None:
        """Ends the gateway without waiting for its streams; the rest still stops in order."""
        for child in self.children:
            if child.name == "gateway" and child.process is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stops everything: the gateway first, the data last."""
        self._stopping = True
        simulated = (kind.name for kind in neighbours.ALL)
        order = ("gateway", "site", "console", "worker", *simulated, "postgres", "redis")
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
