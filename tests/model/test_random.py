"""Random traffic against real servers, every reply and the whole state compared with the oracle."""

import time

import pytest

from corvus_proxy.till.scripts import NAMES, SCRIPTS
from tests.model.traffic import traffic
from tests.model.world import Server, World
from tests.tidy.test_lua_headers import header

GATE_OPERATIONS = 25_000
"""On each of two servers."""
REASONS = {
    "reserve": {
        "DENIED": ("secret", "expired", "frozen", "closed", "revoked", "expired_key", "model"),
        "LIMITED": ("cap", "concurrency"),
    },
    "look": {
        "DENIED": ("secret", "expired"),
        "OK": ("active", "frozen", "closed", "revoked", "expired"),
    },
    "extend": {"FINAL": ("", "frozen", "closed", "revoked", "cap")},
}
"""Replies that have a reason or a status, and which there are."""
SPENT_BEYOND = 2**53


def documented() -> set[tuple[str, str]]:
    """Every reply that a script's header names, with every reason."""
    found = set()
    for name in NAMES:
        for part in header(SCRIPTS[name].text)["REPLY"].split("|"):
            word = part.split()[0]
            for reason in REASONS.get(name, {}).get(word, ("",)):
                found.add((name, f"{word} {reason}".strip()))
    return found


def report(world: World, seconds: float) -> None:
    """What was done, for whoever runs this with -s."""
    rate = world.operations / seconds
    print(f"\n{world.operations} operations, {seconds:.0f} s, {rate:.0f} a second;", end=" ")
    print(f"drift {world.drift_nanos} n$; {dict(world.happened)}")
    for (name, kind), count in sorted(world.seen.items()):
        print(f"  {name} {kind}: {count}")


def check(server: Server, operations: int, *, seed: int, calm: int) -> None:
    one, began = traffic(server, seed), time.monotonic()
    one.run(operations, calm=calm)
    for _ in range(9):  # a rare reply waits for its circumstances, and some of these are time
        if documented() <= set(one.world.seen):
            break
        one.run(one.world.operations + operations // 10, calm=calm)
    report(one.world, time.monotonic() - began)
    assert one.world.drift_nanos == 0
    assert documented() - set(one.world.seen) == set()
    happened = one.world.happened
    for what in ("kills", "flushes", "promotions", "rebuilds", "script flushes"):
        assert happened[what] > 0, what
    assert happened["wrong types refused"] > 100
    wallets = [wallet for part in one.world.oracle.values() for wallet in part.wallets.values()]
    assert max(wallet.spent for wallet in wallets) > SPENT_BEYOND


def test_the_scripts_are_the_oracle(server: Server) -> None:
    """Requests, restarts, losses and rebuilds: not a reply, not a nano differs."""
    check(server, GATE_OPERATIONS, seed=20_261, calm=1)


@pytest.mark.slow
def test_the_scripts_are_the_oracle_at_length(server: Server, pytestconfig: pytest.Config) -> None:
    """The same a million times on each server; `--operations` sets how often."""
    operations = pytestconfig.getoption("--operations") // 2
    check(server, operations, seed=time.time_ns() % 10**6, calm=3)
