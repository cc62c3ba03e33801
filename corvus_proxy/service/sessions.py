"""Who is logged in, by what, and for how long it counts.

Rule 1: what a secret has opened is judged at each page by `till.look` on that secret's digest, so
it ends with the secret, and works while Postgres is away.
Rule 2: what a mail, an order or a token has opened is judged by the books, and refused without
them.
Rule 3: a `Ticket` is what the browser carries, signed by the site. It holds no secret.
"""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from corvus_proxy import clock, sealing, secret
from corvus_proxy.books import people, wallets
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.books.people import alarms
from corvus_proxy.service import owner
from corvus_proxy.service.keys import STATUS, ServiceRefused
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.reply import Fenced, Look

SESSION_S = 12 * 3600
"""The longest that a log-in lasts."""
LINK_S = 1800
"""How long a mail's link opens a log-in."""
TOKEN_PREFIX = "ro-corvus_"  # noqa: S105
TOKENS_MAX = 20
"""Read-only tokens that a wallet may have at once."""
BOOKS_S = 2
"""How long a page waits for the books to tell whether a log-in was ended, before it goes by the
secret alone."""


class Session(NamedTuple):
    """Who is logged in, as judged for one page."""

    wallet: str
    key_id: str
    kind: str
    """`key`, `mail`, `token` or `order`."""
    session_id: str
    main: bool
    """Opened by the wallet's main key; a sub-key sees itself alone."""
    read_only: bool
    status: str = "active"
    """Of the key: `active`, `frozen`, `revoked`, or a word of the till's for less."""
    ends_at: datetime | None = None
    """When the secret that opened it ends, of one that was changed."""


class Ticket(NamedTuple):
    """What the browser carries."""

    session_id: str
    wallet: str
    key_id: str
    kind: str
    proof: str
    """Digest of the secret or token that opened it; empty for a mail's link and an order."""
    main: int
    """1 main key, 0 sub-key, -1: the books could not be asked."""


class Ownership(NamedTuple):
    """What outranks a wallet's key."""

    email: str
    has_code: bool
    """There is a recovery code."""


class NewToken(NamedTuple):
    """A read-only token, told once."""

    token_id: str
    text: str


async def by_key(stores: Stores, text: str, *, device: str = "") -> Ticket | None:
    """The log-in that a secret opens; None for a text that opens none.

    A frozen or revoked key may look. Raises TillUnavailable, also while the wallet's partition is
    closed: whether anybody knows the secret cannot be told then.
    """
    parsed = secret.parse(text)
    if parsed is None:
        return None
    proof = secret.proof(parsed.text, stores.pepper)
    look = await _look(stores, parsed.wallet, proof)
    if look is None:
        return None
    ticket = Ticket(_new_id(), parsed.wallet, look.key_id, "key", proof, -1)
    try:
        async with asyncio.timeout(BOOKS_S), stores.books.transaction() as connection:
            facts = await people.key_facts(connection, look.key_id)
            await _insert(connection, ticket, device)
    except (BooksUnavailable, TimeoutError):
        return ticket
    return ticket._replace(main=-1 if facts is None else int(facts.main))


async def by_order(stores: Stores, wallet: str, key_id: str, *, device: str = "") -> Ticket:
    """The log-in of the browser that paid for this key. Raises BooksUnavailable."""
    ticket = Ticket(_new_id(), wallet, key_id, "order", "", 1)
    async with stores.books.transaction() as connection:
        facts = await people.key_facts(connection, key_id)
        ticket = ticket._replace(main=int(facts is not None and facts.main))
        await _insert(connection, ticket, device)
    return ticket


async def by_token(stores: Stores, text: str, *, device: str = "") -> Ticket | None:
    """The log-in that a read-only token opens. Raises BooksUnavailable."""
    proof = sealing.token_proof(stores.pepper, text)
    async with stores.books.transaction() as connection:
        row = await people.token(connection, proof)
        facts = None if row is None else await people.key_facts(connection, row.key_id)
        if row is None or facts is None:
            return None
        ticket = Ticket(_new_id(), row.wallet, row.key_id, "token", proof, int(facts.main))
        await _insert(connection, ticket, device)
    return ticket


