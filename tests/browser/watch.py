"""One page in Debian's Chromium, watched: what is wrong with it is collected, in words.

Rule 1: an address is opened as a person opens it; nothing of the page is replaced or intercepted.
Rule 2: a visit collects; the test asserts once that nothing was collected, and so shows all of it.

Playwright is imported where a browser starts: it takes a second, and every process reads every
file.
"""

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page, Request

WAIT_MS = 20_000
MISSING = "apt-get install -y --no-install-recommends chromium fonts-dejavu-core"
"""Installs the browser."""
BYTES_MAX = 60_000
SCRIPT_BYTES_MAX = 12_000
REQUESTS_MAX = 6
AXE: dict[str, object] = {
    "resultTypes": ["violations"],
    # Off unless asked for, because it belongs to WCAG 2.2.
    "rules": {"target-size": {"enabled": True}},
}
AXE_COLOURS = {**AXE, "runOnly": ["color-contrast", "link-in-text-block"], "rules": {}}
_TWO_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
_WIDER = """() => {
    const root = document.scrollingElement;
    if (root.scrollWidth <= root.clientWidth) return [];
    const found = [`${root.scrollWidth} px wide on a screen of ${root.clientWidth}`];
    for (const one of document.body.querySelectorAll("*"))
        if (one.getBoundingClientRect().right > root.clientWidth + 0.5 && found.length < 6)
            found.push(`<${one.tagName.toLowerCase()} class="${one.getAttribute("class") ?? ""}">`
                + ` ${one.textContent.trim().slice(0, 40)}`);
    return found;
}"""
_OVERFLOW = """() => {
    const found = [];
    for (const one of document.querySelectorAll("main, main :is(section, article, header, form,"
            + " fieldset, div, dl, ol, ul, li, dd, p, table, td, th)")) {
        const style = getComputedStyle(one);
        if (style.display.startsWith("inline") || style.overflowY !== "visible") continue;
        const box = one.getBoundingClientRect();
        const flowing = [...one.children].filter(
            inner => !getComputedStyle(inner).position.match("absolute|fixed"));
        const ends = flowing.map(inner => inner.getBoundingClientRect().bottom);
        const over = Math.round(Math.max(...ends) - box.bottom);
        if (over > 4)
            found.push(`<${one.tagName.toLowerCase()} class="${one.getAttribute("class") ?? ""}">`
                + ` by ${over} px: ${one.textContent.trim().slice(0, 30)}`);
    }
    return found.slice(0, 5);
}"""
_OUTLINE = """() => [...document.querySelectorAll("h1, h2, h3, label, th[scope=col], dt, "
    + "button[type=submit], summary, a.button")]
    .filter(one => one.checkVisibility()).map(one => one.innerText.trim())"""


class Screen(NamedTuple):
    """A size of the window in CSS pixels, and what the reader's system prefers."""

    width: int
    height: int
    theme: str

    def __str__(self) -> str:
        return f"{self.width}-{self.theme}"


GATE = (Screen(320, 640, "light"), Screen(1280, 900, "dark"))
EVERY = tuple(
    Screen(width, height, theme)
    for theme in ("light", "dark")
    for width, height in ((320, 640), (390, 844), (1280, 900))
)


