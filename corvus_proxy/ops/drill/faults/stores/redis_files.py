"""Faults of Redis's disk: its log cut, torn, corrupted, altered, or replaced by an old one."""

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from corvus_proxy.books import entries, quarantine
from corvus_proxy.money.event import Mark, partition_of
from corvus_proxy.ops.drill.checkers import Bounds
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.faults.stores import aof
from corvus_proxy.ops.drill.faults.stores.redis import (
    OPEN_S,
    epochs,
    freeze_one,
    serves,
    still_frozen,
)
from corvus_proxy.ops.drill.stack import GATEWAYS
from corvus_proxy.ops.drill.workload import POOR, SHARED
from corvus_proxy.service import ledger
from corvus_proxy.till import scripts
from corvus_proxy.till.client import TillUnavailable

PAGE_BYTES = 4096
START_S = 20.0
FOUND_S = 20.0
UNREAD = 20
"""Charges that wait for the books when one of them is altered."""
BACKUP_BEHIND = (150, 300)
"""Charges between a backup and its return, at least and at most."""


# -- 10, 11: what was not synced is gone ------------------------------------------------------


async def lose_power(scene: Scene) -> tuple[Path, int]:
    """Kills Redis so that the end of its log is what nobody was told of: the log, and its size when
    the last answer arrived.

    With `appendfsync always` no answer leaves before its write is on the disk, so a power cut can
    take what lies behind that size, and nothing before it.
    """
    log = aof.newest(scene.stack.redis_folder)
    for name, link in scene.stack.links.items():
        if name.endswith(">redis"):
            link.silence()
    told_bytes = log.stat().st_size
    beyond_bytes = scene.chance.randint(1, 6000)
    await scene.until(lambda: log.stat().st_size > told_bytes + beyond_bytes, "the log has grown")
    scene.redis.kill()
    for name, link in scene.stack.links.items():
        if name.endswith(">redis"):
            link.reset()
            link.heal()
    return log, told_bytes


async def cut_at_sync(scene: Scene, log: Path, told_bytes: int) -> str:
    """The log ends with the last write that anybody was told of."""
    ends = [one.end for one in await writes(log)]
    return _truncate(log, min(end for end in ends if end >= told_bytes))


async def tear(scene: Scene, log: Path, told_bytes: int) -> str:
    """The log ends in the middle of a write that nobody was told of."""
    unknown = [one for one in await writes(log) if one.begin >= told_bytes]
    torn = scene.chance.choice(unknown)
    return _truncate(log, scene.chance.randrange(torn.begin + 1, torn.end))


async def writes(log: Path) -> list[aof.Span]:
    """Every whole write of a log."""
    return await asyncio.to_thread(lambda: aof.transactions(log.read_bytes()))


def _truncate(log: Path, size_bytes: int) -> str:
    lost_bytes = log.stat().st_size - size_bytes
    with log.open("rb+") as file:
        file.truncate(size_bytes)
    return f"{lost_bytes} bytes"


def power_cut(
    damage: Callable[[Scene, Path, int], Awaitable[str]],
) -> Callable[[Scene], Awaitable[None]]:
    """Twice: the power goes, and `damage` is done to what was not synced."""

    async def run(scene: Scene) -> None:
        before = await epochs(scene)
        lost = []
        for _ in range(2):
            log, told_bytes = await lose_power(scene)
            lost.append(await damage(scene, log, told_bytes))
            await scene.wait(0.1, 0.4)
            await scene.start_redis()
            scene.healed()
            await scene.wait(1.5, 2.0)
        scene.note(f"{' and '.join(lost)} were lost")
        if (after := await epochs(scene)) != before:
            scene.violated(f"nothing that was told is lost, and it was rebuilt: {after}")

    return run


# -- 12, 17: what is on the disk is not what was written ---------------------------------------


async def corrupt(scene: Scene) -> None:
    """12"""
    mended, place = scene.chance.random() < 0.5, scene.chance.uniform(0.25, 0.75)
    scene.redis.kill()
    before = await epochs(scene)
    log = aof.newest(scene.stack.redis_folder)
    ends = [one.end for one in await writes(log)]
    at = PAGE_BYTES * int(ends[-1] * place / PAGE_BYTES)
    with log.open("rb+") as file:
        file.seek(at)
        file.write(bytes(PAGE_BYTES))
    scene.redis.start()
    if not await scene.redis.ended(START_S):
        scene.violated("Redis has started on a corrupted log")
        scene.redis.kill()
    if mended:
        _truncate(log, max(end for end in ends if end <= at))  # as redis-check-aof --fix
        scene.note("the log was cut at the last sound write")
    else:
        shutil.rmtree(scene.stack.redis_folder / aof.FOLDER)
        scene.note("Redis was started empty")
    await scene.start_redis()
    scene.healed()
    await rebuilt(scene, before)


