"""Many funded wallets, made in bulk: a million take minutes instead of the better part of an hour.

What is bypassed of `service.keys.create` and `credit`: one transaction a wallet with its audit and
outbox rows, the recovery code, and the system's slow source of random numbers. Rows of wallets,
keys and secrets are copied into the books; then the till's own scripts `key` and `credit` are
called in pipelines, and the worker books every credit from its event as it books any other, so that
`ledger verify` proves these wallets too.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from corvus_proxy import clock, secret
from corvus_proxy.errors import CorvusError
from corvus_proxy.money.event import PARTITIONS, partition_of
from corvus_proxy.service.stores import Stores, open_stores
from corvus_proxy.settings import load
from corvus_proxy.till import reply, scripts

CREDIT_NANOS = 100 * 10**9
FUNDED_MAX = 100_000
"""Of more wallets so many have money, evenly among the others, and are asked for: a run of some
seconds reaches no more, and each takes the writer half a millisecond."""
PAGE = 2_000
BEHIND_MAX = 50_000
"""Events that the books may lack: far below where the till refuses for it."""
BEHIND_S = 600.0
COPY_S = 300.0
VERSION, ACTIVE = 1, "1"


class _Row(NamedTuple):
    wallet: str
    key_id: str
    text: str
    digest: str


def fill(state: Path, count: int, secrets: Path) -> float:
    """Makes `count` wallets in a running stack, gives 100 USD to `FUNDED_MAX` of them at most, and
    writes the secrets of these, one a line; the seconds it took. Raises CorvusError."""
    began_s = time.monotonic()
    asyncio.run(_fill(state, count, secrets))
    return time.monotonic() - began_s


def spent_nanos(state: Path) -> int:
    """What all wallets of a stack have spent, by the books."""
    return asyncio.run(_spent(state))


async def _spent(state: Path) -> int:
    stores = open_stores(load(state / "up.toml", {}))
    try:
        async with stores.books.connection() as connection:
            return int(await connection.fetchval("select sum(spent_nanos) from wallet"))
    finally:
        await stores.close()


async def _fill(state: Path, count: int, secrets: Path) -> None:
    stores = open_stores(load(state / "up.toml", {}))
    try:
        parts = await stores.till.partitions()
        epochs = [str(part.epoch) for part in parts]
        each = -(-count // FUNDED_MAX)
        with secrets.open("w") as out, _quick_chance():
            for at in range(0, count, PAGE):
                rows = [_row(stores.pepper) for _ in range(min(PAGE, count - at))]
                funded = [row for index, row in enumerate(rows, at) if index % each == 0]
                await _copy(stores, rows)
                await _send(stores, rows, funded, epochs)
                out.writelines(f"{row.text}\n" for row in funded)
                await _wait(stores, BEHIND_MAX)
        await _wait(stores, 0)
        async with stores.books.connection() as connection:
            await connection.execute("analyze", timeout=COPY_S)
    finally:
        await stores.close()


@contextmanager
def _quick_chance() -> Iterator[None]:
    """Ids and secrets by a generator that costs microseconds: these wallets protect nothing."""
    chance, slow = random.Random(), clock.random_text
    door: Any = clock
    door.random_text = lambda count: "".join(chance.choices(clock.BASE62, k=count))
    try:
        yield
    finally:
        door.random_text = slow


def _row(pepper: bytes) -> _Row:
    wallet = secret.new_wallet_id()
    text = secret.new_secret(wallet)
    return _Row(wallet, secret.new_key_id(), text, secret.digest(text, pepper))


async def _copy(stores: Stores, rows: list[_Row]) -> None:
    async with stores.books.transaction() as connection:
        for table, columns, records in (
            (
                "wallet",
                ("wallet", "part"),
                [(row.wallet, partition_of(row.wallet)) for row in rows],
            ),
            ("key", ("key_id", "wallet", "main"), [(row.key_id, row.wallet, True) for row in rows]),
            (
                "key_secret",
                ("digest", "key_id", "masked"),
                [(row.digest, row.key_id, secret.mask(row.text)) for row in rows],
            ),
        ):
            await connection.copy_records_to_table(
                table, records=records, columns=columns, timeout=COPY_S
            )


async def _send(stores: Stores, rows: list[_Row], funded: list[_Row], epochs: list[str]) -> None:
    keys, grants = [], []
    for row in rows:
        part = partition_of(row.wallet)
        names = scripts.money_keys(part, row.wallet)
        entry = reply.KeyEntry(row.key_id, ACTIVE, [(row.digest, 0)])
        entries = msgspec.json.encode([entry.as_json()])
        keys.append((names[:2], (epochs[part], row.wallet, VERSION, ACTIVE, entries)))
    for row in funded:
        part = partition_of(row.wallet)
        given = (f"grant:{row.key_id}", row.wallet, CREDIT_NANOS, "grants", row.key_id, "bench")
        grants.append((scripts.money_keys(part, row.wallet), (epochs[part], *given)))
    for name, calls in (("key", keys), ("credit", grants)):
        for answer in await stores.till.many(name, calls, extra_s=30.0):
            if not isinstance(answer, tuple) or isinstance(answer, reply.Fenced):
                raise CorvusError(f"the till refused {name} of a new wallet: {answer!r}")


async def _wait(stores: Stores, behind_max: int) -> None:
    deadline = time.monotonic() + BEHIND_S
    while time.monotonic() < deadline:
        parts = await stores.till.partitions()
        if sum(part.seq - part.committed for part in parts) <= behind_max:
            return
        await asyncio.sleep(0.05)
    raise CorvusError(f"the books of {PARTITIONS} partitions do not keep up")
