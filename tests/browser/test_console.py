"""The operator's console in a browser: every page on every screen, and a deed by its buttons."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.browser.watch import EVERY, Visit, Windows
from tests.flow.test_order_commands import bought
from tests.stack import RunningStack

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def looked_at(seen: Visit, name: str) -> None:
    """The page that stands there, on every screen: nothing sideways, nothing for axe to find."""
    await seen.weigh()
    for screen in EVERY:
        await seen.show(screen)
        await seen.picture(f"console-{name}-{screen}")
        await seen.judge(screen)
        await seen.audit(screen)
    assert seen.problems == [], name


async def test_the_console_is_quiet_on_every_screen(
    browser: "Browser", stack: RunningStack
) -> None:
    """No violation of its policy, nothing for axe to find; keys, orders, pools, refunds, audit; a
    credit by two buttons."""
    token = stack.command("operators", "add", "eve")["token"]
    made = stack.command("keys", "create", "--credit", "5", "--label", "Workshop")
    stack.command("models", "disable", "gpt-4o-mini", "--reason", "The vendor is ill")
    order = await asyncio.to_thread(bought, stack)
    stack.command("refunds", "request", order["order_id"], "2.50", "--reason", "asked for")
    windows = Windows(browser, stack.facts["console"])
    try:
        async with windows.visit(scripted=True) as seen:
            await seen.goto("/")
            assert seen.page.url.endswith("/login")
            await looked_at(seen, "login")
            await seen.page.get_by_label("Operator's token").fill(token)
            await seen.press("Log in")
            await looked_at(seen, "today")
            for name, path in (
                ("orders", "/orders"),
                ("order", f"/orders/{order['order_id']}"),
                ("pools", "/pools"),
                ("refunds", "/refunds"),
                ("audit", "/audit"),
                ("keys", "/keys?q=Workshop"),
                ("key", f"/keys/{made['key_id']}"),
            ):
                await seen.goto(path)
                assert seen.status == 200
                await looked_at(seen, name)
            form = seen.page.locator('form[action="/deeds/keys.credit"]')
            await form.get_by_label("USD").fill("1.25")
            await form.get_by_label("Reason").fill("goodwill, ticket 812")
            await seen.press("Credit")
            await looked_at(seen, "sure")
            await seen.press("Do it")
            await looked_at(seen, "done")
            await seen.press("Go on")
            assert "6.25 USD" in await seen.page.locator("main").inner_text()
    finally:
        await windows.close()
        stack.command("models", "enable", "gpt-4o-mini", "--reason", "well again")
    assert stack.standing(made["key_id"])["balance_nanos"] == 6_250_000_000
