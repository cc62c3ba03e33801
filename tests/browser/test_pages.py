"""Every page in every state: quiet, within its policy and its budget, on every screen, for all."""

from typing import TYPE_CHECKING

import pytest

from tests.browser.pages import ROWS, Row
from tests.browser.people import People
from tests.browser.watch import EVERY, GATE, Visit, visit

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_page(
    row: Row, browser: "Browser", people: People, request: pytest.FixtureRequest
) -> None:
    """No error, nothing blocked, no sideways scroll, nothing for axe to find, small; and without
    JavaScript it says the same and offers the same. `--all` takes every screen."""
    every = request.config.getoption("--all")
    screens = EVERY if every else GATE
    site = people.stack.facts["site"]
    async with visit(browser, site) as seen:
        await row.arrive(seen, people)
        assert seen.status == row.status
        outline, cookies, address = await seen.outline(), await seen.cookies(), seen.page.url
        await seen.weigh()
        audited: set[str] = set()
        for screen in screens:
            await seen.show(screen)
            await seen.picture(f"{row.name}-{screen}")
            await seen.unfold()
            await seen.show(screen)
            if screen.theme not in audited:
                # A theme changes colours and nothing else.
                await seen.audit(screen, colours_alone=bool(audited) and not every)
                audited.add(screen.theme)
    async with visit(browser, site, scripted=False) as plain:
        if row.posted:
            await row.arrive(plain, people)
        else:
            await plain.take(cookies)
            await plain.goto(address)
        assert plain.status == row.status
        await plain.show(screens[0])
        await plain.picture(f"{row.name}-plain")
        assert await plain.outline() == outline
    assert "\n".join(seen.problems + without_script(plain)) == ""


def without_script(plain: Visit) -> list[str]:
    """Its problems, told apart from those of the page with script."""
    return [f"without script: {problem}" for problem in plain.problems]
