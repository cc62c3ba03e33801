"""From the release before to this one while customers call: nothing fails, no money is wrong."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from corvus_proxy.ops import embedded
from tests.release import previous, unpack
from tests.roles import PEPPER, READY, Roles, exchange

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
ASK: dict[str, Any] = {
    "model": "gpt-4o-mini", "max_tokens": 40, "messages": [{"role": "user", "content": "hello"}],
}  # fmt: skip
CALLERS = 6


class Traffic:
    """Callers behind a front that sends nothing new to a gateway that is being replaced."""

    def __init__(self, roles: Roles, secrets: list[str]) -> None:
        self._roles, self._stop = roles, asyncio.Event()
        self.rotation = [0, 1]
        self.answers: list[str] = []
        """Request ids of whole answers."""
        self.failed: list[str] = []
        self._asking = Counter[int]()
        self._tasks = [asyncio.create_task(self._call(secret)) for secret in secrets]

    async def _call(self, secret: str) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            node = self.rotation[number % len(self.rotation)]
            self._asking[node] += 1
            try:
                answer = await self._roles.ask(
                    secret, {**ASK, "stream": number % 2 == 0}, node=node
                )
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failed.append(f"gateway{node}: {error!r}")
                continue
            finally:
                self._asking[node] -= 1
            whole = number % 2 or b"data: [DONE]" in answer.body
            if answer.status == 200 and whole:
                self.answers.append(answer.headers["x-request-id"])
            else:
                self.failed.append(f"gateway{node}: {answer.status} {answer.body[-300:]!r}")

    async def only(self, node: int) -> None:
        """The other has nothing more to answer: what it has not yet read of a connection would be
        lost with it, where nothing tells it to wait for that (`gateway.leave_s`)."""
        self.rotation = [node]
        async with asyncio.timeout(90):
            while self._asking[1 - node]:  # noqa: ASYNC110 -- a few, and soon
                await asyncio.sleep(0.02)

    async def more(self, answers: int) -> None:
        """Until so many more were given."""
        async with asyncio.timeout(90):
            wanted = len(self.answers) + answers
            while len(self.answers) < wanted:
                assert not self.failed, self.failed[:3]
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


def run(python: list[str], roles: Roles, *words: str) -> str:
    """A command of either release on the stores of the roles."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CORVUS_")
    } | {
        "CORVUS_REDIS_URL": roles.redis_url, "CORVUS_DATABASE_URL": roles.database_url,
        "CORVUS_PEPPER": PEPPER.decode(),
    }  # fmt: skip
    done = subprocess.run(
        [*python, "-m", "corvus_proxy.ops.cli", *words],
        env=environment, cwd=roles.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def replace(roles: Roles, name: str, start: Any) -> None:
    """Ends a process as its supervisor does, and starts it again as this release."""
    process = roles.processes.pop(name)
    process.terminate()
    assert await asyncio.to_thread(process.wait, 30) in (0, -15), roles.told(name)
    start()


@pytest.mark.slow
@pytest.mark.previous
async def test_an_upgrade_under_load_fails_no_request(
    tmp_path: Path, postgres_server: embedded.Postgres
) -> None:
    """Migrations first, beside the old processes; then worker, gateways and site one by one. Every
    answer whole and booked once, drift 0; and the old release still runs on the new schema."""
    release = previous(ROOT)
    assert release is not None
    old = [str(await asyncio.to_thread(unpack, ROOT, release, tmp_path / "old")), "-P"]
    new = [sys.executable]
    roles = Roles(tmp_path / "roles")
    roles.folder.mkdir()
    base, name = postgres_server.url.rpartition("/")[0], f"t{os.urandom(6).hex()}"
    roles.database_url = f"{base}/{name}"
    roles.python = old
    site_port = embedded.free_port()
    try:
        await asyncio.to_thread(run, old, roles, "db", "migrate")
        await roles.start(roles.database_url)
        roles.start_role("site", "site", SITE_PORT=site_port)
        made = [
            json.loads(await asyncio.to_thread(
                run, old, roles, "keys", "create", "--credit", "20", "--json"))
            for _ in range(CALLERS)
        ]  # fmt: skip
        traffic = Traffic(roles, [one["secret"] for one in made])
        await traffic.more(60)
        assert "0.1.0" in run(old, roles, "--version")

        await asyncio.to_thread(run, new, roles, "db", "migrate")
        assert json.loads(run(new, roles, "db", "check", "--json"))["ok"]
        await traffic.more(60)  # the old release on the new schema

        roles.python = new
        await replace(roles, "worker", lambda: roles.start_role(
            "worker", "worker", WORKER_STATUS_PORT=embedded.free_port()))  # fmt: skip
        await traffic.more(60)  # the new worker with old gateways
        for number in (0, 1):
            await traffic.only(1 - number)
            await replace(roles, f"gateway{number}", lambda n=number: roles.start_gateway(n))
            await roles.until_served()
            traffic.rotation = [0, 1]
            await traffic.more(60)
        await replace(roles, "site", lambda: roles.start_role("site", "site", SITE_PORT=site_port))
        await traffic.more(30)
        await traffic.end()
        assert traffic.failed == []
        await lives(site_port)
        report = await roles.agree()
        booked: Counter[str] = Counter()
        for one in made:
            booked.update((await roles.booked(one["wallet"])).keys())
        assert booked == Counter(traffic.answers)
        print(f"{len(traffic.answers)} answers, {report.events} events, drift {report.drift_nanos}")
    finally:
        await roles.stop()
        admin = await asyncpg.connect(f"{base}/postgres")
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.close()


async def lives(port: int) -> None:
    """A site answers its health check."""
    async with asyncio.timeout(20):
        while True:
            try:
                answer = await exchange(port, READY.replace(b"/readyz", b"/livez"))
            except OSError:
                await asyncio.sleep(0.05)
                continue
            assert answer.status == 200
            return
