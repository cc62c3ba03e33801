"""The scripts as tables, against the newest and the oldest server that is supported."""

from typing import Any

import pytest

from corvus_proxy.money.event import Mark, partition_of
from corvus_proxy.till import reply, scripts
from corvus_proxy.till.client import Till
from corvus_proxy.till.recovery import door
from corvus_proxy.till.reply import (
    Ask,
    Cap,
    Charge,
    Credited,
    Debited,
    Denied,
    Duplicate,
    Extended,
    Fenced,
    Granted,
    Live,
    Look,
    NoKey,
    NotOwner,
    Poor,
    Settled,
    Unknown,
)  # fmt: skip
from tests.conftest import add_wallet

pytestmark = pytest.mark.anyio
W = "w_table0000001"
BIG = 250_000_000_000_001
MILLION_USD = 10**15
ENDS = ("m", "w", "h", "d", "dz", "l")
"""Keys of a script that ends a request."""


def ask(rid: str, least: int, most: int, *, share: int = 0, digest: str = "digest") -> Ask:
    return Ask(rid, W, digest, least, most, share, "pv", "slug", 10)


async def reserve(till: Till, one: Ask, *, lag_limit: int = 1000) -> Any:
    return await till.reserve(one, owner="me", lag_limit=lag_limit)


async def settle(till: Till, rid: str, nanos: int) -> Any:
    return await till.settle(Charge(rid, W, "", "", nanos, "completed", b"{}"))


async def extend(till: Till, rid: str, total: int, *, spent: int = 0, owner: str = "me") -> Any:
    return await till.extend(
        rid, W, total_nanos=total, checkpoint_nanos=spent, owner=owner, meta=b'{"pv":"m"}'
    )


@pytest.mark.parametrize(
    ("balance", "held", "least", "most", "share", "answer"),
    [
        (1000, 0, 100, 100, 0, Granted(100, 900, f"key_{W}")),
        (1000, 0, 100, 5000, 0, Granted(1000, 0, f"key_{W}")),
        (1000, 950, 100, 100, 0, Poor(50, 950)),
        (1000, 900, 100, 100, 0, Granted(100, 0, f"key_{W}")),
        (0, 0, 1, 1, 0, Poor(0, 0)),
        (0, 0, 0, 0, 0, Granted(0, 0, f"key_{W}")),
        # A whole answer takes at most half of what is free …
        (1000, 0, 100, 900, 200, Granted(500, 500, f"key_{W}")),
        (1001, 0, 100, 900, 200, Granted(500, 501, f"key_{W}")),
        # … unless its share floor, or its least, is more.
        (1000, 0, 100, 900, 700, Granted(700, 300, f"key_{W}")),
        (1000, 0, 800, 900, 200, Granted(800, 200, f"key_{W}")),
        (1000, 500, 100, 900, 800, Granted(500, 0, f"key_{W}")),
        (MILLION_USD, 0, BIG, BIG, 0, Granted(BIG, MILLION_USD - BIG, f"key_{W}")),
    ],
)
async def test_reserve_never_exceeds_what_is_free(
    till: Till, balance: int, held: int, least: int, most: int, share: int, answer: Any
) -> None:
    """Grant by the rule; what is held never exceeds the balance."""
    await add_wallet(till, W, balance)
    if held:
        assert isinstance(await reserve(till, ask("other", held, held)), Granted)
    assert await reserve(till, ask("r", least, most, share=share)) == answer
    state = await till.wallet(W)
    assert state is not None
    assert 0 <= state.held_nanos <= state.balance_nanos == balance


async def test_the_same_request_holds_once(till: Till) -> None:
    """A repeated reserve gives the same grant and the present free balance."""
    await add_wallet(till, W, 1000)
    assert await reserve(till, ask("r", 100, 300)) == Granted(300, 700, f"key_{W}")
    assert await reserve(till, ask("s", 100, 100)) == Granted(100, 600, f"key_{W}")
    assert await reserve(till, ask("r", 100, 300)) == Granted(300, 600, f"key_{W}")


