"""The demonstration key of `corvus up`, and the mark that simulated money leaves."""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from corvus_proxy import clock
from corvus_proxy.books import wallets
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.service import keys
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import TillUnavailable

DEMO_NANOS = 5 * NANOS_PER_USD


def _box(pepper: bytes) -> Fernet:
    key = hashlib.blake2b(b"demo key", key=pepper[:64], digest_size=32).digest()
    return Fernet(base64.urlsafe_b64encode(key))


async def mark(stores: Stores) -> None:
    """Marks this installation as one that holds simulated money, in Redis and in the books."""
    async with stores.books.connection() as connection:
        await wallets.mark_simulated(connection)
    await stores.till.mark_simulated()


async def wait_until_open(
    stores: Stores, *, timeout_s: float = 30, watch: Callable[[], None] = lambda: None
) -> None:
    """Waits until every partition serves. Raises ServiceRefused when they do not.

    `watch` is called in between; what it raises ends the wait.
    """
    deadline_s = clock.monotonic_s() + timeout_s
    while clock.monotonic_s() < deadline_s:
        try:
            if not await stores.till.closed():
                return
        except TillUnavailable:
            pass
        watch()
        await asyncio.sleep(0.03)
    raise keys.ServiceRefused("Redis does not serve; `corvus doctor` says why")


async def marked(stores: Stores) -> bool:
    """Whether Redis or the books have ever held simulated money."""
    if await stores.till.simulated():
        return True
    async with stores.books.connection() as connection:
        return await wallets.simulated_money(connection)


async def seed(stores: Stores, sealed: Path) -> str:
    """The demo key's secret: made with 5 USD at the first start, read from `sealed` afterwards."""
    box = _box(stores.pepper)
    if sealed.exists():
        try:
            return box.decrypt(sealed.read_bytes()).decode()
        except InvalidToken:
            raise keys.ServiceRefused(f"{sealed} does not fit this pepper") from None
    await wait_until_open(stores)
    await mark(stores)
    created = await keys.create(stores, credit_nanos=DEMO_NANOS, label="demo", reason="demo credit")
    sealed.write_bytes(box.encrypt(created.secret.encode()))
    sealed.chmod(0o600)
    return created.secret
