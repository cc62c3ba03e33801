"""The same oracle under Hypothesis: a difference is told by the shortest story that shows it."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.model.traffic import AMOUNTS, BAD_AMOUNTS, Traffic
from tests.model.world import ARGUMENTS, KEYS, Call, Server, World
from tests.oracle.till_oracle import CAP_NANOS, Reply

PART = 3
WALLETS = ("w_tiny030", "w_huge030")
EDGES = (0, 1, 2, 99, 100, 101, 10**15 - 1, 10**15, 10**15 + 1, 2**53 - 1)
amounts = st.one_of(st.integers(0, 120), st.sampled_from(EDGES), st.integers(0, 2 * 10**15))
wallets = st.sampled_from(WALLETS)
rids = st.sampled_from(("r1", "r2", "r3", "r4"))
ids = st.sampled_from(("m1", "m2", "m3"))


class Machine(RuleBasedStateMachine):
    """A partition with two wallets, one nearly empty and one near the cap; a few request ids, so
    that they meet again and again."""

    world: World

    @initialize()
    def begin(self) -> None:
        self.world.flush()
        self.one = self.world.oracle[PART]
        self.made = Traffic(self.world, 1)
        self.rows = 1
        self.last: Call | None = None
        self.do("init", "64", epoch=False)
        for wallet, nanos in zip(WALLETS, (100, CAP_NANOS - 100), strict=True):
            self.do("key", wallet, "1", "1", self.made.row(wallet), wallet=wallet)
            self.reopen_or_not()
            self.do("credit", f"start{wallet}", wallet, str(nanos), "grants", "", "", wallet=wallet)

    def reopen_or_not(self) -> None:
        if self.one.state != "OPEN":
            self.world.reopen(PART)

    def do(self, name: str, *args: str, wallet: str = "", epoch: bool = True) -> Reply:
        self.last = Call(PART, name, ((self.one.epoch,) if epoch else ()) + args, wallet)
        return self.world.call(self.last)[0]

    def wallet_of(self, rid: str, otherwise: str) -> str:
        hold = self.one.holds.get(rid)
        return hold.wallet if hold else otherwise

    # -- requests -------------------------------------------------------------------------------

    @rule(rid=rids, wallet=wallets, least=amounts, more=amounts, share=amounts,
          digest=st.sampled_from("aaabxz"), lag=st.sampled_from((0, 1, 50)))  # fmt: skip
    def reserve(
        self, rid: str, wallet: str, least: int, more: int, share: int, digest: str, lag: int
    ) -> None:
        figures = (str(least), str(least + more), str(share))
        who = (rid, self.wallet_of(rid, wallet), f"{wallet}/{digest}", "me")
        rest = ("pv", "slug", "10", str(lag), "2026-11-25", "2026-11")
        self.do("reserve", *who, *figures, *rest, wallet=who[1])

    @rule(rid=rids, total=amounts, spent=amounts, owner=st.sampled_from(("me", "me", "thief")),
          meta=st.sampled_from(("", "{}", "a|b")))  # fmt: skip
    def extend(self, rid: str, total: int, spent: int, owner: str, meta: str) -> None:
        wallet = self.wallet_of(rid, WALLETS[0])
        self.do("extend", rid, str(total), str(spent), owner, meta, wallet=wallet)

    @rule(rid=rids, actual=amounts)
    def settle(self, rid: str, actual: int) -> None:
        wallet = self.wallet_of(rid, WALLETS[0])
        self.do("settle", rid, str(actual), "completed", "{}", "", "0", wallet=wallet)

    @rule(rid=rids, renewals=st.integers(0, 3))
    def expire(self, rid: str, renewals: int) -> None:
        self.do("expire", rid, str(renewals), wallet=self.wallet_of(rid, WALLETS[0]))

    @rule(rid=rids, wallet=wallets, actual=amounts)
    def late(self, rid: str, wallet: str, actual: int) -> None:
        who = (wallet, f"key_{wallet}_a", "slug")
        self.do("late", rid, *who, str(actual), "completed", "{}", wallet=wallet)

    # -- money and keys -------------------------------------------------------------------------

    @rule(name=ids, wallet=wallets, nanos=amounts)
    def credit(self, name: str, wallet: str, nanos: int) -> None:
        self.do("credit", name, wallet, str(nanos), "grants", "", "why", wallet=wallet)

    @rule(name=ids, wallet=wallets, nanos=amounts, up_to=st.sampled_from("01"))
    def debit(self, name: str, wallet: str, nanos: int, up_to: str) -> None:
        self.do("debit", name, wallet, str(nanos), up_to, "refunds", "", "why", wallet=wallet)

    @rule(wallet=wallets, newer=st.integers(0, 1), status=st.sampled_from("1102"))
    def key(self, wallet: str, newer: int, status: str) -> None:
        version = int(self.one.wallets[wallet].version) + newer
        self.do("key", wallet, str(version), status, self.made.row(wallet), wallet=wallet)

    @rule(wallet=wallets, digest=st.sampled_from("abxz"))
    def look(self, wallet: str, digest: str) -> None:
        self.do("look", f"{wallet}/{digest}", wallet=wallet)

    @rule(done=st.integers(0, 12), keep=st.integers(0, 4))
    def ack(self, done: int, keep: int) -> None:
        if done <= self.world.books[PART].seq or done > self.one.seq or keep >= done:
            self.do("ack", str(done), str(keep))

    # -- what goes wrong ------------------------------------------------------------------------

    @precondition(lambda self: self.last is not None)
    @rule()
    def repeat(self) -> None:
        """The reply was lost."""
        assert self.last is not None
        self.world.call(self.last)

    @precondition(lambda self: self.last is not None and self.last.name in AMOUNTS)
    @rule(data=st.data(), text=st.sampled_from(BAD_AMOUNTS))
    def spoil(self, data: st.DataObject, text: str) -> None:
        """What is no amount."""
        assert self.last is not None
        argument = data.draw(st.sampled_from(AMOUNTS[self.last.name]))
        self.world.call(self.last.changed(argument, text))

    @precondition(lambda self: self.last is not None and "epoch" in ARGUMENTS[self.last.name])
    @rule(epoch=st.sampled_from(("", "0", "9")))
    def stale(self, epoch: str) -> None:
        """A stale epoch."""
        assert self.last is not None
        if epoch != self.one.epoch:
            self.world.call(self.last.changed("epoch", epoch))

    @precondition(lambda self: self.last is not None)
    @rule(at=st.integers(0, 6))
    def wrong_type(self, at: int) -> None:
        """A text in place of one of the keys."""
        assert self.last is not None
        self.world.wrong_type(self.last, at % len(KEYS[self.last.name]))

    @rule(rid=rids, wallet=wallets)
    def another_server(self, rid: str, wallet: str) -> None:
        """The data carries another server's stamp: fenced until it is checked and opened."""
        self.world.wire.ask(("HSET", f"{{p{PART:02d}}}:m", "rs", "f" * 40))
        self.one.stamp = "f" * 40
        self.settle(rid, 1)
        self.credit("fenced", wallet, 1)
        self.world.reopen(PART)

    @rule(booked=st.booleans())
    def rebuild(self, booked: bool) -> None:
        """Begun anew from the books, which have the last events or not."""
        if booked:
            self.world.drain(PART)
        lost = self.one
        self.world.flush()
        self.one = self.world.oracle[PART]
        self.made.names = {PART: [name for name in WALLETS if name in lost.wallets]}
        self.made.rebuild(PART, lost)
        self.last = None

    @invariant()
    def all_is_the_same(self) -> None:
        """Every key, after every rule."""
        if hasattr(self, "one"):
            self.one.check()
            have = self.world.read(PART)
            for name, value in self.one.render().items():
                assert have[name] == value, name


def test_any_story_ends_alike(server: Server) -> None:
    """Stories of 40 rules; Hypothesis looks for one in which server and oracle differ."""

    class Here(Machine):
        def __init__(self) -> None:
            self.world = World(server, (PART,))
            super().__init__()

        def teardown(self) -> None:
            self.world.wire.close()

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
