"""`POST /v1/quote` beside the functions that bill and hold."""

from typing import Any

import msgspec
import pytest

from corvus_proxy.account import quote
from corvus_proxy.account.asking import Ask
from corvus_proxy.catalogue import book
from corvus_proxy.errors import InvalidRequest, NotFound, RequestError
from corvus_proxy.gateway import quoting
from corvus_proxy.gateway.admission import Caller
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Usage, from_chat, from_messages, from_responses
from corvus_proxy.settings import PricingSettings, Settings
from corvus_proxy.till.reply import Look
from corvus_proxy.wire import request as requests
from corvus_proxy.wire import translate
from corvus_proxy.wire.dialect import Dialect

pytestmark = pytest.mark.anyio
BOOK = book.load(PricingSettings())
SOLD = quote.Sold(Settings(), lambda: BOOK, lambda family, dialect: (
    (dialect is Dialect.MESSAGES) == (family == "anthropic")
))  # fmt: skip
GPT = next(model for model in BOOK.models if model.slug == "gpt-5.5")


class Body:
    """A client that has sent its body."""

    def __init__(self, body: bytes, headers: Any = ()) -> None:
        self._body, self.headers = body, list(headers)

    async def body(self, bytes_max: int, timeout_s: float) -> bytes:
        return self._body


async def ask(view: Any, *, available: int = 10**9, headers: Any = (), **params: str) -> Any:
    body = view if isinstance(view, bytes) else msgspec.json.encode(view)
    look = Look("key_1", "active", available, 0, 0, 0)
    asked = Ask(Body(body, headers), Caller("w_1", "d"), look, params, {})  # type: ignore[arg-type]
    reply = await quote.quote(SOLD, asked)
    assert isinstance(reply.body, bytes)
    return msgspec.json.decode(reply.body)


ANTHROPIC = {
    "input_tokens": 504, "output_tokens": 97, "cache_read_input_tokens": 12_000,
    "cache_creation_input_tokens": 123,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 23},
}  # fmt: skip
CHAT = {
    "prompt_tokens": 5000, "completion_tokens": 300, "total_tokens": 5300,
    "prompt_tokens_details": {"cached_tokens": 4096},
    "completion_tokens_details": {"reasoning_tokens": 200},
}  # fmt: skip
RESPONSES = {
    "input_tokens": 5000, "output_tokens": 300, "total_tokens": 5300,
    "input_tokens_details": {"cached_tokens": 4096},
}  # fmt: skip
OURS = {"input": 7, "cache_read": 5, "cache_write_1h": 3, "output": 2, "searches": 1}


@pytest.mark.parametrize(
    ("slug", "counts", "usage"),
    [
        ("claude-opus-4-8", ANTHROPIC, from_messages(None, ANTHROPIC)),
        ("claude-haiku-4-5", {"input_tokens": 9, "output_tokens": 1}, Usage(input=9, output=1)),
        ("gpt-5.5", CHAT, from_chat(CHAT)),
        ("glm-5.2", CHAT, from_chat(CHAT)),
        ("gpt-5.5", RESPONSES, from_responses(RESPONSES)),
        ("gpt-5.5", {"input_tokens": 9, "output_tokens": 1}, Usage(input=9, output=1)),
        ("claude-haiku-4-5", OURS, Usage(**OURS)),
        ("gpt-5.5", {}, Usage()),
    ],
)
async def test_any_shape_of_usage_costs_what_it_is_billed(
    slug: str, counts: Any, usage: Usage
) -> None:
    """To the nano, and the lines come to it with the one rounding."""
    found = await ask({"model": slug, "usage": counts})
    model = BOOK.find(slug)
    assert model is not None
    assert found["charge_nanos"] == charge(usage, model.price)
    picos = sum(line["picos"] * line["tokens"] for line in found["lines"])
    assert abs(found["charge_nanos"] * 1000 - picos) <= 500
    assert found["usage"] == {name: count for name, count in usage.counts().items() if count}


