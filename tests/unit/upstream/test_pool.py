"""Credentials by weight, and what a configuration may point at."""

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.errors import ConfigurationError, Unpriced, UpstreamOverloaded
from corvus_proxy.money.price import Terms
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Part, Usage
from corvus_proxy.settings import Credential, PoolSettings, PricingSettings, Upstream
from corvus_proxy.upstream.pool import Pool
from corvus_proxy.upstream.pool_members import Sought
from corvus_proxy.upstream.pool_pins import rank
from corvus_proxy.upstream.transport import HttptoolsTransport, Transport
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.verdict import Blame

TRANSPORTS: dict[str, Transport] = {"httptools": HttptoolsTransport()}


@pytest.fixture
def secret(tmp_path) -> str:
    (tmp_path / "s").write_text("k")
    return str(tmp_path / "s")


def pool(*upstreams: Upstream) -> Pool:
    return Pool(list(upstreams), TRANSPORTS)


def test_credentials_take_turns_by_weight(secret: str) -> None:
    """3 to 1, spread evenly, never in bursts longer than needed."""
    credentials = [
        Credential("big", secret_file=secret, weight=3),
        Credential("small", secret_file=secret),
    ]
    made = pool(Upstream("openai", "https://api.openai.com", credential=credentials))
    names = [made.choose("openai", Dialect.CHAT).credential.name for _ in range(400)]
    assert Counter(names) == {"big": 300, "small": 100}
    assert "bigbigbigbig" not in "".join(names)


@pytest.mark.parametrize(
    ("family", "base", "dialect", "target", "host", "auth"),
    [
        ("anthropic", "https://api.anthropic.com", Dialect.MESSAGES, b"/v1/messages",
         b"api.anthropic.com", b"x-api-key"),
        ("openai", "http://127.0.0.1:9000/", Dialect.CHAT, b"/v1/chat/completions",
         b"127.0.0.1:9000", b"authorization"),
        ("glm", "https://api.z.ai/api/paas/v4", Dialect.CHAT, b"/api/paas/v4/chat/completions",
         b"api.z.ai", b"authorization"),
    ],
)  # fmt: skip
def test_request_goes_where_its_family_listens(
    secret: str, family: str, base: str, dialect: Dialect, target: bytes, host: bytes, auth: bytes
) -> None:
    """Path, Host and the family's own way to carry a key."""
    made = pool(Upstream(family, base, credential=[Credential("a", secret_file=secret)]))
    lease = made.choose(family, dialect)
    request = lease.request([(b"user-agent", b"x")], b"{}")
    assert request.target == target
    found = dict(request.headers)
    assert found[b"host"] == host
    assert found[auth].endswith(b"k")
    assert found[b"accept-encoding"] == b"identity"
    assert found[b"content-length"] == b"2"
    assert lease.origin.allow_private == base.startswith("http://127")


def test_glm_speaks_messages_only_where_its_address_is_configured(secret: str) -> None:
    """`messages_base_url` opens the second dialect, with the same credentials."""
    credential = [Credential("a", secret_file=secret)]
    one = pool(Upstream("glm", "https://api.z.ai/api/paas/v4", credential=credential))
    assert not one.serves("glm", Dialect.MESSAGES)
    with pytest.raises(Unpriced):
        one.choose("glm", Dialect.MESSAGES)
    two = pool(Upstream("glm", "https://api.z.ai/api/paas/v4", "https://api.z.ai/api/anthropic",
                        credential=credential))  # fmt: skip
    lease = two.choose("glm", Dialect.MESSAGES)
    assert lease.request([], b"").target == b"/api/anthropic/v1/messages"


def test_what_is_no_address_is_refused(secret: str) -> None:
    """Scheme and host are needed; weights are at least one."""
    for base in ("api.openai.com", "ftp://x", "https://", "https://[x", "https://x:99999"):
        with pytest.raises(ConfigurationError, match="no URL"):
            pool(Upstream("openai", base, credential=[Credential("a", secret_file=secret)]))
    with pytest.raises(ConfigurationError, match="weight"):
        pool(Upstream("openai", "https://x", credential=[
            Credential("a", secret_file=secret, weight=0)]))  # fmt: skip


