"""Mails about what was done to a key, to the address that belongs to its wallet.

A deed is not undone because its mail could not be queued: that is a log line.
"""

from collections.abc import Mapping

import structlog

from corvus_proxy import clock
from corvus_proxy.books import people
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.service.sessions import Session
from corvus_proxy.shop import mail
from corvus_proxy.site import render
from corvus_proxy.site.front import Front

_log = structlog.get_logger()


async def rotated(front: Front, session: Session, key_id: str, grace: str) -> None:
    """The secret of a key was changed."""
    await _send(front, session, "rotated", {"key_id": key_id, "grace": grace})


async def frozen(front: Front, session: Session, key_id: str) -> None:
    """A key was frozen by somebody who holds it."""
    why = "Somebody who is logged in with it froze it."
    await _send(front, session, "frozen", {"key_id": key_id, "why": why})


async def _send(front: Front, session: Session, kind: str, view: Mapping[str, object]) -> None:
    at = f"{render.moment(clock.utc_now())} UTC"
    try:
        async with front.stores.books.transaction() as connection:
            address = await people.email(connection, session.wallet)
            if address:
                await mail.queue(
                    connection,
                    front.stores.pepper,
                    kind=kind,
                    address=address,
                    view={**view, "at": at},
                    wallet=session.wallet,
                )
    except BooksUnavailable as error:
        _log.warning("mail_not_queued", kind=kind, why=str(error))
