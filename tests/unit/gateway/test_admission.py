"""Which model a name means, and what is answered where it is not sold."""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from corvus_proxy import secret
from corvus_proxy.catalogue.book import Book
from corvus_proxy.errors import (
    InvalidKey,
    InvalidRequest,
    KeyDisabled,
    KeyExpired,
    ModelNotAllowed,
    NotFound,
    Unpriced,
)
from corvus_proxy.gateway.admission import beside_loop, caller, find_model
from corvus_proxy.gateway.front import listing
from corvus_proxy.gateway.refusing import check_active
from corvus_proxy.roles.gateway import sellable
from corvus_proxy.settings import Credential, PricingSettings, Settings, Upstream
from corvus_proxy.till.reply import Look
from corvus_proxy.wire import request
from corvus_proxy.wire.dialect import Dialect

ROW = """
[[model]]
slug = "x"
aliases = ["also-x"]
family = "openai"
name = "X"
context_tokens = 1000
output_tokens_max = 1
created = 1
source = "s"
checked = 2026-11-01
official = { input = "8", output = "8" }
price = { input = "4", output = "4", cache_read = "4" }

[[model.change]]
from = 2099-01-01
announced = 2026-11-20
price = { input = "3", output = "4", cache_read = "4" }
"""
SERVES: Callable[[str, Dialect], bool] = lambda family, dialect: True  # noqa: E731


def books(tmp_path: Path, cost: float) -> tuple[Book, Book]:
    """What is sold today and after the announced cut, at a real upstream of that cost."""
    path = tmp_path / "models.toml"
    path.write_text(ROW)
    real = Upstream(
        "openai", "https://api.openai.com", credential=[Credential("a", cost_factor=cost)]
    )
    found = sellable(Settings(upstream=[real], pricing=PricingSettings(book=str(path))))
    return found.at(datetime.now(UTC).date()), found.at(date(2099, 1, 1))


def test_an_announced_cut_below_cost_ends_the_sale_on_its_day(tmp_path: Path) -> None:
    """And is told when the process starts, with the day."""
    with structlog.testing.capture_logs() as logs:
        now, then = books(tmp_path, 0.5)
    assert find_model(now, SERVES, "x", Dialect.CHAT).slug == "x"
    assert (then.models, then.unsold) == ((), {"x", "also-x"})
    (told,) = logs
    assert (told["event"], told["since"]) == ("below_cost", "2099-01-01")
    assert "x: input sold at 3, costs 4" in told["why"]


@pytest.mark.parametrize("name", ["x", "also-x"])
def test_what_is_not_sold_is_told_apart_from_what_does_not_exist(tmp_path: Path, name: str) -> None:
    """503 for a model that exists and is not sold here at its price; 404 for no model."""
    with structlog.testing.capture_logs() as logs:
        now, _ = books(tmp_path, 0.9)
    # Once for today's price, once for the announced one.
    assert [told["since"] for told in logs] == [None, "2099-01-01"]
    with pytest.raises(Unpriced):
        find_model(now, SERVES, name, Dialect.CHAT)
    with pytest.raises(NotFound):
        find_model(now, SERVES, "y", Dialect.CHAT)


def test_one_secret_in_whichever_headers_and_never_two() -> None:
    """A proxy that adds a header of its own behind the client's decides nothing: of two keys
    neither is charged."""
    mine, other = (secret.new_secret("w_mine00000000").encode() for _ in range(2))
    bearer, plain = (b"authorization", b"Bearer " + mine), (b"x-api-key", b" " + mine)
    for headers in ([bearer], [plain], [bearer, plain], [bearer, bearer], [plain, bearer, plain]):
        assert caller(headers, b"p" * 32).wallet == "w_mine00000000"
    for name, value in (
        (b"authorization", b"Bearer " + other), (b"x-api-key", other), (b"x-api-key", b""),
        (b"authorization", b"Basic " + mine),
    ):  # fmt: skip
        for headers in ([bearer, (name, value)], [(name, value), plain]):
            with pytest.raises(InvalidKey):
                caller(headers, b"p" * 32)
    with pytest.raises(InvalidKey):
        caller([], b"p" * 32)


def test_a_model_is_listed_with_the_paths_that_serve_it_and_not_without_any(
    tmp_path: Path,
) -> None:
    """What a request would be refused for stands in no list; one by its name says why."""
    with structlog.testing.capture_logs():
        now, _ = books(tmp_path, 0.1)
    only_chat: Callable[[str, Dialect], bool] = lambda _, dialect: dialect is Dialect.CHAT  # noqa: E731
    nothing: Callable[[str, Dialect], bool] = lambda family, dialect: False  # noqa: E731
    (row,) = msgspec.json.decode(listing.models(now, only_chat, (), []))["data"]
    assert row["endpoints"] == ["/v1/chat/completions", "/v1/messages", "/v1/responses"]
    assert msgspec.json.decode(listing.models(now, nothing, (), []))["data"] == []
    assert msgspec.json.decode(listing.models(now, SERVES, ("y",), []))["data"] == []
    with pytest.raises(Unpriced):
        listing.model(now, nothing, (), [], "x")
    with pytest.raises(ModelNotAllowed):
        listing.model(now, SERVES, ("y",), [], "also-x")
    assert msgspec.json.decode(listing.model(now, SERVES, ("x",), [], "also-x"))["id"] == "x"


@pytest.mark.parametrize(
    ("status", "refusal"),
    [("expired", KeyExpired), ("frozen", KeyDisabled), ("closed", KeyDisabled),
     ("revoked", KeyDisabled), ("active", None)],
)  # fmt: skip
def test_a_key_is_refused_alike_where_nothing_is_held(status: str, refusal: Any) -> None:
    """With the code that an inference request reads: its end is another thing than a freeze."""
    look = Look("key_1", status, 0, 0, 0, 0)
    if refusal is None:
        check_active(look)
        return
    with pytest.raises(refusal):
        check_active(look)


@pytest.mark.anyio
@pytest.mark.parametrize(("words", "beside"), [(1_000, False), (4_000_000, True)])
async def test_a_large_body_holds_up_nobody_while_it_is_read(words: int, beside: bool) -> None:
    """The loop goes on turning; a small one is not worth a thread."""
    body = b'{"model":"x","messages":[{"role":"user","content":"%b"}]}' % (b"word " * words)
    loop, turns = asyncio.get_running_loop(), [0]

    def turn() -> None:
        turns[0] += 1
        handles[0] = loop.call_soon(turn)

    handles = [loop.call_soon(turn)]
    asked = await beside_loop(body, request.read, Dialect.CHAT, body)
    handles[0].cancel()
    assert asked.model == "x"
    assert (turns[0] >= 10) is beside


@pytest.mark.anyio
async def test_a_large_body_is_refused_as_a_small_one_is() -> None:
    """What the reading raises comes out of the thread."""
    body = b'{"model":"x","messages":["%b"]' % (b"word " * 100_000)
    with pytest.raises(InvalidRequest, match="not valid"):
        await beside_loop(body, request.read, Dialect.CHAT, body)
