"""The promise, asked from outside and checked from what Redis itself was asked and answered."""

import asyncio
import json
import os
import random
import re
import shlex
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hiredis
import httpx
import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.money.amount import format_usd, parse_usd
from corvus_proxy.money.event import partition_of
from corvus_proxy.ops import embedded
from corvus_proxy.service import keys
from corvus_proxy.service.stores import Stores
from corvus_proxy.till import scripts
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import Charge, Settled
from tests.conftest import add_wallet, open_all
from tests.roles import Roles, fresh_database
from tests.stack import RunningStack

pytestmark = pytest.mark.anyio
NAMES = {script.sha: name for name, script in scripts.SCRIPTS.items()}


def said(words: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": words}], **more}


@pytest.fixture(scope="module")
async def roles(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: embedded.Postgres
) -> AsyncIterator[Roles]:
    """Two gateways on nodes of their own; everybody reaches Redis through a link."""
    # A busy machine is not what is measured here: nobody is refused because it is slow.
    found = Roles(tmp_path_factory.mktemp("promise"), linked=True)
    async with fresh_database(postgres_server) as url:
        try:
            await found.start(url)
            yield found
        finally:
            await found.stop()


class Calls:
    """Every script call of a wallet in the order in which Redis ran it, with the answer to each.

    The order is Redis's own word (MONITOR); the answers are read off the link.
    """

    def __init__(self, roles: Roles) -> None:
        self.order: list[tuple[str, list[str]]] = []
        self.answers: dict[tuple[str, str], list[Any]] = {}
        self._asked: dict[int, list[tuple[str, str]]] = {}
        self._readers: dict[tuple[int, bool], hiredis.Reader] = {}
        self._roles = roles

    async def start(self) -> None:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._roles.redis.port)
        self._writer.write(b"MONITOR\r\n")
        assert await reader.readline() == b"+OK\r\n"
        self._task = asyncio.create_task(self._monitor(reader))
        assert self._roles.link
        self._roles.link.tap = self._tap
        for script in scripts.SCRIPTS.values():  # so that each call is run where it is asked
            await self._roles.till.redis.script_load(script.text)

    async def stop(self) -> None:
        await asyncio.sleep(0.2)
        self._task.cancel()
        self._writer.close()
        assert self._roles.link
        self._roles.link.tap = None

    async def _monitor(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            head, _, command = line.decode("latin-1").rstrip("\r\n").partition("] ")
            if " lua" in head or not command.lower().startswith('"evalsha"'):
                continue
            _, sha, count, *rest = shlex.split(command)
            self.order.append((NAMES.get(sha, sha), rest[int(count) :]))

    def _tap(self, connection: int, sent: bool, piece: bytes) -> None:
        reader = self._readers.setdefault((connection, sent), hiredis.Reader())
        reader.feed(piece)
        asked = self._asked.setdefault(connection, [])
        while (found := reader.gets()) is not False:
            if sent:
                name = NAMES.get(found[1].decode(), "") if found[0].lower() == b"evalsha" else ""
                at = 3 + int(found[2]) if name else 0
                asked.append((name, found[at + 1].decode() if at and len(found) > at + 1 else ""))
            elif asked:
                name, rid = asked.pop(0)
                if name:
                    self.answers.setdefault((name, rid), []).append(found)


class Wallet:
    """What a wallet must be, reckoned from the calls alone."""

    def __init__(self, balance_nanos: int) -> None:
        self.balance = balance_nanos
        self.holds: dict[str, int] = {}
        self.least_balance = balance_nanos
        self.refused: dict[str, int] = {}
        """By request: how often it was refused for money."""

    @property
    def free(self) -> int:
        return self.balance - sum(self.holds.values())

    def reserve(self, rid: str, least: int, most: int, floor: int) -> list[bytes]:
        """The answer that it must have got (the key's id left out)."""
        if rid not in self.holds:
            if self.free < least:
                self.refused[rid] = self.refused.get(rid, 0) + 1
                return [b"POOR", b"%d" % self.free, b"%d" % sum(self.holds.values())]
            granted = min(most, self.free)
            if floor:
                granted = min(most, max(least, min(self.free, floor), self.free // 2))
            self.holds[rid] = granted
        return [b"OK", b"%d" % self.holds[rid], b"%d" % self.free]

    def extend(self, rid: str, answer: list[bytes]) -> None:
        total = int(answer[1])
        assert total - self.holds[rid] <= self.free
        self.holds[rid] = total

    def settle(self, rid: str, actual: int) -> int:
        """What it must have charged."""
        charged = min(actual, self.holds[rid] + self.free)
        del self.holds[rid]
        self.balance -= charged
        self.least_balance = min(self.least_balance, self.balance)
        return charged


def reckoned(calls: Calls, wallet: str, balance_nanos: int) -> Wallet:
    """Goes through the calls in their order; each answer must be the one reckoned."""
    model = Wallet(balance_nanos)
    mine: set[str] = set()
    answers = {call: list(found) for call, found in calls.answers.items()}
    for name, arguments in calls.order:
        if name == "reserve" and arguments[2] == wallet:
            rid, least, most, floor = arguments[1], *map(int, arguments[5:8])
            mine.add(rid)
            answer = answers[name, rid].pop(0)
            assert answer[:3] == model.reserve(rid, least, most, floor), (rid, answer)
        elif name in ("extend", "settle") and arguments[1] in mine:
            rid = arguments[1]
            answer = answers[name, rid].pop(0)
            if answer[0] in (b"DUP", b"UNKNOWN"):
                assert rid not in model.holds
            elif name == "extend":
                model.extend(rid, answer)
            else:
                charged = model.settle(rid, int(arguments[2]))
                assert answer[:2] == [b"OK", b"%d" % charged], (rid, answer)
    return model


async def test_200_parallel_requests_on_money_for_a_few(roles: Roles) -> None:
    """Never below zero, nothing charged that is not paid, and nobody refused whose money was
    there."""
    credit = 4_000_000
    made = await keys.create(roles.stores, credit_nanos=credit)
    calls = Calls(roles)
    await calls.start()
    source = random.Random(7)
    readings: list[tuple[int, int]] = []
    going = True

    async def read(node: int) -> None:
        while going:
            state = await roles.till.wallet(made.wallet)
            assert state
            readings.append((state.balance_nanos, state.held_nanos))
            await asyncio.sleep(0.005)

    async def one(number: int) -> Any:
        tokens = source.choice([5, 200, 900])
        body = said(
            f"[[simulate: tokens={tokens}; delay_ms=0]] {number}",
            stream=bool(number % 2),
            max_tokens=1000,
        )
        return await roles.ask(made.secret, body, node=number // 2 % 2)

    reader = asyncio.create_task(read(0))
    began_s = time.monotonic()
    answers = await asyncio.gather(*(one(number) for number in range(200)))
    took_s = time.monotonic() - began_s
    going = False
    await reader
    report = await roles.agree()
    await calls.stop()
    shown = await keys.show(roles.stores, made.key_id)
    booked = await roles.booked(made.wallet)
    model = reckoned(calls, made.wallet, credit)
    served = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(served) + len(refused) == 200, Counter(answer.status for answer in answers)
    assert served
    assert refused
    for answer in refused:
        told = json.loads(answer.body)["error"]
        assert told["code"] == "insufficient_balance"
        assert parse_usd(told["available"]) < parse_usd(told["required"])
        assert answer.headers["x-request-id"] in model.refused
    assert {answer.headers["x-request-id"]: answer.cost_nanos for answer in served} == booked
    assert sum(booked.values()) == credit - shown.balance_nanos
    assert model.balance == shown.balance_nanos
    assert model.least_balance >= 0
    assert not model.holds
    assert all(0 <= held <= balance for balance, held in readings)
    waited = sum(times - 1 for times in model.refused.values())
    print(
        f"200 parallel requests in {took_s:.1f} s: {len(served)} served, {len(refused)} refused,"
        f" {sum(map(len, calls.answers.values()))} calls followed, {waited} waits; lowest balance"
        f" {model.least_balance} nanos in {len(readings)} readings and every step, charges"
        f" {sum(booked.values())} = {credit} - {shown.balance_nanos}, drift {report.drift_nanos}"
    )


class Door:
    """One connection on which many call `reserve` at once, as plain RESP."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._replies = hiredis.Reader()

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def knock(self, wallet: str, rids: list[str], *money: int) -> list[list[bytes]]:
        """Each request's answer."""
        keys_ = scripts.money_keys(partition_of(wallet), wallet)
        before = _resp("EVALSHA", scripts.SCRIPTS["reserve"].sha, 7, *keys_, 1)
        after = _resp(wallet, "digest", "owner", *money, "pv", "slug", 1, 10**6, "2026-01-01",
                      "2026-01")  # fmt: skip
        head = b"*%d\r\n" % (before.count(b"$") + after.count(b"$") + 1)
        self._writer.write(b"".join(head + before + _resp(rid) + after for rid in rids))
        found: list[list[bytes]] = []
        while len(found) < len(rids):
            self._replies.feed(await self._reader.read(65536))
            while (answer := self._replies.gets()) is not False:
                found.append(answer)
        return found


def _resp(*words: object) -> bytes:
    return b"".join(b"$%d\r\n%s\r\n" % (len(word := str(one).encode()), word) for one in words)


@pytest.mark.parametrize("rounds", [60, pytest.param(1000, marks=pytest.mark.slow)])
async def test_256_callers_with_money_for_one_call(
    redis_server: embedded.Redis, rounds: int
) -> None:
    """Rounds against a real Redis, from 16 connections at once: exactly one is served."""
    callers = 256
    doors = [Door(redis_server.port) for _ in range(16)]
    till = Till.open(redis_server.url, timeout_ms=5000)
    try:
        await till.redis.flushall()
        await open_all(till)
        await till.redis.script_load(scripts.SCRIPTS["reserve"].text)
        await asyncio.gather(*(door.open() for door in doors))
        source = random.Random(3)
        served = Counter[int]()
        for number in range(rounds):
            wallet = f"w_{number:012d}"
            least = source.randrange(1, 10**12)
            credit = least + source.randrange(least)  # enough for one, never for two
            await add_wallet(till, wallet, credit)
            money = (least, 2 * least, source.choice([0, least, 2 * least]))
            rids = [f"r{number}-{caller}" for caller in range(callers)]
            answers = await asyncio.gather(
                *(door.knock(wallet, rids[at::16], *money) for at, door in enumerate(doors))
            )
            by_rid = {rid: answer for at, found in enumerate(answers)
                      for rid, answer in zip(rids[at::16], found, strict=True)}  # fmt: skip
            granted = [rid for rid, answer in by_rid.items() if answer[0] == b"OK"]
            served[len(granted)] += 1
            assert Counter(answer[0] for answer in by_rid.values()) == {b"OK": 1, b"POOR": 255}
            done = await till.settle(Charge(granted[0], wallet, "", "", least, "completed"))
            assert isinstance(done, Settled)
            assert (done.charged_nanos, done.balance_nanos) == (least, credit - least)
        print(f"{rounds} rounds of {callers} callers with money for one: {dict(served)} served")
    finally:
        for door in doors:
            door._writer.close()
        await till.close()


async def test_256_clients_with_money_for_one_call(roles: Roles) -> None:
    """The same over HTTP, through two gateways: one is answered, the others are told why not."""
    empty = await keys.create(roles.stores, credit_nanos=0)
    body = said("[[simulate: tokens=5; delay_ms=0]] one", max_tokens=1000)
    refusal = json.loads((await roles.ask(empty.secret, body)).body)["error"]
    enough = parse_usd(refusal["required"])
    rounds = 3
    for _ in range(rounds):
        made = await keys.create(roles.stores, credit_nanos=enough)
        answers = await asyncio.gather(
            *(roles.ask(made.secret, body, node=number % 2) for number in range(256))
        )
        assert Counter(answer.status for answer in answers) == {200: 1, 429: 255}
        cost = next(answer.cost_nanos for answer in answers if answer.status == 200)
        await roles.agree()
        shown = await keys.show(roles.stores, made.key_id)
        assert (shown.balance_nanos, shown.held_nanos) == (enough - cost, 0)
    print(f"{rounds} rounds of 256 clients over HTTP with money for one: one served in each")


async def test_a_quarter_of_a_million_keeps_its_last_digit(stack: RunningStack) -> None:
    """250,000.000000001 USD through script, books, API, command line and page."""
    made = await asyncio.to_thread(stack.new_key, "250000.000000001")
    pepper = (stack.state / "pepper").read_bytes().strip()
    till = Till.open(stack.facts["redis"], timeout_ms=10_000)
    stores = Stores(till, Books(stack.facts["postgres"]), pepper)
    site = httpx.AsyncClient(base_url=stack.facts["site"], trust_env=False, follow_redirects=True)
    await site.post("/login", data={"key": made["secret"]})
    name = f"{{p{partition_of(made['wallet']):02d}}}:w:{made['wallet']}"

    async def everywhere(nanos: int) -> None:
        text = format_usd(nanos)
        assert await till.redis.hget(name, "bal") == b"%d" % nanos
        key = (await asyncio.to_thread(stack.ask_get, "/v1/key", key=made["secret"])).json()
        assert (key["balance"], key["balance_nanos"]) == (text, nanos)
        page = re.search(r'data-figure="balance">(.*?)</span>', (await site.get("/dashboard")).text)
        assert page
        assert parse_usd(re.sub(r"<[^>]+>|,", "", page[1])) == nanos

        async def booked() -> bool:
            async with stores.books.connection() as connection:
                return bool(nanos == await connection.fetchval(
                    "select balance_nanos from wallet where wallet = $1", made["wallet"]
                ))  # fmt: skip

        await until(booked)

    whole = 250_000_000_000_001
    assert format_usd(whole) == "250000.000000001"
    await everywhere(whole)
    for move, asked, nanos in (
        (keys.debit, 1, whole - 1),
        (keys.credit, 2, whole + 1),
        (keys.debit, whole - 2, 3),
        (keys.credit, 10**15 - 3, 10**15),
        (keys.debit, 1, 10**15 - 1),
    ):
        await move(stores, made["key_id"], asked, reason="to the last digit")
        await everywhere(nanos)
    answer = await asyncio.to_thread(
        stack.ask, "/v1/chat/completions", said("hi"), key=made["secret"]
    )
    cost = parse_usd(answer.headers["x-corvus-cost-usd"])
    await everywhere(10**15 - 1 - cost)
    shown = await asyncio.to_thread(stack.standing, made["key_id"])
    assert shown["balance_nanos"] == 10**15 - 1 - cost
    assert shown["spent_nanos"] == cost
    await site.aclose()
    await stores.close()
    print(f"250,000.000000001 and 999,999.999999999 USD kept every digit, and so less {cost} nanos")


async def synced(primary: Till, replica: Till) -> bool:
    """Whether the replica has all that the primary has."""
    info = await replica.redis.info("replication")
    if info.get("master_link_status") != "up" or info.get("master_sync_in_progress"):
        return False
    ours = [state.seq for state in await primary.partitions()]
    return ours == [state.seq for state in await replica.partitions()]


async def until(what: Any, *, timeout_s: float = 20) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not await what():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_replica_200_settles_behind_takes_over(roles: Roles, tmp_path: Path) -> None:
    """Through two gateways: every charge that a client was told of is in the books once, and so is
    what was running meanwhile. Keep it the last of this module: the replica stays."""
    made = [await keys.create(roles.stores, credit_nanos=10**10) for _ in range(16)]
    server = embedded.Redis(tmp_path / "replica", tmp_path / "r.log", port=embedded.free_port())
    server.start()
    await asyncio.to_thread(server.wait)
    replica = Till.open(server.url, timeout_ms=10_000)
    told: dict[str, int] = {}

    async def some(count: int) -> None:
        async def one(number: int) -> None:
            body = said("[[simulate: tokens=9; delay_ms=0]] hi", max_tokens=50,
                        stream=number % 3 == 0)  # fmt: skip
            key = made[number % len(made)].secret
            while (answer := await roles.ask(key, body, node=number % 2)).status != 200:
                assert answer.status == 503
                await asyncio.sleep(0.1)
            told[answer.headers["x-request-id"]] = answer.cost_nanos

        for at in range(0, count, 20):
            await asyncio.gather(*(one(number) for number in range(at, min(count, at + 20))))

    async def seqs(till: Till) -> int:
        return sum(state.seq for state in await till.partitions())

    try:
        await replica.redis.replicaof("127.0.0.1", str(roles.redis.port))
        await until(lambda: synced(roles.till, replica))
        await roles.until_served()
        await some(60)
        await until(lambda: synced(roles.till, replica))
        await replica.redis.replicaof("NO", "ONE")
        await some(140)
        await roles.agree()  # the books are ahead of the replica …
        roles.processes["worker"].send_signal(signal.SIGSTOP)
        slow = said("[[simulate: tokens=60; delay_ms=60]] hi", max_tokens=100, stream=True)
        running = [
            asyncio.create_task(roles.ask(made[number].secret, slow, node=number % 2))
            for number in range(8)
        ]
        await some(60)  # … and the journals are ahead of the books
        behind = await seqs(roles.till) - await seqs(replica)
        assert roles.link
        os.kill(roles.redis.child.pid, signal.SIGKILL)
        roles.redis.child.wait()
        roles.link.target = server.port
        began_s = time.monotonic()
        roles.processes["worker"].send_signal(signal.SIGCONT)
        await some(20)
        back_s = time.monotonic() - began_s
        for answer in await asyncio.gather(*running):
            assert answer.status == 200
            assert b"[DONE]" in answer.body
        report = await roles.agree()
        booked: dict[str, int] = {}
        for one in made:
            booked |= await roles.booked(one.wallet)
        assert booked.items() >= told.items()
        assert len(booked) == len(told) + len(running)
        left = sum([(await keys.show(roles.stores, one.key_id)).balance_nanos for one in made])
        assert left == 16 * 10**10 - sum(booked.values())
        assert behind >= 200
        print(
            f"a replica {behind} settles behind was promoted: served again after {back_s:.1f} s;"
            f" {len(told)} charges told and {len(running)} streams that ran, each once in the"
            f" books; drift {report.drift_nanos} nanos over {report.events} events"
        )
    finally:
        await replica.close()
        roles.redis.child, server.child = server.child, roles.redis.child  # it is theirs now
