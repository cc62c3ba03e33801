"""Three credentials over real sockets: what fails behind them, no client sees; what changes in the
configuration, no stream feels; what a session has cached, it goes on reading."""

import asyncio
import hashlib
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, multiprocess

from corvus_proxy.money.amount import parse_usd
from corvus_proxy.ops import embedded
from corvus_proxy.service import keys
from tests.link import Link
from tests.roles import Roles, fresh_database
from tests.stack import RunningStack

pytestmark = pytest.mark.anyio
NAMES = ("c1", "c2", "c3")
SLUG = "claude-haiku-4-5"
COMMENT = re.compile(rb': corvus {.*"cost_usd":"([0-9.]+)"')
OPTIONS = """
[timeouts]
first_byte_s = {first_byte_s}
silence_s = 10
[pool]
cool_s = 0.4
cool_max_s = 1.5
reload_s = 0.1
pin_s = {pin_s}
drain_s = 60
[relay]
keepalive_s = 1
keepalive_before_headers_s = {early_s}
"""


class Pools(Roles):
    """The roles alone, with three credentials of one family; the second behind a link."""

    def __init__(
        self, folder: Path, *, client: str, pin_s: int, early_s: float, first_byte_s: float
    ) -> None:
        super().__init__(folder)
        self._pin_s = pin_s
        self._early_s = early_s
        self._first_byte_s = first_byte_s
        self.client = client
        self.wire: Link
        self.providers = ""
        self.metrics = folder / "metrics"
        self.metrics.mkdir(parents=True)

    def start_role(self, name: str, role: str, **options: object) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(self.metrics))
            super().start_role(name, role, **options)

    def figure(self, name: str, **labels: str) -> float:
        """A metric of the gateway's."""
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(self.metrics))
        return registry.get_sample_value(name, labels) or 0.0

    def _start_providers(self) -> None:
        super()._start_providers()
        port = int((self.folder / "providers-port").read_text())
        self.providers = f"http://127.0.0.1:{port}"
        self.wire = Link(port)
        for name in NAMES:
            (self.folder / name).write_text(f"sim-{name}")
        self.configure(NAMES)

    def configure(
        self,
        names: tuple[str, ...],
        *,
        draining: tuple[str, ...] = (),
        more: Mapping[str, str] = {},
    ) -> None:
        """Writes the configuration anew; running gateways take it by themselves. `more`: lines of
        credentials."""
        text = OPTIONS.format(
            pin_s=self._pin_s, early_s=self._early_s, first_byte_s=self._first_byte_s
        )

        for name in names:
            base = f"http://127.0.0.1:{self.wire.port}" if name == "c2" else self.providers
            text += (
                f'[[upstream]]\nfamily = "anthropic"\nbase_url = "{base}"\n'
                f'client = "{self.client}"\n[[upstream.credential]]\nname = "{name}"\n'
                f'secret_file = "{self.folder / name}"\n'
                f"draining = {str(name in draining).lower()}\n{more.get(name, '')}\n"
            )
        partial = self.folder / "config.partial"
        partial.write_text(text)
        partial.replace(self.folder / "config.toml")

    async def fault(self, name: str, **wish: Any) -> None:
        """From now on the provider does this to every request with the credential; nothing: it
        serves again."""
        faults = [{"credential": seen_as(name), "times": -1, **wish}] if wish else []
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{self.providers}/__control", json={"faults": faults})
            answer.raise_for_status()

    async def served(self) -> list[dict[str, Any]]:
        """The provider's own log."""
        async with httpx.AsyncClient(trust_env=False) as client:
            found: list[dict[str, Any]] = (await client.get(f"{self.providers}/__log")).json()
        return found

    def log(self, node: int = 0) -> list[dict[str, Any]]:
        """A gateway's own lines."""
        lines = (self.folder / f"gateway{node}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


def seen_as(name: str) -> str:
    """How the provider's log names a credential."""
    return hashlib.sha256(f"sim-{name}".encode()).hexdigest()[-8:]


@asynccontextmanager
async def pools(
    postgres: embedded.Postgres,
    folder: Path,
    *,
    client: str = "httptools",
    pin_s: int = 5,
    nodes: int = 1,
    early_s: float = 0.0,
    first_byte_s: float = 10.0,
) -> AsyncIterator[Pools]:
    async with fresh_database(postgres) as url:
        roles = Pools(
            folder, client=client, pin_s=pin_s, early_s=early_s, first_byte_s=first_byte_s
        )
        try:
            await roles.start(url, nodes=nodes)
            await roles.wire.start()
            yield roles
        finally:
            await roles.stop()
            await roles.wire.stop()


class Seen:
    """One request as its client saw it."""

    def __init__(self) -> None:
        self.status = 0
        self.request_id = ""
        self.body = b""
        self.whole = True
        """No error came inside the answer."""
        self.cost_nanos = 0


class Load:
    """Clients that ask one after the other, streamed and not, each request a session of its own."""

    def __init__(self, roles: Pools, secret: str, *, clients: int = 6) -> None:
        self._roles, self._secret = roles, secret
        self.seen: list[Seen] = []
        self._stop = False
        self._number = itertools.count()
        self._http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{roles.ports[0]}", trust_env=False, timeout=30
        )
        self._clients = [asyncio.create_task(self._ask()) for _ in range(clients)]

    async def _ask(self) -> None:
        while not self._stop:
            number = next(self._number)
            self.seen.append(await asked(self._http, self._secret, number, stream=number % 2 == 0))
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        self._stop = True
        await asyncio.gather(*self._clients)
        await self._http.aclose()