def test_the_cost_follows_what_served_and_who_answered(secret: str) -> None:
    """At the vendor's prices, by the credential's factor: whatever the customer is charged."""
    cheap = Credential("a", secret_file=secret, cost_factor="0.5")
    made = pool(Upstream("openai", "http://127.0.0.1:9", credential=[cheap]))
    lease = made.choose("openai", Dialect.CHAT)
    models = book.load(PricingSettings())
    gpt, opus, haiku = (
        models.find(name) for name in ("gpt-5.5", "claude-opus-5-5", "claude-haiku-4-5")
    )
    assert gpt is not None
    assert opus is not None
    assert haiku is not None
    plain = Usage(input=1000, output=100)
    assert lease.cost_nanos(plain, gpt) == (1000 * 5000 + 100 * 30_000) // 2
    raised = Usage(input=1000, output=100, served=Terms("priority"))
    assert charge(raised, gpt.price) == charge(plain, gpt.price)
    assert lease.cost_nanos(raised, gpt) == (1000 * 12_500 + 100 * 75_000) // 2
    lowered = Usage(input=1000, output=100, terms=Terms("priority"), served=Terms("flex"))
    assert lease.cost_nanos(lowered, gpt) == (1000 * 2500 + 100 * 15_000) // 2
    advised = Usage(parts=(
        Part(Usage(input=10)),
        Part(Usage(input=20), "advisor_message", haiku.slug, haiku.price, haiku.official_price),
        Part(Usage(input=30), "advisor_message", "nobody"),
    ))  # fmt: skip
    assert lease.cost_nanos(advised, opus) == (10 * 4000 + 20 * 1000) // 2
    placed = Usage(input=1000, served=Terms(geo="us"))
    assert lease.cost_nanos(placed, opus) == 1000 * 4400 // 2


