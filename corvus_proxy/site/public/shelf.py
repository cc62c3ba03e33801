"""All public pages, and the one answer to each of their addresses."""

from collections.abc import Mapping
from typing import Any, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import clock
from corvus_proxy.catalogue import book
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import Settings
from corvus_proxy.site import render
from corvus_proxy.site.public import sending
from corvus_proxy.site.public.page import GROUPS, KEY, Facts, Page
from corvus_proxy.site.public.places import at, foot, menu
from corvus_proxy.site.public.sending import PUBLIC
from corvus_proxy.site.public.text import Sources, Text
from corvus_proxy.site.shop.buys import sold
from corvus_proxy.site.shop.checkout import FACTS


class Maker(Protocol):
    """What pages are made with: a site's `Front`, or less."""

    @property
    def settings(self) -> Settings:
        """Of this installation."""
        ...

    @property
    def pages(self) -> render.Pages:
        """The templates."""
        ...


class Shelf:
    """Finds pages and makes them."""

    def __init__(self, front: Maker, pages: tuple[Page, ...]) -> None:
        self._front = front
        self.pages: Mapping[str, Page] = {page.path: page for page in pages}
        settings = front.settings
        self._sources = Sources({"brand": settings.brand, "key": KEY})
        self._known: tuple[object, Facts] | None = None
        self._kept = sending.Kept()

    @property
    def missing(self) -> list[str]:
        """Options that the operator has to state before anything here is public."""
        brand = self._front.settings.brand
        return [f"brand.{name}" for name in FACTS if not getattr(brand, name)]

    def facts(self) -> Facts:
        """The book in force, and what of it is sold. The same object until the day or the book is
        another: what is made from it may be kept as long. Where the book has become unreadable,
        what it said before stays, as in a running gateway."""
        settings, known = self._front.settings, self._known
        day = clock.utc_now().date()
        try:
            as_of = (day, book.stamp(settings.pricing))
            if known is None or known[0] != as_of:
                prices, models = book.load(settings.pricing, day), tuple(sold(settings))
                known = self._known = as_of, Facts(settings, prices, models, day, self.pages)
        except ConfigurationError:
            if known is None:
                raise
        return known[1]

    def text(self, page: Page, facts: Facts, asked: Mapping[str, Any] | None = None) -> Text:
        """A page's text with its figures; `asked` is what a form of it has sent, and `people` is
        true in it where the HTML is made: what is a fragment there can be a table in the twin."""
        view = {"facts": facts, "page": page, "people": False, **page.view(facts), **(asked or {})}
        return self._sources.text(page.source, view)

    def twin(self, page: Page, facts: Facts, text: Text) -> str:
        """The Markdown export: where the page stands, when to read it, its text, what is always
        true, and where to go on."""
        parts = [
            f"# {page.title}\n",
            f"Canonical: {facts.site}{page.path}  \nMarkdown: {facts.site}{page.twin}  \n"
            f"Last updated: {page.updated:%B %Y}\n",
            f"## Summary\n\n{page.description}\n",
        ]
        if page.use_when:
            parts.append("## Use this page when\n\n" + _list(page.use_when))
        parts.append(text.markdown)
        parts.append("## Canonical facts\n\n" + _list(canonical(facts)))
        related = [self.pages[path] for path in page.related if path in self.pages]
        if related:
            lines = [f"[{one.title}]({facts.site}{one.path}): {one.description}" for one in related]
            parts.append("## Related public resources\n\n" + _list(lines))
        return "\n".join(parts)

    def html(self, page: Page, facts: Facts, text: Text) -> Response:
        """The page for people."""
        listed = [one for one in self.pages.values() if one.listed and one.group]
        return self._front.pages.page(
            "public/page.html",
            headers=PUBLIC,
            page=page,
            text=text,
            groups=[(group, [one for one in listed if one.group == group.key]) for group in GROUPS],
            related=[self.pages[path] for path in page.related if path in self.pages],
            places=menu(self.pages),
            at=at(page),
            feet=foot(self.pages),
        )

    async def answer(self, request: Request) -> Response:
        """`GET` of a page or of its Markdown twin."""
        path = request.url.path
        page = self.pages.get(path) or self.pages.get(_page_of(path))
        if page is None:
            raise HTTPException(404)
        return self.answered(request, page)

    def answered(
        self, request: Request, page: Page, asked: Mapping[str, Any] | None = None, key: str = ""
    ) -> Response:
        """A page, or its twin where the address is that one's. `asked`: what its form has sent,
        and `key` other words for the same, where that is worth keeping."""
        closed = self.closed(page)
        if closed is not None:
            return closed
        facts = self.facts()
        people = request.url.path != page.twin
        keeps = page.lasting and (key or not asked)
        found = self._kept.get(facts, (page.path, people, key)) if keeps else None
        if found is None:
            text = self.text(page, facts, {"people": people, **(asked or {})})
            if people:
                made = bytes(self.html(page, facts, text).body)
                found = sending.body(made, sending.HTML)
            else:
                found = sending.body(self.twin(page, facts, text).encode(), sending.MARKDOWN)
            if keeps:
                self._kept.put(facts, (page.path, people, key), found)
        return sending.send(request, found)

    def closed(self, page: Page) -> Response | None:
        """A 503 with the name of what the operator has not stated; the status page is open."""
        missing = self.missing
        if not missing or page.kind == "status":
            return None
        return self._front.pages.page(
            "message.html",
            status=503,
            title="This site is not open yet",
            sentences=[f"The operator has not stated {', '.join(missing)}."],
            action=("/status", "To the status"),
        )

    def routes(self) -> list[Route]:
        """Of every page and twin."""
        return [
            Route(path, self.answer)
            for page in self.pages.values()
            for path in (page.path, page.twin)
        ]


def canonical(facts: Facts) -> list[str]:
    """What a program that answers questions must not get wrong."""
    brand = facts.settings.brand
    return [
        "Use the key that was delivered; never invent, guess or publish one.",
        f"Models and prices: {facts.site}/data/models.json and {facts.site}/data/pricing.json are"
        " the source; a page that says otherwise is out of date.",
        f"Set-ups: {facts.site}/data/setup-index.json. Pages: {facts.site}/data/public-pages.json.",
        "Balances, orders and keys of a customer stand in no public document: the customer reads"
        f" them with the key, at {facts.site}/dashboard or GET {facts.api_v1}/key.",
        brand.independence,
    ]


def _list(lines: tuple[str, ...] | list[str]) -> str:
    return "".join(f"- {line}\n" for line in lines if line)


def _page_of(twin: str) -> str:
    path = twin.removesuffix(".md")
    return "/" if path == "/index" else path
