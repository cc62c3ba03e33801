"""The mails that wait, failed or went, without what they say; one to see whether mail works."""

from corvus_proxy.books.shop import mail as rows
from corvus_proxy.service.operating.deeds import record
from corvus_proxy.service.operating.stopping import why
from corvus_proxy.service.orders import Problem
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.shop import mail

STATES = ("queued", "accepted", "deferred", "bounced", "off")


async def outbox(stores: Stores, *, state: str = "", limit: int = 50) -> list[rows.MailRow]:
    """The newest mails; without a state those that have not arrived. Addresses
    without their middle: lists are copied, and addresses are people's. Raises ValueError,
    BooksUnavailable."""
    if state and state not in STATES:
        raise ValueError(f"there is no state {state}; there are {', '.join(STATES)}")
    states = [state] if state else ["queued", "deferred", "bounced"]
    async with stores.books.connection() as connection:
        found = await rows.latest(connection, states, limit=limit)
    return [row._replace(address=masked(row.address)) for row in found]


async def retry(stores: Stores, mail_id: str, *, reason: str, actor: str) -> Problem | None:
    """Lets a mail that waits go at once. One that has ended says nothing any more: `orders resend`
    makes another. Raises ValueError (no reason), BooksUnavailable."""
    reason = why(reason)
    async with stores.books.transaction() as connection:
        if not await rows.now(connection, mail_id):
            return Problem(
                "",
                f"{mail_id} does not wait: what an ended mail said is destroyed, for it held links."
                " `corvus orders resend` makes a new one.",
            )
        await record(connection, actor, "mail.retry", mail_id, reason=reason)
    return None


async def attempt(stores: Stores, settings: Settings, address: str) -> str:
    """Sends one mail now; empty, or why the server did not take it. Raises BooksUnavailable."""
    return await mail.probe(mail.open_mailer(stores.books, stores.pepper, settings), address)


def masked(address: str) -> str:
    """`me@example.com` as `m…@example.com`."""
    name, at, domain = address.rpartition("@")
    return f"{name[:1]}…{at}{domain}"