class Clock:
    """A pool's time, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def three(secret: str, clock: Clock, *, bases: tuple[str, ...] = (), **options: float) -> Pool:
    """Credentials a, b and c of one upstream, or of three."""
    names = "abc"
    if bases:
        upstreams = [
            Upstream("anthropic", base, credential=[Credential(name, secret_file=secret)])
            for name, base in zip(names, bases, strict=True)
        ]
    else:
        credentials = [Credential(name, secret_file=secret) for name in names]
        upstreams = [Upstream("anthropic", "https://api.anthropic.com", credential=credentials)]
    return Pool(upstreams, TRANSPORTS, PoolSettings(**options), now_s=clock)


def named(pool: Pool, session: str, *tried: str, signed: bool = False) -> str:
    sought = Sought(session.encode(), signed, tried)
    return pool.choose("anthropic", Dialect.MESSAGES, sought).credential.name


def fell(pool: Pool, name: str, blame: Blame = Blame.ACCOUNT) -> None:
    """Has a credential fail until it is out."""
    others = tuple(other for other in "abc" if other != name)
    while states(pool)[name] == "healthy":
        pool.choose("anthropic", Dialect.MESSAGES, Sought(tried=others)).turn.failed(blame)


def states(pool: Pool) -> dict[str, str]:
    return {name: state.value for _, name, state in pool.states()}


def test_a_session_stays_with_its_credential_and_all_get_their_share(secret: str) -> None:
    """Every process comes to the same choice; each credential has its share of sessions."""
    clock = Clock()
    one, two = three(secret, clock), three(secret, clock)
    homes = {f"s{number}": named(one, f"s{number}") for number in range(300)}
    assert all(named(one, session) == home for session, home in homes.items())
    assert all(named(two, session) == home for session, home in homes.items())
    assert all(count > 60 for count in Counter(homes.values()).values())
    assert len(set(homes.values())) == 3


def test_sessions_move_only_from_a_credential_that_fell(secret: str) -> None:
    """Those of the others stay; the moved ones do not move back when it is restored."""
    clock = Clock()
    pool = three(secret, clock, cool_s=5)
    homes = {f"s{number}": named(pool, f"s{number}") for number in range(60)}
    fell(pool, "b")
    assert states(pool) == {"a": "healthy", "b": "empty", "c": "healthy"}
    moved = {session: named(pool, session) for session in homes}
    assert all(moved[session] == home for session, home in homes.items() if home != "b")
    assert "b" not in moved.values()
    clock.now_s += 6
    pool.choose("anthropic", Dialect.MESSAGES)  # notices that its time is over
    trial = pool.choose("anthropic", Dialect.MESSAGES, Sought(b"new"))
    assert (trial.credential.name, trial.turn.trial) == ("b", True)
    trial.turn.begin()
    assert named(pool, "newer") != "b"  # one trial at a time
    trial.turn.answered()
    trial.turn.end()
    assert states(pool)["b"] == "healthy"
    assert {session: named(pool, session) for session in homes} == moved


@pytest.mark.anyio
async def test_probes_go_on_whatever_one_of_them_does(secret: str) -> None:
    """One that breaks is a refusal: the credential rests longer and is asked again."""
    clock, asked = Clock(), []

    async def probe(upstream: Upstream, credential: Credential) -> bool:
        asked.append(credential.name)
        if len(asked) == 1:
            raise RuntimeError("can't start new thread")
        return len(asked) > 2

    credentials = [Credential(name, secret_file=secret) for name in "abc"]
    row = Upstream("anthropic", "https://api.anthropic.com", credential=credentials)
    pool = Pool([row], TRANSPORTS, PoolSettings(cool_s=5), probe=probe, now_s=clock)
    fell(pool, "a")
    for rest_s, times in ((6, 1), (11, 2), (21, 3)):
        clock.now_s += rest_s - 2
        named(pool, f"early{times}")
        await asyncio.sleep(0.01)
        assert len(asked) == times - 1
        clock.now_s += 2
        named(pool, f"due{times}")
        await asyncio.sleep(0.01)
        assert len(asked) == times
    assert named(pool, "trial") == "a"
    await pool.close()


def test_a_session_that_rested_goes_home(secret: str) -> None:
    """Past its time it is placed anew: by its own digest, where it would have been."""
    clock = Clock()
    pool = three(secret, clock, pin_s=600)
    homes = {f"s{number}": named(pool, f"s{number}") for number in range(30)}
    fell(pool, "b")
    assert "b" not in {named(pool, session) for session in homes}
    clock.now_s += 601
    pool.choose("anthropic", Dialect.MESSAGES)
    pool.choose("anthropic", Dialect.MESSAGES, Sought(b"new")).turn.answered()
    assert {session: named(pool, session) for session in homes} == homes


def test_a_failover_takes_another_and_leaves_the_session_where_it_is(secret: str) -> None:
    """One failure is no reason to lose a cache."""
    pool = three(secret, Clock())
    home = named(pool, "s")
    second = named(pool, "s", home)
    third = named(pool, "s", home, second)
    assert {home, second, third} == {"a", "b", "c"}
    assert named(pool, "s") == home
    with pytest.raises(UpstreamOverloaded):
        named(pool, "s", "a", "b", "c")


def test_signed_histories_stay_with_their_provider(secret: str) -> None:
    """Another provider would refuse their signatures; a plain history may go there."""
    clock = Clock()
    pool = three(secret, clock, bases=("https://one.test", "https://one.test", "https://two.test"))
    session = next(s for s in map(str, range(99)) if named(pool, s) == "a")
    assert named(pool, session, "a", signed=True) == "b"
    with pytest.raises(UpstreamOverloaded):
        named(pool, session, "a", "b", signed=True)
    assert named(pool, session, "a", "b") == "c"


def test_what_another_provider_answered_stays_there(secret: str) -> None:
    """Its answer may be signed: the next turn carries that, and the home of before would refuse
    it. Another credential of the same provider moves nothing."""
    pool = three(
        secret, Clock(), bases=("https://one.test", "https://one.test", "https://two.test")
    )
    session = next(s for s in map(str, range(99)) if named(pool, s) == "a")
    assert named(pool, session, "a") in "bc"
    named(pool, session, "a", "c")  # b
    pool.choose("anthropic", Dialect.MESSAGES, Sought(session.encode()))
    assert named(pool, session, "a", "b") == "c"
    assert named(pool, session, signed=True) == "c"
    with pytest.raises(UpstreamOverloaded):
        named(pool, session, "c", signed=True)


def test_a_provider_that_does_not_know_a_signature_is_asked_no_more(secret: str) -> None:
    """Another one is, wherever the session was last; where it is served, it is pinned."""
    pool = three(
        secret, Clock(), bases=("https://one.test", "https://one.test", "https://two.test")
    )
    session = next(s for s in map(str, range(99)) if named(pool, s) == "a")
    sought = Sought(session.encode(), True, ("a",), ("one.test",))
    assert pool.choose("anthropic", Dialect.MESSAGES, sought).credential.name == "c"
    assert named(pool, session, signed=True) == "c"
    nobody = sought._replace(strangers=("one.test", "two.test"))
    with pytest.raises(UpstreamOverloaded):
        pool.choose("anthropic", Dialect.MESSAGES, nobody)


def test_where_all_have_fallen_a_try_is_better_than_a_refusal(secret: str) -> None:
    """What broke is asked again; accounts that have said no one request at a time, with the time
    of the soonest told to the rest."""
    clock = Clock()
    pool = three(secret, clock, cool_s=20)
    for name in "abc":
        fell(pool, name)
        clock.now_s += 1
    assert named(pool, "s") == "a"  # the one that is back soonest
    taken = []
    for _ in range(3):
        lease = pool.choose("anthropic", Dialect.MESSAGES, Sought(b"s"))
        lease.turn.begin()
        taken.append(lease)
    assert {lease.credential.name for lease in taken} == {"a", "b", "c"}
    with pytest.raises(UpstreamOverloaded) as refused:
        named(pool, "s")
    assert refused.value.retry_after_s == 18
    taken[1].turn.begun()
    assert list(states(pool).values()).count("healthy") == 1
    assert named(pool, "s") == taken[1].credential.name

    broken = three(secret, clock)
    for name in "abc":
        fell(broken, name, Blame.BROKEN)
    for _ in range(10):
        broken.choose("anthropic", Dialect.MESSAGES, Sought(b"s")).turn.begin()


def test_a_sole_credential_is_always_asked(secret: str) -> None:
    """There is nothing to choose: its own word is better than a guess of ours."""
    pool = Pool([Upstream("anthropic", "https://x.test", credential=[
        Credential("a", secret_file=secret)])], TRANSPORTS)  # fmt: skip
    for _ in range(9):
        lease = pool.choose("anthropic", Dialect.MESSAGES, Sought(b"s"))
        lease.turn.begin()
        lease.turn.failed(Blame.CREDENTIAL)
    assert states(pool) == {"a": "banned"}


def test_many_sessions_that_begin_alike_do_not_pile_up(secret: str) -> None:
    """New ones pass by an account that runs more than half as much again as its share."""
    pool = three(secret, Clock())
    for number in range(400):
        session = next(s for s in (f"{number}/{n}" for n in range(999)) if _first(pool, s) == "a")
        lease = pool.choose("anthropic", Dialect.MESSAGES, Sought(session.encode()))
        lease.turn.begin()
    running = {one.name: one.running for one in pool._members.values()}
    assert running["a"] <= 220
    assert min(running.values()) >= 60


def _first(pool: Pool, session: str) -> str:
    return max("abc", key=lambda name: rank(b"anthropic" + session.encode(), name, 1))


def test_draining_takes_no_new_session_and_keeps_its_own(secret: str) -> None:
    """Until its deadline; then they move."""
    clock = Clock()
    pool = three(secret, clock, drain_s=3600, pin_s=600)
    homes = {f"s{number}": named(pool, f"s{number}") for number in range(60)}
    row = Upstream("anthropic", "https://api.anthropic.com", credential=[
        Credential(name, secret_file=secret, draining=name == "b") for name in "abc"])  # fmt: skip
    pool.update([row], TRANSPORTS)
    assert states(pool)["b"] == "draining"
    for _ in range(9):
        assert {session: named(pool, session) for session in homes} == homes
        assert "b" not in {named(pool, f"{clock.now_s}/{number}") for number in range(30)}
        clock.now_s += 400
    clock.now_s += 1
    assert "b" not in {named(pool, session) for session in homes}
    pool.update([msgspec.structs.replace(row, credential=[
        Credential(name, secret_file=secret) for name in "abc"])], TRANSPORTS)  # fmt: skip
    assert states(pool)["b"] == "healthy"
    assert "b" in {named(pool, f"t{number}") for number in range(30)}


def test_a_removed_credential_drains_and_goes(secret: str) -> None:
    """Its sessions end there; without one, or past its deadline, it is forgotten."""
    clock = Clock()
    pool = three(secret, clock, pin_s=600)
    session = next(s for s in map(str, range(99)) if named(pool, s) == "b")
    left = Upstream("anthropic", "https://api.anthropic.com", credential=[
        Credential(name, secret_file=secret) for name in "ac"])  # fmt: skip
    pool.update([left], TRANSPORTS)
    assert named(pool, session) == "b"
    clock.now_s += 500
    pool.forget()
    assert named(pool, session) == "b"
    clock.now_s += 601
    pool.forget()
    assert states(pool) == {"a": "healthy", "c": "healthy"}
    assert named(pool, session) != "b"
    pool.update([], TRANSPORTS)
    assert not pool.serves("anthropic", Dialect.MESSAGES)


def test_another_key_begins_anew_and_a_refused_change_changes_nothing(
    secret: str, tmp_path: Path
) -> None:
    """A new key is another account; weights and costs take effect without one's standing."""
    clock = Clock()
    pool = three(secret, clock)
    fell(pool, "a")
    same = [Credential(name, secret_file=secret, weight=5) for name in "abc"]
    pool.update([Upstream("anthropic", "https://api.anthropic.com", credential=same)], TRANSPORTS)
    assert states(pool)["a"] == "empty"
    (tmp_path / "other").write_text("another key")
    other = [Credential("a", secret_file=str(tmp_path / "other")), *same[1:]]
    for wrong in ([*same, same[0]], [Credential("a", secret_file="nowhere")]):
        with pytest.raises(ConfigurationError):
            pool.update([Upstream("anthropic", "https://x", credential=wrong)], TRANSPORTS)
        assert states(pool) == {"a": "empty", "b": "healthy", "c": "healthy"}
    pool.update([Upstream("anthropic", "https://api.anthropic.com", credential=other)], TRANSPORTS)
    assert states(pool)["a"] == "healthy"


