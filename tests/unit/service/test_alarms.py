"""Alarms: when they fire, how often, whom they tell, and where a notice never goes."""

import asyncio
import hashlib
import hmac
import ipaddress
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from corvus_proxy import clock, sealing
from corvus_proxy.books import people
from corvus_proxy.books.db import Books
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.service import alarms, keys
from corvus_proxy.service.alarms import BadAlarm, Wanted, hooks, watch
from corvus_proxy.service.stores import Stores
from corvus_proxy.shop import mail
from corvus_proxy.till.client import Till

pytestmark = pytest.mark.anyio
PEPPER = b"p" * 32
USD = NANOS_PER_USD
SITE = "https://site.example"
HOOK = "https://hooks.example/in"


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, PEPPER)


@pytest.fixture
async def made(stores: Stores) -> keys.Created:
    made = await keys.create(stores, credit_nanos=10 * USD)
    async with stores.books.connection() as connection:
        await people.set_email(connection, made.wallet, "owner@rook.example")
    return made


class Receiver:
    """A server that takes notices, or answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self.location = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")[1:-2]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append((headers, body))
        more = f"location: {self.location}\r\n" if self.location else ""
        writer.write(f"HTTP/1.1 {self.status} X\r\n{more}content-length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    one = Receiver()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield one, f"http://localhost:{port}/in?x=1"
    server.close()
    await server.wait_closed()


async def used(stores: Stores, wallet: str, nanos: int, *, ago_s: int = 0) -> None:
    """A request in the books that cost so much, so long ago."""
    async with stores.books.connection() as connection:
        await connection.execute(
            "insert into request (request_id, wallet, key_id, slug, outcome, charge_nanos,"
            " shortfall_nanos, cost_nanos, input_tokens, cache_read_tokens, cache_write_tokens,"
            " output_tokens, source, credential, upstream_request_id, price_version,"
            " first_byte_ms, total_ms, attempts, ended_at) values ($1, $2, '', 's', 'completed',"
            " $3, 0, 0, 0, 0, 0, 0, '', '', '', '', 0, 0, 1, now() - $4 * interval '1 second')",
            clock.random_text(12),
            wallet,
            nanos,
            ago_s,
        )


async def told(stores: Stores) -> list[tuple[str, dict[str, Any]]]:
    """Kind and view of every mail."""
    async with stores.books.connection() as connection:
        rows = await connection.fetch("select kind, view_sealed from mail order by created_at")
    return [
        (row["kind"], json.loads(sealing.unseal(PEPPER, mail.PURPOSE, row["view_sealed"])))
        for row in rows
    ]


async def tick(stores: Stores) -> int:
    return await watch.tick(stores, site_url=SITE)


async def test_a_low_balance_is_told_once_per_crossing(stores: Stores, made: keys.Created) -> None:
    """Not at the threshold, once below it, again only after it was above; also by two workers."""
    wanted = Wanted("balance", 5 * USD, True, "")
    await alarms.add(stores, made.wallet, wanted, private=False)
    await keys.debit(stores, made.key_id, 5 * USD, reason="t")
    assert await tick(stores) == 0
    await keys.debit(stores, made.key_id, 1, reason="t")
    assert sum(await asyncio.gather(tick(stores), tick(stores), tick(stores))) == 1
    assert await tick(stores) == 0
    assert await told(stores) == [
        ("low_balance", {
            "key_id": made.key_id, "available_nanos": 5 * USD - 1, "threshold_nanos": 5 * USD,
            "top_up_url": f"{SITE}/checkout?key={made.key_id}",
        })
    ]  # fmt: skip
    await keys.credit(stores, made.key_id, 1, reason="t")
    assert await tick(stores) == 0
    await keys.debit(stores, made.key_id, 1, reason="t")
    assert await tick(stores) == 1
    assert len(await told(stores)) == 2


@pytest.mark.parametrize(
    ("kind", "ago_s", "words"), [("hour", 3590, "an hour"), ("day", 86_300, "24 hours")]
)
async def test_spending_is_counted_over_its_time(
    stores: Stores, made: keys.Created, kind: str, ago_s: int, words: str
) -> None:
    """What is older does not count; at the threshold nothing is told."""
    await alarms.add(stores, made.wallet, Wanted(kind, 2 * USD, True, ""), private=False)
    await used(stores, made.wallet, 100 * USD, ago_s=90_000)
    await used(stores, made.wallet, USD, ago_s=ago_s)
    await used(stores, made.wallet, USD)
    assert await tick(stores) == 0
    await used(stores, made.wallet, 1)
    assert await tick(stores) == 1
    ((letter, view),) = await told(stores)
    assert letter == "spike"
    assert (view["spent_nanos"], view["span"]) == (2 * USD + 1, words)


@pytest.mark.parametrize(
    ("usual", "hour", "fires"),
    [
        ([], 50 * USD, 0),  # a first day has no usual
        ([(100_000, 27 * USD)], 9 * USD, 0),
        ([(100_000, 27 * USD)], 11 * USD, 1),  # 27 hours before the last one, 1 USD in each
        ([(604_000, USD // 1000)], USD // 100, 0),  # a cent is no spike, however little is usual
    ],
)
async def test_a_spike_is_many_times_the_usual_hour(
    stores: Stores, made: keys.Created, usual: list[tuple[int, int]], hour: int, fires: int
) -> None:
    """Of the week before, from its first request on."""
    await alarms.add(stores, made.wallet, Wanted("spike", 1000, True, ""), private=False)
    for ago_s, nanos in usual:
        await used(stores, made.wallet, nanos, ago_s=ago_s)
    await used(stores, made.wallet, hour)
    assert await tick(stores) == fires


async def test_a_wallet_that_gets_an_address_gets_an_alarm(
    stores: Stores, made: keys.Created
) -> None:
    """Ten times the usual, by mail; whoever removes it is not given it again."""
    from corvus_proxy.service import sessions

    session = sessions.Session(made.wallet, made.key_id, "key", "se", True, False)
    await sessions.set_email(stores, session, "new@rook.example")
    (one,) = await alarms.list_of(stores, made.wallet)
    assert (one.kind, one.threshold, one.email) == ("spike", 1000, True)
    assert await alarms.remove(stores, made.wallet, one.alarm_id)
    assert not await alarms.remove(stores, made.wallet, one.alarm_id)
    assert await alarms.list_of(stores, made.wallet) == []


async def test_a_notice_is_signed_and_tried_until_it_is_taken(
    stores: Stores, made: keys.Created, receiver: tuple[Receiver, str]
) -> None:
    """The signature fits time and body; the id stays; redirects lead nowhere."""
    one, url = receiver
    await alarms.add(stores, made.wallet, Wanted("balance", 50 * USD, False, url), private=True)
    secret = await alarms.secret_of(stores, made.wallet)
    assert secret.startswith("whsec_")
    one.status = 500
    assert await tick(stores) == 1
    assert await hooks.tick(stores, private=True) == 0
    assert await hooks.tick(stores, private=True) == 0  # it waits
    one.status, one.location = 302, url
    await _wait_no_longer(stores)
    assert await hooks.tick(stores, private=True) == 0
    one.status, one.location = 204, ""
    await _wait_no_longer(stores)
    assert await hooks.tick(stores, private=True) == 1
    await _wait_no_longer(stores)
    assert await hooks.tick(stores, private=True) == 0
    assert len(one.got) == 3
    assert len({headers["x-corvus-id"] for headers, _ in one.got}) == 1
    headers, body = one.got[-1]
    at, _, given = headers["x-corvus-signature"].removeprefix("t=").partition(",v1=")
    expected = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert given == expected
    assert headers["host"].startswith("localhost:")
    notice = json.loads(body)
    assert (notice["event"], notice["kind"], notice["key_id"]) == (
        "alarm.fired", "balance", made.key_id,
    )  # fmt: skip
    assert (notice["value_nanos"], notice["threshold_nanos"]) == (10 * USD, 50 * USD)
    (alarm,) = await alarms.list_of(stores, made.wallet)
    assert (alarm.notice, alarm.fired) == ("sent", True)
    async with stores.books.connection() as connection:
        assert secret not in str(await connection.fetch("select * from alarm"))


async def test_a_notice_that_nobody_takes_is_given_up(
    stores: Stores, made: keys.Created, receiver: tuple[Receiver, str]
) -> None:
    """After so many tries; why stands beside the alarm."""
    one, url = receiver
    one.status = 503
    await alarms.add(stores, made.wallet, Wanted("balance", 50 * USD, False, url), private=True)
    (alarm,) = await alarms.list_of(stores, made.wallet)
    assert await alarms.test(stores, made.wallet, alarm.alarm_id)
    for _ in range(hooks.ATTEMPTS_MAX + 3):
        await hooks.tick(stores, private=True)
        await _wait_no_longer(stores)
    assert len(one.got) == hooks.ATTEMPTS_MAX
    assert json.loads(one.got[0][1])["event"] == "alarm.test"
    (alarm,) = await alarms.list_of(stores, made.wallet)
    assert (alarm.notice, alarm.problem) == ("failed", "answered with 503")


async def _wait_no_longer(stores: Stores) -> None:
    async with stores.books.connection() as connection:
        await connection.execute("update notice set next_at = now() where state = 'queued'")


async def test_a_name_that_leads_inside_is_not_called(
    stores: Stores, made: keys.Created, receiver: tuple[Receiver, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What the name says at the moment of the call decides, and one private address is enough."""
    one, url = receiver
    port = int(url.rpartition(":")[2].partition("/")[0])
    target = f"https://innocent.example:{port}/in"
    await alarms.add(stores, made.wallet, Wanted("balance", 50 * USD, False, target), private=False)
    assert await tick(stores) == 1
    loop = asyncio.get_running_loop()

    async def inside(host: str, port: int, **_: object) -> list[Any]:
        return [(2, 1, 6, "", ("93.184.216.34", port)), (2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(loop, "getaddrinfo", inside)
    assert await hooks.tick(stores, private=False) == 0
    assert one.got == []
    (alarm,) = await alarms.list_of(stores, made.wallet)
    assert "not public" in alarm.problem


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True), ("127.0.0.1", False),
        ("10.0.0.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("::1", False), ("fe80::1", False), ("fd00::1", False),
        ("::ffff:127.0.0.1", False), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
    ],
)  # fmt: skip
async def test_only_public_addresses_are_public(address: str, public: bool) -> None:
    """Loopback, private, link-local, shared, multicast, and IPv4 in IPv6's clothes are not."""
    assert hooks.is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (Wanted("weekly", 1, True, ""), "kind"),
        (Wanted("hour", 0, True, ""), "threshold"),
        (Wanted("hour", 2 * 10**15, True, ""), "threshold"),
        (Wanted("spike", 100, True, ""), "threshold"),
        (Wanted("hour", 1, False, ""), "to"),
        (Wanted("hour", 1, False, "http://hooks.example/"), "webhook_url"),
        (Wanted("hour", 1, False, "https://127.0.0.1/"), "webhook_url"),
        (Wanted("hour", 1, False, "https://[::ffff:10.0.0.1]/"), "webhook_url"),
        (Wanted("hour", 1, False, "https://user:pass@hooks.example/"), "webhook_url"),
        (Wanted("hour", 1, False, "ftp://hooks.example/"), "webhook_url"),
        (Wanted("hour", 1, False, "https://hooks.example:99999/"), "webhook_url"),
        (Wanted("hour", 1, False, "https:///path"), "webhook_url"),
        (Wanted("hour", 1, False, "https://hooks.example/\0"), "webhook_url"),
    ],
)
async def test_an_alarm_that_cannot_be_is_refused(
    stores: Stores, made: keys.Created, wanted: Wanted, field: str
) -> None:
    """The field is named; nothing is kept."""
    with pytest.raises(BadAlarm) as refused:
        await alarms.put(stores, made.wallet, [Wanted("day", USD, True, ""), wanted], private=False)
    assert refused.value.field == field
    assert await alarms.list_of(stores, made.wallet) == []


