"""Every route of the site and of the status port asked by everybody's browser.

The real applications over a running stack's stores, without a server between.
"""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from starlette.applications import Starlette

from corvus_proxy.roles.statuses import Status
from corvus_proxy.settings import Settings, StatusSettings, load
from corvus_proxy.shop.services import providers
from corvus_proxy.site import public
from corvus_proxy.site.app import create
from corvus_proxy.site.front import Front
from tests.security import calling
from tests.security.calling import Got
from tests.security.people import ABSENT, SITE, People, Things
from tests.security.tables import (
    SITE_BODIES,
    SITE_COLUMNS,
    SITE_SPARE,
    SITE_TABLE,
    STATUS,
    STATUS_ASKED_BY,
)
from tests.stack import RunningStack

pytestmark = pytest.mark.anyio
SEES_ALL = ("main", "elsewhere", "token")
"""Whose browser may see the owner's things."""
MOVING = ("/trust/proof", "/status", "/data/status")
"""Public pages whose figures are measured while they are asked for."""
KEYS_OF_THE_WALLET = ("sub", "frozen", "revoked", "expired")


class Site(NamedTuple):
    """The site's application, its people, and the address of an order that waits."""

    app: Starlette
    people: People
    settings: Settings
    orders: tuple[str, str]
    """Of two, for one may be asked about only so often."""

    def names(self, column: str, *, every: bool) -> tuple[str, ...]:
        """Who stands in a column. All strangers meet the same door: the gate sends two of them."""
        names = SITE_COLUMNS[column]
        return names if every else names[:2]


@pytest.fixture(scope="module")
async def site(stack: RunningStack, people: People) -> AsyncIterator[Site]:
    settings = load(stack.state / "up.toml")
    services = providers(settings)
    app = create(people.stores, settings, services)
    yield Site(app, people, settings, (await place(app, people, 0), await place(app, people, 1)))
    for one in services.values():
        await one.close()


async def place(app: Starlette, people: People, number: int) -> str:
    """An order of the owner's that waits: the token in its address."""
    headers = [
        ("authorization", f"Bearer {people.owner.secret}"),
        ("content-type", "application/json"),
        ("idempotency-key", f"{number}" * 20),
    ]
    body = json.dumps({"amount": "20", "provider": "stripe"}).encode()
    placed = await calling.call(app, "POST", "/v1/orders", headers, body)
    assert placed.status == 201, placed
    return str(json.loads(placed.body)["order_url"].rpartition("/")[2])


def own_routes(site: Site) -> list[str]:
    """All but the public pages."""
    shown = {route.path for route in public.routes(Front(site.people.stores, site.settings, {}))}
    return [one for one in calling.routes(site.app) if one.split(" ")[1] not in shown]


async def test_every_route_has_its_row_and_every_row_its_route(site: Site) -> None:
    """A new route fails here until somebody has written down who may do what with it."""
    assert sorted(SITE_TABLE) == sorted(own_routes(site)), "its row: tests/security/tables.py"
    assert {name for names in SITE_COLUMNS.values() for name in names} == set(SITE)


def target(path: str, things: Things, order: str) -> str:
    """A path with somebody's things in it."""
    for part, value in things._asdict().items():
        path = path.replace(f"{{{part}}}", value)
    path = path.replace("{token}", order if "/orders/" in path else "x" * 30)
    for part, value in (("{form}", "csv"), ("{act}", "pay"), ("{provider}", "stripe")):
        path = path.replace(part, value)
    return path.replace("{name}", "app.css" if path.startswith("/static") else "none")


def word(got: Got) -> str:
    """The status, or where one is sent."""
    places = {"/login": "login", "/dashboard/ledger": "ledger"}
    return places.get(got.header("location"), "") or str(got.status)


def leaked(people: People, name: str, got: Got) -> list[str]:
    """Words of the owner that this browser may not see and has been shown."""
    text = got.body.decode() + str(got.headers)
    marks = people.marks
    if name in SEES_ALL:
        return []
    if name in KEYS_OF_THE_WALLET:
        own = (people.tickets[name].key_id, people.owner.wallet)
        text = text.replace(f"Zebedee-{name}", "")
        marks = [mark for mark in marks if mark not in own]
    return [mark for mark in marks if mark in text]