async def asked(
    http: httpx.AsyncClient, secret: str, number: int, *, stream: bool, **more: Any
) -> Seen:
    body = {
        "model": SLUG, "max_tokens": 30, "stream": stream,
        "messages": [{
            "role": "user", "content": f"{number} [[simulate: tokens=8; delay_ms=2]]"}],
        **more,
    }  # fmt: skip
    seen = Seen()
    headers = {"x-api-key": secret, "anthropic-version": "2023-06-01"}
    async with http.stream("POST", "/v1/messages", json=body, headers=headers) as answer:
        seen.status = answer.status_code
        seen.request_id = answer.headers["x-request-id"]
        seen.body = await answer.aread()
        if stream and seen.status == 200:
            seen.whole = b"event: error" not in seen.body
            found = COMMENT.search(seen.body)
            assert found, seen.body[-300:]
            seen.cost_nanos = parse_usd(found[1].decode())
        elif seen.status == 200:
            seen.cost_nanos = parse_usd(answer.headers["x-corvus-cost-usd"])
    return seen


TROUBLES: dict[str, dict[str, Any]] = {
    "revoked": {"status": 401},
    "stalled": {"ttfb_ms": 60_000},
    "429": {"status": 429, "retry_after": "1"},
    "500": {"status": 500},
    "529": {"status": 529},
    "empty account": {"status": 402},
    "no answer": {"no_answer": True},
    "cutting": {"cut_after": 3},
}


@pytest.mark.slow
@pytest.mark.parametrize("client", ["httptools", "httpx"])
async def test_one_of_three_credentials_in_every_trouble_under_load(
    postgres_server: embedded.Postgres, tmp_path: Path, client: str
) -> None:
    """Killed, revoked, stalled, refusing, empty, cutting: no client sees an error before its first
    byte, each request is charged once and as it was told, and each time the credential serves again
    without a restart."""
    async with pools(postgres_server, tmp_path, client=client, first_byte_s=0.7) as roles:
        made = await keys.create(roles.stores, credit_nanos=100 * 10**9)
        load = Load(roles, made.secret)
        rows = []
        for name, wish in {"killed": {}, **TROUBLES}.items():
            first = len(load.seen)
            await (roles.fault("c2", **wish) if wish else roles.wire.stop())
            await asyncio.sleep(2.0)
            await until(lambda first=first: len(load.seen) > first + 12, timeout_s=30)
            told = load.seen[first:]
            await (roles.fault("c2") if wish else roles.wire.start())
            back_s = await served_again(roles, "c2")
            broken = sum(not seen.whole for seen in told)
            rows.append(f"{name}: {len(told)} asked, {broken} cut, back after {back_s:.1f} s")
            assert {seen.status for seen in told} == {200}, (name, told[0].body)
            assert broken == 0 or name in ("cutting", "killed"), name
        rows += [str(Counter(row["outcome"] for row in await roles.served()))]
        await load.stop()
        print("\n".join(rows))
        assert {"cut", "refused", "aborted"} <= {row["outcome"] for row in await roles.served()}
        assert {seen.status for seen in load.seen} == {200}
        await roles.agree()
        booked = await roles.booked(made.wallet)
        assert booked == {seen.request_id: seen.cost_nanos for seen in load.seen}
        shown = await keys.show(roles.stores, made.key_id)
        assert shown.balance_nanos == 100 * 10**9 - sum(booked.values())
        assert await most_attempts(roles, made.wallet) in (2, 3)
        states = [row for row in roles.log() if row["event"] == "credential_state"]
        assert {"cooling", "empty", "banned", "healthy"} <= {row["state"] for row in states}
        assert {row["credential"] for row in states} == {"c2"}
        assert "sim-c" not in (tmp_path / "gateway0.log").read_text()