async def is_known(stores: Stores, email: str) -> bool:
    """Whether a mail address belongs to a wallet. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        return bool(await people.keys_of_email(connection, email))


async def link_choices(stores: Stores, token: str) -> list[people.KeyFacts] | None:
    """The keys that a mail's link opens; None where it is used or too old. Changes nothing.

    Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        row = await people.link(connection, _link_proof(stores, token), kind="login")
        if row is None:
            return None
        return await people.keys_of_email(connection, row.email)


async def by_mail(stores: Stores, token: str, key_id: str, *, device: str = "") -> Ticket | None:
    """The log-in that a mail's link opens, once, for one of its keys; None where it opens none.

    Raises BooksUnavailable."""
    digest = _link_proof(stores, token)
    async with stores.books.transaction() as connection:
        row = await people.link(connection, digest, kind="login")
        if row is None:
            return None
        for facts in await people.keys_of_email(connection, row.email):
            if key_id in (facts.key_id, ""):
                break
        else:
            return None
        if await people.take_link(connection, digest, kind="login") is None:
            return None
        ticket = Ticket(_new_id(), facts.wallet, facts.key_id, "mail", "", int(facts.main))
        await _insert(connection, ticket, device)
    return ticket


async def judge(stores: Stores, ticket: Ticket) -> Session | None:
    """Who carries a ticket now; None for nobody any more.

    Raises TillUnavailable, and BooksUnavailable where only the books can tell.
    """
    if ticket.proof and ticket.kind != "token":
        look = await _look(stores, ticket.wallet, ticket.proof)
        if look is None or look.key_id != ticket.key_id:
            return None
        main, ends_at = ticket.main, None
        try:
            async with asyncio.timeout(BOOKS_S), stores.books.connection() as connection:
                known = await people.is_open(connection, ticket.session_id)
                if known is False:
                    return None
                if known is None:  # opened while the books were away: from now on it can be ended
                    await _insert(connection, ticket, "")
                ends_at = await people.secret_ends(connection, ticket.proof)
                if main < 0:
                    facts = await people.key_facts(connection, ticket.key_id)
                    main = -1 if facts is None else int(facts.main)
        except (BooksUnavailable, TimeoutError):
            pass
        return _session(ticket, main=main, status=look.status)._replace(ends_at=ends_at)
    async with stores.books.connection() as connection:
        if not await people.is_open(connection, ticket.session_id):
            return None
        if ticket.kind == "token" and await people.token(connection, ticket.proof) is None:
            return None
        facts = await people.key_facts(connection, ticket.key_id)
    if facts is None:
        return None
    status = facts.status if facts.wallet_status == 1 else facts.wallet_status
    return _session(ticket, main=int(facts.main), status=STATUS[status])


def _session(ticket: Ticket, *, main: int, status: str) -> Session:
    return Session(
        ticket.wallet,
        ticket.key_id,
        ticket.kind,
        ticket.session_id,
        main > 0,
        ticket.kind == "token",
        status,
    )


async def is_proof(stores: Stores, session: Session, text: str) -> bool:
    """Whether a text is the secret of the session's key, or its wallet's recovery code.

    Raises TillUnavailable, BooksUnavailable.
    """
    parsed = secret.parse("".join(text.split()))
    if parsed is not None:
        if parsed.wallet != session.wallet:
            return False
        look = await _look(stores, parsed.wallet, secret.proof(parsed.text, stores.pepper))
        return look is not None and look.key_id == session.key_id
    return session.main and await owner.owner_of(stores, text) == session.wallet


async def sessions_of(stores: Stores, wallet: str) -> list[people.SessionRow]:
    """Open log-ins of a wallet, the last used first. Raises BooksUnavailable."""
    since = clock.utc_now() - timedelta(seconds=SESSION_S)
    async with stores.books.connection() as connection:
        return await people.sessions(connection, wallet, since=since)


