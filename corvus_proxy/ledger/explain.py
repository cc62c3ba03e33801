"""One key's money, told: what Redis says, what the books say, and each step between."""

from typing import Any, NamedTuple

from corvus_proxy.books import quarantine, views, wallets
from corvus_proxy.books.db import Books
from corvus_proxy.ledger.verify import redis_cut
from corvus_proxy.money.amount import round_to_nanos
from corvus_proxy.money.event import Event, Mark, Meta, decode_meta, partition_of
from corvus_proxy.money.flags import FLAGS
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import HoldState


class Step(NamedTuple):
    """One change of the balance."""

    at: Mark
    kind: str
    id: str
    delta_nanos: int
    balance_nanos: int
    outcome: str
    booked: bool
    """Whether the books have it; else it stands in Redis's stream."""
    formula: str
    """Each line of a charge: tokens x picos."""
    agrees: bool
    """Whether the charge is what its lines come to."""
    price_version: str
    """Of this service's own prices, by which the charge was made."""
    notes: list[str]
    """Why the charge is what it is, where that is not plain."""


class Explanation(NamedTuple):
    """Amounts in nanos. `problems` is empty when everything agrees."""

    wallet: str
    partition: int
    epoch: int
    state: str
    redis_nanos: int | None
    held_nanos: int
    books_nanos: int
    undrained_nanos: int
    holds: dict[str, HoldState]
    steps: list[Step]
    waiting: list[wallets.OutboxRow]
    refused: list[wallets.RefusedRow]
    quarantined: list[quarantine.Quarantined]
    problems: list[str]


async def explain(till: Till, books: Books, wallet: str, *, limit: int) -> Explanation:
    """A wallet's last `limit` changes and everything that is under way. Raises TillUnavailable,
    BooksUnavailable, LookupError."""
    part = partition_of(wallet)
    async with (
        books.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        account = await views.account(connection, wallet)
        rows = await views.events(connection, wallet, limit=limit)
        waiting = [
            row
            for row in await wallets.waiting_of_partition(connection, part)
            if row.wallet == wallet
        ]
        refused = await wallets.refused(connection, wallet)
        stopped = await quarantine.waiting(connection, wallet)
        cursor = account.cursor
    state, behind = await redis_cut(till, wallet, {part: cursor})
    partition = (await till.partitions())[part]
    holds = {rid: hold for rid, hold in (await till.holds(part)).items() if hold.wallet == wallet}
    steps = [_step(event, booked=True) for event in rows]
    steps += [_step(event, booked=False) for event in behind]
    undrained = sum(event.delta_nanos for event in behind)
    redis_nanos = state.balance_nanos if state else None
    problems = [f"{step.id}: its lines do not come to the charge" for step in steps
                if not step.agrees]  # fmt: skip
    if redis_nanos != account.balance_nanos + undrained:
        problems.append(
            f"Redis has {redis_nanos}, the books and the stream give"
            f" {account.balance_nanos + undrained}"
        )
    held = state.held_nanos if state else 0
    if held != sum(hold.held_nanos for hold in holds.values()):
        problems.append(f"{held} held, its holds are {sum(h.held_nanos for h in holds.values())}")
    problems += [f"event {one.epoch}-{one.seq} is in quarantine: {one.why}" for one in stopped]
    return Explanation(
        wallet,
        part,
        partition.epoch,
        partition.state,
        redis_nanos,
        held,
        account.balance_nanos,
        undrained,
        holds,
        steps,
        waiting,
        refused,
        stopped,
        problems,
    )


def _step(event: Event, *, booked: bool) -> Step:
    meta = decode_meta(event.meta)
    lines = [(name, count, meta.picos.get(name, 0)) for name, count in meta.usage.items()
             if name in meta.picos]  # fmt: skip
    formula = " + ".join(f"{count} {name} x {picos}" for name, count, picos in lines)
    reckoned = round_to_nanos(sum(count * picos for _, count, picos in lines))
    agrees = event.type not in "SX" or not lines or reckoned == event.actual_nanos
    return Step(
        Mark(event.epoch, event.seq),
        event.type,
        event.id,
        event.delta_nanos,
        event.balance_nanos,
        event.outcome or event.reason,
        booked,
        formula,
        agrees,
        meta.price_version,
        _notes(meta),
    )


def _notes(meta: Meta) -> list[str]:
    """Tier and place, counts that were not billed, and each flag in a sentence."""
    found = [f"{name}: {value}" for name, value in meta.terms.items()]
    if meta.gone:
        found.append("its detail was deleted, being older than retention.request_days")
    found += [f"not billed: {path} = {number}" for path, number in meta.unbilled.items()]
    return found + [f"{flag}: {FLAGS.get(flag, 'set by another version')}" for flag in meta.flags]


def as_document(found: Explanation) -> dict[str, Any]:
    """An explanation for programs."""
    document = found._asdict()
    document["holds"] = {rid: hold._asdict() for rid, hold in found.holds.items()}
    document["steps"] = [{**step._asdict(), "at": str(step.at)} for step in found.steps]
    document["waiting"] = [row._asdict() for row in found.waiting]
    document["refused"] = [{**row._asdict(), "at": row.at.isoformat()} for row in found.refused]
    document["quarantined"] = [
        {**row._asdict(), "found_at": row.found_at.isoformat()} for row in found.quarantined
    ]
    return document
