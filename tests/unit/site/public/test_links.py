"""Every public page: what it leads to is there, and it says whose page it is."""

import re
from urllib.parse import urldefrag

import httpx
import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.site import public
from corvus_proxy.site.public.places import FEET, PLACES, TOPICS
from tests.unit.site.public.visitor import BRAND, SETTINGS, Reader, site

pytestmark = pytest.mark.anyio
PAGES = {page.path: page for page in public.pages(book.load(SETTINGS.pricing).models)}
ACCOUNT, DOOR = "/dashboard", "/login"
"""What leads those who are not logged in elsewhere, and whither."""
OF_THE_BOOKS = {"/data/proof.json"}
"""What says nothing while the books are away, as they are here."""


class Crawl:
    """A site, each address of it asked for once."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._known: dict[str, httpx.Response] = {}
        self.problems: set[str] = set()

    async def get(self, path: str) -> httpx.Response:
        """The answer at a path of ours."""
        if path not in self._known:
            self._known[path] = await self._client.get(path)
        return self._known[path]

    async def judge(self, page: str, link: str) -> None:
        """Notes a link of ours that leads nowhere."""
        address, anchor = urldefrag(link.removeprefix(BRAND.site_url))
        if not address.startswith("/") and (address or not anchor):
            return
        found = await self.get(address or page)
        if address.startswith(ACCOUNT) and found.headers.get("location") == DOOR:
            return
        if address in OF_THE_BOOKS and found.status_code == 503:
            return
        if found.status_code != 200:
            self.problems.add(f"{page}: {link}: {found.status_code}")
        elif anchor and anchor not in Reader(found.text).anchors:
            self.problems.add(f"{page}: {link}: there is no such place on that page")


async def test_every_internal_link_answers() -> None:
    """Of every page, of its twin and of what the shelf says is related: 200, and the place on the
    page is there."""
    async with site() as client:
        crawl = Crawl(client)
        for path, page in PAGES.items():
            for link in Reader((await crawl.get(path)).text).links:
                await crawl.judge(path, link)
            twin = (await crawl.get(page.twin)).text
            for link in (*re.findall(r"\]\(([^)\s]+)\)", twin), *page.related):
                await crawl.judge(path, link)
    assert "\n".join(sorted(crawl.problems)) == ""


def test_navigation_foot_and_topic_map_name_pages_that_are_there() -> None:
    """Each entry of the tables is a page on the shelf."""
    named = [*(place.path for place in (*PLACES, *FEET)), *TOPICS]
    assert [path for path in named if path not in PAGES] == []


async def test_every_page_says_what_it_is_and_that_nobody_stands_behind_it() -> None:
    """One headline, a title of its own, a description, where it stands, its twin, independence."""
    titles: dict[str, str] = {}
    async with site() as client:
        for path, page in PAGES.items():
            answer = await client.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["cache-control"].startswith("public"), path
            html = answer.text
            assert len(re.findall("<h1[ >]", html)) == 1, path
            title = html.partition("<title>")[2].partition("</title>")[0]
            assert titles.setdefault(title, path) == path, title
            assert f'<link rel="canonical" href="{BRAND.site_url}{path}">' in html
            assert f'type="text/markdown" href="{page.twin}"' in html
            assert '<meta name="description" content="' in html
            assert BRAND.independence in html
            twin = await client.get(page.twin)
            assert twin.headers["content-type"] == "text/markdown; charset=utf-8"
            assert BRAND.independence in twin.text
            assert "style=" not in html
            assert "fragment-" not in twin.text + html


async def test_one_who_looks_for_a_page_finds_the_way() -> None:
    """Navigation with the place marked, the shelf of the documentation with the page marked."""
    async with site() as client:
        html = (await client.get("/docs/getting-started/quickstart")).text
        home = (await client.get("/")).text
    assert '<a href="/docs" aria-current="true">Docs</a>' in html
    assert '<a href="/docs/getting-started/quickstart" aria-current="page">' in html
    assert {("nav", "Site"), ("nav", "Browse docs"), ("nav", "On this page")} <= set(
        Reader(html).names
    )
    for page in (html, home):
        assert '<a href="/login">Log in</a>' in page
        assert '<a class="button" href="/checkout">Buy</a>' in page
    assert "aria-current" not in home
