"""Who looks at a wallet: open log-ins, links of mails, read-only tokens."""

from datetime import datetime
from typing import Any, NamedTuple


class SessionRow(NamedTuple):
    """One log-in, as its owner sees it."""

    session_id: str
    key_id: str
    kind: str
    device: str
    created_at: datetime
    seen_at: datetime


class LinkRow(NamedTuple):
    """A link of a mail that has not been used."""

    wallet: str
    key_id: str
    email: str


class TokenRow(NamedTuple):
    """A read-only token, without what proves it."""

    token_id: str
    wallet: str
    key_id: str
    label: str
    masked: str
    created_at: datetime
    expires_at: datetime | None


class KeyFacts(NamedTuple):
    """What a session has to know of its key."""

    wallet: str
    key_id: str
    main: bool
    status: int
    wallet_status: int


INSERT_SESSION = """
insert into session (session_id, wallet, key_id, kind, device) values ($1, $2, $3, $4, $5)
on conflict (session_id) do nothing
"""
SESSIONS = """
select session_id, key_id, kind, device, created_at, seen_at from session
where wallet = $1 and ended_at is null and created_at > $2 order by seen_at desc limit 100
"""
END_SESSIONS = """
update session set ended_at = now()
where wallet = $1 and ended_at is null and ($2 = '' or session_id = $2) and session_id <> $3
"""
KEY_FACTS = """
select k.wallet, k.key_id, k.main, k.status, w.status from key k join wallet w using (wallet)
"""
TAKE_LINK = """
update link set used_at = now()
where token_digest = any(string_to_array($1, ',')) and kind = $2 and used_at is null
    and expires_at > now()
returning wallet, key_id, email
"""
TOKENS = """
select token_id, wallet, key_id, label, masked, created_at, expires_at from read_token
where wallet = $1 and revoked_at is null and (expires_at is null or expires_at > now())
order by created_at desc
"""


async def insert_session(
    connection: Any, session_id: str, wallet: str, key_id: str, *, kind: str, device: str
) -> None:
    """A log-in that is open from now on."""
    await connection.execute(INSERT_SESSION, session_id, wallet, key_id, kind, device)


async def is_open(connection: Any, session_id: str) -> bool | None:
    """Whether a log-in is open, which is also noted as its last use; None: there is none."""
    ended = await connection.fetchrow(
        "update session set seen_at = case when seen_at < now() - interval '1 minute'"
        " then now() else seen_at end where session_id = $1 returning ended_at",
        session_id,
    )
    return None if ended is None else ended[0] is None


async def secret_ends(connection: Any, digest: str) -> datetime | None:
    """When a secret that was changed ends; None for the present one."""
    found = await connection.fetchval(
        "select to_timestamp(nullif(valid_until_ms, 0) / 1000.0) from key_secret"
        " where digest = any(string_to_array($1, ','))",
        digest,
    )
    return found if isinstance(found, datetime) else None


async def sessions(connection: Any, wallet: str, *, since: datetime) -> list[SessionRow]:
    """Open log-ins of a wallet that began after `since`, the last used first."""
    return [SessionRow(*row) for row in await connection.fetch(SESSIONS, wallet, since)]


async def end_sessions(
    connection: Any, wallet: str, *, session_id: str = "", but: str = ""
) -> None:
    """Ends one log-in of a wallet, or all of them but one."""
    await connection.execute(END_SESSIONS, wallet, session_id, but)


async def key_facts(connection: Any, key_id: str) -> KeyFacts | None:
    """A key's place and standing."""
    row = await connection.fetchrow(f"{KEY_FACTS} where k.key_id = $1", key_id)
    return None if row is None else KeyFacts(*row)


async def keys_of_email(connection: Any, email: str) -> list[KeyFacts]:
    """The main keys of the wallets that a mail address belongs to, the newest first."""
    rows = await connection.fetch(
        f"{KEY_FACTS} where lower(w.email) = lower($1) and k.main and $1 <> ''"
        " order by k.created_at desc limit 20",
        email,
    )
    return [KeyFacts(*row) for row in rows]


async def insert_link(
    connection: Any, digest: str, *, kind: str, email: str, expires_at: datetime
) -> None:
    """A link that a mail holds; it works once."""
    await connection.execute(
        "insert into link (token_digest, kind, email, expires_at) values ($1, $2, $3, $4)",
        digest,
        kind,
        email,
        expires_at,
    )


async def link(connection: Any, digest: str, *, kind: str) -> LinkRow | None:
    """A link that may still be used; using it is `take_link`."""
    row = await connection.fetchrow(
        "select wallet, key_id, email from link"
        " where token_digest = any(string_to_array($1, ',')) and kind = $2"
        " and used_at is null and expires_at > now()",
        digest,
        kind,
    )
    return None if row is None else LinkRow(*row)


async def take_link(connection: Any, digest: str, *, kind: str) -> LinkRow | None:
    """Uses a link up; None where somebody has, or its time is over."""
    row = await connection.fetchrow(TAKE_LINK, digest, kind)
    return None if row is None else LinkRow(*row)


async def insert_token(connection: Any, row: TokenRow, digest: str) -> None:
    """A read-only token."""
    await connection.execute(
        "insert into read_token (digest, token_id, wallet, key_id, label, masked, expires_at)"
        " values ($1, $2, $3, $4, $5, $6, $7)",
        digest,
        row.token_id,
        row.wallet,
        row.key_id,
        row.label,
        row.masked,
        row.expires_at,
    )


async def tokens(connection: Any, wallet: str) -> list[TokenRow]:
    """Read-only tokens of a wallet that work, the newest first."""
    return [TokenRow(*row) for row in await connection.fetch(TOKENS, wallet)]


async def token(connection: Any, digest: str) -> TokenRow | None:
    """The token of a digest, while it works."""
    row = await connection.fetchrow(
        "select token_id, wallet, key_id, label, masked, created_at, expires_at from read_token"
        " where digest = any(string_to_array($1, ',')) and revoked_at is null"
        " and (expires_at is null or expires_at > now())",
        digest,
    )
    return None if row is None else TokenRow(*row)


async def revoke_token(connection: Any, wallet: str, token_id: str) -> bool:
    """Ends a token of a wallet; whether there was one."""
    done = await connection.execute(
        "update read_token set revoked_at = now()"
        " where wallet = $1 and token_id = $2 and revoked_at is null",
        wallet,
        token_id,
    )
    return bool(done == "UPDATE 1")


async def email(connection: Any, wallet: str) -> str:
    """The mail address that belongs to a wallet, or an empty text."""
    return str(
        await connection.fetchval("select email from wallet where wallet = $1", wallet) or ""
    )


async def ownership(connection: Any, wallet: str) -> tuple[str, bool]:
    """A wallet's mail address, and whether it has a recovery code."""
    row = await connection.fetchrow(
        "select email, recovery_digest <> '' from wallet where wallet = $1", wallet
    )
    return ("", False) if row is None else (row[0], row[1])


async def set_email(connection: Any, wallet: str, address: str) -> None:
    await connection.execute("update wallet set email = $2 where wallet = $1", wallet, address)
