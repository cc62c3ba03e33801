"""Links of a mail: found by digest, used once."""

from datetime import datetime
from typing import Any, NamedTuple


class LinkRow(NamedTuple):
    token_digest: str
    kind: str
    order_id: str
    wallet: str
    key_id: str
    email: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


_COLUMNS = ", ".join(LinkRow._fields)
SELECT = f"select {_COLUMNS} from link"  # noqa: S608


async def insert(
    connection: Any,
    digest: str,
    kind: str,
    expires_at: datetime,
    *,
    order_id: str = "",
    wallet: str = "",
    key_id: str = "",
    email: str = "",
) -> None:
    """A new link; `kind` is `claim`, `login` or `recover`."""
    await connection.execute(
        "insert into link (token_digest, kind, expires_at, order_id, wallet, key_id, email)"
        " values ($1, $2, $3, $4, $5, $6, $7)",
        digest,
        kind,
        expires_at,
        order_id,
        wallet,
        key_id,
        email,
    )


async def find(connection: Any, digest: str, kind: str) -> LinkRow | None:
    """A link, used or not."""
    row = await connection.fetchrow(
        f"{SELECT} where token_digest = any(string_to_array($1, ',')) and kind = $2", digest, kind
    )
    return None if row is None else LinkRow(*row)


async def use(connection: Any, digest: str, kind: str) -> LinkRow | None:
    """Uses a link up; None: there is none, or it was used, or its time is over."""
    row = await connection.fetchrow(
        f"""update link set used_at = now()
        where token_digest = any(string_to_array($1, ',')) and kind = $2
            and used_at is null and expires_at > now()
        returning {_COLUMNS}""",  # noqa: S608
        digest,
        kind,
    )
    return None if row is None else LinkRow(*row)


async def end(connection: Any, order_id: str) -> None:
    """Ends the links of an order's mails that nobody has used."""
    await connection.execute(
        "update link set expires_at = now() where order_id = $1 and kind = 'claim'"
        " and used_at is null and expires_at > now()",
        order_id,
    )