async def test_an_alarm_is_changed_in_place(stores: Stores, made: keys.Created) -> None:
    """What is not named stays; another threshold arms it anew, another way of telling does not."""
    await alarms.add(stores, made.wallet, Wanted("day", USD, True, ""), private=False)
    one = await alarms.add(
        stores, made.wallet, Wanted("balance", 50 * USD, True, ""), private=False
    )
    assert await tick(stores) == 1

    async def change(**changes: Any) -> alarms.Alarm | None:
        return await alarms.change(stores, made.wallet, one.alarm_id, changes, private=False)

    changed = await change(webhook_url=HOOK)
    assert changed == one._replace(webhook_url=HOOK, fired=True)
    assert (await alarms.secret_of(stores, made.wallet)).startswith("whsec_")
    changed = await change(threshold=20 * USD, email=False)
    assert changed == one._replace(threshold=20 * USD, email=False, webhook_url=HOOK)
    assert await tick(stores) == 1
    for changes, field in (
        ({"kind": "day", "threshold": USD}, "threshold"),
        ({"webhook_url": ""}, "to"),
        ({"webhook_url": "http://10.0.0.1/"}, "webhook_url"),
    ):
        with pytest.raises(BadAlarm) as refused:
            await change(**changes)
        assert refused.value.field == field
    other = await keys.create(stores, credit_nanos=USD)
    assert (
        await alarms.change(
            stores, other.wallet, one.alarm_id, {"email": True, "threshold": 1}, private=False
        )
        is None
    )
    assert len(await alarms.list_of(stores, made.wallet)) == 2


