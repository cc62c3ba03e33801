"""The status of a running service: what is stopped turns red, nothing else, and it comes back."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy.ops import embedded
from tests.stack import RunningStack, corvus

TWO_MINUTES_S = 120
FAMILIES = {"anthropic": "", "openai": "", "glm": "/api/paas/v4"}
CONFIG = """
[status]
probe_s = 1
timeout_s = 1
"""
SITE = {"website", "checkout", "login"}


def read(url: str) -> dict[str, Any]:
    """A `status.json`."""
    found: dict[str, Any] = httpx.get(url, timeout=10, trust_env=False).json()
    return found


def wait_until(url: str, down: set[str], *, rest: str = "ok") -> dict[str, Any]:
    """Until these and no others are down, and all others `rest`; within two minutes."""
    deadline_s = time.monotonic() + TWO_MINUTES_S
    while True:
        document = read(url)
        states = {one["id"]: one["state"] for one in document["components"]}
        if all(states[one] == ("down" if one in down else rest) for one in states):
            return document
        assert time.monotonic() < deadline_s, (down, document["components"])
        time.sleep(0.3)


class Families:
    """Each family's vendor in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        taken: dict[int, str] = {}
        self._ports = {family: embedded.free_port(taken) for family in FAMILIES}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "vendor-key").write_text("sim-key")

    def start(self, family: str) -> None:
        words = ["-m", "corvus_proxy.dev.providers", "--port", str(self._ports[family])]
        log = (self._folder / f"{family}.log").open("ab")
        self._running[family] = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=log
        )

    def stop(self, family: str) -> None:
        self._running[family].terminate()
        self._running[family].wait()

    def config(self) -> str:
        """The upstreams."""
        return "".join(
            f'[[upstream]]\nfamily = "{family}"\n'
            f'base_url = "http://127.0.0.1:{self._ports[family]}{path}"\n'
            + (
                f'messages_base_url = "http://127.0.0.1:{self._ports[family]}/api/anthropic"\n'
                if family == "glm"
                else ""
            )
            + f'[[upstream.credential]]\nname = "{family}"\n'
            f'secret_file = "{self._folder / "vendor-key"}"\n'
            for family, path in FAMILIES.items()
        )


class Service:
    """`corvus up` that measures each second, with vendors that can be stopped one by one."""

    def __init__(self, folder: Path) -> None:
        self.families = Families(folder)
        self.stack = RunningStack(folder, config=CONFIG + self.families.config())

    def up(self) -> None:
        for family in FAMILIES:
            self.families.start(family)
        self.stack.restart()

    def down(self) -> None:
        corvus("down", "--state", str(self.stack.state))
        for family in FAMILIES:
            self.families.stop(family)

    @property
    def url(self) -> str:
        """Of the worker's own port."""
        return f"{self.stack.facts['status']}/status.json"

    @contextlib.contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """A part of the stack that does not answer: its processes stand still. (One that ended
        would be started again at once.)"""
        group = os.getpgid(self.stack.facts["pids"][name])
        os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(group, signal.SIGCONT)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    found = Service(tmp_path_factory.mktemp("status"))
    found.up()
    try:
        yield found
    finally:
        found.down()


def api(document: dict[str, Any], *families: str) -> set[str]:
    return {one["id"] for one in document["components"] if one["family"] in families}


def test_a_running_service_says_that_it_works(stack: RunningStack) -> None:
    """On the site and on the worker's own port alike, without a log-in; `up` leaves nobody waiting
    for the first checks."""
    site, own = stack.facts["site"], stack.facts["status"]
    document = wait_until(f"{site}/data/status.json", set())
    assert {one["id"] for one in document["components"]} >= SITE | {"api-glm-messages"}
    assert document["components"][0]["checked_at"]
    for base in (site, own):
        page = httpx.get(f"{base}/status", trust_env=False)
        assert page.status_code == 200
        assert "Everything works." in page.text
        assert httpx.get(f"{base}/status.md", trust_env=False).text.startswith("# Status\n")
    elsewhere = httpx.get(f"{own}/docs", trust_env=False, follow_redirects=True)
    assert (str(elsewhere.url), elsewhere.status_code) == (f"{site}/docs", 200)
    sheet = httpx.get(f"{own}/static/app.css", trust_env=False)
    assert sheet.headers["content-type"].startswith("text/css")
    metrics = httpx.get(f"{stack.facts['console']}/metrics", trust_env=False).text
    assert 'corvus_status{component="website"} 1.0' in metrics


@pytest.mark.slow
@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_vendor_that_stops_turns_its_family_red(service: Service, family: str) -> None:
    """Every dialect of it and nothing else; and back after."""
    document = wait_until(service.url, set())
    service.families.stop(family)
    try:
        wait_until(service.url, api(document, family))
    finally:
        service.families.start(family)
    wait_until(service.url, set())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "down"),
    [("payments", {"checkout"}), ("postgres", {"checkout", "login"}), ("site", SITE)],
)
def test_a_part_that_stops_turns_its_rows_red(service: Service, name: str, down: set[str]) -> None:
    """The routes of the API stay green, and all of it is back after. Without the site nobody can
    pay or log in, either."""
    wait_until(service.url, set())
    with service.frozen(name):
        document = wait_until(service.url, down)
        page = httpx.get(service.url.removesuffix(".json"), trust_env=False).text
        assert "Not available" in page
        running = {one["component"] for one in document["incidents"] if one["ended_at"] is None}
        assert running == down
    document = wait_until(service.url, set())
    assert all(one["ended_at"] for one in document["incidents"])


@pytest.mark.slow
def test_without_the_gateway_no_route_works(service: Service) -> None:
    """The site's parts stay green."""
    document = wait_until(service.url, set())
    with service.frozen("gateway"):
        wait_until(service.url, api(document, *FAMILIES))
    wait_until(service.url, set())


@pytest.mark.slow
def test_an_operator_can_say_what_happened(service: Service) -> None:
    """By the incident's id; also while the database is what is down."""
    wait_until(service.url, set())
    with service.frozen("payments"):
        document = wait_until(service.url, {"checkout"})
    name = document["incidents"][0]["id"]
    state = str(service.stack.state)
    shown = json.loads(corvus("status", "show", "--json", "--state", state).stdout)
    assert name in [one["id"] for one in shown["incidents"]]
    corvus("status", "note", name, "The payment service was frozen.", "--state", state)
    with service.frozen("postgres"):
        wait_until(service.url, {"checkout", "login"})
        corvus("status", "note", name, "It thaws.", "--state", state)
    document = wait_until(service.url, set())
    noted = next(one for one in document["incidents"] if one["id"] == name)
    assert [one["text"] for one in noted["notes"]] == [
        "The payment service was frozen.", "It thaws.",
    ]  # fmt: skip
    assert corvus("status", "note", "checkout-1", "What?", "--state", state, check=False).returncode


@pytest.mark.slow
def test_a_worker_that_ends_is_told_as_such(service: Service) -> None:
    """The site goes on with what was known last, as unknown."""
    wait_until(service.url, set())
    with service.frozen("worker"):
        deadline_s = time.monotonic() + TWO_MINUTES_S
        site = f"{service.stack.facts['site']}/status.json"
        while {one["state"] for one in read(site)["components"]} != {"unknown"}:
            assert time.monotonic() < deadline_s
            time.sleep(0.5)
        page = httpx.get(site.removesuffix(".json"), trust_env=False).text
        assert "The checks have stopped." in page
        found = corvus("doctor", "--state", str(service.stack.state), check=False).stdout
        assert "no worker measures" in found
    wait_until(service.url, set())