async def test_a_count_is_tried_elsewhere_and_takes_no_credential_out(
    postgres_server: embedded.Postgres, tmp_path: Path
) -> None:
    """Whose turn it is may be killed or revoked: a client that draws its context's fill by counts
    reads one. Counting has limits of its own: no inference is kept from the credential by them."""
    async with pools(postgres_server, tmp_path) as roles:
        made = await keys.create(roles.stores, credit_nanos=0)
        body = {"model": SLUG, "messages": [{"role": "user", "content": "how many?"}]}
        headers = {"x-api-key": made.secret, "anthropic-version": "2023-06-01"}
        base = f"http://127.0.0.1:{roles.ports[0]}"

        async def count_nine_times() -> None:
            """Each credential has three turns of them."""
            async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as http:
                for _ in range(9):
                    answer = await http.post(
                        "/v1/messages/count_tokens", json=body, headers=headers
                    )
                    assert answer.status_code == 200, answer.text
                    assert answer.json()["input_tokens"] > 0

        await roles.wire.stop()
        await count_nine_times()
        await roles.wire.start()
        (tmp_path / "c2").write_text("bad-key")
        await until(lambda: lines(roles, "reloaded") == 1)
        await count_nine_times()
        assert not any(row["event"] == "credential_state" for row in roles.log())
        for name in NAMES:
            (tmp_path / name).write_text("bad-key")
        await until(lambda: lines(roles, "reloaded") > 1)
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as http:
            answer = await http.post("/v1/messages/count_tokens", json=body, headers=headers)
        assert answer.status_code in (500, 502, 503, 529)
        assert "key" not in answer.json()["error"]["message"]


async def test_a_stream_that_had_only_keep_alives_is_taken_over(
    postgres_server: embedded.Postgres, tmp_path: Path
) -> None:
    """Its head is out since the first credential stalled; the next one's answer follows whole, and
    is charged once."""
    async with pools(postgres_server, tmp_path, early_s=0.1, first_byte_s=2) as roles:
        made = await keys.create(roles.stores, credit_nanos=10 * 10**9)
        base = f"http://127.0.0.1:{roles.ports[0]}"
        await roles.fault("c2", ttfb_ms=60_000)
        seen: list[Seen] = []
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as http:
            for number in range(20):
                seen.append(await asked(http, made.secret, number, stream=True))
                if seen[-1].body.startswith(b"event: ping"):
                    break
        assert seen[-1].body.startswith(b"event: ping")
        assert all(one.status == 200 and one.whole and b"message_stop" in one.body for one in seen)
        await roles.agree()
        booked = await roles.booked(made.wallet)
        assert booked == {one.request_id: one.cost_nanos for one in seen}
        assert await most_attempts(roles, made.wallet) == 2


async def served_again(roles: Pools, name: str, *, timeout_s: float = 20) -> float:
    """Seconds until the credential has completed three more requests."""
    began_s = time.monotonic()
    before = len(await roles.served())
    while True:
        rows = (await roles.served())[before:]
        if sum(r["credential"] == seen_as(name) and r["completed"] for r in rows) >= 3:
            return time.monotonic() - began_s
        assert time.monotonic() < began_s + timeout_s, roles.told("gateway0")
        await asyncio.sleep(0.1)


