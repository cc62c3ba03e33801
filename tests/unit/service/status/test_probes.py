"""What a round of probes found, told by component: whose trouble turns which rows red."""

import asyncio
from pathlib import Path

import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.service.status.parts import components
from corvus_proxy.service.status.probes import FAILED, Round, Said, reading, within
from corvus_proxy.service.status.types import (
    DAYS,
    TRAFFIC_FAILED_PERCENT,
    TRAFFIC_MIN,
    TRAFFIC_S,
    Component,
    State,
    Traffic,
)
from corvus_proxy.settings import Settings, Upstream
from corvus_proxy.wire.dialect import PATHS

BASE = "http://127.0.0.1:1"
SETTINGS = Settings(
    upstream=[
        Upstream("anthropic", BASE),
        Upstream("openai", BASE),
        Upstream("glm", BASE, messages_base_url=BASE),
    ]
)
MODELS = book.load(SETTINGS.pricing).models
PARTS = components(SETTINGS, MODELS, shop=True)
ALL = {one.id for one in PARTS}
API = {one for one in ALL if one.startswith("api-")}
DOWN, PARTLY = Said(State.DOWN, "Down.", "why"), Said(State.DEGRADED, "Partly.", "why")
NOTHING_AMISS = Round(
    pages=dict.fromkeys(("website", "checkout", "login"), Said()),
    services=Said(),
    books=Said(),
    sales=Said(),
    till=Said(),
    ready=Said(),
    routes=dict.fromkeys(PATHS, Said()),
    vendors={(one.family, one.dialect): Said() for one in PARTS if one.family},
    traffic={},
)


def of_family(*families: str) -> set[str]:
    return {one.id for one in PARTS if one.family in families}


def states(found: Round) -> dict[State, set[str]]:
    told: dict[State, set[str]] = {}
    for one in PARTS:
        told.setdefault(reading(one, found).state, set()).add(one.id)
    return told


def test_a_row_for_each_dialect_that_a_family_is_sold_in() -> None:
    """In the order of the page; the site's parts first."""
    assert [one.id for one in PARTS] == [
        "website", "checkout", "login",
        "api-anthropic-messages",
        "api-openai-chat", "api-openai-responses", "api-openai-embeddings",
        "api-glm-chat", "api-glm-messages",
    ]  # fmt: skip


def test_what_is_not_sold_has_no_row() -> None:
    """No shop, no checkout; a family without an upstream; GLM without its second place; no model
    for embeddings."""
    settings = Settings(upstream=[Upstream("openai", BASE), Upstream("glm", BASE)])
    texts = tuple(one for one in MODELS if not one.embeddings)
    assert [one.id for one in components(settings, texts, shop=False)] == [
        "website", "login", "api-openai-chat", "api-openai-responses", "api-glm-chat",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("trouble", "down"),
    [
        ({}, set()),
        ({"services": DOWN}, {"checkout"}),
        ({"books": DOWN}, {"checkout", "login"}),
        ({"till": DOWN}, {"login"}),
        ({"ready": DOWN}, API),
        ({"pages": {"website": DOWN, "checkout": Said(), "login": Said()}}, {"website"}),
        ({"routes": {**NOTHING_AMISS.routes, "/v1/messages": DOWN}},
         {"api-anthropic-messages", "api-glm-messages"}),
        ({"vendors": {**NOTHING_AMISS.vendors, ("glm", "messages"): DOWN}}, {"api-glm-messages"}),
    ],
)  # fmt: skip
def test_trouble_turns_its_own_rows_red(trouble: dict[str, object], down: set[str]) -> None:
    """And no others."""
    found = states(NOTHING_AMISS._replace(**trouble))
    assert found.get(State.DOWN, set()) == down
    assert found.get(State.OK, set()) == ALL - down


@pytest.mark.parametrize("family", ["anthropic", "openai", "glm"])
def test_a_vendor_that_is_away_is_its_familys_trouble(family: str) -> None:
    """All of its dialects, and nobody else's."""
    vendors = {at: DOWN if at[0] == family else Said() for at in NOTHING_AMISS.vendors}
    found = states(NOTHING_AMISS._replace(vendors=vendors))
    assert found[State.DOWN] == of_family(family)


def test_what_works_for_some_is_impaired() -> None:
    """One payment service of several; a ledger that is closed for a part of the keys."""
    found = states(NOTHING_AMISS._replace(services=PARTLY))
    assert found[State.DEGRADED] == {"checkout"}
    found = states(NOTHING_AMISS._replace(till=PARTLY))
    assert found[State.DEGRADED] == API | {"login"}


@pytest.mark.parametrize(
    ("requests", "failed", "state"),
    [(0, 0, State.OK), (19, 19, State.OK), (20, 3, State.OK), (20, 4, State.DEGRADED)],
)
def test_real_requests_that_fail_spoil_a_content_probe(
    requests: int, failed: int, state: State
) -> None:
    """Where they are enough to prove anything; both figures stay apart."""
    traffic = {("openai", "chat"): Traffic(120, requests, failed)}
    part = next(one for one in PARTS if one.id == "api-openai-chat")
    found = reading(part, NOTHING_AMISS._replace(traffic=traffic))
    assert (found.state, found.probe, found.traffic) == (state, State.OK, traffic["openai", "chat"])


def test_a_login_without_the_database_tells_what_still_works() -> None:
    """The key itself opens the dashboard."""
    found = reading(
        Component("login", "Customer login", ""),
        NOTHING_AMISS._replace(books=Said(State.DOWN, "The database does not answer.", "x")),
    )
    assert "key itself works" in found.detail


def test_what_a_client_did_is_no_failure_of_ours() -> None:
    """Nor what a vendor refused of a request."""
    assert not {one.value for one in FAILED} & {
        "client_cancelled_midstream", "upstream_refused", "out_of_balance_midstream", "completed",
    }  # fmt: skip


def test_the_document_tells_what_is_counted() -> None:
    """Outcomes, thresholds and days as they are in the code."""
    text = (Path(__file__).parents[4] / "docs" / "status.md").read_text()
    for outcome in FAILED:
        assert f"`{outcome.value}`" in text
    assert f"{TRAFFIC_FAILED_PERCENT} % of at least {TRAFFIC_MIN} requests" in text
    assert f"for {DAYS} days" in text
    assert TRAFFIC_S == 120
    assert "in the last two minutes" in text


@pytest.mark.anyio
async def test_nobody_waits_for_what_cannot_clean_up() -> None:
    """A client of a frozen server gives up without hearing from it."""
    stuck = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await stuck.wait()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(within(0.01, hang()), 5)
    stuck.set()
