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
import redis as sync_redis

from corvus_proxy.money.amount import format_usd, parse_usd
from corvus_proxy.money.event import partition_of
from corvus_proxy.ops import embedded
from corvus_proxy.service import keys
from corvus_proxy.till import scripts
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import Charge, Granted, Poor, Settled
from tests.conftest import add_wallet, open_all
from tests.roles import Roles, fresh_database
from tests.stack import RunningStack

pytestmark = pytest.mark.anyio
NAMES = {script.sha: name for name, script in scripts.SCRIPTS.items()}


def said(words: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": words}], **more}


@pytest.fixture
async def roles(tmp_path: Path, postgres_server: embedded.Postgres) -> AsyncIterator[Roles]:
    """Two gateways on nodes of their own; everybody reaches Redis through a link."""
    # A busy machine is not what is measured here: nobody is refused because it is slow.
    found = Roles(tmp_path / "roles", linked=True, REDIS_TIMEOUT_MS=2000)
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


async def test_256_callers_with_money_for_one_call(redis_server: embedded.Redis) -> None:
    """1,000 rounds against a real Redis, from 16 connections at once: exactly one is served."""
    rounds, callers, doors = 1000, 256, 16
    tills = [Till.open(redis_server.url, timeout_ms=5000) for _ in range(doors)]
    try:
        await tills[0].redis.flushall()
        await open_all(tills[0])
        source = random.Random(3)
        served = Counter[int]()
        for number in range(rounds):
            wallet = f"w_{number:012d}"
            least = source.randrange(1, 10**12)
            credit = least + source.randrange(least)  # enough for one, never for two
            await add_wallet(tills[0], wallet, credit)
            floor = source.choice([0, least, 2 * least])
            part = partition_of(wallet)

            async def knock(door: int, part: int, wallet: str, least: int, floor: int) -> Any:
                calls = [
                    (scripts.money_keys(part, wallet),
                     ("1", f"r{wallet}-{door}-{caller}", wallet, "digest", "owner", least,
                      2 * least, floor, "pv", "slug", 1, 10**6, "2026-01-01", "2026-01"))
                    for caller in range(callers // doors)
                ]  # fmt: skip
                return await tills[door].many("reserve", calls)

            answers = await asyncio.gather(
                *(knock(door, part, wallet, least, floor) for door in range(doors))
            )
            flat = [(door, caller, answer) for door, found in enumerate(answers)
                    for caller, answer in enumerate(found)]  # fmt: skip
            granted = [found for found in flat if isinstance(found[2], Granted)]
            poor = sum(isinstance(answer, Poor) for _, _, answer in flat)
            served[len(granted)] += 1
            assert (len(granted), poor) == (1, callers - 1)
            rid = f"r{wallet}-{granted[0][0]}-{granted[0][1]}"
            done = await tills[0].settle(Charge(rid, wallet, "", "", least, "completed"))
            assert isinstance(done, Settled)
            assert (done.charged_nanos, done.balance_nanos) == (least, credit - least)
        print(f"{rounds} rounds of {callers} callers with money for one: {dict(served)} served")
    finally:
        for till in tills:
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
        shown = await keys.show(roles.stores, made.key_id)
        assert (shown.balance_nanos, shown.held_nanos) == (enough - cost, 0)
    await roles.agree()
    print(f"{rounds} rounds of 256 clients over HTTP with money for one: one served in each")


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


async def test_a_replica_200_settles_behind_takes_over(roles: Roles, tmp_path: Path) -> None:
    """Through two gateways: every charge that a client was told of is in the books once, and so is
    what was running meanwhile."""
    made = [await keys.create(roles.stores, credit_nanos=10**10) for _ in range(16)]
    server = embedded.Redis(tmp_path / "replica", tmp_path / "r.log", port=embedded.free_port())
    server.start()
    await asyncio.to_thread(server.wait)
    replica = Till.open(server.url, timeout_ms=2000)
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
        server.stop()
        roles.redis.start()


def test_a_quarter_of_a_million_keeps_its_last_digit(stack: RunningStack) -> None:
    """250,000.000000001 USD through script, books, API, command line and page."""
    made = stack.new_key("250000.000000001")
    store = sync_redis.Redis.from_url(stack.facts["redis"])
    name = f"{{p{partition_of(made['wallet']):02d}}}:w:{made['wallet']}"
    site = httpx.Client(base_url=stack.facts["site"], trust_env=False, follow_redirects=True)
    site.post("/login", data={"key": made["secret"]})

    def everywhere(nanos: int) -> None:
        text = format_usd(nanos)
        assert stack.standing(made["key_id"])["balance_nanos"] == nanos
        key = stack.ask_get("/v1/key", key=made["secret"]).json()
        assert (key["balance"], key["balance_nanos"]) == (text, nanos)
        assert store.hget(name, "bal") == b"%d" % nanos
        told = stack.command("ledger", "explain", made["key_id"])
        assert told["redis_nanos"] == told["books_nanos"] + told["undrained_nanos"] == nanos
        page = re.search(r'data-figure="balance">(.*?)</span>', site.get("/dashboard").text)
        assert page
        assert parse_usd(re.sub(r"<[^>]+>|,", "", page[1])) == nanos

    whole = 250_000_000_000_001
    assert format_usd(whole) == "250000.000000001"
    everywhere(whole)
    for verb, usd, nanos in (
        ("debit", "0.000000001", whole - 1),
        ("credit", "0.000000002", whole + 1),
        ("debit", "249999.999999999", 3),
        ("credit", "999999.999999997", 10**15),
        ("debit", "0.000000001", 10**15 - 1),
    ):
        stack.command("keys", verb, made["key_id"], usd, "--reason", "to the last digit")
        everywhere(nanos)
    answer = stack.ask("/v1/chat/completions", said("hi"), key=made["secret"])
    cost = parse_usd(answer.headers["x-corvus-cost-usd"])
    assert cost % 1000 != 0  # a last digit of its own
    stack.settled(made["key_id"])
    everywhere(10**15 - 1 - cost)
    print(f"250,000.000000001 and 999,999.999999999 USD kept every digit, and so less {cost} nanos")