async def test_refusals_of_the_key(till: Till) -> None:
    """Unknown wallet, wrong secret, frozen key, frozen wallet, expired secret."""
    assert await reserve(till, ask("r", 1, 1)) == NoKey()
    await add_wallet(till, W, 1000)
    assert await reserve(till, ask("r", 1, 1, digest="other")) == Denied("secret")
    key = reply.KeyEntry(f"key_{W}", "0", [("digest", 0)])
    await till.push(reply.KeyRow(W, 2, "1", [key]))
    assert await reserve(till, ask("r", 1, 1)) == Denied("frozen")
    key = reply.KeyEntry(f"key_{W}", "1", [("digest", 0), ("old", 1)])
    await till.push(reply.KeyRow(W, 3, "0", [key]))
    assert await reserve(till, ask("r", 1, 1)) == Denied("frozen")
    assert isinstance(await till.credit("c", W, 5, counter="grants"), Credited)
    await till.push(reply.KeyRow(W, 4, "1", [key]))
    assert await reserve(till, ask("r", 1, 1, digest="old")) == Denied("expired")
    assert isinstance(await reserve(till, ask("r", 1, 1)), Granted)


async def test_an_older_row_never_overwrites_a_newer_one(till: Till) -> None:
    """Versions only grow, and no row touches money."""
    await add_wallet(till, W, 1000)
    key = reply.KeyEntry(f"key_{W}", "0", [("digest", 0)])
    assert (await till.push(reply.KeyRow(W, 5, "1", [key])))[0] == "OK"
    fresh = reply.KeyEntry(f"key_{W}", "1", [("digest", 0)])
    assert await till.push(reply.KeyRow(W, 4, "1", [fresh])) == ("OLD", "5")
    look = await till.look(W, "digest")
    assert look == Look(f"key_{W}", "frozen", 1000, 0, 0, 0)


async def test_backpressure_when_the_books_are_behind(till: Till) -> None:
    """More unwritten events than the limit: no new hold; settles go on."""
    await add_wallet(till, W, 1000)
    await reserve(till, ask("r", 1, 1))
    await settle(till, "r", 1)
    assert await reserve(till, ask("s", 1, 1), lag_limit=1) == reply.Backpressure()
    assert await till.ack(partition_of(W), 2, keep=100) == ("OK", "0")
    assert isinstance(await reserve(till, ask("s", 1, 1), lag_limit=1), Granted)


@pytest.mark.parametrize(
    ("balance", "hold", "actual", "answer"),
    [
        (1000, 100, 40, Settled(40, 0, 960, 2, 1)),
        (1000, 100, 100, Settled(100, 0, 900, 2, 1)),
        (1000, 100, 0, Settled(0, 0, 1000, 2, 1)),
        # Above the hold the free balance pays, and no more than that.
        (1000, 100, 700, Settled(700, 0, 300, 2, 1)),
        (1000, 100, 1500, Settled(1000, 500, 0, 2, 1)),
        (BIG, 1, 1, Settled(1, 0, BIG - 1, 2, 1)),
        (MILLION_USD, BIG, BIG, Settled(BIG, 0, MILLION_USD - BIG, 2, 1)),
    ],
)
async def test_settle_charges_once(
    till: Till, balance: int, hold: int, actual: int, answer: Settled
) -> None:
    """The charge, its shortfall, and nothing at all the second time."""
    await add_wallet(till, W, balance)
    await reserve(till, ask("r", hold, hold))
    assert await settle(till, "r", actual) == answer
    again = await settle(till, "r", actual)
    assert again == Duplicate(f"S|{answer.charged_nanos}|{answer.shortfall_nanos}|2|1")
    state = await till.wallet(W)
    assert state is not None
    assert (state.balance_nanos, state.held_nanos) == (answer.balance_nanos, 0)
    assert state.spent_nanos == answer.charged_nanos


async def test_settle_never_touches_another_requests_hold(till: Till) -> None:
    """A charge above its hold takes free money only."""
    await add_wallet(till, W, 1000)
    await reserve(till, ask("mine", 100, 100))
    await reserve(till, ask("other", 800, 800))
    assert await settle(till, "mine", 5000) == Settled(200, 4800, 800, 2, 1)
    assert await settle(till, "other", 800) == Settled(800, 0, 0, 3, 1)


async def test_nobody_pays_for_another(till: Till) -> None:
    """A hold names its wallet; a call that names another of the partition is a defect of ours."""
    other = next(
        name for n in range(10_000) if partition_of(name := f"w_other{n:07d}") == partition_of(W)
    )
    await add_wallet(till, W, 1000)
    await add_wallet(till, other, 1000)
    await reserve(till, ask("r", 100, 100))
    before = await _everything(till)
    wrong = Charge("r", other, "", "", 60, "completed", b"{}")
    assert await till.settle(wrong) == reply.Bad()
    assert await till.expire("r", other, renewals=0) == reply.Bad()
    more: dict[str, Any] = {"checkpoint_nanos": 0, "owner": "me", "meta": b""}
    assert await till.extend("r", other, total_nanos=200, **more) == reply.Bad()
    assert await _everything(till) == before
    assert await settle(till, "r", 60) == Settled(60, 0, 940, 3, 1)