async def most_attempts(roles: Pools, wallet: str) -> int:
    """The most tries that one request took, by the books."""
    async with roles.books.connection() as connection:
        rows = await connection.fetch("select attempts from request where wallet = $1", wallet)
    return max(row["attempts"] for row in rows)


async def test_a_changed_file_changes_credentials_without_a_dropped_stream(
    postgres_server: embedded.Postgres, tmp_path: Path
) -> None:
    """A removed credential takes nothing new, its stream ends whole; one that is added serves; a
    file that the start would refuse changes nothing."""
    async with pools(postgres_server, tmp_path) as roles:
        made = await keys.create(roles.stores, credit_nanos=10 * 10**9)
        base = f"http://127.0.0.1:{roles.ports[0]}"
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as http:
            long = {"messages": [{
                "role": "user", "content": "[[simulate: tokens=150; delay_ms=40]]"}],
                "max_tokens": 200}  # fmt: skip
            streams = [
                asyncio.create_task(
                    asked(http, made.secret, 0, stream=True, metadata={"user_id": str(n)}, **long)
                )
                for n in range(30)  # so many that each of three credentials has some
            ]
            await asyncio.sleep(1)
            roles.configure(("c1", "c3"))
            await until(lambda: lines(roles, "reloaded") == 1)
            assert roles.figure("corvus_credentials", family="anthropic", credential="c2",
                                state="draining") == 1  # fmt: skip
            before = len(await roles.served())
            for number in range(12):
                assert (await asked(http, made.secret, number, stream=False)).status == 200
            seen = await asyncio.gather(*streams)
            assert all(one.status == 200 and one.whole for one in seen)
            rows = await roles.served()
            late = Counter(row["credential"] for row in rows[before:] if not row["stream"])
            assert late.keys() <= {seen_as("c1"), seen_as("c3")}
            assert {row["credential"] for row in rows if row["stream"]} == set(map(seen_as, NAMES))
            await until(lambda: lines(roles, "credential_removed") == 1)

            (tmp_path / "config.toml").write_text("[[upstream]]\nfamily = 'nobody'\n")
            await until(lambda: lines(roles, "reload_refused") == 1)
            assert (await asked(http, made.secret, 99, stream=False)).status == 200
            roles.configure(NAMES)
            await until(lambda: lines(roles, "reloaded") == 2)
            before = len(await roles.served())
            for number in range(100, 130):
                assert (await asked(http, made.secret, number, stream=False)).status == 200
            late = Counter(row["credential"] for row in (await roles.served())[before:])
            assert late.keys() == set(map(seen_as, NAMES))
            assert roles.figure("corvus_reloads_total", result="applied") == 2
            assert roles.figure("corvus_reloads_total", result="refused") == 1
        await roles.agree()


def lines(roles: Pools, event: str) -> int:
    return sum(row["event"] == event for row in roles.log())


async def until(what: Any, *, timeout_s: float = 60) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)


TURNS, SESSIONS, DRAINED_AT, RETURNED_AT, EMPTY_AT = 50, 10, 20, 35, 45


