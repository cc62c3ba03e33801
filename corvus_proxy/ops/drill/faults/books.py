"""Faults of the books' writer: killed at every step, there twice, lied to."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from corvus_proxy import clock
from corvus_proxy.books import quarantine
from corvus_proxy.ledger.verify import verify
from corvus_proxy.money.event import partition_of
from corvus_proxy.ops.drill import resp
from corvus_proxy.ops.drill.checkers import Bounds
from corvus_proxy.ops.drill.client import Answer
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.faults.stores.redis import serves
from corvus_proxy.ops.drill.links import DOWN, UP, Link, Seen
from corvus_proxy.ops.drill.workload import SHARED, Wallet
from corvus_proxy.service import ledger
from corvus_proxy.till import scripts

SECOND = "worker-2"
TRIES = 40
LOCKED = """
select count(*) from pg_locks
where locktype = 'advisory' and granted and classid = 1668248182 and objid < 64
"""
"""The writers' locks on partitions: `corv` and the partition."""
SHARED_PARTS = 3
"""Both writers have to book in so many of the same partitions before anything is shown."""
FROZEN_S = 2.0
LAG_S, LAG_TIMES = 1.0, 3
"""How old an event may be that the books do not have."""


def asks_commit(seen: Seen) -> bool:
    """A COMMIT on its way to Postgres."""
    return seen.way == UP and b"COMMIT" in seen.data


def committed(seen: Seen) -> bool:
    """Postgres's word that it has committed, on its way back."""
    return seen.way == DOWN and b"COMMIT\x00" in seen.data


def asks_ack(seen: Seen) -> bool:
    """The writer's `ack` on its way to Redis, after the commit."""
    return seen.way == UP and seen.call is not None and seen.call.name == "ack"


async def kill_writer(scene: Scene) -> None:
    """24"""
    for link_name, matches in (
        ("worker>postgres", asks_commit),
        ("worker>postgres", committed),
        ("worker>redis", asks_ack),
    ):
        await scene.kill_when(scene.worker, scene.link(link_name), matches, within=6)
        await scene.wait(0.2, 0.5)
        scene.worker.start()
        await scene.wait(1.2, 1.6)
    await kill_in_archive(scene)
    scene.worker.start()


async def kill_in_archive(scene: Scene) -> None:
    """kill -9 while the archive is written; then its last line is cut short, as by a power cut."""
    folder = scene.stack.folder / "archive"

    def size() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    before = size()
    await scene.until(lambda: size() > before, "the archive grows")
    scene.worker.kill()
    newest = max((path for path in folder.rglob("*") if path.is_file()),
                 key=lambda path: path.stat().st_mtime_ns)  # fmt: skip
    with newest.open("rb+") as file:
        file.truncate(newest.stat().st_size - scene.chance.randint(1, 40))


# -- two writers ------------------------------------------------------------------------------


class Acks:
    """What a worker told Redis that the books have: only who has booked it says so."""

    def __init__(self, link: Link) -> None:
        self.seen: set[tuple[bytes, bytes]] = set()
        """Partition and seq."""
        link.taps.append(self._see)

    def parts(self) -> set[bytes]:
        """In which partitions it has booked."""
        return {part for part, _ in self.seen}

    def _see(self, seen: Seen) -> None:
        if seen.way == UP and seen.call is not None and seen.call.name == "ack":
            words = resp.read(seen.data)
            if words is not None:
                self.seen.add((words.value[3], seen.call.args[0]))


async def two_writers(scene: Scene) -> None:
    """25"""
    stack, began_s = scene.stack, clock.monotonic_s()
    second = await stack.new_worker(SECOND)
    try:
        first_acks = Acks(scene.link("worker>redis"))
        second_acks = Acks(scene.link(f"{SECOND}>redis"))
        second.start()
        await scene.until(lambda: len(second_acks.seen) > 10, "the second writer books too")
        before = len(first_acks.seen)
        await scene.until(lambda: len(first_acks.seen) > before + 10, "the first one still does")
        await scene.until(
            lambda: len(first_acks.parts() & second_acks.parts()) >= SHARED_PARTS,
            "both book in the same partitions",
        )
        await scene.wait(0.5, 1.5)
        await commit_late(scene, scene.chance.choice(("worker", SECOND)))
        ends = scene.chance.choice((scene.worker, second))  # the one or the other stays
        if scene.chance.random() < 0.5:
            ends.kill()
        else:
            ends.ask_to_stop()
            await ends.ended(10)
        await scene.wait(0.5, 1.0)
        scene.worker.start()
    finally:
        await stack.end_worker(second)
    if both := first_acks.seen & second_acks.seen:
        scene.violated(f"both writers say that they booked {sorted(both)[:3]}")
    shared = len(first_acks.parts() & second_acks.parts())
    scene.note(f"{shared} partitions were written by both")
    scene.must_be_well(scene.asked(began_s), "two writers are at work")


