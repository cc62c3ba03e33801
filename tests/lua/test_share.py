"""How whole answers share a balance, at the exact edges, from the quote to Redis and back."""

from typing import Any

import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.gateway.quoting import affordable_limit, quote
from corvus_proxy.settings import HoldSettings, PricingSettings
from corvus_proxy.till import reply
from corvus_proxy.till.client import Till
from corvus_proxy.wire import request
from corvus_proxy.wire.dialect import Dialect
from tests.conftest import add_wallet

pytestmark = pytest.mark.anyio
W = "w_share0000001"
BODY = b'{"model":"m","max_tokens":9000,"messages":[{"role":"user","content":"hi"}]}'


def quoted(*, clamp: bool = True) -> Any:
    """A request for 9,000 tokens, not streamed: least 1,024 tokens, share floor 4,096."""
    model = book.load(PricingSettings()).find("claude-opus-5-5")
    assert model is not None
    asked = request.read(Dialect.MESSAGES, BODY)
    return asked, model, quote(asked, model, HoldSettings(), clamp=clamp)


async def reserve(till: Till, rid: str, *, clamp: bool = True) -> Any:
    _, model, found = quoted(clamp=clamp)
    ask = reply.Ask(
        rid, W, "digest", found.least_nanos, found.most_nanos, found.share_floor_nanos,
        model.price.version, model.slug, 10,
    )  # fmt: skip
    return await till.reserve(ask, owner="me", lag_limit=1000)


def limit_of(granted: reply.Granted) -> int | None:
    """The output limit that goes upstream; None: the client's own."""
    asked, model, found = quoted()
    return affordable_limit(asked, found, model.price, granted.granted_nanos)


def edges() -> list[tuple[str, int, int | None]]:
    """What is free, what is granted of it; None: refused."""
    _, _, found = quoted()
    least, floor, full = found.least_nanos, found.share_floor_nanos, found.full_nanos
    assert least < floor < full
    return [
        ("one nano too little", least - 1, None),
        ("just enough: all of it", least, least),
        ("below the floor: all of it", floor - 1, floor - 1),
        ("the floor: all of it", floor, floor),
        ("above the floor: no more than that", floor + 1, floor),
        ("twice the floor: half is the floor", 2 * floor, floor),
        ("an odd nano: it stays free", 2 * floor + 1, floor),
        ("more: half of it", 2 * floor + 2, floor + 1),
        ("one nano short of twice the full ceiling", 2 * full - 1, full - 1),
        ("twice the full ceiling: all that is asked for", 2 * full, full),
        ("more than that: the same", 2 * full + 1, full),
    ]


@pytest.mark.parametrize(("name", "free", "granted"), edges(), ids=[edge[0] for edge in edges()])
async def test_share(till: Till, name: str, free: int, granted: int | None) -> None:
    """At most half of what is free while that leaves the floor; less when there is less."""
    await add_wallet(till, W, free)
    got = await reserve(till, "r")
    if granted is None:
        assert got == reply.Poor(free, 0)
        return
    assert got == reply.Granted(granted, free - granted, f"key_{W}")
    _, _, found = quoted()
    limit = limit_of(got)
    assert (limit is None) == (granted == found.full_nanos)
    if limit is not None:
        assert 1024 <= limit < 9000
        assert (limit >= 4096) == (granted >= found.share_floor_nanos)


async def test_a_second_request_finds_its_share_beside_the_first(till: Till) -> None:
    """On a balance for one full answer and a floor, two are served, the third is told to wait."""
    _, _, found = quoted()
    floor = found.share_floor_nanos
    await add_wallet(till, W, 2 * floor)
    assert await reserve(till, "first") == reply.Granted(floor, floor, f"key_{W}")
    assert await reserve(till, "second") == reply.Granted(floor, 0, f"key_{W}")
    assert await reserve(till, "third") == reply.Poor(0, 2 * floor)


async def test_without_a_clamp_nothing_is_shared_away(till: Till) -> None:
    """Who asks for no clamp gets the full ceiling or a refusal, whatever half of the rest is."""
    _, _, found = quoted(clamp=False)
    assert found.least_nanos == found.full_nanos == found.share_floor_nanos
    await add_wallet(till, W, found.full_nanos)
    assert await reserve(till, "r", clamp=False) == reply.Granted(found.full_nanos, 0, f"key_{W}")
    assert await reserve(till, "s", clamp=False) == reply.Poor(0, found.full_nanos)