def test_requests_of_the_key_before_say_nothing_of_the_new_one(secret: str, tmp_path: Path) -> None:
    """Neither their failures nor their ends: the new account has its own trials."""
    clock = Clock()
    pool = three(secret, clock, cool_s=5, strikes=1)
    fell(pool, "a")
    old = pool.choose("anthropic", Dialect.MESSAGES, Sought(tried=("b", "c")))
    old.turn.begin()
    (tmp_path / "other").write_text("another key")
    row = Upstream("anthropic", "https://api.anthropic.com", credential=[
        Credential("a", secret_file=str(tmp_path / "other")),
        *(Credential(name, secret_file=secret) for name in "bc")])  # fmt: skip
    pool.update([row], TRANSPORTS)
    older = old.turn
    older.failed(Blame.CREDENTIAL)
    older.end()
    assert states(pool)["a"] == "healthy"
    fell(pool, "a")
    clock.now_s += 6
    pool.choose("anthropic", Dialect.MESSAGES)
    trial = pool.choose("anthropic", Dialect.MESSAGES, Sought(b"new"))
    assert (trial.credential.name, trial.turn.trial) == ("a", True)


def test_a_credential_that_begins_and_cuts_falls_all_the_same(secret: str) -> None:
    """A good beginning takes no strike back, a good end does."""
    pool = three(secret, Clock())
    for end in (True, False):
        for _ in range(2 + (not end)):
            lease = pool.choose("anthropic", Dialect.MESSAGES, Sought(tried=("b", "c")))
            lease.turn.begun()
            lease.turn.failed(Blame.BROKEN)
        if end:
            lease.turn.answered()
    assert states(pool)["a"] == "cooling"