async def commit_late(scene: Scene, late: str) -> None:
    """A writer's COMMIT is a second on its way, its partition locked: the other goes on elsewhere,
    and what is committed late is right."""
    link, held = scene.link(f"{late}>postgres"), asyncio.Event()

    def watch(seen: Seen) -> bool:
        if asks_commit(seen) and not held.is_set():
            link.hold(UP)
            held.set()
        return False

    try:
        for _ in range(TRIES):
            held.clear()
            link.watch(watch)
            await scene.until(held.is_set, f"{late} commits")
            if await locked(scene):
                break
            link.heal()  # that one had lost against the other, and held nothing
        else:
            scene.violated(f"no COMMIT of {late} held a partition")
        before = await booked(scene)
        await scene.wait(1.0, 2.0)

        async def goes_on() -> bool:
            return await booked(scene) > before

        await scene.until(goes_on, f"the other writer books while {late}'s COMMIT is on its way")
    finally:
        link.heal()


async def booked(scene: Scene) -> int:
    """How many events the books have."""
    async with scene.stack.stores.books.connection() as connection:
        return int(await connection.fetchval("select sum(seq) from cursor"))


async def locked(scene: Scene) -> bool:
    """Whether a writer's transaction holds a partition."""
    async with scene.stack.stores.books.connection() as connection:
        return bool(await connection.fetchval(LOCKED))


# -- poison -----------------------------------------------------------------------------------


class Made(NamedTuple):
    """A stream entry that cannot be booked."""

    why: str
    fields: Mapping[str, str]
    """What it says otherwise than a sound charge of nothing would."""


POISONS = (
    Made("an amount that is no number", {"d": "-12x"}),
    Made("a kind that is none", {"t": "Q"}),
    Made("a bill that is cut", {"u": '{"pv":"2'}),
    Made("a balance that does not follow", {"b": "1"}),
    Made("a wallet's number that does not follow", {"ws": "999999"}),
    Made("text that is none", {"a": "\udcff"}),
)
POISON = """
local m, l, w = unpack(KEYS)
local seq = string.format('%.0f', redis.call('HGET', m, 'sq') + 1)
local found = redis.call('HMGET', w, 'bal', 'ws', 'spt')
local entry = {t = 'S', id = ARGV[1], w = ARGV[2], k = ARGV[3], g = '', d = '0', b = found[1],
  ws = string.format('%.0f', found[2] + 1), a = '0', s = '0', o = 'completed', sw = found[3] or '0',
  sk = '0', u = '{}'}
for at = 4, #ARGV, 2 do entry[ARGV[at]] = ARGV[at + 1] end
local words = {}
for name, text in pairs(entry) do words[#words + 1], words[#words + 2] = name, text end
redis.call('XADD', l, redis.call('HGET', m, 'ep') .. '-' .. seq, unpack(words))
redis.call('HSET', m, 'sq', seq)
return seq
"""
"""By hand, as by a defect: the wallet's own row knows nothing of it, its next event is sound."""


async def poison(scene: Scene) -> None:
    """28"""
    stores = scene.stack.stores
    wallet = scene.chance.choice(scene.load.wallets[-SHARED:])
    made = scene.chance.choice(POISONS)
    part = partition_of(wallet.wallet)
    await scene.until(lambda: lag_is_small(scene), "the books have what the start has made")
    lag = Lag(scene)
    async with lag.watched():
        await scene.wait(1.5, 2.0)
    usual_s = lag.worst_s()
    async with lag.watched():
        began_s = clock.monotonic_s()
        words = [text for pair in made.fields.items() for text in pair]
        rid = f"req_drill{scene.chance.getrandbits(64):016x}"
        keys = [scripts.key(part, "m"), scripts.key(part, "l"),
                scripts.key(part, f"w:{wallet.wallet}")]  # fmt: skip
        args = [rid, wallet.wallet, wallet.key_id, *words]
        raw = [text.encode("utf-8", "surrogateescape") for text in args]
        await stores.till.redis.eval(POISON, len(keys), *keys, *raw)
        frozen_s = await until_frozen(scene, wallet)
        await scene.wait(2.0, 3.0)
        stopped = await quarantined(scene, wallet)
        if not (await verify(stores.till, stores.books)).problems:
            scene.violated("`corvus ledger verify` says nothing of a quarantine")
        upto_s = clock.monotonic_s()
    if (worst_s := lag.worst_s()) > max(LAG_S, usual_s * LAG_TIMES):
        scene.violated(f"the books were {worst_s:.1f} s behind, and {usual_s:.1f} s before it")
    done = await ledger.release_wallet(stores, wallet.wallet, reason="drill")
    scene.note(f"{made.why}: {stopped} events kept, {done.booked} booked")
    await scene.until(lambda: released(scene, wallet), f"{wallet.wallet} is free again")
    scene.healed()
    await scene.wait(1.5, 2.0)  # what was asked until then has ended
    hers, others = apart(scene.asked(began_s, upto_s), wallet)
    scene.must_be_well(others, f"{wallet.wallet} is in quarantine")
    served = [one for one in hers if one.began_s > frozen_s and one.status != 403]
    if served:
        scene.violated(f"{served[0].request_id}: {served[0].status} for a wallet that is frozen")
    if not [one for one in hers if one.status == 403]:
        scene.violated(f"nobody was told that {wallet.wallet} is frozen")