@pytest.mark.slow
async def test_ten_sessions_of_50_turns_read_their_cache(
    postgres_server: embedded.Postgres, tmp_path: Path
) -> None:
    """Histories that grow, three credentials whose caches know nothing of each other, one drained
    at turn 20, returned at 35 and out of money at 45: what a session has sent before is read from
    its cache, and every move to another account is counted."""
    async with pools(postgres_server, tmp_path, pin_s=600, first_byte_s=0.7) as roles:
        made = await keys.create(roles.stores, credit_nanos=100 * 10**9)
        base = f"http://127.0.0.1:{roles.ports[0]}"
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as http:
            sessions = [Session(http, made.secret, number) for number in range(SESSIONS)]
            for turn in range(TURNS):
                if turn == DRAINED_AT:
                    home = Counter(row["credential"] for row in await roles.served())
                    drained = max(NAMES, key=lambda name: home[seen_as(name)])
                    roles.configure(NAMES, draining=(drained,))
                    await until(lambda: lines(roles, "reloaded") == 1)
                if turn == RETURNED_AT:
                    mid = [Session(http, made.secret, 100 + number) for number in range(12)]
                    await asyncio.gather(*(session.ask() for session in mid))
                    roles.configure(NAMES)
                    await until(lambda: lines(roles, "reloaded") == 2)
                if turn == EMPTY_AT:
                    await roles.fault(drained, status=402)
                await asyncio.gather(*(session.ask() for session in sessions))
        rows = await roles.served()
        places = {session.number: places_of(rows, session.number) for session in [*sessions, *mid]}
        assert all(len(found) == TURNS for number, found in places.items() if number < 100)
        assert {found[0] for number, found in places.items() if number < 100} == set(
            map(seen_as, NAMES)
        )
        assert all(found[0] != seen_as(drained) for n, found in places.items() if n >= 100)
        kept = [found[:EMPTY_AT] for number, found in places.items() if number < 100]
        assert all(len(set(found)) == 1 for found in kept)  # draining moves no pinned session
        assert any(found[0] == seen_as(drained) for found in kept)
        moves = sum(
            sum(one != other for one, other in itertools.pairwise(found))
            for found in places.values()
        )
        read = sum(session.read for session in sessions)
        sent = sum(session.sent_before for session in sessions)
        assert 0 < moves < SESSIONS
        assert roles.figure("corvus_sessions_moved_total", family="anthropic") == moves
        print(f"{read / sent:.2%} of {sent:,} tokens sent before were read; {moves} moves")
        assert read / sent >= 0.95
        await roles.agree()


def places_of(rows: list[dict[str, Any]], number: int) -> list[str]:
    """The credentials that served a session, turn by turn."""
    tag = f"s{number}"
    return [row["credential"] for row in rows if row["tag"] == tag and row["completed"]]


class Session:
    """A conversation: each turn sends all before it and a breakpoint at its end."""

    def __init__(self, http: httpx.AsyncClient, secret: str, number: int) -> None:
        self.number = number
        self.read = self.sent_before = 0
        """Tokens read from a cache, and tokens that an earlier turn had sent already."""
        self._http, self._secret = http, secret
        self._history: list[dict[str, Any]] = []
        self._total = 0

    async def ask(self) -> None:
        text = f"turn {len(self._history)} of {self.number} " + "word " * 300
        block = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
        wish = f"[[simulate: tokens=20; delay_ms=0; tag=s{self.number}]]"
        directive = {"type": "text", "text": wish}
        turn = {"role": "user", "content": [block, directive]}
        body = {"model": SLUG, "max_tokens": 50, "messages": [*self._history, turn]}
        answer = await self._http.post("/v1/messages", json=body, headers={
            "x-api-key": self._secret, "anthropic-version": "2023-06-01",
            "x-claude-code-session-id": f"session-{self.number}"})  # fmt: skip
        assert answer.status_code == 200, answer.text
        found = answer.json()
        usage = found["usage"]
        self.read += usage["cache_read_input_tokens"]
        self.sent_before += self._total
        self._total = usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
        plain = {"role": "user", "content": [{"type": "text", "text": text}]}
        self._history += [plain, {"role": "assistant", "content": found["content"]}]


def test_a_stack_follows_the_operators_file(stack: RunningStack) -> None:
    """What `--config` names reaches a running gateway; a mistake in it reaches nobody."""
    own, follows = stack.folder / "config.toml", stack.state / "up.toml"
    before = own.read_text()

    def wait_for(what: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 20
        while not what():
            assert time.monotonic() < deadline_s, follows.read_text()
            time.sleep(0.1)

    def reloads() -> int:
        return (stack.state / "logs" / "gateway.log").read_text().count('"reloaded"')

    told = reloads()
    try:
        own.write_text(before.replace('name = "openai-1"', 'name = "openai-1"\nweight = 7'))
        wait_for(lambda: "weight = 7" in follows.read_text())
        wait_for(lambda: reloads() > told)
        own.write_text(before.replace('family = "openai"', 'family = "acme"'))
        time.sleep(0.5)
        assert "acme" not in follows.read_text()
    finally:
        own.write_text(before)
    wait_for(lambda: "weight = 7" not in follows.read_text())
