"""Recovery: three doors back to a balance, each to a new secret on the same key.

By the recovery code at once. By a link in the owner's mailbox. By the proof of the payment that
made the key, after a wait in which the owner, told by mail and on the dashboard, can stop it.

Every door that stays shut looks the same from outside. Callers throttle.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from corvus_proxy import clock
from corvus_proxy.books import people
from corvus_proxy.books.shop import recovery as rows
from corvus_proxy.books.shop.recovery import RecoveryRow
from corvus_proxy.sealing import new_token, token_digest, token_proof
from corvus_proxy.service import owner
from corvus_proxy.service.owner import Recovered
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.shop import mail

OPEN_DAYS = 7
"""How long an open door by payment stays open."""
MAIL_MINUTES = 60
LIVING_MAX = 3
"""Requests by payment that one wallet may have at once."""
MAILS_MAX = 3
"""Wallets of one address that are written to."""


class Pending(NamedTuple):
    """A request for a new secret."""

    recovery_id: str
    state: str
    """`waiting`, `open`, `used`, `stopped` or `expired`."""
    how: str
    order_id: str
    key_id: str
    created_at: datetime
    opens_at: datetime
    expires_at: datetime


async def by_code(stores: Stores, text: str) -> Recovered | None:
    """A new secret at once; None for every text that is nobody's code. Raises BooksUnavailable."""
    wallet = await owner.owner_of(stores, text)
    if wallet is None:
        return None
    async with stores.books.connection() as connection:
        email = await people.email(connection, wallet)
    found = await owner.recover(stores, text, actor="code")
    if found is not None:
        await stop(stores, wallet)
        await _tell(stores, found, email)
    return found


async def by_payment(
    stores: Stores, settings: Settings, order_id: str, reference: str
) -> str | None:
    """The token of a request that waits, for who names the order and the payment that made a key;
    None for everything else. The owner is told. Raises BooksUnavailable."""
    token, stop_token = new_token(), new_token()
    wait = timedelta(hours=settings.shop.recovery_wait_h)
    async with stores.books.transaction() as connection:
        payer = await rows.payer(connection, order_id.strip(), reference.strip())
        if payer is None or len(await rows.living(connection, payer.wallet)) >= LIVING_MAX:
            return None
        await _insert(
            connection, stores, payer.wallet, payer.key_id, "payment", order_id.strip(),
            tokens=(token, stop_token), wait=wait, lasts=wait + timedelta(days=OPEN_DAYS),
        )  # fmt: skip
        if payer.email:
            await mail.queue(
                connection,
                stores.pepper,
                kind="recovery_started",
                address=payer.email,
                wallet=payer.wallet,
                view={
                    "order_id": order_id.strip(),
                    "key_id": payer.key_id,
                    "hours": settings.shop.recovery_wait_h,
                    "stop_url": f"{settings.brand.site_url}/recover/stop/{stop_token}",
                },
            )
    return token


async def by_mail(stores: Stores, settings: Settings, address: str) -> None:
    """Writes to the owner of each wallet of this address, if there is any; nobody learns whether
    there is. Raises BooksUnavailable."""
    async with stores.books.transaction() as connection:
        found = await people.keys_of_email(connection, address.strip())
        for facts in found[:MAILS_MAX]:
            token = new_token()
            sent = await mail.queue(
                connection,
                stores.pepper,
                kind="recover_link",
                address=address.strip(),
                wallet=facts.wallet,
                view={
                    "key_id": facts.key_id,
                    "minutes": MAIL_MINUTES,
                    "recover_url": f"{settings.brand.site_url}/recover/{token}",
                },
            )
            if sent:
                await _insert(
                    connection, stores, facts.wallet, facts.key_id, "mail", "",
                    tokens=(token, new_token()), wait=timedelta(0),
                    lasts=timedelta(minutes=MAIL_MINUTES),
                )  # fmt: skip


async def pending(stores: Stores, token: str) -> Pending | None:
    """A request by its token; uses nothing up. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        row = await rows.find(connection, token_proof(stores.pepper, token))
    return None if row is None else _pending(row)


async def finish(stores: Stores, token: str) -> Recovered | None:
    """The new secret, once the door is open; None while it is not, or was used or stopped.

    Used up only after the secret was made: whoever is cut off in between tries again. Raises
    BooksUnavailable.
    """
    async with stores.books.transaction() as connection:
        row = await rows.find(connection, token_proof(stores.pepper, token), lock=True)
        if row is None or _pending(row).state != "open":
            return None
        email = await people.email(connection, row.wallet)
        found = await owner.recover_wallet(
            stores, row.wallet, actor=row.how, fresh_code=True, keep_email=row.how == "mail"
        )
        if found is None:
            return None
        await rows.use(connection, row.recovery_id)
        await rows.stop(connection, row.wallet)
    await _tell(stores, found, email)
    return found


async def waiting(stores: Stores, wallet: str) -> list[Pending]:
    """What may still give somebody a new secret of this wallet: for its dashboard. Raises
    BooksUnavailable."""
    async with stores.books.connection() as connection:
        return [_pending(row) for row in await rows.living(connection, wallet)]


async def stop(stores: Stores, wallet: str, recovery_id: str = "") -> int:
    """The owner says no, to one request or to all; how many it ended. Raises BooksUnavailable."""
    async with stores.books.transaction() as connection:
        return await rows.stop(connection, wallet, recovery_id)


async def stop_pending(stores: Stores, stop_token: str) -> Pending | None:
    """The request that a mail's stop link is about; changes nothing. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        row = await rows.find_stop(connection, token_proof(stores.pepper, stop_token))
    return None if row is None else _pending(row)


async def stop_by_link(stores: Stores, stop_token: str) -> bool:
    """Whether the stop link has ended its request. Raises BooksUnavailable."""
    async with stores.books.transaction() as connection:
        row = await rows.find_stop(connection, token_proof(stores.pepper, stop_token))
        return row is not None and bool(await rows.stop(connection, row.wallet, row.recovery_id))


def _pending(row: RecoveryRow) -> Pending:
    now = clock.utc_now()
    if row.used_at is not None:
        state = "used"
    elif row.stopped_at is not None:
        state = "stopped"
    elif now >= row.expires_at:
        state = "expired"
    else:
        state = "open" if now >= row.opens_at else "waiting"
    return Pending(
        row.recovery_id, state, row.how, row.order_id, row.key_id, row.created_at, row.opens_at,
        row.expires_at,
    )  # fmt: skip


async def _insert(
    connection: Any,
    stores: Stores,
    wallet: str,
    key_id: str,
    how: str,
    order_id: str,
    *,
    tokens: tuple[str, str],
    wait: timedelta,
    lasts: timedelta,
) -> None:
    now = clock.utc_now()
    row = RecoveryRow(
        f"rec_{clock.random_text(12)}", how, order_id, wallet, key_id, now, now + wait, now + lasts,
        None, None,
    )  # fmt: skip
    token, stop_token = (token_digest(stores.pepper, one) for one in tokens)
    await rows.insert(connection, row, token_digest=token, stop_digest=stop_token)


async def _tell(stores: Stores, found: Recovered, email: str) -> None:
    """Writes to the address that the wallet had that the secret is another one now."""
    if not email:
        return
    async with stores.books.transaction() as connection:
        await mail.queue(
            connection,
            stores.pepper,
            kind="rotated",
            address=email,
            wallet=found.wallet,
            view={
                "key_id": found.key_id,
                "at": clock.utc_now().strftime("%Y-%m-%d %H:%M UTC"),
                "grace": "",
            },
        )