def apart(answers: list[Answer], wallet: Wallet) -> tuple[list[Answer], list[Answer]]:
    """One wallet's answers, and all others."""
    hers = [one for one in answers if one.wish.wallet == wallet.wallet]
    return hers, [one for one in answers if one.wish.wallet != wallet.wallet]


async def quarantined(scene: Scene, wallet: Wallet) -> int:
    """How many events of it wait for the operator; nobody else's do."""
    async with scene.stack.stores.books.connection() as connection:
        found = await quarantine.waiting(connection)
    if others := {one.wallet for one in found} - {wallet.wallet}:
        scene.violated(f"{sorted(others)} are in quarantine too")
    return len(found)


async def until_frozen(scene: Scene, wallet: Wallet) -> float:
    """When Redis has frozen it, by the monotonic clock."""
    till, began_s = scene.stack.stores.till, clock.monotonic_s()

    async def frozen() -> bool:
        state = await till.wallet(wallet.wallet)
        return state is not None and state.status == "0"

    await scene.until(frozen, f"{wallet.wallet} is frozen")
    now_s = clock.monotonic_s()
    if now_s - began_s > FROZEN_S:
        scene.violated(f"{wallet.wallet} was frozen after {now_s - began_s:.1f} s")
    return now_s


async def released(scene: Scene, wallet: Wallet) -> bool:
    """Whether the wallet serves again, in a partition that is open."""
    state = await scene.stack.stores.till.wallet(wallet.wallet)
    return state is not None and state.status == "1" and await serves(scene)


async def lag_is_small(scene: Scene) -> bool:
    """Whether the books have all but what the writer is at."""
    states = await scene.stack.stores.till.partitions()
    return sum(one.seq - one.committed for one in states) <= len(states)


class Lag:
    """How far the books are behind: what stands in quarantine keeps nobody waiting, not even its
    own partition. Compared with the time before it: a busy machine is slow all the time."""

    def __init__(self, scene: Scene) -> None:
        self._till = scene.stack.stores.till
        self._worst_s = 0.0

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Measures anew while the block runs."""
        self._worst_s = 0.0
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    def worst_s(self) -> float:
        """The greatest age of an event that the books did not have."""
        return self._worst_s

    async def _watch(self) -> None:
        known: deque[tuple[float, list[int]]] = deque()
        while True:
            states, now_s = await self._till.partitions(), clock.monotonic_s()
            known.append((now_s, [one.seq for one in states]))
            while all(one.committed >= seq for one, seq in zip(states, known[0][1], strict=True)):
                known.popleft()
                if not known:
                    break
            if known:
                self._worst_s = max(self._worst_s, now_s - known[0][0])
            await asyncio.sleep(0.05)


FAULTS = (
    Fault(
        24,
        "writer killed",
        "kill -9 of the worker as a COMMIT leaves; as its answer comes; as the `ack` leaves; while"
        " the archive is written, whose last line is then cut",
        "no gap and no double in the books; only the lag grows",
        kill_writer,
    ),
    Fault(
        25,
        "two writers",
        "a second worker runs beside the first; a COMMIT of either is held for 1 to 2 s; then"
        " either is killed or asked to stop",
        "both book, none the same; all is served; where one waits, the other goes on with what is"
        " not locked",
        two_writers,
        back_s=2,
    ),
    Fault(
        28,
        "poison event",
        "an event that cannot be booked is added to a stream by hand, of a wallet that many of 32"
        " clients use: an amount, kind, bill, balance or number that is none; after 2 to 3 s"
        " `corvus ledger release`",
        "that wallet is frozen within 2 s and answers 403; `corvus ledger verify` names it; all"
        " others are served and are in the books within 1 s, or thrice what it took before; all of"
        " it is right after the release",
        poison,
        Bounds(statuses=frozenset({403})),
        back_s=3,
        clients=32,
    ),
)