class Visit:
    """A window with its own cookies, and everything that went wrong in it."""

    def __init__(self, page: "Page", site: str, *, scripted: bool) -> None:
        self.page = page
        self.site = site
        self.titles: list[str] = []
        """Of every page that stood there."""
        self.asked: list[Request] = []
        """Every request of this window."""
        self._scripted = scripted
        self.problems: list[str] = []
        self.clicks = 0
        """What a person had to press."""
        self.status = 0
        """Of the page that stands there now; an answer that is no success is not loaded again."""
        self._loaded: list[Request] = []
        self._ears: dict[str, Any] = {
            "console": self._hear,
            "pageerror": lambda error: self.problems.append(f"script failed: {error}"),
            "requestfailed": self._failed,
            "request": self._asked,
        }
        for event, ear in self._ears.items():
            page.on(event, ear)  # type: ignore[call-overload]

    def end(self) -> None:
        """Hears nothing any more."""
        for event, ear in self._ears.items():
            self.page.remove_listener(event, ear)

    def _hear(self, message: "ConsoleMessage") -> None:
        told = message.text.startswith("Failed to load resource")
        if message.type not in ("error", "warning"):
            return
        # A page that is an error by its status is told of as well; every other address is not.
        if told and message.location["url"] == self.page.url:
            return
        self.problems.append(f"console: {message.text}")

    def _failed(self, request: "Request") -> None:
        # A page that is left ends what it was still asking for.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"{request.url}: {request.failure}")

    def _asked(self, request: "Request") -> None:
        if request.is_navigation_request() and request.frame == self.page.main_frame:
            self._loaded = []
        self._loaded.append(request)
        self.asked.append(request)

    async def goto(self, path: str) -> None:
        """Opens an address of the site, or a whole one."""
        await self.page.goto(path if "://" in path else self.site + path)
        await self.settle()

    async def press(self, name: str) -> None:
        """Presses the button or follows the link of that name, and waits for the next page."""
        control = self.page.get_by_role("button", name=name, exact=True).or_(
            self.page.get_by_role("link", name=name, exact=True)
        )
        self.clicks += 1
        async with self.page.expect_navigation():
            await control.first.click()
        await self.settle()

    async def choose(self, name: str) -> None:
        """Chooses a radio button by its label."""
        self.clicks += 1
        await self.page.get_by_label(name, exact=True).check()

    async def copy(self, name: str) -> str:
        """Presses the button that copies the snippet of that name; what can be pasted then."""
        self.clicks += 1
        text = self.page.locator(f'[data-snippet="{name}"]')
        await text.locator("..").get_by_role("button").click()
        pasted: str = await self.page.evaluate("() => navigator.clipboard.readText()")
        return pasted

    async def text(self, selector: str) -> str:
        """What stands there, without white space; waits until it is there."""
        return "".join((await self.page.locator(selector).first.inner_text()).split())

    async def log_in(self, key: str) -> None:
        """By the form, as a person does."""
        await self.goto("/login")
        await self.page.get_by_label("Key or read-only token").fill(key)
        await self.press("Open dashboard")

    async def cookies(self) -> list[Any]:
        """What this window knows."""
        return list(await self.page.context.cookies())

    async def take(self, cookies: list[Any]) -> None:
        """Knows what another window knew."""
        await self.page.context.add_cookies(cookies)

    async def own(self, order: str) -> None:
        """Becomes the browser that has ordered: `order` is its token."""
        await self.take([{"name": "order", "value": order, "url": self.site}])

    async def unfold(self) -> None:
        """Opens whatever can be opened."""
        await self.page.evaluate(
            "() => document.querySelectorAll('details').forEach(one => one.open = true)"
        )

    async def settle(self) -> None:
        """Until the page is loaded and drawn."""
        await self.page.wait_for_load_state("load")
        await self._drawn()
        for request in self._loaded:
            if request.is_navigation_request() and (answer := await request.response()):
                self.status = answer.status
        self.titles.append(await self.page.title())

    async def _drawn(self) -> None:
        if self._scripted:  # without script nobody is called back
            await self.page.evaluate(_TWO_FRAMES)

    async def weigh(self) -> None:
        """Its budget on a first visit: bytes as they come over the wire, script, requests."""
        total = script = 0
        for request in self._loaded:
            if request.resource_type == "eventsource":
                continue  # it goes on for ever
            if request.failure:
                continue  # the page went on to another before it came
            sizes = await request.sizes()
            size = sizes["responseBodySize"] + sizes["responseHeadersSize"]
            total += size
            script += size if request.resource_type == "script" else 0
            if not request.url.startswith((self.site, "data:")):
                self.problems.append(f"asks elsewhere: {request.url}")
        for name, found, most in (
            ("bytes", total, BYTES_MAX),
            ("bytes of script", script, SCRIPT_BYTES_MAX),
            ("requests", len(self._loaded), REQUESTS_MAX),
        ):
            if found > most:
                self.problems.append(f"{found} {name}, at most {most}")

    async def show(self, screen: Screen) -> None:
        """The same page on another screen."""
        await self.page.set_viewport_size({"width": screen.width, "height": screen.height})
        await self.page.emulate_media(color_scheme=screen.theme)  # type: ignore[arg-type]
        await self._drawn()

    async def judge(self, screen: Screen) -> None:
        """Does the page fit this screen, and everything the place that it is in?"""
        wider = await self.page.evaluate(_WIDER)
        if wider:
            self.problems.append(f"{screen}: scrolls sideways: {'; '.join(wider)}")
        for one in await self.page.evaluate(_OVERFLOW):
            self.problems.append(f"{screen}: more in it than fits, {one}")

    async def audit(self, screen: Screen, *, colours_alone: bool = False) -> None:
        """What axe finds on the screen that is shown, or in its colours."""
        from axe_playwright_python.async_playwright import Axe

        found = await Axe().run(self.page, options=AXE_COLOURS if colours_alone else AXE)
        for violation in found.response["violations"]:
            for node in violation["nodes"]:
                why = "; ".join(check["message"] for check in node["any"] + node["all"])
                self.problems.append(
                    f"{screen}: axe {violation['id']}: {node['html'][:160]} ({why})"
                )

    async def outline(self) -> list[str]:
        """Headings, labels and buttons that can be seen, in their order."""
        found: list[str] = await self.page.evaluate(_OUTLINE)
        return [re.sub(r"key_\w+", "key_…", one) for one in found]

    async def picture(self, name: str) -> None:
        """Keeps what it looks like in the folder that CORVUS_SCREENSHOTS names."""
        folder = os.environ.get("CORVUS_SCREENSHOTS")
        if folder:
            path = Path(folder) / f"{name}.png"
            await self.page.screenshot(path=path, full_page=True)