async def put_old_back(scene: Scene) -> None:
    """17"""
    stack, first = scene.stack, len(scene.load.answers)
    before = await epochs(scene)
    backup = stack.folder / f"backup-{scene.chance.getrandbits(32):08x}"
    await asyncio.to_thread(shutil.copytree, stack.redis_folder / aof.FOLDER, backup)
    settled, behind = scene.count("settle"), scene.chance.randint(*BACKUP_BEHIND)
    frozen = await freeze_one(scene)
    name = scene.chance.choice(GATEWAYS)
    await restart_in_order(scene, name)
    await scene.until(lambda: settled() >= behind, f"{behind} settles were acknowledged")
    scene.redis.kill()
    shutil.rmtree(stack.redis_folder / aof.FOLDER)
    backup.rename(stack.redis_folder / aof.FOLDER)
    scene.note(f"{settled()} settles behind")
    await scene.start_redis()
    scene.healed()
    await rebuilt(scene, before)
    await still_frozen(scene, frozen)
    for answer in scene.load.answers[first:]:
        if answer.broken and answer.gateway != name:
            scene.violated(f"{answer.wish.tag}: {answer.broken} at a gateway that went on")


async def restart_in_order(scene: Scene, name: str) -> None:
    """A gateway leaves and comes again: the backup knows a process that is no more."""
    gateway = scene.gateway(name)
    gateway.ask_to_stop()
    if not await gateway.ended(START_S):
        scene.violated(f"gateway {name} has not stopped within {START_S} s")
        gateway.kill()
    gateway.start()
    await scene.stack.until_ready(name, timeout_s=START_S)


async def rebuilt(scene: Scene, before: list[int]) -> None:
    """Waits until every partition serves; some of them must have been begun anew."""
    await scene.until(lambda: serves(scene), "every partition is open", timeout_s=OPEN_S)
    after = await epochs(scene)
    if not any(new > old for new, old in zip(after, before, strict=True)):
        scene.violated("charges were lost, and no partition was rebuilt")


# -- 13: one digit ----------------------------------------------------------------------------


async def flip(scene: Scene) -> None:
    """13"""
    first, altered = len(scene.load.answers), []
    ways = [flip_quiet_balance, flip_busy_balance, flip_event]
    scene.chance.shuffle(ways)
    for way in ways:
        altered.append(await way(scene))
    scene.healed()
    scene.note("; ".join(text for _, text in altered))
    wallets = {wallet for wallet, _ in altered}
    for answer in scene.load.answers[first:]:
        if answer.status == 403 and answer.wish.wallet not in wallets:
            scene.violated(f"{answer.request_id}: 403, and nothing of its wallet was altered")


async def flip_quiet_balance(scene: Scene) -> tuple[str, str]:
    """Of a wallet in which nothing moves: the comparison finds it, a rebuild mends it."""
    wallet = scene.chance.choice(scene.load.quiet).wallet
    told = await restart_altered(scene, lambda data: balances(data, wallet))
    stores, part = scene.stack.stores, partition_of(wallet)
    report = await ledger.verify(stores)
    if not any(wallet in problem for problem in report.problems):
        scene.violated(f"the comparison has not found {wallet} ({told}): {report}")
    await ask_rebuild(scene, part, lambda: ledger.ask_rebuild(stores, [part], reason="drill"))
    return wallet, told


async def flip_busy_balance(scene: Scene) -> tuple[str, str]:
    """Of a wallet in use: its next event does not follow from the books."""
    wallet = scene.chance.choice(scene.load.wallets[-SHARED:]).wallet
    told = await restart_altered(scene, lambda data: balances(data, wallet))
    await release(scene, wallet, told)
    return wallet, told


async def flip_event(scene: Scene) -> tuple[str, str]:
    """Of an event that is not in the books yet."""
    stack, seen = scene.stack, scene.count("settle")
    scene.worker.kill()
    await scene.until(lambda: seen() >= UNREAD, f"{UNREAD} charges wait for the books")
    async with stack.stores.books.connection() as connection:
        cursors = await entries.cursors(connection)
    amount = scene.chance.choice([b"d", b"b", b"a"])
    rich = {one.wallet.encode() for one in scene.load.wallets[POOR:]}
    wallet = ""

    def choose(data: bytes) -> aof.Span:
        nonlocal wallet
        found = [
            one
            for one in aof.commands(data)
            if one.words[0].upper() == b"XADD" and one.words[one.words.index(b"w") + 1] in rich
            and Mark(*map(int, one.words[2].split(b"-"))) > cursors[int(one.words[1][2:4])]
        ]  # fmt: skip
        one = scene.chance.choice([one for one in found if _charges(one)])
        wallet = one.words[one.words.index(b"w") + 1].decode()
        return aof.field(data, one, amount)

    told = await restart_altered(scene, choose)
    await release(scene, wallet, told)
    return wallet, f"{amount.decode()} {told}"


def _charges(event: aof.Command) -> bool:
    return event.words[event.words.index(b"a") + 1] != b"0"


