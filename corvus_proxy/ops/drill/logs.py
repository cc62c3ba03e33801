"""What is known when all is quiet, from logs that do not know of each other.

The clients' (what they got), the providers' (what was made), the payment services' (what was paid),
the links' (what Redis acknowledged), the operator's (what was moved by hand), the journals', and
what the books and Redis say.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from corvus_proxy.books import views
from corvus_proxy.books.db import Books
from corvus_proxy.catalogue import timeline
from corvus_proxy.dev.providers import Served
from corvus_proxy.ledger.verify import VerifyReport, verify
from corvus_proxy.money.event import Event
from corvus_proxy.money.pricing import Price
from corvus_proxy.ops.drill.client import Answer
from corvus_proxy.ops.drill.links import DOWN, Seen
from corvus_proxy.ops.drill.stack import GATEWAYS, Stack
from corvus_proxy.ops.drill.workload import Move, Workload
from corvus_proxy.settings import PricingSettings
from corvus_proxy.till.journal import Line, Node, read_lines
from corvus_proxy.till.reply import WalletState

_Row = TypeVar("_Row")
EVENTS = """
select part, epoch, seq, type, ext_id, wallet, key_id, slug, delta_nanos, balance_nanos, wallet_seq,
       actual_nanos, shortfall_nanos, outcome, counter, reason, wallet_spent_nanos, key_spent_nanos,
       meta::text
from event
"""
REQUESTS = "select request_id, charge_nanos, shortfall_nanos, price_version from request"


class Acked(NamedTuple):
    """A charge that Redis acknowledged, seen on its way to the gateway."""

    script: str
    rid: str
    charged_nanos: int
    shortfall_nanos: int
    epoch: int
    seq: int


class Receipt(NamedTuple):
    """A request's row in the books."""

    rid: str
    charge_nanos: int
    shortfall_nanos: int
    price_version: str


class PaidRow(NamedTuple):
    """What a payment service wrote about one payment of an order."""

    service: str
    order_id: str
    reference: str
    state: str
    """`seen`, `confirmed`, `invalid`, `reversed` or `refunded`."""
    asset: str
    asset_amount: str
    value_nanos: int
    late: bool = False
    quoted_amount: str = ""
    """What the order asked for in the asset, and what that is worth."""
    quoted_nanos: int = 0


@dataclass
class Evidence:
    """All logs at one moment of quiet. Amounts in nanos."""

    answers: list[Answer] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    acked: list[Acked] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    paid: list[PaidRow] = field(default_factory=list)
    """The payment services' own log."""
    orders: dict[str, str] = field(default_factory=dict)
    """The wallet of each order; empty where it has none."""
    journal: list[Line] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    accounts: dict[str, int] = field(default_factory=dict)
    """The operator's accounts in the books: credits less debits."""
    wallets: dict[str, WalletState] = field(default_factory=dict)
    """As Redis has them."""
    holds: int = 0
    """Requests that still hold money in Redis."""
    report: VerifyReport | None = None
    prices: dict[tuple[str, str], Price] = field(default_factory=dict)
    """Every price that was ever in force, by slug and version."""


class AckLog:
    """Listens on the links between the gateways and Redis."""

    def __init__(self, stack: Stack) -> None:
        self.rows: list[Acked] = []
        for link in stack.redis_links:
            link.taps.append(self._see)

    def _see(self, seen: Seen) -> None:
        call = seen.call
        if seen.way != DOWN or call is None or call.name not in ("settle", "late"):
            return
        if isinstance(seen.reply, list) and seen.reply[0] == b"OK":
            charged, short, _, seq, epoch = map(int, seen.reply[1:6])
            self.rows.append(Acked(call.name, call.args[0].decode(), charged, short, epoch, seq))


def prices() -> dict[tuple[str, str], Price]:
    """The prices of the shipped book, on every day that it knows."""
    books = timeline.load(PricingSettings())
    return {
        (model.slug, model.price.version): model.price
        for day in (date.min, *books.days)
        for model in books.at(day).models
    }


async def gather(stack: Stack, load: Workload, acks: AckLog) -> Evidence:
    """Reads everything. Raises TillUnavailable, BooksUnavailable."""
    till, books = stack.stores.till, stack.stores.books
    found = Evidence(
        load.answers,
        read_served(stack.served),
        acks.rows,
        load.moves,
        read_paid(stack.paid),
        prices={**prices(), **stack.prices},
    )
    found.journal = await asyncio.to_thread(read_journals, stack)
    async with books.connection() as connection:
        found.events = [
            _event(row) for row in await connection.fetch(EVENTS + "order by part, epoch, seq")
        ]
        found.receipts = [Receipt(*row) for row in await connection.fetch(REQUESTS)]
        found.accounts = await views.accounts(connection)
        orders = await connection.fetch("select order_id, coalesce(wallet, '') from shop_order")
        found.orders = {row[0]: row[1] for row in orders}
    known = [one.wallet for one in load.wallets + load.quiet + load.own]
    ids = list(dict.fromkeys([*known, *filter(None, found.orders.values())]))
    states = await till.wallets(ids)
    found.wallets = {one: state for one, state in zip(ids, states, strict=True) if state}
    found.holds = sum([len(await till.holds(part)) for part in range(64)])
    found.report = await verify(till, books)
    return found


async def ends_of(books: Books, ids: list[str], *, upstream: bool = False) -> list[Event]:
    """The ends of requests by our ids or the `upstream`'s, as far as the books have them."""
    name = "meta->>'ur'" if upstream else "ext_id"
    condition = f"where type in ('S', 'X') and {name} = any($1)"
    async with books.connection() as connection:
        return [_event(row) for row in await connection.fetch(EVENTS + condition, ids)]


def _event(row: Any) -> Event:
    names = Event.__struct_fields__
    return Event(**{**dict(zip(names, row, strict=True)), "meta": row["meta"].encode()})


def read_served(path: Path) -> list[Served]:
    """The providers' log; a line that a kill cut short is left out."""
    if not path.exists():
        return []
    return list(_decoded(path, Served))


def read_paid(path: Path) -> list[PaidRow]:
    """The payment services' log of payments, as it stands."""
    if not path.exists():
        return []
    names = PaidRow._fields
    return [
        PaidRow(**{name: row[name] for name in names if name in row})
        for row in _decoded(path, dict[str, Any])
        if row.get("row") == "payment"
    ]


def _decoded(path: Path, kind: type[_Row]) -> Iterator[_Row]:
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(msgspec.DecodeError):
            yield msgspec.json.decode(line, type=kind)


def read_journals(stack: Stack) -> list[Line]:
    """Every line of the journals that still stand."""
    found: list[Line] = []
    for name in GATEWAYS:
        node = Node(stack.journal(name), stack.pepper.encode())
        for path in sorted(stack.journal(name).glob("*.journal")):
            found += read_lines(path, node.key)
    return found
