"""What a failure does to a credential, and how it comes back."""

import pytest

from corvus_proxy.settings import PoolSettings
from corvus_proxy.upstream.pool_standing import ACTIONS, Standing, State
from corvus_proxy.wire.verdict import Blame

SETTINGS = PoolSettings(strikes=3, cool_s=5, cool_max_s=60)


def fail(standing: Standing, blame: Blame, now_s: float = 0, wait_s: float | None = None) -> bool:
    return standing.failed(blame, wait_s, now_s, serial=standing.serial)


@pytest.mark.parametrize(
    ("blame", "after", "state", "said_no"),
    [
        (Blame.CREDENTIAL, 3, State.BANNED, True),
        (Blame.ACCOUNT, 1, State.EMPTY, True),
        (Blame.RATE, 1, State.COOLING, True),
        (Blame.BUSY, 3, State.COOLING, False),
        (Blame.BROKEN, 3, State.COOLING, False),
        (Blame.SLOW, 3, State.COOLING, False),
    ],
)
def test_each_blame_takes_a_credential_out_by_its_row(
    blame: Blame, after: int, state: State, said_no: bool
) -> None:
    """At once where the account has said no, after three in a row where one says little."""
    standing = Standing(SETTINGS)
    for _ in range(after - 1):
        assert not fail(standing, blame)
        assert standing.healthy
    assert fail(standing, blame)
    assert (standing.state, standing.said_no) == (state, said_no)
    assert ACTIONS[blame].again


def test_no_request_costs_a_credential_its_standing() -> None:
    """A request that is at fault itself is not tried elsewhere and leaves no strike."""
    standing = Standing(SETTINGS)
    for _ in range(10):
        assert not fail(standing, Blame.REQUEST)
    assert (standing.healthy, standing.strikes) == (True, 0)
    assert not ACTIONS[Blame.REQUEST].again


def test_an_answer_between_failures_takes_the_strikes_back() -> None:
    """Only failures in a row count."""
    standing = Standing(SETTINGS)
    for _ in range(5):
        fail(standing, Blame.BROKEN)
        fail(standing, Blame.BROKEN)
        standing.answered(0, trial=False)
    assert standing.healthy


def test_rests_grow_and_end() -> None:
    """5, 10, 20 … seconds, never above the longest; anew after a long time in good standing."""
    standing, now_s, spans = Standing(SETTINGS), 0.0, []
    for _ in range(6):
        fail(standing, Blame.ACCOUNT, now_s)
        spans.append(standing.until_s - now_s)
        now_s = standing.until_s
        assert standing.answered(now_s, trial=True)
    assert spans == [5, 10, 20, 40, 60, 60]
    fail(standing, Blame.ACCOUNT, now_s + 61)
    assert standing.until_s - now_s - 61 == 5


@pytest.mark.parametrize(("asked_s", "rests_s"), [(7.0, 7.0), (0.5, 0.5), (9999.0, 60.0)])
def test_a_pause_that_was_asked_for_is_kept(asked_s: float, rests_s: float) -> None:
    """As long as the upstream says, within reason."""
    standing = Standing(SETTINGS)
    fail(standing, Blame.RATE, 100.0, asked_s)
    assert standing.until_s == 100.0 + rests_s


def test_old_news_neither_deepen_nor_heal() -> None:
    """Requests that were under way when a credential fell say nothing about it now; but an account
    found empty while it cools is empty."""
    standing = Standing(SETTINGS)
    before = standing.serial
    fail(standing, Blame.RATE, 0)
    until_s = standing.until_s
    assert not standing.failed(Blame.RATE, None, 3.0, serial=before)
    assert not standing.answered(3.0, trial=False)
    assert (standing.state, standing.until_s) == (State.COOLING, until_s)
    assert standing.failed(Blame.ACCOUNT, None, 3.0, serial=before)
    assert standing.state is State.EMPTY


def test_a_probe_opens_half_and_a_trial_the_rest() -> None:
    """A refused probe is another fall; an accepted one lets a trial through."""
    standing = Standing(SETTINGS)
    fail(standing, Blame.ACCOUNT, 0)
    standing.probed(accepted=False, now_s=5)
    assert (standing.half_open, standing.until_s) == (False, 15)
    standing.probed(accepted=True, now_s=15)
    assert (standing.half_open, standing.state) == (True, State.EMPTY)
    assert standing.answered(16, trial=True)
    assert (standing.healthy, standing.half_open) == (True, False)