async def test_mail_takes_an_address(stores: Stores) -> None:
    """However the alarm comes to be; without one nothing is kept."""
    made = await keys.create(stores, credit_nanos=USD)
    mailed, called = Wanted("day", USD, True, ""), Wanted("hour", USD, False, HOOK)
    one = await alarms.add(stores, made.wallet, called, private=False)
    for asked in (
        alarms.add(stores, made.wallet, mailed, private=False),
        alarms.put(stores, made.wallet, [mailed], private=False),
        alarms.change(stores, made.wallet, one.alarm_id, {"email": True}, private=False),
    ):
        with pytest.raises(BadAlarm) as refused:
            await asked
        assert refused.value.field == "to"
    assert await alarms.list_of(stores, made.wallet) == [one]


async def test_putting_replaces_all_and_keeps_the_signing_secret(
    stores: Stores, made: keys.Created
) -> None:
    """As many as are given, in their order; the secret stays while there is a webhook."""
    first = [Wanted("day", USD, True, HOOK), Wanted("balance", USD, False, HOOK)]
    found = await alarms.put(stores, made.wallet, first, private=False)
    assert [(one.kind, one.webhook_url) for one in found] == [("day", HOOK), ("balance", HOOK)]
    secret = await alarms.secret_of(stores, made.wallet)
    found = await alarms.put(stores, made.wallet, first[1:], private=False)
    assert [one.kind for one in found] == ["balance"]
    assert await alarms.secret_of(stores, made.wallet) == secret
    assert await alarms.put(stores, made.wallet, [], private=False) == []
    too_many = [Wanted("day", nanos, True, "") for nanos in range(1, 30)]
    with pytest.raises(BadAlarm):
        await alarms.put(stores, made.wallet, too_many, private=False)