async def test_settle_without_a_hold_charges_nothing(till: Till) -> None:
    """A refused or forgotten request cannot be charged."""
    await add_wallet(till, W, 1000)
    assert await settle(till, "never", 10) == Unknown()


async def test_extend(till: Till) -> None:
    """Totals are absolute; the last slice says so; only the owner may ask."""
    await add_wallet(till, W, 1000)
    await reserve(till, ask("r", 100, 100))
    assert await extend(till, "r", 400) == Extended(400, final=False)
    assert await extend(till, "r", 400) == Extended(400, final=False)
    assert await extend(till, "r", 300) == Extended(400, final=False)
    assert await extend(till, "r", 2000) == Extended(1000, final=True)
    assert await extend(till, "r", 2000, owner="thief") == NotOwner()
    assert await extend(till, "other", 10) == Unknown()
    key = reply.KeyEntry(f"key_{W}", "0", [("digest", 0)])
    await till.credit("more", W, 5000, counter="grants")
    await till.push(reply.KeyRow(W, 9, "1", [key]))
    assert await extend(till, "r", 2000) == Extended(1000, final=True, reason="frozen")
    await till.push(reply.KeyRow(W, 10, "1", []))
    assert await extend(till, "r", 2000) == Extended(1000, final=True, reason="revoked")
    await till.push(reply.KeyRow(W, 11, "2", [key]))
    assert await extend(till, "r", 2000) == Extended(1000, final=True, reason="closed")


async def test_expire_charges_the_checkpoint_of_a_silent_owner(till: Till) -> None:
    """Compare-and-set on the renewal counter; the checkpoint never falls."""
    await add_wallet(till, W, 1000)
    await reserve(till, ask("r", 100, 500))
    await extend(till, "r", 500, spent=70)
    await extend(till, "r", 500, spent=30)
    assert await till.expire("r", W, renewals=1) == Live(2)
    assert await till.expire("r", W, renewals=2) == Settled(70, 0, 930, 2, 1)
    assert await till.expire("r", W, renewals=2) == Duplicate("X|70|0|2|1")
    assert await settle(till, "r", 90) == Duplicate("X|70|0|2|1")
    event = (await till.events({partition_of(W): Mark(1, 1)}, count=5, block_ms=0))[0]
    assert (event.type, event.outcome) == ("X", "gateway_crash")
    assert event.meta == b'{"pv":"m"}'


async def test_credit_and_debit(till: Till) -> None:
    """Once per id, capped at a million, never below what is held."""
    await add_wallet(till, W, 1000)
    assert await till.credit("c", W, 500, counter="grants") == Credited(1500, 2)
    assert await till.credit("c", W, 500, counter="grants") == Duplicate("C|500|0|2")
    assert await till.credit("d", W, MILLION_USD, counter="grants") == Cap()
    assert await till.credit("e", "w_nobody00000", 1, counter="grants") == NoKey()
    await reserve(till, ask("r", 1000, 1000))
    debit = {"counter": "refunds"}
    assert await till.debit("f", W, 501, up_to=False, **debit) == Poor(500, 1000)
    assert await till.debit("g", W, 501, up_to=True, **debit) == Debited(500, 1, 1000, 3)
    assert await till.debit("g", W, 501, up_to=True, **debit) == Duplicate("D|500|1|3")


def test_answers_that_carry_nothing_differ() -> None:
    """A table that expects CAP must not be content with BAD."""
    empty = [NoKey(), NotOwner(), Unknown(), Cap(), reply.Bad(), reply.Backpressure()]
    for at, one in enumerate(empty):
        assert [other == one for other in empty] == [other == at for other in range(len(empty))]


