"""Backups of a stack under load, and what a restored one is worth to customers."""

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.ops import embedded
from corvus_proxy.service import keys as service
from corvus_proxy.service.stores import Stores
from tests.roles import PEPPER, Roles, fresh_database
from tests.stack import RunningStack, corvus

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {
    "model": "gpt-4o-mini", "max_tokens": 40, "messages": [{"role": "user", "content": "hello"}],
}  # fmt: skip


class Load:
    """Callers that never rest, on keys of their own."""

    def __init__(self, stack: RunningStack, keys: list[dict[str, Any]]) -> None:
        self._stack, self._stop = stack, threading.Event()
        self.api = stack.api
        self.statuses: list[int] = []
        self._threads = [threading.Thread(target=self._run, args=(key,)) for key in keys]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, key: dict[str, Any]) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._stop.is_set():
                answer = client.post(
                    self.api + CHAT,
                    json={**ASK, "stream": len(self.statuses) % 2 == 0},
                    headers={"authorization": f"Bearer {key['secret']}"},
                )
                self.statuses.append(answer.status_code)

    def until(self, answers: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.statuses) < answers:
            assert time.monotonic() < deadline, len(self.statuses)
            time.sleep(0.05)


@pytest.mark.slow
def test_a_backup_under_load_restores_on_an_empty_machine(tmp_path: Path) -> None:
    """Encrypted, taken while callers call; restored into a new folder with an empty Redis: the
    books verify, every key works and has what it had at the backup, never less than now."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    stack, fresh = RunningStack(tmp_path / "old"), RunningStack(tmp_path / "new")
    key_file, backups = tmp_path / "backup-key", tmp_path / "backups"
    key_file.write_text("k" * 40)
    stack.up()
    try:
        keys = [stack.new_key("3.00") for _ in range(6)]
        with Load(stack, keys) as load:
            load.until(100)
            wish = ("--to", str(backups), "--key-file", str(key_file))
            taken = stack.command("backup", "run", *wish)
            load.until(len(load.statuses) + 150)
        assert set(load.statuses) == {200}
        now = {key["key_id"]: stack.settled(key["key_id"])["balance_nanos"] for key in keys}
        demo_key = stack.demo_key
        pepper = (stack.state / "pepper").read_bytes().strip()
    finally:
        stack.down()
    raw = b"".join(path.read_bytes() for path in Path(taken["path"]).iterdir())
    assert pepper not in raw
    assert keys[0]["wallet"].encode() not in raw
    assert (taken["wallets"], taken["encrypted"]) == (7, True)

    words = (str(backups), "--key-file", str(key_file), "--state", str(fresh.state))
    done = json.loads(corvus("backup", "restore", *words, "--json").stdout)
    assert (done["wallets"], len(done["forgotten"])) == (7, 1)
    again = corvus("backup", "restore", *words, check=False)
    assert (again.returncode, "is in use" in again.stderr) == (1, True)
    fresh.up()
    try:
        verified = fresh.command("ledger", "verify")
        assert (verified["ok"], verified["drift_nanos"]) == (True, 0)
        back = {key["key_id"]: fresh.standing(key["key_id"]) for key in keys}
        # What was spent after the backup is the customers'; nobody has more than was sold.
        for key_id, standing in back.items():
            assert now[key_id] < standing["balance_nanos"] < 3_000_000_000
            assert standing["held_nanos"] == 0
        assert fresh.demo_key == demo_key
        deeds = fresh.command("audit", "tail")["deeds"]
        restored = [one for one in deeds if one["action"] == "backup.restore"]
        assert [one["actor"].partition(":")[0] for one in restored] == ["cli"]
        assert restored[0]["actor"].partition(":")[2]
        assert fresh.ask(CHAT, ASK, key=keys[0]["secret"]).status_code == 200
        spent = fresh.settled(keys[0]["key_id"])["balance_nanos"]
        assert spent < back[keys[0]["key_id"]]["balance_nanos"]
        verified = fresh.command("ledger", "verify")
        assert (verified["ok"], verified["drift_nanos"]) == (True, 0)
    finally:
        fresh.down()
    found = json.loads(corvus("backup", "drill", *words[:3], "--json").stdout)
    assert (found["ok"], found["drift_nanos"], found["pepper"]) == (True, 0, "kept")
    print(found, done, len(load.statuses))


def command(roles: Roles, url: str, *words: str) -> dict[str, Any]:
    """A command of an installation with stores of its own, by environment and file."""
    environment = {
        "CORVUS_REDIS_URL": roles.redis_url, "CORVUS_DATABASE_URL": url,
        "CORVUS_PEPPER": PEPPER.decode(),
    }  # fmt: skip
    os.environ |= environment
    try:
        done = corvus(*words, "--json", "--config", str(roles.folder / "config.toml"))
    finally:
        for name in environment:
            del os.environ[name]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.anyio
async def test_books_restored_beside_a_living_redis_lose_nothing(
    tmp_path: Path, postgres_server: embedded.Postgres
) -> None:
    """The database is lost, Redis and gateways go on: the restored books are brought forward, and
    what was made and spent after the backup is in them."""
    roles = Roles(tmp_path / "roles")
    secrets_dir = tmp_path / "secrets"
    async with fresh_database(postgres_server) as old:
        try:
            await roles.start(old, nodes=1)
            made = await service.create(roles.stores, credit_nanos=10**9, label="", reason="test")
            await ask_for(roles, made.secret, 5)
            await roles.agree()
            words = ("--to", str(tmp_path / "backups"), "--secrets-dir", str(secrets_dir))
            taken = await asyncio.to_thread(command, roles, old, "backup", "run", *words)
            assert Path(taken["secrets"]).parent == secrets_dir
            await ask_for(roles, made.secret, 20)
            later = await service.create(roles.stores, credit_nanos=10**9, label="", reason="test")
            await ask_for(roles, later.secret, 3)
            before = await roles.agree()
            roles.processes["worker"].terminate()
            await asyncio.to_thread(roles.processes.pop("worker").wait)
            await roles.books.close()

            new = f"{old}_back"
            words = (taken["path"], "--secrets", taken["secrets"])
            done = await asyncio.to_thread(command, roles, new, "backup", "restore", *words)
            assert (done["wallets"], done["forgotten"], done["peppers_missing"]) == (1, [], [])
            await ask_for(roles, made.secret, 2)
            roles.database_url, roles.books = new, Books(new)
            roles.stores = Stores(roles.till, roles.books, PEPPER)
            roles.start_role("worker", "worker", WORKER_STATUS_PORT=embedded.free_port())
            after = await roles.agree()
            assert (after.wallets, after.events) == (before.wallets, before.events + 2)
            assert len(await roles.booked(made.wallet)) == 27
            assert len(await roles.booked(later.wallet)) == 3
            async with roles.books.connection() as connection:
                who = await connection.fetchval(
                    "select actor from audit where action = 'backup.restore'"
                )
            assert who.startswith("cli:")
        finally:
            await roles.stop()
            await drop(postgres_server, f"{old.rpartition('/')[2]}_back")


async def ask_for(roles: Roles, secret: str, times: int) -> None:
    for _ in range(times):
        assert (await roles.ask(secret, ASK)).status == 200


async def drop(server: embedded.Postgres, name: str) -> None:
    import asyncpg

    admin = await asyncpg.connect(f"{server.url.rpartition('/')[0]}/postgres")
    await admin.execute(f"drop database if exists {name} with (force)")
    await admin.close()