async def test_a_tier_is_quoted_where_it_has_a_price() -> None:
    """`mode` is what served and was asked for; one without a price is refused by its name."""
    model = next(one for one in BOOK.models if "priority" in one.price.modes)
    plain = await ask({"model": model.slug, "usage": CHAT})
    dear = await ask({"model": model.slug, "usage": CHAT, "mode": "priority"})
    assert dear["charge_nanos"] > plain["charge_nanos"]
    with pytest.raises(InvalidRequest) as refusal:
        await ask({"model": "claude-haiku-4-5", "usage": ANTHROPIC, "mode": "warp"})
    assert refusal.value.param == "mode"
    fast = next(
        (m for m in BOOK.models if "fast" in m.price.modes and m.family == "anthropic"), None
    )
    if fast is not None:
        plain = await ask({"model": fast.slug, "usage": ANTHROPIC})
        dear = await ask({"model": fast.slug, "usage": ANTHROPIC, "mode": "fast"})
        assert dear["charge_nanos"] > plain["charge_nanos"]


@pytest.mark.parametrize(
    ("view", "param"),
    [
        ({"model": "gpt-5.5"}, "usage"),
        ({"model": "gpt-5.5", "usage": {"prompt_tokens": 1, "completion_tokens": -1}}, "usage"),
        ({"model": "gpt-5.5", "usage": {"prompt_tokens": 0, "completion_tokens": 5}}, "usage"),
        ({"model": "gpt-5.5", "usage": {"stars": 1}}, "usage.stars"),
        ({"model": "gpt-5.5", "usage": {"input": 1.5}}, "usage.input"),
        ({"model": "gpt-5.5", "usage": {"input": 1}, "shape": "round"}, "shape"),
        ({"model": "nobody", "usage": {"input": 1}}, "model"),
        ({"usage": {"input": 1}}, None),
        (b"[", None),
        ({"model": "gpt-5.5", "messages": [], "audio": {}}, "audio"),
    ],
)
async def test_what_cannot_be_quoted_is_refused_by_its_name(view: Any, param: str | None) -> None:
    """400 or 404, never a guess."""
    with pytest.raises((InvalidRequest, NotFound)) as refusal:
        await ask(view)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("slug", "dialect"),
    [("gpt-5.5", Dialect.CHAT), ("claude-haiku-4-5", Dialect.MESSAGES)],
)
async def test_a_request_is_bounded_as_it_would_be_held(slug: str, dialect: Dialect) -> None:
    """Ceiling, hold and least are those of `reserve`; the verdict is what it would say."""
    body = msgspec.json.encode(
        {"model": slug, "max_tokens": 5000, "messages": [{"role": "user", "content": "x" * 900}]}
    )
    asked = requests.read(dialect, body)
    model = BOOK.find(slug)
    assert model is not None
    own = quoting.quote(asked, model, Settings().hold, clamp=True)
    for available, verdict in (
        (own.full_nanos, "served"), (own.full_nanos - 1, "lowered"), (own.least_nanos, "lowered"),
        (own.least_nanos - 1, "refused"),
    ):  # fmt: skip
        found = await ask(body, available=available)
        assert found["verdict"] == verdict
        assert found["dialect"] == dialect
        assert found["ceiling_nanos"] == own.full_nanos
        assert found["hold_nanos"] == own.most_nanos
        assert found["least_nanos"] == own.least_nanos
    strict = await ask(body, available=own.full_nanos - 1, headers=[(b"x-corvus-clamp", b"off")])
    assert strict["verdict"] == "refused"


async def test_the_dialect_may_be_named() -> None:
    """One that is not the model's own is quoted as it is asked, by translation; what does not serve
    the model is refused as the path would refuse it."""
    body = {"model": "gpt-5.5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    assert (await ask(body, dialect="chat"))["dialect"] == "chat"
    for other in ({"dialect": "messages"}, {"headers": [(b"anthropic-version", b"1")]}):
        found = await ask(body, **other)  # type: ignore[arg-type]
        assert found["dialect"] == "messages"
        told = translate.request(Dialect.MESSAGES, Dialect.CHAT, msgspec.json.encode(body), GPT)
        own = quoting.quote(requests.read(Dialect.CHAT, told), GPT, Settings().hold, clamp=True)
        assert found["ceiling_nanos"] == own.full_nanos
    with pytest.raises(RequestError) as refusal:
        await ask({**body, "model": "text-embedding-3-small"}, dialect="chat")
    assert refusal.value.code == "wrong_endpoint"
    with pytest.raises(InvalidRequest) as refused:
        await ask(body, dialect="latin")
    assert refused.value.param == "dialect"
