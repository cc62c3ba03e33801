"""Customers and an operator at work while things break, from a seed.

64 clients (each with its own source of chance, so that a seed gives every client the same requests
whatever the others do), 200 wallets, 20 of them nearly empty, 5 shared by 16 clients. Of the
requests 60 % stream to their end, 10 % are cancelled, 5 % lose their upstream, the rest are whole
answers. Meanwhile the operator credits, debits and rotates secrets.
"""

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg

from corvus_proxy import clock
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.money.event import partition_of
from corvus_proxy.ops.drill.client import Answer, Wish, ask
from corvus_proxy.ops.drill.stack import GATEWAYS, Stack
from corvus_proxy.secret import digest
from corvus_proxy.service import keys
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.reply import Look

CLIENTS = 64
WALLETS = 200
POOR = 20
SHARED = 5
SHARERS = 16
QUIET_PARTITIONS = frozenset((60, 61, 62, 63))
"""Nothing moves here but what a fault moves itself: such a partition comes back in another way than
one that has lost events."""
RICH_NANOS = 5_000_000_000
THINK_S = 0.9
"""A client's mean pause between two requests: about 60 requests a second in all."""
OPERATOR_S = 0.15
HAND_OVER_S = 10.0
AT_ONCE = 16
MODELS = (
    ("chat", "gpt-4o-mini"),
    ("messages", "claude-haiku-5-5"),
    ("chat", "glm-5.3-flash"),
    ("chat", "gpt-4.1"),
)


@dataclass
class Wallet:
    """A wallet as its customer knows it."""

    wallet: str
    key_id: str
    secret: str


class Move(NamedTuple):
    """Money that the operator moved by hand."""

    kind: str
    """`credit` or `debit`."""
    wallet: str
    nanos: int
    reason: str
    """Unlike any other's: the event is found by it."""
    least: int
    """How many events there must be at least …"""
    most: int
    """… and at most, once all is quiet."""


