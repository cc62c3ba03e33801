"""What is switched off is in the books, and Redis is told of it until it knows."""

import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.pepper import Pepper
from corvus_proxy.service.operating import operators, stopping
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Credential, Settings, Upstream
from corvus_proxy.till.client import Till
from corvus_proxy.till.telling import stops

pytestmark = pytest.mark.anyio
WHY = {"reason": "their bill  is due", "actor": "cli:ada"}


async def test_it_outlives_a_redis_that_forgets(valkey_till: Till, books: Books) -> None:
    """Twice off is off once, with the first reason; a flushed Redis is told again; a Redis that is
    away does not keep anybody from switching."""
    stores = Stores(valkey_till, books, b"p" * 32)
    assert await stops.read(valkey_till) is None
    await stopping.switch_off(stores, stopping.MODEL, "gpt-5.5", **WHY)
    row = await stopping.switch_off(
        stores, stopping.MODEL, "gpt-5.5", reason="again", actor="cli:bob"
    )
    assert (row.reason, row.actor) == ("their bill is due", "cli:ada")
    await stopping.switch_off(stores, stopping.DRAINING, "openai/b", **WHY)
    away = Stores(Till.open("redis://127.0.0.1:1", timeout_ms=200), books, b"p" * 32)
    await stopping.switch_off(away, stopping.CREDENTIAL, "openai/a", **WHY)
    told = stops.Stops(("gpt-5.5",), ("openai/a",), ("openai/b",))
    assert await stops.read(valkey_till) != told
    await stopping.tick(stores)
    assert await stops.read(valkey_till) == told
    await valkey_till.redis.flushall()
    await stopping.tick(stores)
    assert await stops.read(valkey_till) == told
    both = (stopping.CREDENTIAL, stopping.DRAINING)
    assert await stopping.switch_on(stores, both, "openai/a", **WHY)
    assert await stopping.switch_on(stores, both, "openai/b", **WHY)
    assert not await stopping.switch_on(stores, both, "openai/b", **WHY)
    assert await stops.read(valkey_till) == stops.Stops(("gpt-5.5",))
    await stopping.switch_on(stores, (stopping.MODEL,), "gpt-5.5", **WHY)
    await valkey_till.redis.flushall()
    await stopping.tick(stores)
    assert await stops.read(valkey_till) == stops.NOTHING  # gateways have to hear that, too
    with pytest.raises(ValueError, match="say why"):
        await stopping.switch_off(stores, stopping.SALES, "", reason=" ", actor="cli:ada")
    await away.close()


def test_a_credential_is_named_by_itself_where_that_is_enough() -> None:
    rows = [
        Upstream("openai", "http://127.0.0.1:1", credential=[Credential("a"), Credential("b")]),
        Upstream("glm", "http://127.0.0.1:1", credential=[Credential("a")]),
    ]
    settings = Settings(upstream=rows)
    assert stopping.credential(settings, "b") == "openai/b"
    assert stopping.credential(settings, "glm/a") == "glm/a"
    with pytest.raises(ValueError, match="openai/a or glm/a"):
        stopping.credential(settings, "a")
    with pytest.raises(LookupError, match="there are openai/a, openai/b, glm/a"):
        stopping.credential(settings, "c")


async def test_an_operators_token_counts_until_it_is_revoked(
    valkey_till: Till, books: Books
) -> None:
    """A new token of the same name does not bring the old one's log-ins back."""
    stores = Stores(valkey_till, books, b"p" * 32)
    token = await operators.add(stores, "ada", actor="cli:root")
    found = await operators.log_in(stores, f" {token}\n")
    assert found is not None
    assert found.actor == "console:ada"
    assert await operators.still(stores, *found) == found
    changed = Stores(valkey_till, books, Pepper(b"n" * 32, [b"p" * 32]))
    assert await operators.log_in(changed, token) == found  # while the old pepper stands beside it
    for wrong in ("", token[:-1], token[:-1] + ("a" if token[-1] != "a" else "b"), "op-corvus_"):
        assert await operators.log_in(stores, wrong) is None
    await operators.revoke(stores, "ada", reason="left", actor="cli:root")
    assert await operators.still(stores, *found) is None
    assert await operators.log_in(stores, token) is None
    other = await operators.add(stores, "ada", actor="cli:root")
    assert await operators.still(stores, *found) is None
    assert await operators.log_in(stores, other) is not None