async def test_the_last_digit_survives(till: Till) -> None:
    """250,000.000000001 USD keeps its last nano through credit, hold, charge and event."""
    await add_wallet(till, W, BIG)
    await reserve(till, ask("r", BIG, BIG))
    assert await settle(till, "r", BIG - 2) == Settled(BIG - 2, 0, 2, 2, 1)
    events = await till.events({partition_of(W): Mark(1, 0)}, count=5, block_ms=0)
    assert [event.delta_nanos for event in events] == [BIG, -(BIG - 2)]
    assert [event.balance_nanos for event in events] == [BIG, 2]
    assert [event.wallet_seq for event in events] == [1, 2]


@pytest.mark.parametrize("amount", ["-1", "1.5", "1e3", "", "9007199254740993", "x", " 1"])
async def test_what_is_no_amount_is_refused_before_anything_is_written(
    till: Till, amount: str
) -> None:
    """BAD, and the wallet as it was."""
    await add_wallet(till, W, 1000)
    before = await till.wallet(W)
    bad: Any = amount
    assert await reserve(till, ask("r", bad, 1)) == reply.Bad()
    assert await till.credit("c", W, bad, counter="grants") == reply.Bad()
    assert await till.debit("d", W, bad, up_to=True, counter="refunds") == reply.Bad()
    await reserve(till, ask("r", 1, 1))
    assert await settle(till, "r", bad) == reply.Bad()
    assert await extend(till, "r", bad) == reply.Bad()
    await settle(till, "r", 0)
    after = await till.wallet(W)
    assert before is not None
    assert after is not None
    assert after.balance_nanos == before.balance_nanos


async def test_ack_only_moves_forward_and_keeps_the_tail(till: Till) -> None:
    """Never past the last event; the stream and tombstones keep `keep` committed events."""
    await add_wallet(till, W, 1000)
    part = partition_of(W)
    for n in range(10):
        await reserve(till, ask(f"r{n}", 1, 1))
        await settle(till, f"r{n}", 1)
    assert await till.ack(part, 12, keep=3) == ("AHEAD", "11")
    assert await till.ack(part, 8, keep=3) == ("OK", "4")
    assert (await till.partitions())[part].committed == 8
    await till.ack(part, 5, keep=3)
    assert (await till.partitions())[part].committed == 8
    left = await till.events({part: Mark(1, 0)}, count=100, block_ms=0)
    assert [event.seq for event in left] == [6, 7, 8, 9, 10, 11]
    assert isinstance(await settle(till, "r9", 1), Duplicate)
    assert await settle(till, "r0", 1) == Unknown()


async def test_every_script_is_fenced_on_foreign_data(till: Till) -> None:
    """A stamp of another server closes the partition for all; `open` compares what was checked."""
    await add_wallet(till, W, 1000)
    await reserve(till, ask("held", 1, 1))
    part = partition_of(W)
    await till._redis.hset(f"{{p{part:02d}}}:m", "rs", "0" * 40)
    fenced = Fenced("1", "OPEN")
    assert await reserve(till, ask("r", 1, 1)) == fenced
    assert await settle(till, "held", 1) == fenced
    assert await extend(till, "held", 5) == fenced
    assert await till.expire("held", W, renewals=0) == fenced
    assert await till.look(W, "digest") == fenced
    assert await till.credit("c", W, 1, counter="grants") == fenced
    assert await till.debit("d", W, 1, up_to=True, counter="refunds") == fenced
    assert await till.ack(part, 1, keep=0) == fenced
    state = (await till.partitions())[part]
    here = await till.replid()
    for seen, replid in ((state._replace(seq=7), here), (state, "1" * 40)):
        assert (await till.open_partition(part, seen, replid=replid))[0] == "MOVED"
    assert await till.open_partition(part, state, replid=here) == ("OK", "1")
    assert isinstance(await settle(till, "held", 1), Settled)


async def test_a_moved_epoch_is_learnt_and_a_stale_one_is_fenced(till: Till) -> None:
    """The client follows the epoch that a fenced reply names, once."""
    await add_wallet(till, W, 1000)
    part = partition_of(W)
    await till._redis.hset(f"{{p{part:02d}}}:m", "ep", "2")
    assert isinstance(await reserve(till, ask("r", 1, 1)), Granted)
    await till._redis.hset(f"{{p{part:02d}}}:m", "st", "REBUILD")
    assert await reserve(till, ask("s", 1, 1)) == Fenced("2", "REBUILD")


async def test_scripts_come_back_after_a_flush_of_the_cache(till: Till) -> None:
    """NOSCRIPT is loaded and repeated; nothing had run."""
    await add_wallet(till, W, 1000)
    await till._redis.script_flush()
    assert isinstance(await reserve(till, ask("r", 1, 1)), Granted)
    await till._redis.script_flush()
    assert await settle(till, "r", 1) == Settled(1, 0, 999, 2, 1)