async def _window(browser: "Browser", *, scripted: bool) -> "Page":
    context = await browser.new_context(
        viewport={"width": GATE[0].width, "height": GATE[0].height}, java_script_enabled=scripted
    )
    context.set_default_timeout(WAIT_MS)
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    return page


@asynccontextmanager
async def visit(browser: "Browser", site: str) -> AsyncIterator[Visit]:
    """A new small window without cookies and without a cache."""
    page = await _window(browser, scripted=True)
    try:
        yield Visit(page, site, scripted=True)
    finally:
        await page.context.close()


def program() -> str | None:
    """Debian's Chromium, where it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@asynccontextmanager
async def chromium(path: str) -> "AsyncIterator[Browser]":
    """That program, running."""
    from playwright.async_api import async_playwright

    # Its sandbox needs a user that is not root, as containers' tests are.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=path, args=flags)
        yield opened
        await opened.close()


class Windows:
    """Two windows, with script and without, used for one page after the other: a new one for each
    would cost more than the page."""

    def __init__(self, browser: "Browser", site: str) -> None:
        self._browser = browser
        self._site = site
        self._pages: dict[bool, Page] = {}

    @asynccontextmanager
    async def visit(self, *, scripted: bool) -> AsyncIterator[Visit]:
        """A visit as in a new window: nothing of the one before is known."""
        if scripted not in self._pages:
            self._pages[scripted] = await _window(self._browser, scripted=scripted)
        page = self._pages[scripted]
        await page.goto("about:blank")
        await page.context.clear_cookies()
        await page.set_viewport_size({"width": GATE[0].width, "height": GATE[0].height})
        await page.emulate_media(color_scheme="light")
        one = Visit(page, self._site, scripted=scripted)
        try:
            yield one
        finally:
            one.end()

    async def close(self) -> None:
        """Closes both."""
        for page in self._pages.values():
            await page.context.close()