async def end(stores: Stores, wallet: str, session_id: str) -> None:
    """Logs one device out. Raises BooksUnavailable."""
    if session_id:
        async with stores.books.connection() as connection:
            await people.end_sessions(connection, wallet, session_id=session_id)


async def end_all(stores: Stores, wallet: str, *, but: str = "") -> None:
    """Logs out every device, or all but one. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        await people.end_sessions(connection, wallet, but=but)


async def make_link(connection: Any, pepper: bytes, email: str) -> str:
    """The token of a new link that logs in whoever reads this address's mail. In the caller's
    transaction, with the mail."""
    token = sealing.new_token()
    expires_at = clock.utc_now() + timedelta(seconds=LINK_S)
    await people.insert_link(
        connection,
        sealing.token_digest(pepper, token),
        kind="login",
        email=email,
        expires_at=expires_at,
    )
    return token


async def make_token(stores: Stores, session: Session, *, label: str, days: int | None) -> NewToken:
    """A token that sees everything of the wallet and changes nothing.

    Raises ServiceRefused, BooksUnavailable.
    """
    if session.read_only or not session.main:
        raise ServiceRefused("only the main key makes read-only tokens")
    text = TOKEN_PREFIX + clock.random_text(32)
    token_id = f"ro_{clock.random_text(10)}"
    masked = f"{text[: len(TOKEN_PREFIX) + 4]}…{text[-4:]}"
    now = clock.utc_now()
    expires_at = None if days is None else now + timedelta(days=days)
    row = people.TokenRow(
        token_id, session.wallet, session.key_id, label[:60], masked, now, expires_at
    )
    async with stores.books.transaction() as connection:
        if len(await people.tokens(connection, session.wallet)) >= TOKENS_MAX:
            raise ServiceRefused(f"a wallet has at most {TOKENS_MAX} read-only tokens")
        await people.insert_token(connection, row, sealing.token_digest(stores.pepper, text))
    return NewToken(token_id, text)


async def ownership(stores: Stores, wallet: str) -> Ownership:
    """What outranks a wallet's key. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        return Ownership(*await people.ownership(connection, wallet))


async def set_email(stores: Stores, session: Session, address: str) -> None:
    """Gives a wallet another mail address, or none; links to the old one open nothing any more.
    The caller has had the recovery code. Raises BooksUnavailable."""
    async with stores.books.transaction() as connection:
        await people.set_email(connection, session.wallet, address)
        if address and not await alarms.alarms(connection, session.wallet):
            alarm_id = f"al_{clock.random_text(16)}"
            await alarms.insert_default(connection, session.wallet, alarm_id)
        details = json.dumps({"has": bool(address)})
        await wallets.insert_audit(
            connection,
            actor=session.key_id,
            action="owner.change_mail",
            subject=session.wallet,
            details=details,
        )


async def tokens_of(stores: Stores, wallet: str) -> list[people.TokenRow]:
    """Read-only tokens of a wallet that work. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        return await people.tokens(connection, wallet)


async def revoke_token(stores: Stores, wallet: str, token_id: str) -> bool:
    """Ends a token, and every log-in that it opened at its next page; whether there was one.

    Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        return await people.revoke_token(connection, wallet, token_id)


async def _look(stores: Stores, wallet: str, proof: str) -> Look | None:
    reply = await stores.till.look(wallet, proof)
    if isinstance(reply, Fenced):
        raise TillUnavailable("Redis: the partition is closed")
    return reply if isinstance(reply, Look) else None


async def _insert(connection: Any, ticket: Ticket, device: str) -> None:
    await people.insert_session(
        connection,
        ticket.session_id,
        ticket.wallet,
        ticket.key_id,
        kind=ticket.kind,
        device=device,
    )


def _link_proof(stores: Stores, token: str) -> str:
    return sealing.token_proof(stores.pepper, token)


def _new_id() -> str:
    return f"se_{clock.random_text(20)}"
