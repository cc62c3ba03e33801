"""Credentials by weight, and what a configuration may point at."""

from collections import Counter

import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.errors import ConfigurationError, Unpriced
from corvus_proxy.money.price import Terms
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Part, Usage
from corvus_proxy.settings import Credential, PricingSettings, Upstream
from corvus_proxy.upstream.pool import Pool
from corvus_proxy.upstream.transport import HttptoolsTransport, Transport
from corvus_proxy.wire.dialect import Dialect

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
    for base in ("api.openai.com", "ftp://x", "https://"):
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
