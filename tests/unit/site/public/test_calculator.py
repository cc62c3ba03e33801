"""The calculator beside the quote and the functions that bill, and what it says of nonsense."""

import random
from typing import Any

import httpx
import msgspec
import pytest

from corvus_proxy.account import quote
from corvus_proxy.account.asking import Ask
from corvus_proxy.catalogue import book
from corvus_proxy.catalogue.book import Model
from corvus_proxy.catalogue.sides import billed
from corvus_proxy.errors import InvalidRequest
from corvus_proxy.gateway import reading
from corvus_proxy.gateway.admission import Caller
from corvus_proxy.money.price import Terms
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.site.public import served
from corvus_proxy.site.public.page import Facts
from corvus_proxy.site.public.prices import calculator
from corvus_proxy.site.public.prices.offer import offer
from corvus_proxy.till.reply import Look
from corvus_proxy.wire.dialect import Dialect
from tests.unit.site.public.visitor import SETTINGS, site

pytestmark = pytest.mark.anyio
BOOK = book.load(SETTINGS.pricing)
DAY = max(model.official.checked for model in BOOK.models)
FACTS = Facts(SETTINGS, book.load(SETTINGS.pricing, DAY), (), DAY)
OFFER = offer(FACTS)
SOLD = quote.Sold(SETTINGS, lambda: OFFER.book, served.serves(SETTINGS))
SPEAKING = [model for model in OFFER.models if not model.embeddings]
ROUNDS = 500
"""Of numbers that are typed, and as many of reports that are pasted."""


class Body:
    """A client that has sent its body."""

    headers: list[tuple[bytes, bytes]] = []

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def body(self, bytes_max: int, timeout_s: float) -> bytes:
        return self._body


async def quoted(view: dict[str, Any]) -> int:
    """Nanos that `POST /v1/quote` says."""
    look = Look("key_1", "active", 10**12, 0, 0, 0)
    body: Any = Body(msgspec.json.encode(view))
    reply = await quote.quote(SOLD, Ask(body, Caller("w_1", "d"), look, {}, {}))
    assert isinstance(reply.body, bytes)
    nanos: int = msgspec.json.decode(reply.body)["charge_nanos"]
    return nanos


def calculated(fields: dict[str, str], slug: str) -> int:
    """Nanos of one call that the form's fields come to."""
    asked = calculator.read(fields, [slug], OFFER)
    assert asked.problems == []
    priced, unpriced = calculator.compare(OFFER.book, asked, asked.models)
    assert unpriced == []
    return priced[0].bill.charge_nanos


def count(chance: random.Random) -> int:
    """Small, ordinary or huge, in equal parts."""
    return chance.randrange(10 ** chance.choice((1, 3, 5, 7)))


async def test_typed_numbers_cost_what_is_quoted_and_billed() -> None:
    """One code path, to the nano: the form, the quote and the bill."""
    chance = random.Random(20_261_126)
    for _ in range(ROUNDS):
        model = chance.choice(SPEAKING)
        mode = chance.choice(("", *model.price.modes))
        names = [name for name in calculator.FIELDS if name in billed(model)]
        counts = {name: count(chance) for name in names if chance.random() < 0.7}
        counts["output"] = counts.get("output", 0) + 1  # something is always filled in
        terms = Terms(mode)
        bill = charge(Usage(**counts, terms=terms, served=terms), model.price)
        fields = {name: str(number) for name, number in counts.items()} | {"mode": mode}
        assert calculated(fields, model.slug) == bill
        assert await quoted({"model": model.slug, "usage": counts, "mode": mode}) == bill


