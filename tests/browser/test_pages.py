"""Every page in every state: quiet, within its policy and its budget, on every screen, for all."""

import re

import pytest
from starlette.routing import Route

from corvus_proxy.site.app import create
from tests.browser.pages import PUBLIC, ROWS, Row
from tests.browser.people import People
from tests.browser.watch import EVERY, GATE, Visit, Windows

ALL = [pytest.param(row, id=row.name, marks=pytest.mark.slow if row.rare else ()) for row in ROWS]

NO_PAGE = re.compile(
    r"/livez|/readyz|/static/|/v1/|/webhooks?/|/dashboard/events|/dashboard/ledger\.\{"
    r"|.*\.(json|md|txt|xml)$"
)
"""Routes that answer a browser's GET with something else than a page."""


@pytest.mark.anyio
async def test_every_page_has_a_row(people: People) -> None:
    """A route that answers GET is in the table, and the gate looks at one of its states; of public
    pages, which one template makes, at some."""
    app = create(people.stores, people.settings)
    paths = {
        route.path
        for route in app.routes
        if isinstance(route, Route) and "GET" in (route.methods or ())
    }
    pages = {path for path in paths if not NO_PAGE.match(path)}
    made = {page.path for page in PUBLIC}
    assert pages - made - {row.route for row in ROWS if not row.rare} == set()
    assert {row.route for row in ROWS} - pages == {""}


@pytest.mark.anyio
@pytest.mark.parametrize("row", ALL)
async def test_a_page(
    row: Row, windows: Windows, people: People, request: pytest.FixtureRequest
) -> None:
    """No error, nothing blocked, no sideways scroll, nothing for axe to find, small; and without
    JavaScript it says the same and offers the same. `--all` takes every state on every screen."""
    every = request.config.getoption("--all")
    screens = EVERY if every else GATE
    async with windows.visit(scripted=True) as seen:
        await row.arrive(seen, people)
        assert seen.status == row.status
        outline, cookies, address = await seen.outline(), await seen.cookies(), seen.page.url
        await seen.weigh()
        audited: set[str] = set()
        for screen in screens:
            await seen.show(screen)
            await seen.picture(f"{row.name}-{screen}")
            await seen.unfold()
            await seen.judge(screen)
            if screen.theme not in audited:
                # A theme changes colours and nothing else.
                await seen.audit(screen, colours_alone=bool(audited) and not every)
                audited.add(screen.theme)
    async with windows.visit(scripted=False) as plain:
        if row.posted:
            await row.arrive(plain, people)
        else:
            await plain.take(cookies)
            await plain.goto(address)
        assert plain.status == row.status
        await plain.judge(screens[0])
        await plain.picture(f"{row.name}-plain")
        assert await plain.outline() == outline
    assert "\n".join(seen.problems + without_script(plain)) == ""


def without_script(plain: Visit) -> list[str]:
    """Its problems, told apart from those of the page with script."""
    return [f"without script: {problem}" for problem in plain.problems]
