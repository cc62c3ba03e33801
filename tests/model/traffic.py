"""Random traffic for `World`: what requests, operators and the worker ask, and what befalls them.

Everything comes from one seed. Requests repeat themselves, come late, with stale epochs, wrong
owners and texts that are no amounts; a quarter of the wallets is nearly empty, a quarter near the
cap, whose totals pass 2^53.
"""

import json
import random
from collections import deque
from collections.abc import Callable, Sequence

from tests.model.world import ARGUMENTS, KEYS, Books, Call, Server, World, load_rows
from tests.oracle.till_oracle import CAP_NANOS, Partition, Reply, period_end

BATCH = 200
BAD_AMOUNTS = (
    "", "-1", "1e3", "1.5", " 1", "0x10", "nan", "12345678901234567",
    "9007199254740992", "9007199254740992", "9007199254740993",
)  # fmt: skip
AMOUNTS = {
    "reserve": ("least", "most", "share_floor", "request_tokens", "lag_limit"),
    "extend": ("total", "checkpoint"),
    "settle": ("actual",),
    "expire": ("renewals",),
    "late": ("actual",),
    "credit": ("amount",),
    "debit": ("amount",),
    "ack": ("committed", "keep"),
    "adopt": ("held", "checkpoint"),
    "direct": ("actual",),
}
META = ("", '{"pv":"m"}', '{"pv":"a|b","src":"upstream"}')
FAR_MS = 10**15 + 1
QUIET_MS = 4 * 3600 * 1000
OWNERS = ("one", "two")
SCALES = {"w_tiny": 40, "w_mid": 10**9, "w_big": 10**13, "w_huge": 4 * 10**14}