def report(chance: random.Random, model: Model) -> tuple[Dialect, dict[str, Any]]:
    """A usage as the model's vendor writes it."""
    plain, cached, out = count(chance) + 1, count(chance), count(chance)
    if model.family == "anthropic":
        short, long = count(chance), count(chance)
        return Dialect.MESSAGES, {
            "input_tokens": plain,
            "output_tokens": out,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": short + long,
            "cache_creation": {
                "ephemeral_5m_input_tokens": short,
                "ephemeral_1h_input_tokens": long,
            },
            "server_tool_use": {"web_search_requests": chance.randrange(4)},
        }
    if chance.random() < 0.5 and model.family == "openai":
        return Dialect.RESPONSES, {
            "input_tokens": plain + cached,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": out,
            "output_tokens_details": {"reasoning_tokens": out // 2},
            "total_tokens": plain + cached + out,
        }
    return Dialect.CHAT, {
        "prompt_tokens": plain + cached,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens": out,
        "total_tokens": plain + cached + out,
    }


async def test_pasted_reports_cost_what_is_quoted_and_billed() -> None:
    """Of every vendor's dialect, alone or inside the whole answer."""
    chance = random.Random(11_262_026)
    for _ in range(ROUNDS):
        model = chance.choice(SPEAKING)
        dialect, counts = report(chance, model)
        said = reading.Report(dialect, None, counts, "", "")
        wanted = reading.Wanted(model, Terms(), OFFER.book.find)
        usage = reading.read(said, wanted, has_output=bool(counts)).usage
        assert usage is not None
        bill = charge(usage, model.price)
        whole = {"model": model.slug, "usage": counts}
        pasted = msgspec.json.encode(counts if chance.random() < 0.5 else whole).decode()
        assert calculated({"usage": pasted}, model.slug) == bill
        assert await quoted({"model": model.slug, "usage": counts}) == bill


def test_a_day_is_so_many_calls_and_a_month_so_many_days() -> None:
    """Of rounded calls, for each is billed by itself; at the vendor's price as well."""
    model = SPEAKING[0]
    asked = calculator.read({"output": "1,001", "calls": "40"}, [model.slug], OFFER)
    ((one,), _) = calculator.compare(OFFER.book, asked, asked.models)
    call = charge(Usage(output=1001), model.price)
    official = charge(Usage(output=1001), model.official_price)
    assert one.bill.charge_nanos == call
    assert (one.day_nanos, one.month_nanos) == (call * 40, call * 40 * calculator.MONTH_DAYS)
    assert one.official_month_nanos == official * 40 * calculator.MONTH_DAYS


@pytest.mark.parametrize(
    ("slug", "moved"),
    [
        ("claude-haiku-4-5", {"cache_write_5m": 5, "cache_write_1h": 7}),
        ("gpt-6-sol", {"cache_write_other": 12}),
        ("gpt-5.5", {"input": 12}),
        ("glm-5.3", {"input": 12}),
    ],
)
def test_cache_writes_are_those_of_the_models_vendor(slug: str, moved: dict[str, int]) -> None:
    """Five minutes and an hour are Claude's words; nothing is lost on the way to others."""
    model = OFFER.book.find(slug)
    assert model is not None
    found, notes = calculator.fit({"cache_write_5m": 5, "cache_write_1h": 7}, model)
    assert found == moved
    assert bool(notes) == (model.family != "anthropic")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"input": "many"}, "no whole number"),
        ({"output": "-1"}, "no whole number"),
        ({"input": "1000000001"}, "from 0 to 1,000,000,000"),
        ({"input": "1", "calls": "1e9"}, "no whole number"),
        ({"usage": "{"}, "no JSON object"),
        ({"usage": "[1]"}, "no JSON object"),
        ({"usage": '{"a":"' + "x" * 4000 + '"}'}, "at most 4,000 characters"),
        ({"input": "1", "mode": "warp"}, "no such way of service"),
    ],
)
def test_nonsense_is_told(fields: dict[str, str], said: str) -> None:
    """By the field's name, and nothing is guessed."""
    problems = calculator.read(fields, [], OFFER).problems
    assert any(said in one for one in problems), problems


def test_what_has_no_price_is_said_and_is_no_zero() -> None:
    """A mode, a model, counts that cannot be true: each with its reason."""
    asked = calculator.read({"input": "5", "mode": "flex"}, ["claude-haiku-4-5", "gpt-0"], OFFER)
    priced, unpriced = calculator.compare(OFFER.book, asked, asked.models)
    assert priced == []
    assert ["flex" in unpriced[0].why, "gpt-0" in unpriced[1].why] == [True, True]
    asked = calculator.read({"usage": '{"prompt_tokens":-1}'}, ["gpt-5.5"], OFFER)
    with pytest.raises(InvalidRequest):
        calculator.price(OFFER.book, asked, "gpt-5.5")
    asked = calculator.read({"input": "5", "searches": "2"}, ["glm-5.3"], OFFER)
    ((one,), _) = calculator.compare(OFFER.book, asked, asked.models)
    assert any("no price here" in note for note in one.notes)


async def test_everything_that_is_asked_stands_in_the_address() -> None:
    """A result can be kept and sent on; the form comes filled in, no script is needed."""
    address = "/pricing/calculator?input=1000&output=500&calls=7&model=gpt-5.5&model=glm-5.3"
    async with site() as client:
        answer = await client.get(address)
        again = await client.get(address)
    assert answer.status_code == 200
    assert answer.text == again.text
    for said in ('value="1000"', 'value="7"', 'value="gpt-5.5" checked', 'value="glm-5.3" checked'):
        assert said in answer.text
    assert answer.text.count(" checked>") == 2
    assert answer.headers["cache-control"].startswith("public")


async def test_ones_own_days_are_shown_to_nobody_else() -> None:
    """Without a log-in there are none, and what answers such an address is kept nowhere."""
    async with site() as client:
        answer: httpx.Response = await client.get("/pricing/calculator?mine=on&model=gpt-5.5")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert '<a href="/login">Log in</a>, then come back' in answer.text


async def test_presets_are_addresses_that_work() -> None:
    """The coding agent reads nine tenths of its context from the cache."""
    agent = calculator.PRESETS[0].usage
    assert agent.cache_read * 10 == agent.input_total * 9
    async with site() as client:
        page = (await client.get("/pricing/calculator.md")).text
        for preset in calculator.PRESETS:
            address = calculator._address(calculator.typed(preset), [])
            assert address in page
            answer = await client.get(address)
            assert f'value="{preset.usage.input}"' in answer.text