@pytest.mark.parametrize(
    ("spent", "actual"),
    [
        ("0", 999_999_999),
        ("1", 999_999_999),
        ("9007199254740993", 5),
        ("8999000000999999999", MILLION_USD - 1),
    ],
)
async def test_what_was_spent_stays_exact_beyond_doubles(
    till: Till, spent: str, actual: int
) -> None:
    """The totals of a wallet and a key only grow; past 2^53 they keep their last digit."""
    await add_wallet(till, W, MILLION_USD)
    tag = f"{{p{partition_of(W):02d}}}"
    await till._redis.hset(f"{tag}:w:{W}", mapping={"spt": spent, f"s:key_{W}": spent})
    await reserve(till, ask("r", 1, 1))
    await settle(till, "r", actual)
    found = await till._redis.hmget(f"{tag}:w:{W}", "spt", f"s:key_{W}")
    assert found == [str(int(spent) + actual).encode()] * 2


@pytest.mark.parametrize("name", ["m", "w", "h", "d", "dz", "l"])
async def test_a_key_of_the_wrong_type_fails_before_the_first_write(till: Till, name: str) -> None:
    """Scripts have no rollback: a settle that cannot be whole changes nothing."""
    await add_wallet(till, W, 1000)
    await reserve(till, ask("r", 100, 100))
    tag = f"{{p{partition_of(W):02d}}}"
    wrong = f"{tag}:w:{W}" if name == "w" else f"{tag}:{name}"
    if await till._redis.exists(wrong):
        await till._redis.rename(wrong, f"{tag}:aside")
    await till._redis.set(wrong, "x")
    dump = await _everything(till)
    with pytest.raises(Exception, match=r"WRONGTYPE|wrong kind"):
        await settle(till, "r", 50)
    with pytest.raises(Exception, match=r"WRONGTYPE|wrong kind"):
        await till.expire("r", W, renewals=0)
    assert await _everything(till) == dump