class Traffic:
    """Calls for one world, made from its oracle's present state."""

    def __init__(self, world: World, seed: int, *, wallets: int = 4) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.names = {
            part: [f"{kind}{part:02d}{n}" for n in range(wallets // 4) for kind in SCALES]
            for part in world.parts
        }
        self.recent: dict[int, deque[str]] = {part: deque(maxlen=60) for part in world.parts}
        self.moves: dict[int, deque[Call]] = {part: deque(maxlen=30) for part in world.parts}
        now_ms = world.oracle[world.parts[0]].now_ms
        # None that ends while the test runs: the oracle's clock stands still.
        self.periods = [
            period
            for period in ("day", "week", "month", "total")
            if not 0 < period_end(period, now_ms) * 1000 - now_ms < QUIET_MS
        ]
        self.asked: dict[str, str] = {}
        """The wallet of every request."""
        self.count = 0
        self.kinds: tuple[tuple[int, Callable[[int], Call]], ...] = (
            (36, self.reserve), (18, self.extend), (20, self.settle), (4, self.expire),
            (3, self.late), (7, self.credit), (3, self.debit), (2, self.key), (2, self.look),
            (2, self.ack), (1, self.idle),
        )  # fmt: skip
        self._makers = [maker for _, maker in self.kinds]
        self._weights = [weight for weight, _ in self.kinds]

    # -- one call -------------------------------------------------------------------------------

    def one(self) -> Call:
        """A call; one in twenty is asked with a stale epoch or with what is no amount."""
        part = self.random.choice(self.world.parts)
        call = self.random.choices(self._makers, self._weights)[0](part)
        odd = self.random.random()
        if odd < 0.01 and "epoch" in ARGUMENTS[call.name] and call.name != "rebuild":
            return call.changed("epoch", self.random.choice(("", "0", "999", call.args[0] + "0")))
        if odd < 0.05 and call.name in AMOUNTS:
            return self.spoilt(call)
        return call

    def spoilt(self, call: Call) -> Call:
        argument = self.random.choice(AMOUNTS[call.name])
        return call.changed(argument, self.random.choice(BAD_AMOUNTS))

    def batch(self, count: int = BATCH) -> tuple[list[Call], list[Reply]]:
        """Calls and what they have to answer; one in twenty is sent twice: its reply was lost."""
        calls: list[Call] = []
        expected: list[Reply] = []
        while len(calls) < count:
            call = self.one()
            for _ in range(2 if self.random.random() < 0.05 else 1):
                calls.append(call)
                expected.append(self.world.expect(call))
        return calls, expected

    def _of(self, part: int) -> Partition:
        return self.world.oracle[part]

    def _wallet(self, part: int) -> str:
        if self.random.random() < 0.01:
            return "w_nobody"
        return self.random.choice(self.names[part])

    def _scale(self, wallet: str) -> int:
        return next((scale for kind, scale in SCALES.items() if wallet.startswith(kind)), 1000)

    def _nanos(self, wallet: str) -> int:
        scale = self._scale(wallet)
        return self.random.randrange(scale if self.random.random() < 0.7 else scale // 10 + 1)

    def _rid(self, part: int) -> str:
        """A request of this partition: one that runs, one of the last, or one that never was."""
        chance, holds = self.random.random(), self._of(part).holds
        if chance < 0.03 or not self.recent[part]:
            return f"never{self.random.randrange(9)}"
        if chance > 0.2 and holds:
            return self.random.choice(list(holds))
        return self.random.choice(self.recent[part])

    def _wallet_of(self, part: int, rid: str) -> str:
        hold = self._of(part).holds.get(rid)
        return hold.wallet if hold else self.asked.get(rid, self.names[part][0])

    def _named_for(self, part: int, rid: str) -> str:
        """The wallet that a caller names for a request, now and then another's."""
        if self.random.random() < 0.02:
            return self._wallet(part)
        return self._wallet_of(part, rid)

    def reserve(self, part: int) -> Call:
        wallet = self._wallet(part)
        rid = self._rid(part) if self.random.random() < 0.06 else ""
        one = self._of(part)
        if rid and (rid in one.holds or rid in one.ended):
            wallet = self._wallet_of(part, rid)
        else:  # ids are never used again, so one that was forgotten does not come back
            self.count += 1
            rid = f"r{part}.{self.count}"
            self.recent[part].append(rid)
            self.asked[rid] = wallet
            if len(self.asked) > 20_000:
                del self.asked[next(iter(self.asked))]
        least = self._nanos(wallet)
        most = least + self._nanos(wallet)
        share = self.random.randrange(least, most + 1) if self.random.random() < 0.4 else 0
        behind = one.seq - one.committed + self.random.choice((-2, -1, 0, 1))
        lag = str(max(0, behind)) if self.random.random() < 0.03 else "100000"
        digest = f"{wallet}/{self.random.choice('aaaaaaaaaaaaabbbbxyz')}"
        day = self.random.choice(("2026-11-25",) * 50 + ("today", "2026-12-01"))
        return Call(
            part, "reserve",
            (one.epoch, rid, wallet, digest, self.random.choice(OWNERS), str(least), str(most),
             str(share), "pv1", "slug", "10", lag, day, "2026-11"),
            wallet,
        )  # fmt: skip

    def _stopped(self, one: Partition) -> str | None:
        """A request whose wallet or key may spend no more; each way of being stopped as often as
        any other."""
        by_why: dict[str, list[str]] = {}
        for rid, hold in one.holds.items():
            wallet = one.wallets[hold.wallet]
            why = wallet.status if wallet.status != "1" else wallet.key_standing(hold.key)
            if why != "active":
                by_why.setdefault(why, []).append(rid)
        if not by_why:
            return None
        return self.random.choice(self.random.choice(list(by_why.values())))

    def extend(self, part: int) -> Call:
        rid, one = self._rid(part), self._of(part)
        if self.random.random() < 0.1:
            # A slice that is asked for after its wallet or key was stopped is rare by itself.
            rid = self._stopped(one) or rid
        hold = one.holds.get(rid)
        wallet = self._named_for(part, rid)
        held = hold.held if hold else 0
        total = held + self._nanos(wallet) if self.random.random() < 0.6 else held
        spent = self.random.randrange(total + 1)
        owner = hold.owner if hold and self.random.random() < 0.97 else "thief"
        meta = self.random.choice(META)
        return Call(part, "extend", (one.epoch, rid, str(total), str(spent), owner, meta), wallet)

    def settle(self, part: int) -> Call:
        rid, one = self._rid(part), self._of(part)
        hold = one.holds.get(rid)
        wallet = self._named_for(part, rid)
        actual = self.random.randrange((hold.held if hold else 100) + 1)
        if self.random.random() < 0.05:
            actual += self._nanos(wallet)
        if self.random.random() < 0.1:
            actual = 0
        words = (self.random.choice(("completed", "client_cancelled_midstream")), "{}")
        tokens = self.random.choice(("0",) * 50 + ("-", "", "1" * 17))
        return Call(part, "settle", (one.epoch, rid, str(actual), *words, "", tokens), wallet)

    def expire(self, part: int) -> Call:
        rid, one = self._rid(part), self._of(part)
        hold = one.holds.get(rid)
        renewals = hold.renewals if hold else 0
        if self.random.random() < 0.2:
            renewals = max(0, renewals + self.random.choice((-1, 1)))
        wallet = self._named_for(part, rid)
        return Call(part, "expire", (one.epoch, rid, str(renewals)), wallet)

    def late(self, part: int) -> Call:
        one, rid = self._of(part), self._rid(part)
        ended = [rid for rid in self.recent[part] if one.ended.get(rid, " ")[0][0] == "X"]
        if ended and self.random.random() < 0.8:
            rid = self.random.choice(ended)
        wallet = self._wallet_of(part, rid)
        actual = self._nanos(wallet)
        if rid in one.ended:
            charged, short = map(int, one.ended[rid][0].split("|")[1:3])
            actual = max(0, charged + short + self.random.choice((-1, 0, 1, actual)))
        who = (wallet, f"key_{wallet}_a", "slug")
        return Call(part, "late", (one.epoch, rid, *who, str(actual), "completed", "{}"), wallet)

    def _move(self, part: int, name: str, wallet: str, *args: str) -> Call:
        if self.moves[part] and self.random.random() < 0.15:
            before = self.random.choice(self.moves[part])
            return before.changed("epoch", self._of(part).epoch)
        self.count += 1
        call = Call(
            part, name, (self._of(part).epoch, f"{name}{part}.{self.count}", wallet, *args), wallet
        )
        self.moves[part].append(call)
        return call

    def credit(self, part: int) -> Call:
        wallet = self._wallet(part)
        nanos = 1 + self._nanos(wallet) * 4
        one = self._of(part).wallets.get(wallet)
        if one and wallet.startswith("w_huge"):
            room = CAP_NANOS - one.balance
            nanos = self.random.choice((room, room, room + 1, room // 2))
        if self.random.random() < 0.03:
            nanos = self.random.choice((0, CAP_NANOS, CAP_NANOS + 1, 2**53 - 1))
        key = self.random.choice(("", f"key_{wallet}_a"))
        return self._move(part, "credit", wallet, str(nanos), "grants", key, "because")

    def debit(self, part: int) -> Call:
        wallet = self._wallet(part)
        one = self._of(part).wallets.get(wallet)
        nanos = self._nanos(wallet)
        if one and self.random.random() < 0.3:
            nanos = one.balance - one.held + self.random.choice((-1, 0, 1))
        up_to, nanos = self.random.choice("01"), max(0, nanos)
        return self._move(part, "debit", wallet, str(nanos), up_to, "refunds", "", "because")

    def row(self, wallet: str) -> str:
        """A wallet's keys: `a` is mostly good; `b` of a second key; `x`, `y`, `z` are not."""
        pick = self.random.choices
        first = {"id": f"key_{wallet}_a", "st": pick("102", (20, 1, 1))[0],
                 "ds": [[f"{wallet}/a", 0], [f"{wallet}/x", 1]]}  # fmt: skip
        if self.random.random() < 0.5:
            self.limit(wallet, first)
        second = {"id": f"key_{wallet}_b", "st": pick("102", (10, 1, 1))[0],
                  "ds": [[f"{wallet}/b", FAR_MS], [f"{wallet}/y", 1000]]}  # fmt: skip
        return json.dumps([first, second])

    def limit(self, wallet: str, key: dict[str, object]) -> None:
        """A cap near what the key may soon have spent, an end, and what the books say it has spent
        in the period; now and then of a period that is over."""
        period, scale = self.random.choice(self.periods), self._scale(wallet)
        one = self._of(self._part(wallet)).wallets.get(wallet)
        spent = one.key_spent.get(str(key["id"]), 0) if one and period == "total" else 0
        cap = spent + self.random.choice((0, 1, scale, 5 * scale, 50 * scale))
        text = "" if self.random.random() < 0.1 else str(min(cap, CAP_NANOS))
        end = self.random.choices((0, 1, FAR_MS), (20, 4, 4))[0]
        key["st"] = f"{key['st']}|{text}|{period}|{end}"
        if self.random.random() < 0.4:
            key["st"] = f"{key['st']}|{self.rates()}"
        key["n"] = self.random.choice(("0|ci", "1|", "0|a|b"))
        if period != "total" and text:
            ends = period_end(period, self._of(self._part(wallet)).now_ms)
            stale = self.random.choices((ends, 86_400), (3, 1))[0]
            key["p"] = [str(stale), str(self.random.randrange(scale + 1))]

    def rates(self) -> str:
        """How many at once, and which models. Limits a minute are a matter of the server's clock:
        tests/lua/test_rates.py."""
        choice = self.random.choice
        slugs = choice(("", "", "", "slug", "other,slug", "other,slugs"))
        return f"||{choice(('', '1', '2', '4'))}|{slugs}"

    def _part(self, wallet: str) -> int:
        return next(part for part, names in self.names.items() if wallet in names)

    def key(self, part: int) -> Call:
        wallet = self.random.choice(self.names[part])
        one = self._of(part).wallets.get(wallet)
        version = int(one.version if one else 0) + self.random.choice((0, 1, 1, 1, -1))
        status = self.random.choices("102", (14, 1, 1))[0]
        row, number = self.row(wallet), str(max(0, version))
        if self.random.random() < 0.1:
            row = self.random.choice((row[:-1], "[", '[{"id":1,"st":"1","ds":[]}]'))
        if self.random.random() < 0.05:
            number = self.random.choice(("", "-1", "x"))
        return Call(part, "key", (self._of(part).epoch, wallet, number, status, row), wallet)

    def look(self, part: int) -> Call:
        wallet = self._wallet(part)
        digest = f"{wallet}/{self.random.choice('aabxz')}"
        return Call(part, "look", (self._of(part).epoch, digest), wallet)

    def ack(self, part: int) -> Call:
        """What the books have; nothing is trimmed that they do not have."""
        one, booked = self._of(part), self.world.books[part].seq
        done = self.random.choice((booked, booked, booked - 20, one.seq, one.seq + 1))
        keep = max(self.random.choice((5, 50)), done - booked)
        return Call(part, "ack", (one.epoch, str(max(0, done)), str(keep)))

    def idle(self, part: int) -> Call:
        """What answers no in an open partition."""
        one, wallet = self._of(part), self._wallet(part)
        who = (f"key_{wallet}_a", "slug")
        return self.random.choice(
            (
                Call(part, "init", ("64",)),
                Call(part, "open", (one.epoch, "REBUILD", str(one.seq), "", "", "OPEN")),
                Call(part, "close", (one.epoch + "0",)),
                Call(part, "rebuild", (one.epoch, "0", "0", self.world.replid, "64")),
                Call(part, "load", (one.epoch, "[]")),
                Call(part, "recall", (one.epoch, "[]", "[]")),
                Call(part, "adopt", (one.epoch, "a", wallet, "1", "0", "me", "pv", *who, ""),
                     wallet),
                Call(part, "direct", (one.epoch, "a", wallet, *who, "S", "1", "completed", ""),
                     wallet),
            )
        )  # fmt: skip

    # -- partitions -----------------------------------------------------------------------------

    def found(self) -> None:
        """A new installation: partitions, wallets, first money."""
        for part in self.world.parts:
            one = self._of(part)
            absent = Call(part, "open", ("1", "REBUILD", "0", "", self.world.replid, "OPEN"))
            self.world.call(absent, Call(part, "look", ("1", "x"), self.names[part][0]))
            self.world.call(Call(part, "init", ("64",)), Call(part, "init", ("64",)))
            for name in self.names[part]:
                self.world.call(Call(part, "key", ("1", name, "1", "1", self.row(name)), name))
            self.world.reopen(part)
            for name in self.names[part]:
                nanos = CAP_NANOS if name.startswith("w_huge") else 20 * self._scale(name)
                self.world.call(
                    Call(part, "credit", (one.epoch, f"start{name}", name, str(nanos), "grants",
                                          "", ""), name)
                )  # fmt: skip

    def rebuild(self, part: int, lost: Partition) -> None:
        """Begins a partition anew from the books, and from what journals and running requests
        know of `lost`, the state before something was lost."""
        world, books, replid = self.world, self.world.books[part], self.world.replid
        one = self._of(part)
        if one.epoch:
            self.world.call(
                Call(part, "close", (f"{one.epoch}0",)), Call(part, "close", (one.epoch,))
            )
        old = max(int(lost.epoch), int(one.epoch or 0))
        begin = Call(
            part, "rebuild", (str(old + 1), str(books.seq), str(books.epoch), replid, "64")
        )
        world.call(begin.changed("replid", "0" * 40), begin, begin)
        epoch = one.epoch
        load = Call(part, "load", (epoch, load_rows(books, self.names[part])), "",
                    tuple(self.names[part]))  # fmt: skip
        world.wrong_type(load, 0)
        world.call(load._replace(wallets=load.wallets[1:]), load, load.changed("epoch", "0"))
        world.call(self.key(part), self.reserve(part), self.settle(part))
        recall = Call(part, "recall", (epoch, _rows(books.moves), _rows(books.ended)))
        self._each_key_wrong(recall)
        world.call(recall, recall.changed("epoch", "0"))
        seen = (epoch, "REBUILD", str(one.seq), one.stamp)
        world.call(Call(part, "open", (*seen, replid, "REPLAY")), load)
        self._replay(part, lost, books)
        world.reopen(part)
        world.happened["rebuilds"] += 1

    def _replay(self, part: int, lost: Partition, books: Books) -> None:
        """What was paid, what was charged, what is held: whatever the books do not have."""
        epoch = self._of(part).epoch
        after = [row for at, row in lost.events.items() if int(at.partition("-")[2]) > books.seq]
        for row in [row for row in after if row["t"] in "CD"]:
            who = (epoch, row["id"], row["w"], row["a"])
            up_to = ("1",) if row["t"] == "D" else ()
            name = "debit" if row["t"] == "D" else "credit"
            call = Call(part, name, (*who, *up_to, row["n"], row["k"], row["r"]), row["w"])
            if row["id"] not in books.moves:
                self.world.call(call, call)
        claims = [
            Call(part, "direct", (epoch, row["id"], row["w"], row["k"], row["g"], row["t"],
                                  row["a"], row["o"], row["u"]), row["w"])
            for row in after if row["t"] in "SXL"
        ]  # fmt: skip
        for rid, text in list(books.ended.items())[-3:]:
            wallet = self.names[part][0]
            who = (wallet, f"key_{wallet}_a", "slug", text[0], "1", "completed", "{}")
            claims.append(Call(part, "direct", (epoch, rid, *who), wallet))
        self.world.call(*claims)
        if claims:
            self.world.call(claims[0], self.spoilt(claims[0]), _elsewhere(claims[0]))
            fresh = claims[0].changed("rid", f"r{part}.direct{self._of(part).seq}")
            self._each_key_wrong(fresh)
        running = [
            Call(part, "adopt", (epoch, rid, hold.wallet, str(hold.held), str(hold.checkpoint),
                                 hold.owner, hold.price, hold.key, hold.slug, hold.meta),
                 hold.wallet)
            for rid, hold in lost.holds.items()
        ]  # fmt: skip
        for call in running[:1]:
            self.world.call(self.spoilt(call), _elsewhere(call))
            self._each_key_wrong(call)
        self.world.call(*running, *running[:3])
        for rid in list(self._of(part).ended)[:1]:
            who = (self.names[part][0], "1", "0", "me", "pv", "key", "slug", "")
            self.world.call(Call(part, "adopt", (epoch, rid, *who), self.names[part][0]))
        self.world.call(self.reserve(part), self.settle(part), self.ack(part))

    def _each_key_wrong(self, call: Call) -> None:
        for at in range(len(KEYS[call.name])):
            self.world.wrong_type(call, at)

    # -- events ---------------------------------------------------------------------------------

    def run(self, operations: int, *, calm: int = 1) -> None:
        """Traffic until so many operations are done; with every `calm` the intervals between
        what befalls the server grow."""
        turn = 0
        while self.world.operations < operations:
            turn += 1
            if turn % 23 == 0:
                self.flush_scripts()
            elif turn % (40 * calm) == 0:
                self.kill()
            elif turn % (100 * calm) == 0 or turn == 15:
                self.flush()
            elif turn % (110 * calm) == 0 or turn == 25:
                self.promote()
            elif turn % 19 == 0:
                self.spoil()
            elif turn % 31 == 0:
                part = self.random.choice(self.world.parts)
                self.rebuild(part, self._of(part))
            else:
                self.plain()
            for part in self.world.parts:
                if self.random.random() < 0.5:
                    self.world.drain(part)
            if turn % 10 == 0:
                self.world.compare()
        self.world.compare()

    def plain(self) -> None:
        self.world.told(*self.batch())

    def flush_scripts(self) -> None:
        self.world.forget_scripts(*self.batch(20))

    def spoil(self) -> None:
        """Every script with each of its keys of a wrong type."""
        for maker in self._makers:
            for at in range(7):
                call = maker(self.random.choice(self.world.parts))
                if at < len(KEYS[call.name]):
                    self.world.wrong_type(call, at)

    def kill(self) -> None:
        before = self.world.snapshot()
        calls, expected = self.batch(6 * BATCH)
        when = (self.random.randrange(2 * BATCH), self.random.random() / 100)
        done = self.world.kill(calls, before, expected, *when)
        self.world.call(*(self.one() for _ in range(30)))
        for part in self.world.parts:
            self.world.reopen(part)
        self.world.call(*calls[done:])

    def flush(self) -> None:
        lost = dict(self.world.oracle)
        self.world.flush()
        self.world.call(*(maker(part) for part in self.world.parts for maker in self._makers[:-1]))
        for part in self.world.parts:
            self.rebuild(part, lost[part])

    def promote(self) -> None:
        replica = self.world.follow()
        self.plain()
        then = self.world.detach(replica)
        self.plain()
        for part in self.world.parts[::2]:
            self.world.drain(part)  # the books are ahead of the replica …
        self.plain()  # … and the journals are ahead of the books
        lost = self.world.oracle
        self.world.promote(replica, then)
        self.world.call(*(self.one() for _ in range(30)))
        for part in self.world.parts:
            self.rebuild(part, lost[part])


def _rows(known: dict[str, str]) -> str:
    return json.dumps(list(known.items()))


def _elsewhere(call: Call) -> Call:
    """The same for a wallet that nobody has, under an id of its own."""
    return call.changed("rid", "nowhere").changed("wallet", "w_nobody")._replace(wallet="w_nobody")


def traffic(server: Server, seed: int, parts: Sequence[int] = (0, 7, 21, 40, 55, 63)) -> Traffic:
    """A founded world with its traffic."""
    made = Traffic(World(server, parts), seed)
    made.found()
    return made