def balances(data: bytes, wallet: str) -> aof.Span:
    """The last balance of a wallet in the log."""
    name = scripts.key(partition_of(wallet), f"w:{wallet}").encode()
    return [
        aof.field(data, one, b"bal")
        for one in aof.commands(data)
        if one.words[:2] == [b"HSET", name] and b"bal" in one.words
    ][-1]


async def restart_altered(scene: Scene, find: Callable[[bytes], aof.Span]) -> str:
    """Redis is killed and started with another digit in the number that `find` finds in its log,
    which it does not notice; what it was and what it is."""
    scene.redis.kill()
    log = aof.newest(scene.stack.redis_folder)
    data = await asyncio.to_thread(log.read_bytes)
    span = await asyncio.to_thread(find, data)
    number = data[span.begin : span.end]
    at = scene.chance.choice([at for at, sign in enumerate(number) if sign != ord("-")])
    digit = (int(number[at : at + 1]) + scene.chance.randint(1, 9)) % 10
    altered = number[:at] + str(digit).encode() + number[at + 1 :]
    with log.open("rb+") as file:
        file.seek(span.begin)
        file.write(altered)
    await scene.start_redis()
    scene.worker.start()  # where it does not run
    await scene.until(lambda: serves(scene), "every partition is open", timeout_s=OPEN_S)
    return f"{number.decode()} became {altered.decode()}"


async def release(scene: Scene, wallet: str, told: str) -> None:
    """The wallet's events lie in quarantine and it is frozen; an operator releases it, again where
    more of its events came before it was rebuilt."""
    stores, part = scene.stack.stores, partition_of(wallet)

    async def stopped() -> bool:
        async with stores.books.connection() as connection:
            return bool(await quarantine.waiting(connection, wallet))

    async def frozen() -> bool:
        with contextlib.suppress(TillUnavailable):
            state = await stores.till.wallet(wallet)
            return state is not None and state.status == "0"
        return False

    await scene.until(stopped, f"{wallet} ({told}) is in quarantine", timeout_s=FOUND_S)
    await scene.until(frozen, f"{wallet} is frozen", timeout_s=FOUND_S)
    while await stopped():
        await ask_rebuild(
            scene, part, lambda: ledger.release_wallet(stores, wallet, reason="drill")
        )


async def ask_rebuild(scene: Scene, part: int, ask: Callable[[], Awaitable[object]]) -> None:
    """Does what has a partition rebuilt, and waits until it is and everything of it is booked."""
    before = (await epochs(scene))[part]
    await ask()

    async def done() -> bool:
        return (await epochs(scene))[part] > before and await serves(scene)

    await scene.until(done, f"p{part:02d} is rebuilt", timeout_s=OPEN_S)
    state = (await scene.stack.stores.till.partitions())[part]

    async def booked() -> bool:
        async with scene.stack.stores.books.connection() as connection:
            return (await entries.cursors(connection))[part] >= Mark(state.epoch, state.seq)

    await scene.until(booked, f"what came before p{part:02d} was open is in the books")


FAULTS = (
    Fault(
        10,
        "redis loses its power",
        "kill -9 of Redis, twice, and its log is cut where its last answer that arrived had been"
        " synced: what it wrote since is gone, and nobody was told of it",
        "503 meanwhile; every partition is opened again by the quick path; nothing is lost",
        power_cut(cut_at_sync),
        back_s=5,
    ),
    Fault(
        11,
        "log torn",
        "as F10, but the log ends at a random byte inside a write that nobody was told of",
        "the torn write has no effect at all; every partition is opened again by the quick path",
        power_cut(tear),
        back_s=5,
    ),
    Fault(
        12,
        "log corrupted in the middle",
        "Redis is killed and a page of 4 KB in the middle of its log becomes zeros; once it has"
        " refused to start, the log is cut there or thrown away",
        "Redis refuses to start; every partition that lost an event is rebuilt; nothing is lost",
        corrupt,
    ),
    Fault(
        13,
        "one digit altered in the log",
        "Redis is killed and one digit of its log becomes another: in the balance of a wallet that"
        " rests; of one in use; in an event that is not in the books (`d`, `b` or `a`); each time"
        " the operator mends it, by `ledger rebuild` or `ledger release`",
        "found by the comparison, or by the chain at the next event; that wallet alone is frozen;"
        " mended, every charge is as it was acknowledged",
        flip,
        Bounds(statuses=frozenset({403})),
    ),
    Fault(
        17,
        "old backup put back",
        f"Redis's files are copied; {BACKUP_BEHIND[0]} to {BACKUP_BEHIND[1]} charges, a frozen key"
        " and a gateway's restart later they are put back",
        "every partition that lost an event is rebuilt; nothing is lost; the frozen key stays"
        " frozen; nobody waits for the process that left",
        put_old_back,
        Bounds(broken=True),
    ),
)
