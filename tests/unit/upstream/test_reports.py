"""Providers' reports, read from the simulated providers and from what is no report."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from corvus_proxy.dev.providers import Providers, Served, serve
from corvus_proxy.upstream.reports import Asking, Billed, Counted, NoReport, Report, ask
from corvus_proxy.upstream.reports import openai as openai_form

pytestmark = pytest.mark.anyio
DAY = date(2026, 11, 25)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
CHAT = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "total_tokens": 1200,
    "prompt_tokens_details": {"cached_tokens": 300},
}
MESSAGES = {
    "input_tokens": 500,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 50,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
    "output_tokens": 70,
}
EMBEDDINGS = {"prompt_tokens": 40, "total_tokens": 40}


def row(
    family: str, dialect: str, model: str, usage: dict[str, Any], hour: int = 0, secret: str = "k"
) -> Served:
    """One request of the log, so many hours after noon."""
    at_ms = int((NOON + timedelta(hours=hour)).timestamp() * 1000)
    digest = hashlib.sha256(secret.encode()).hexdigest()[-8:]
    return Served(at_ms, family, digest, "r", dialect, model, usage_made=usage)


@pytest.fixture
async def simulated() -> AsyncIterator[tuple[Providers, str]]:
    async with serve() as (providers, url):
        providers.served += [
            row("openai", "chat", "gpt-5.5", CHAT),
            row("openai", "chat", "gpt-5.5", CHAT, hour=11),
            row("openai", "embeddings", "text-embedding-3-small", EMBEDDINGS),
            row("openai", "chat", "gpt-5.5", CHAT, hour=12),
            row("openai", "chat", "gpt-5.5", CHAT, hour=-13),
            row("openai", "chat", "gpt-5.5", CHAT, secret="another"),
            row("anthropic", "messages", "claude-sonnet-5-5", MESSAGES, hour=-12),
            row("anthropic", "messages", "claude-sonnet-5-5", MESSAGES, secret="another"),
        ]
        yield providers, url


async def report(url: str, family: str, *, secret: str = "admin-k", scope: str = "") -> Report:
    return await ask(Asking(family, url, secret, scope), DAY, timeout_s=5)


async def test_openai_counts_by_the_hour_and_bills_by_the_day(
    simulated: tuple[Providers, str],
) -> None:
    """Over several pages; cached input is no input of its own; other days and keys stay out."""
    found = await report(simulated[1], "openai")
    model = "gpt-5.5-2026-03-01"
    hours = [(12, 700, 300, 200), (23, 700, 300, 200)]
    assert set(found.counts) == {
        *(Counted(hour, model, "input", fresh) for hour, fresh, _, _ in hours),
        *(Counted(hour, model, "cache_read", read) for hour, _, read, _ in hours),
        *(Counted(hour, model, "output", out) for hour, _, _, out in hours),
        Counted(12, "text-embedding-3-small-2026-03-01", "input", 40),
    }
    bills = {(bill.model, bill.usage_class): bill.nanos for bill in found.bills}
    assert set(bills) == {
        *((model, name) for name in ("input", "cache_read", "output")),
        ("text-embedding-3-small-2026-03-01", "input"),
    }
    assert found.nanos == sum(bills.values()) > 0


async def test_anthropic_counts_disjoint_classes_and_bills_cents(
    simulated: tuple[Providers, str],
) -> None:
    """Amounts are cents as decimals: 500 input tokens at 2 USD a million are 0.1 cents."""
    found = await report(simulated[1], "anthropic")
    assert {one[2:] for one in found.counts} == {
        ("input", 500), ("cache_read", 100), ("cache_write_5m", 20), ("cache_write_1h", 30),
        ("output", 70),
    }  # fmt: skip
    assert {one.hour for one in found.counts} == {0}
    providers = simulated[0]
    assert providers.reports._book is not None
    model = providers.reports._book.find("claude-sonnet-5-5")
    assert model is not None
    rates = model.official.base
    wanted = {
        Billed("claude-sonnet-5-5", name, number * getattr(rates, name) // 1000)
        for _, _, name, number in found.counts
    }
    assert set(found.bills) == wanted


async def test_a_scope_is_one_project_or_workspace_of_an_account(
    simulated: tuple[Providers, str],
) -> None:
    """Anthropic's cost has no such filter: rows of others are passed over."""
    digest = hashlib.sha256(b"another").hexdigest()[-8:]
    whole = await report(simulated[1], "anthropic", secret="admin-*")
    one = await report(simulated[1], "anthropic", secret="admin-*", scope=f"wrkspc_{digest}")
    assert whole.nanos == 2 * one.nanos > 0
    assert {found.hour for found in one.counts} == {12}
    ours = await report(simulated[1], "openai", secret="admin-*", scope=f"proj_{digest}")
    assert {found.hour for found in ours.counts} == {12}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"status": 401}, "does not know the admin key"),
        ({"status": 403}, "does not let the admin key read this"),
        ({"status": 404}, "has no such report"),
        ({"status": 429}, "wants to be asked later"),
        ({"status": 302}, "answers with status 302"),
        ({"status": 503}, "answers with status 503"),
        ({"circle": True}, "go in a circle"),
        ({"twice": True, "differs": True}, "came twice and differs"),
        ({"negative": True}, "is no count"),
        ({"currency": "EUR"}, "the currency is not USD"),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, dict) else "",
)
@pytest.mark.parametrize("family", ["openai", "anthropic"])
async def test_what_cannot_be_believed_is_no_report(
    simulated: tuple[Providers, str], family: str, wrong: dict[str, Any], why: str
) -> None:
    """One sentence says why; none has the key."""
    simulated[0].reports.ask(wrong)
    with pytest.raises(NoReport, match=why) as refused:
        await report(simulated[1], family)
    assert "admin-k" not in str(refused.value)


async def test_a_bucket_that_comes_twice_alike_counts_once(
    simulated: tuple[Providers, str],
) -> None:
    """As where a page begins with the last bucket of the one before."""
    right = await report(simulated[1], "openai")
    simulated[0].reports.ask({"twice": True})
    assert await report(simulated[1], "openai") == right


async def test_nobody_there_is_no_report() -> None:
    with pytest.raises(NoReport, match="OpenAI does not answer"):
        await report("http://127.0.0.1:1", "openai")


@pytest.mark.parametrize(
    ("line", "model", "usage_class"),
    [
        ("gpt-6.1-sol, input_tokens", "gpt-6.1-sol", "input"),
        ("gpt-5.5-2026-03-01, cached input", "gpt-5.5-2026-03-01", "cache_read"),
        ("gpt-6.1-sol, cache_write_tokens", "gpt-6.1-sol", "cache_write_other"),
        ("gpt-4o, output", "gpt-4o", "output"),
        ("web search tool calls, gpt-4o search", "web search tool calls", "searches"),
        ("gpt-4o, storage", "gpt-4o", "other"),
        ("assistants api | file search", "", "other"),
    ],
)
def test_line_items_are_read_by_their_words(line: str, model: str, usage_class: str) -> None:
    assert openai_form._of_line(line) == (model, usage_class)