@pytest.mark.parametrize(
    ("script", "words", "missing"),
    [
        ("late", ("x", W, "key", "slug", "90", "completed", "{}"), ENDS),
        ("direct", ("new", W, "key", "slug", "S", "5", "completed", "{}"), ENDS),
        ("credit", ("new", W, "5", "grants", "", ""), ("m", "w", "c", "l")),
        ("debit", ("new", W, "5", "0", "refunds", "", ""), ("m", "w", "c", "l")),
        ("extend", ("r", "90", "1", "me", ""), ("m", "w", "h")),
        ("adopt", ("new", W, "5", "0", "me", "pv", "key", "slug", ""), ("m", "w", "h", "d")),
        ("ack", ("2", "1"), ("m", "l", "d", "dz")),
        ("recall", ('[["a","C|1|0|1"]]', '[["b","S|1|0|1|1"]]'), ("m", "d", "dz", "c")),
    ],
)  # fmt: skip
async def test_no_script_writes_before_it_knows_the_types(
    till: Till, script: str, words: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    """Whichever of its keys is of another type, nothing has changed."""
    await add_wallet(till, W, 1000)
    for rid in ("r", "x"):
        await reserve(till, ask(rid, 10, 10))
    assert isinstance(await till.expire("x", W, renewals=0), Settled)
    part = partition_of(W)
    tag = f"{{p{part:02d}}}"
    if script in ("direct", "adopt", "recall"):
        await till._redis.hset(f"{tag}:m", "st", "REPLAY")
    names = scripts.SCRIPTS[script].text.partition("-- KEYS")[2].split("\n")[0].split()
    keys = [f"{tag}:w:{W}" if name == "w" else f"{tag}:{name}" for name in names]
    for name in missing:
        key, aside = keys[names.index(name)], f"{tag}:aside"
        if await till._redis.exists(key):
            await till._redis.rename(key, aside)
        await till._redis.set(key, "x")
        dump = await _everything(till)
        with pytest.raises(Exception, match=r"WRONGTYPE|wrong kind"):
            await till.call(script, keys, ("1", *words))
        assert await _everything(till) == dump
        await till._redis.delete(key)
        if await till._redis.exists(aside):
            await till._redis.rename(aside, key)
    assert (await till.call(script, keys, ("1", *words)))[0] is not None


async def test_nothing_moved_is_written_as_nothing(till: Till) -> None:
    """A charge or debit of zero is `0` in its event: a double's `-0` is no amount."""
    await add_wallet(till, W, 10)
    await reserve(till, ask("r", 10, 10))
    assert await till.debit("d", W, 5, up_to=True, counter="refunds") == Debited(0, 5, 10, 2)
    assert await settle(till, "r", 0) == Settled(0, 0, 10, 3, 1)
    rows = await till._redis.xrange(f"{{p{partition_of(W):02d}}}:l")
    assert [fields[b"d"] for _, fields in rows] == [b"10", b"0", b"0"]


@pytest.mark.parametrize("limit", ["", "-1", "x", "9007199254740992"])
async def test_a_lag_limit_that_is_no_number_is_refused(till: Till, limit: str) -> None:
    """BAD, not an error inside the script."""
    await add_wallet(till, W, 10)
    odd: Any = limit
    assert await reserve(till, ask("r", 1, 1), lag_limit=odd) == reply.Bad()


async def _everything(till: Till) -> dict[bytes, bytes]:
    """All data of the server, serialised."""
    return {name: await till._redis.dump(name) for name in await till._redis.keys("*")}


async def test_a_row_of_keys_never_touches_money(till: Till) -> None:
    """A wallet without a version keeps its balance; a row that is not whole changes nothing."""
    await add_wallet(till, W, 1000)
    await till._redis.hdel(f"{{p{partition_of(W):02d}}}:w:{W}", "v")
    key = reply.KeyEntry(f"key_{W}", "1", [("digest", 0)])
    await till.push(reply.KeyRow(W, 2, "1", [key]))
    nameless: Any = None
    broken = reply.KeyEntry(nameless, "1", [("other", 0)])
    assert await till.push(reply.KeyRow(W, 3, "0", [broken])) == reply.Bad()
    assert await till.look(W, "digest") == Look(f"key_{W}", "active", 1000, 0, 0, 0)
    many = [reply.KeyEntry(f"key_{n}", "1", [(f"digest{n}", 0)]) for n in range(6000)]
    assert await till.push(reply.KeyRow(W, 3, "1", many)) == ("OK", "3")
    assert await till.push(reply.KeyRow(W, 4, "1", many)) == ("OK", "4")
    assert await till.look(W, "digest5999") == Look("key_5999", "active", 1000, 0, 0, 0)


@pytest.mark.parametrize("until_ms", [10**14 - 1, 10**14, 10**15, 2**53 - 1])
async def test_a_secret_that_ends_in_the_far_future_opens_its_key(
    till: Till, until_ms: int
) -> None:
    """Lua writes such numbers with an exponent, which no script could read again."""
    await add_wallet(till, W, 1000)
    row = reply.KeyRow(W, 2, "1", [reply.KeyEntry(f"key_{W}", "1", [("digest", until_ms)])])
    await till.push(row)
    assert await till.look(W, "digest") == Look(f"key_{W}", "active", 1000, 0, 0, 0)
    part, replid = partition_of(W), await till.replid()
    await door.close(till, part, 1)
    await door.rebuild(till, part, 2, base=Mark(1, 1), replid=replid)
    await door.load(till, part, 2, [door.WalletRow(row, 900, 1, 100, {f"key_{W}": 100})])
    assert await door.wallet_row(till, W) == row
    await till.open_partition(part, (await till.partitions())[part], replid=replid)
    assert await till.look(W, "digest") == Look(f"key_{W}", "active", 900, 0, 100, 100)


async def test_a_full_memory_neither_closes_a_partition_nor_keeps_a_charge(till: Till) -> None:
    """Out of memory a restarted server still opens, and settles still pass; they free memory."""
    await add_wallet(till, W, 1000)
    await reserve(till, ask("r", 100, 100))
    part = partition_of(W)
    await till._redis.hset(f"{{p{part:02d}}}:m", "rs", "0" * 40)
    state = (await till.partitions())[part]
    limit = (await till._redis.config_get("maxmemory"))["maxmemory"]
    await till._redis.config_set("maxmemory", "1")
    try:
        assert await till.open_partition(part, state, replid=await till.replid()) == ("OK", "1")
        assert await settle(till, "r", 40) == Settled(40, 0, 960, 2, 1)
    finally:
        await till._redis.config_set("maxmemory", limit)