def plain(got: Got, things: Things) -> tuple[int, str]:
    text = got.body.decode()
    for value in things:
        text = text.replace(value, "…")
    return got.status, text


@pytest.mark.parametrize("route", SITE_TABLE)
async def test_everybody_gets_what_is_theirs(
    site: Site, route: str, request: pytest.FixtureRequest
) -> None:
    """The cells of one route."""
    method, path = route.split(" ")
    wrong = {}
    for column in SITE_COLUMNS:
        for name in site.names(column, every=request.config.getoption("--all")):
            people = site.people
            if route in SITE_SPARE:
                people = await people.renewed(name)
            address = f"10.{list(SITE_TABLE).index(route)}.0.{SITE.index(name)}"

            async def ask(
                things: Things, who: People = people, name: str = name, address: str = address
            ) -> Got:
                headers = who.by_browser(name)
                place = target(path, things, site.orders[SITE.index(name) % 2])
                body = SITE_BODIES.get(route, b"")
                return await calling.call(site.app, method, place, headers, body, client=address)

            got = await ask(site.people.things)
            if word(got) != SITE_TABLE[route][column]:
                wrong[name] = word(got)
            if got.status == 404 and "_id}" in path:
                absent = await ask(ABSENT)
                assert plain(absent, ABSENT) == plain(got, site.people.things), name
            elif "/orders/" not in path:
                assert not leaked(site.people, name, got), (name, got)
            if "/orders/" in path:
                assert people.owner.secret not in got.body.decode()
    assert not wrong


async def test_an_order_that_nobody_placed_is_absent_for_everybody(site: Site) -> None:
    for path in ("/orders/{token}", "/orders/{token}.json", "/v1/orders/{token}"):
        for name in ("none", "other", "main"):
            place = target(path, ABSENT, "x" * 30)
            got = await calling.call(site.app, "GET", place, site.people.by_browser(name))
            assert got.status == 404, (path, name)


async def test_public_pages_are_the_same_for_everybody(
    site: Site, request: pytest.FixtureRequest
) -> None:
    """Who is logged in changes nothing of them, and they set no cookie. (The gate asks for one
    in fifty, by a stranger and by the owner.)"""
    every = request.config.getoption("--all")
    own = set(own_routes(site))
    shown = [one for one in calling.routes(site.app) if one not in own]
    assert len(shown) > 200
    for route in shown[:: 1 if every else 50]:
        method, path = route.split(" ")
        assert method == "GET"
        path = path.replace("{slug}", "gpt-4o-mini")
        found = set()
        for name in SITE if every else ("none", "main"):
            got = await calling.call(site.app, method, path, site.people.by_browser(name))
            assert got.status == 200, (path, name, got.status)
            assert not got.cookies, path
            assert not leaked(site.people, "none", got), path
            found.add(re.sub(rb"nonce[-=]\S+", b"", got.body))
        assert len(found) == 1 or path.startswith(MOVING), path


async def test_the_status_port_shows_nobody_anything_of_a_customer(
    site: Site, tmp_path: Path
) -> None:
    """The worker's port: its routes, and what a customer with a key and a log-in gets there, which
    is what everybody gets."""
    worker = Status(
        msgspec.structs.replace(site.settings, status=StatusSettings(dir=str(tmp_path))),
        site.people.stores.till, {},
    )  # fmt: skip
    app = worker.app(list)
    assert set(calling.routes(app)) == set(STATUS), "its row: tests/security/tables.py"
    for route, status in STATUS.items():
        method, path = route.split(" ")
        for who in STATUS_ASKED_BY:
            place = path.replace("{name}", "app.css").replace("{path:path}", "nowhere")
            got = await calling.call(app, method, place, site.people.by_browser(who))
            assert got.status == status, route
            assert not leaked(site.people, "none", got), route
            assert not got.cookies
    await worker.close()