@dataclass
class Workload:
    """Everybody who uses the stack, and their logs."""

    stack: Stack
    seed: int
    wallets: list[Wallet] = field(default_factory=list)
    quiet: list[Wallet] = field(default_factory=list)
    """Wallets in quiet partitions: no client uses them."""
    own: list[Wallet] = field(default_factory=list)
    """Wallets that a fault has made for itself."""
    answers: list[Answer] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._running = False
        self._tasks: list[asyncio.Task[None]] = []
        self._serial = 0
        self.began_s = 0.0
        self.asking = 0
        """Requests under way."""

    async def provide(self) -> None:
        """Makes the wallets. Raises what `service.keys` raises."""
        chance = random.Random(f"{self.seed}/wallets")  # noqa: S311
        nanos = [
            chance.randint(200_000, 1_500_000) if number < POOR else RICH_NANOS
            for number in range(WALLETS)
        ]
        for at in range(0, WALLETS, AT_ONCE):
            some = [self._new_wallet(one) for one in nanos[at : at + AT_ONCE]]
            for made in await asyncio.gather(*some):
                quiet = partition_of(made.wallet) in QUIET_PARTITIONS
                (self.quiet if quiet else self.wallets).append(made)

    async def _new_wallet(self, nanos: int) -> Wallet:
        reason = self._unlike("start")
        made = await keys.create(self.stack.stores, credit_nanos=nanos, reason=reason)
        self.moves.append(Move("credit", made.wallet, nanos, reason, 1, 1))
        return Wallet(made.wallet, made.key_id, made.secret)

    @property
    def rich(self) -> list[Wallet]:
        """Wallets that are far from empty."""
        return self.wallets[POOR:]

    async def new_wallet(self, nanos: int = RICH_NANOS) -> Wallet:
        """A wallet that nobody else uses, and which is spendable when this returns."""
        made = await self._new_wallet(nanos)
        self.own.append(made)
        await self._await_secret(made, made.secret)
        return made

    def _unlike(self, word: str) -> str:
        self._serial += 1
        return f"drill {word} {self._serial}"

    # -- clients and operator -----------------------------------------------------------------

    def start(self, *, clients: int = CLIENTS, operator: bool = True) -> None:
        """Everybody begins."""
        self._running = True
        self.began_s = clock.monotonic_s()
        for number in range(clients):
            self._tasks.append(asyncio.create_task(self._client(number)))
        if operator:
            self._tasks.append(asyncio.create_task(self._operate()))

    async def stop(self) -> None:
        """Everybody ends what is under way, and stops. Raises what one of them has raised."""
        self._running = False
        tasks, self._tasks = self._tasks, []
        await asyncio.gather(*tasks)

    async def _client(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}/{len(self.answers)}")  # noqa: S311
        mine = self._wallets_of(number)
        await asyncio.sleep(chance.random() * THINK_S)
        while self._running:
            wish = self.wish(chance, chance.choice(mine))
            await self.send(wish, GATEWAYS[chance.random() < 0.5])
            await asyncio.sleep(chance.random() * 2 * THINK_S)

    def _wallets_of(self, number: int) -> list[Wallet]:
        if number < SHARERS:
            return self.wallets[-SHARED:]
        own = self.wallets[:-SHARED]
        return own[number - SHARERS :: CLIENTS - SHARERS]

    def wish(self, chance: random.Random, wallet: Wallet, *, directive: str = "") -> Wish:
        """A request as this workload makes them."""
        self._serial += 1
        tag = f"t{self.seed}x{self._serial}"
        kind, (dialect, slug) = chance.random(), chance.choice(MODELS)
        tokens = chance.randint(8, 40)
        wish = Wish(tag, wallet.secret, wallet.wallet, dialect, slug, stream=kind < 0.75)
        wish.directive = directive or f"tokens={tokens}; delay_ms={chance.randint(4, 12)}"
        if kind < 0.05:
            wish.directive += f"; cut_after={chance.randint(1, 7)}"
        elif kind < 0.15:
            wish.leave_after = chance.randint(1, 8)
        return wish

    def stream(self, wallet: Wallet, directive: str, model: tuple[str, str]) -> Wish:
        """A stream that its client reads to its end; `model` is the dialect and the slug."""
        self._serial += 1
        tag = f"t{self.seed}x{self._serial}"
        wish = Wish(tag, wallet.secret, wallet.wallet, *model, stream=True)
        wish.directive = directive
        return wish

    async def send(self, wish: Wish, gateway: str) -> Answer:
        """One request; where a gateway does not listen, the other is asked, as a front proxy
        does."""
        self.asking += 1
        try:
            answer = await ask(wish, gateway, self.stack.links[f"clients>{gateway}"].port)
            if answer.broken and not answer.status and answer.ended_s - answer.began_s < 0.1:
                self.answers.append(answer)
                wish = Wish(**{**vars(wish), "tag": f"{wish.tag}r"})
                other = GATEWAYS[gateway == GATEWAYS[0]]
                answer = await ask(wish, other, self.stack.links[f"clients>{other}"].port)
        finally:
            self.asking -= 1
        self.answers.append(answer)
        return answer

    async def _operate(self) -> None:
        chance = random.Random(f"{self.seed}/operator/{len(self.moves)}")  # noqa: S311
        while self._running:
            await asyncio.sleep(chance.random() * 2 * OPERATOR_S)
            wallet = chance.choice(self.wallets)
            kind = chance.choice(("credit", "credit", "debit", "rotate"))
            if kind == "rotate":
                await self.rotate(wallet)
            else:
                await self.move(kind, wallet, chance.randint(1, 2_000_000))

    async def rotate(self, wallet: Wallet) -> None:
        """A new secret for a wallet's key, to which its customer changes."""
        with contextlib.suppress(BooksUnavailable, asyncpg.PostgresError):  # the old one goes on
            secret = await keys.rotate(self.stack.stores, wallet.key_id)
            self._tasks.append(asyncio.create_task(self._hand_over(wallet, secret)))

    async def _hand_over(self, wallet: Wallet, secret: str) -> None:
        """The customer changes to the new secret once it works; the old one does meanwhile."""
        if await self._await_secret(wallet, secret):
            wallet.secret = secret

    async def _await_secret(self, wallet: Wallet, secret: str) -> bool:
        """Whether Redis takes a secret within a while."""
        stores = self.stack.stores
        deadline_s = clock.monotonic_s() + HAND_OVER_S
        while clock.monotonic_s() < deadline_s:
            with contextlib.suppress(TillUnavailable):
                found = await stores.till.look(wallet.wallet, digest(secret, stores.pepper))
                if isinstance(found, Look):
                    return True
            await asyncio.sleep(0.1)
        return False

    async def move(self, kind: str, wallet: Wallet, nanos: int) -> Move:
        """One credit or debit by the operator, as `corvus keys` does it."""
        reason, stores = self._unlike(kind), self.stack.stores
        least, most = 1, 1
        try:
            if kind == "credit":
                await keys.credit(stores, wallet.key_id, nanos, reason=reason)
            else:
                await keys.debit(stores, wallet.key_id, nanos, reason=reason)
        except keys.MovePending:
            # It is in the books: a credit comes for certain, a debit if the money is still free.
            least = 1 if kind == "credit" else 0
        except keys.ServiceRefused:
            least = most = 0
        except (BooksUnavailable, TillUnavailable, asyncpg.PostgresError):
            least = 0  # nobody was told that it was done
        made = Move(kind, wallet.wallet, nanos, reason, least, most)
        self.moves.append(made)
        return made
