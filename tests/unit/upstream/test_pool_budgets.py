"""A credential that has cost what it may: no request is its any more, until the period ends."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from corvus_proxy import clock, metrics
from corvus_proxy.errors import ConfigurationError, UpstreamOverloaded
from corvus_proxy.settings import Credential, Upstream
from corvus_proxy.upstream.pool import Pool
from corvus_proxy.upstream.pool_members import Sought
from corvus_proxy.upstream.transport import HttptoolsTransport, Transport
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.verdict import Blame

TRANSPORTS: dict[str, Transport] = {"httptools": HttptoolsTransport()}


@pytest.fixture
def row(tmp_path: Path) -> Upstream:
    """a may cost 2 USD a day and 10 a month, b anything."""
    (tmp_path / "s").write_text("k")
    secret = str(tmp_path / "s")
    return Upstream("anthropic", "https://api.anthropic.com", credential=[
        Credential("a", secret_file=secret, budget_day_usd="2", budget_month_usd=10),
        Credential("b", secret_file=secret),
    ])  # fmt: skip


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def usd(day: float, month: float) -> dict[str, tuple[int, int]]:
    return {"a": (round(day * 10**9), round(month * 10**9))}


def named(pool: Pool, session: str, *tried: str) -> str:
    sought = Sought(session.encode(), False, tried)
    return pool.choose("anthropic", Dialect.MESSAGES, sought).credential.name


def states(pool: Pool) -> dict[str, str]:
    return {name: state.value for _, name, state in pool.states()}


def test_a_spent_budget_moves_every_session_and_its_end_lets_it_serve(row: Upstream) -> None:
    """To the nano; the day's and the month's each by itself."""
    pool = Pool([row], TRANSPORTS, now_s=Clock())
    assert pool.has_budgets
    homes = {f"s{number}": named(pool, f"s{number}") for number in range(20)}
    assert set(homes.values()) == {"a", "b"}
    pool.hold_to_budgets({"a": (2 * 10**9 - 1, 10**10 - 1)})
    assert states(pool) == {"a": "healthy", "b": "healthy"}
    for day, month in ((2, 2), (0, 10), (3, 11)):
        pool.hold_to_budgets(usd(day, month))
        assert states(pool) == {"a": "empty", "b": "healthy"}
        assert {named(pool, session) for session in homes} == {"b"}
        pool.hold_to_budgets(usd(0, 2))  # another day
        assert states(pool) == {"a": "healthy", "b": "healthy"}
        assert "a" in {named(pool, f"{day}/{number}") for number in range(20)}


def test_the_last_one_left_takes_nothing_either(
    row: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where the others have fallen, not as a trial, not as a sole credential; the client is
    told when, and a standing of its own goes on beneath."""
    clock_s = Clock()
    now = datetime(2026, 11, 26, 23, 59, 30, tzinfo=UTC)
    monkeypatch.setattr(clock, "utc_now", lambda: now)
    pool = Pool([row], TRANSPORTS, now_s=clock_s)
    a = pool.choose("anthropic", Dialect.MESSAGES, Sought(tried=("b",)))
    a.turn.begin()
    a.turn.failed(Blame.RATE, 5.0)
    a.turn.end()
    assert states(pool)["a"] == "cooling"
    clock_s.now_s += 6
    pool.choose("anthropic", Dialect.MESSAGES)  # there is no probe here: it may have its trial
    pool.hold_to_budgets(usd(2, 2))
    assert states(pool)["a"] == "empty"
    assert named(pool, "new") == "b"
    with pytest.raises(UpstreamOverloaded) as refused:
        named(pool, "new", "b")
    assert refused.value.retry_after_s == 30
    sole = Pool(
        [msgspec.structs.replace(row, credential=row.credential[:1])], TRANSPORTS, now_s=clock_s
    )
    sole.hold_to_budgets(usd(0, 10))
    with pytest.raises(UpstreamOverloaded) as refused:
        named(sole, "s")
    assert refused.value.retry_after_s == 60  # more than a minute is not told
    pool.hold_to_budgets(usd(0, 2))
    assert states(pool)["a"] == "cooling"
    assert named(pool, "newer") == "a"


def test_the_file_may_give_it_more(row: Upstream) -> None:
    """At once, without a word from the books; and so may it take a budget away, or bring one."""
    pool = Pool([row], TRANSPORTS, now_s=Clock())
    pool.hold_to_budgets(usd(2, 2))
    for budget, state in ((3, "healthy"), (1.5, "empty"), ("", "healthy"), ("0.01", "empty")):
        first = msgspec.structs.replace(row.credential[0], budget_day_usd=budget)
        pool.update(
            [msgspec.structs.replace(row, credential=[first, row.credential[1]])], TRANSPORTS
        )
        assert states(pool)["a"] == state, budget
    none = [msgspec.structs.replace(row, credential=[row.credential[1]])]
    assert not Pool(none, TRANSPORTS).has_budgets


def test_metrics_show_how_far_it_is(row: Upstream) -> None:
    """Cost and budget; none of them once it is gone; nothing of a credential without a budget."""
    pool = Pool([row], TRANSPORTS, now_s=Clock())

    def shown(metric: object, period: str, name: str = "a") -> float | None:
        for sample in metric.collect()[0].samples:  # type: ignore[attr-defined]
            if sample.labels == {"family": "anthropic", "credential": name, "period": period}:
                return float(sample.value)
        return None

    pool.hold_to_budgets(usd(1, 4))
    assert shown(metrics.CREDENTIAL_COST, "day") == 1e9
    assert shown(metrics.CREDENTIAL_COST, "month") == 4e9
    assert shown(metrics.CREDENTIAL_BUDGET, "day") == 2e9
    assert shown(metrics.CREDENTIAL_BUDGET, "month") == 1e10
    assert shown(metrics.CREDENTIAL_BUDGET, "day", "b") is None
    pool.update([msgspec.structs.replace(row, credential=[row.credential[1]])], TRANSPORTS)
    assert shown(metrics.CREDENTIAL_COST, "day") == 0
    assert shown(metrics.CREDENTIAL_BUDGET, "month") == 0


@pytest.mark.parametrize("wrong", ["-1", "0", "1e-10", "x", "nan", 0.0, "inf"])
def test_what_is_no_budget_is_refused(wrong: float | str) -> None:
    """By its name; nobody is to believe in a limit that is none."""
    with pytest.raises(ConfigurationError, match="credential a: budget_month_usd"):
        Credential("a", budget_month_usd=wrong).budgets_nanos()
    assert Credential("a", budget_day_usd="0.5").budgets_nanos() == {"day": 5 * 10**8}
