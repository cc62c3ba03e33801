"""Who may log in to the console: a name, and a token that is shown once."""

import hmac
import re
from typing import NamedTuple

from corvus_proxy import clock
from corvus_proxy.books.operating import operators as rows
from corvus_proxy.books.operating.operators import OperatorRow
from corvus_proxy.sealing import token_digest, token_proof
from corvus_proxy.service.operating.deeds import record
from corvus_proxy.service.operating.stopping import why
from corvus_proxy.service.stores import Stores

PREFIX = "op-corvus_"
TOKEN_CHARACTERS = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class Operator(NamedTuple):
    """Who is logged in."""

    name: str
    digest: str
    """Of the token that logged in: a log-in ends with its token."""

    @property
    def actor(self) -> str:
        """As the audit names them."""
        return f"console:{self.name}"


async def add(stores: Stores, name: str, *, actor: str) -> str:
    """A new operator's token. Raises ValueError, BooksUnavailable."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            "an operator's name has up to 32 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
        )
    token = PREFIX + clock.random_text(TOKEN_CHARACTERS)
    async with stores.books.transaction() as connection:
        if not await rows.put(connection, name, token_digest(stores.pepper, token), actor):
            raise ValueError(f"there is an operator {name}; revoke that one first")
        await record(connection, actor, "operators.add", name)
    return token


async def every(stores: Stores) -> list[OperatorRow]:
    """All operators, revoked ones too. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        return await rows.every(connection)


async def revoke(stores: Stores, name: str, *, reason: str, actor: str) -> None:
    """Ends an operator's token and log-ins. Raises LookupError, ValueError, BooksUnavailable."""
    reason = why(reason)
    async with stores.books.transaction() as connection:
        if not await rows.revoke(connection, name):
            raise LookupError(f"there is no operator {name} with a token")
        await record(connection, actor, "operators.revoke", name, reason=reason)


async def log_in(stores: Stores, token: str) -> Operator | None:
    """Whose token this is; None: nobody's. Raises BooksUnavailable."""
    token = token.strip()
    if not token.startswith(PREFIX) or len(token) != len(PREFIX) + TOKEN_CHARACTERS:
        return None
    async with stores.books.transaction() as connection:
        found = await rows.by_digest(connection, token_proof(stores.pepper, token))
        if found is None:
            return None
        name, digest = found
        await record(connection, f"console:{name}", "console.login", name)
    return Operator(name, digest)


async def still(stores: Stores, name: str, digest: str) -> Operator | None:
    """Who claims to be logged in, if the token of that log-in still counts. Raises
    BooksUnavailable."""
    async with stores.books.connection() as connection:
        found = await rows.digest_of(connection, name)
    if not found or not hmac.compare_digest(found, digest):
        return None
    return Operator(name, digest)
