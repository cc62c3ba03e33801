"""What the operator switches off and on: the sales, a model, a credential."""

import contextlib
import json

from corvus_proxy.books import wallets
from corvus_proxy.books.operating import stopped
from corvus_proxy.books.operating.stopped import StoppedRow
from corvus_proxy.catalogue.book import Book
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.telling import stops

SALES, MODEL, CREDENTIAL, DRAINING = "sales", "model", "credential", "draining"
_OFF = {
    SALES: "sales.pause",
    MODEL: "models.disable",
    CREDENTIAL: "pools.disable",
    DRAINING: "pools.drain",
}
_ON = {
    SALES: "sales.resume",
    MODEL: "models.enable",
    CREDENTIAL: "pools.enable",
    DRAINING: "pools.enable",
}


async def every(stores: Stores) -> list[StoppedRow]:
    """What is switched off, the oldest first. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        return await stopped.every(connection)


async def switch_off(
    stores: Stores, kind: str, subject: str, *, reason: str, actor: str
) -> StoppedRow:
    """Switches something off; as it stands then, which may be as somebody else has left it. Raises
    ValueError (no reason), BooksUnavailable."""
    reason = why(reason)
    async with stores.books.transaction() as connection:
        if await stopped.put(connection, kind, subject, reason, actor):
            await _audit(connection, actor, _OFF[kind], subject or kind, reason)
        found = await stopped.find(connection, kind, subject)
    await _tell_now(stores)
    if found is None:  # somebody has just switched it on again
        raise LookupError(f"{subject or kind} was switched on meanwhile")
    return found


async def switch_on(
    stores: Stores, kinds: tuple[str, ...], subject: str, *, reason: str, actor: str
) -> bool:
    """Switches something on; whether it was off. Raises ValueError (no reason),
    BooksUnavailable."""
    reason = why(reason)
    done = False
    async with stores.books.transaction() as connection:
        for kind in kinds:
            if await stopped.lift(connection, kind, subject):
                if not done:
                    await _audit(connection, actor, _ON[kind], subject or kind, reason)
                done = True
    await _tell_now(stores)
    return done


async def tick(stores: Stores) -> None:
    """Tells the gateways what is switched off. Raises TillUnavailable, BooksUnavailable."""
    found = await every(stores)

    def named(kind: str) -> tuple[str, ...]:
        return tuple(sorted(row.subject for row in found if row.kind == kind))

    told = stops.Stops(named(MODEL), named(CREDENTIAL), named(DRAINING))
    await stops.tell(stores.till, told)


def credential(settings: Settings, name: str) -> str:
    """`family/name` of a credential, told so or by its name alone. Raises LookupError where the
    configuration has none, ValueError where it has several."""
    every_one = [
        f"{upstream.family}/{one.name}" for upstream in settings.upstream
        for one in upstream.credential
    ]  # fmt: skip
    found = [one for one in every_one if name in (one, one.partition("/")[2])]
    if not found:
        raise LookupError(
            f"there is no credential {name}; there are {', '.join(every_one) or 'none at all'}"
        )
    if len(found) > 1:
        raise ValueError(f"several credentials are called {name}: say {' or '.join(found)}")
    return found[0]


def slug(book: Book, name: str) -> str:
    """The slug of a model, by slug or alias. Raises LookupError."""
    model = book.find(name)
    if model is None:
        like = ", ".join(book.like(name))
        raise LookupError(f"there is no model {name}" + (f"; did you mean {like}?" if like else ""))
    return model.slug


def why(reason: str) -> str:
    """A reason without idle space. Raises ValueError where there is none."""
    reason = " ".join(reason.split())
    if not reason:
        raise ValueError("say why: the audit keeps the reason")
    return reason


async def _audit(connection: object, actor: str, action: str, subject: str, reason: str) -> None:
    await wallets.insert_audit(
        connection,
        actor=actor,
        action=action,
        subject=subject,
        details=json.dumps({"reason": reason}),
    )


async def _tell_now(stores: Stores) -> None:
    """At once; while Redis is away, the worker tells it later."""
    with contextlib.suppress(TillUnavailable):
        await tick(stores)
