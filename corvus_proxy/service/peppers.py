"""The change of a pepper: what still rests on an older one, and how it comes off it.

A key's digest is made anew by its next use: a gateway tells both digests, the worker moves the one
to the other. Seals are made anew by one command. Codes, tokens and addresses of pages, whose texts
nobody here has, stay under the pepper that they were made with for as long as it is configured.
"""

from typing import NamedTuple

from corvus_proxy import clock, sealing
from corvus_proxy import pepper as peppers
from corvus_proxy.books import wallets
from corvus_proxy.books.people import sealed
from corvus_proxy.service.alarms import PURPOSE as ALARM
from corvus_proxy.service.keys.shared import audit, changed, send_key
from corvus_proxy.service.stores import Stores
from corvus_proxy.shop.delivering import RECOVERY, SECRET, TOKEN
from corvus_proxy.shop.mail import PURPOSE as MAIL
from corvus_proxy.till.telling import rehashing

PURPOSES = {
    ("shop_order", "token_sealed"): TOKEN,
    ("shop_order", "secret_sealed"): SECRET,
    ("shop_order", "recovery_sealed"): RECOVERY,
    ("mail", "view_sealed"): MAIL,
    ("alarm", "webhook_secret_sealed"): ALARM,
}


class Standing(NamedTuple):
    """What rests on which pepper."""

    current: str
    """Id of the current pepper."""
    others: list[str]
    secrets: dict[str, int]
    """Secrets that work, by pepper; empty: not known."""
    seals: dict[str, int]
    """Sealed texts, by pepper; empty: they open under none."""
    codes: int
    """Recovery codes: of none it is known under which pepper."""
    tokens: int
    """Read-only tokens that work: the same."""


async def tick(stores: Stores) -> int:
    """Moves digests that gateways have told of to the current pepper; how many. Raises
    TillUnavailable, BooksUnavailable."""
    current, *others = peppers.all_of(stores.pepper)
    pepper_id = peppers.id_of(current)
    told = await rehashing.told(stores.till)
    moved = 0
    for digest, (by, *old) in told.items():
        # Told under another current pepper: by a process that has yet to be started again.
        if others and by == pepper_id:
            moved += await _move(stores, digest, old, pepper_id)
    await rehashing.done(stores.till, told)
    return moved


async def _move(stores: Stores, digest: str, old: list[str], pepper_id: str) -> bool:
    async with stores.books.transaction() as connection:
        key_id = await sealed.rehash(connection, digest, old, pepper_id)
        wallet = None if key_id is None else await wallets.wallet_of_key(connection, key_id)
        if key_id is None or wallet is None:
            return False
        row = await changed(connection, wallet, key_id, "keys.rehash")
    await send_key(stores, row)
    return True


async def stamp(stores: Stores) -> None:
    """Notes what every secret rests on while there is one pepper alone. Raises BooksUnavailable."""
    current, *others = peppers.all_of(stores.pepper)
    if not others:
        async with stores.books.connection() as connection:
            await sealed.stamp(connection, peppers.id_of(current))


async def status(stores: Stores) -> Standing:
    """What rests on which pepper. Raises BooksUnavailable."""
    known = [(peppers.id_of(one), one) for one in peppers.all_of(stores.pepper)]
    seals: dict[str, int] = {}
    async with stores.books.connection() as connection:
        secrets = await sealed.count(connection, clock.wall_ms())
        codes, tokens = await sealed.codes_and_tokens(connection)
        for (table, column), purpose in PURPOSES.items():
            after = ""
            while some := await sealed.texts(connection, table, column, after):
                for text in some:
                    name = next((name for name, one in known if _opens(one, purpose, text)), "")
                    seals[name] = seals.get(name, 0) + 1
                after = some[-1]
    return Standing(known[0][0], [name for name, _ in known[1:]], secrets, seals, codes, tokens)


async def reseal(stores: Stores, *, reason: str, actor: str) -> int:
    """Makes every seal of an older pepper anew under the current one; how many. Raises
    BooksUnavailable."""
    current = peppers.all_of(stores.pepper)[0]
    made = 0
    for (table, column), purpose in PURPOSES.items():
        after = ""
        while True:
            async with stores.books.transaction() as connection:
                some = await sealed.texts(connection, table, column, after)
                for text in some:
                    if not _opens(current, purpose, text):
                        made += await _reseal(connection, stores.pepper, (table, column), text)
            if not some:
                break
            after = some[-1]
    async with stores.books.transaction() as connection:
        await audit(connection, actor, "secrets.reseal", "secrets", reason=reason, seals=made)
    return made


async def _reseal(connection: object, pepper: bytes, place: tuple[str, str], text: str) -> bool:
    purpose = PURPOSES[place]
    try:
        opened = sealing.unseal(pepper, purpose, text)
    except sealing.SealBroken:
        return False  # `status` counts it
    await sealed.put(connection, *place, text, sealing.seal(pepper, purpose, opened))
    return True


def _opens(pepper: bytes, purpose: str, text: str) -> bool:
    try:
        sealing.unseal(bytes(pepper), purpose, text)
    except sealing.SealBroken:
        return False
    return True
