"""What a public page is: where it stands, what it is for, which source it is made from.

Rule 1: a page's text is one Markdown source (`templates/public/**.md`) with the figures filled in
from its view data; HTML, `.md` twin and `.json` twin are made from that, so none says more than
another.
Rule 2: whatever is counted, priced or listed comes from the rows and functions that bill.
"""

from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType
from typing import Any, NamedTuple

from corvus_proxy.catalogue.book import Book, Model
from corvus_proxy.settings import Settings

KEY = "YOUR_CORVUS_KEY"
"""What stands in every example in place of a key."""


class Facts(NamedTuple):
    """What all pages have at hand when they are made."""

    settings: Settings
    book: Book
    sold: tuple[Model, ...]
    """The models that this installation sells, in the order of the book."""
    day: date
    """Today, UTC."""
    pages: Mapping[str, "Page"] = MappingProxyType({})
    """All public pages, by path."""

    @property
    def api(self) -> str:
        """The Anthropic-style base URL."""
        return self.settings.brand.api_url

    @property
    def api_v1(self) -> str:
        """The OpenAI-style base URL."""
        return f"{self.api}/v1"

    @property
    def site(self) -> str:
        """The address of the site."""
        return self.settings.brand.site_url


View = Callable[[Facts], Mapping[str, Any]]


def no_view(facts: Facts) -> Mapping[str, Any]:
    """Of a page that needs nothing but the facts."""
    return {}


class Group(NamedTuple):
    """A shelf of the documentation."""

    key: str
    label: str
    accent: str


GROUPS = (
    Group("start", "Start", "teal"),
    Group("api", "API", "amber"),
    Group("clients", "Clients", "blue"),
    Group("help", "Troubleshooting", "plum"),
)
KINDS = ("docs", "landing", "pricing", "models", "trust", "status", "legal")


class Page(NamedTuple):
    """One public page."""

    path: str
    title: str
    description: str
    """One sentence, for lists of pages and for searches."""
    source: str
    """Below `templates/public`: `docs/quickstart.md`."""
    kind: str = "docs"
    """One of `KINDS`."""
    group: str = ""
    """Key of a `Group`, for pages of the documentation."""
    eyebrow: str = ""
    """The few words above the title."""
    view: View = no_view
    use_when: tuple[str, ...] = ()
    """When this page is the one to read, in the twin for programs."""
    related: tuple[str, ...] = ()
    """Paths of pages that go on from here."""
    updated: date = date(2026, 11, 26)
    """When its text was changed last; figures are of the moment."""
    data: str = ""
    """Path of the machine document that has the same figures."""
    contents: bool = True
    """Whether "on this page" stands before its text; not where the first sentence is the answer."""
    listed: bool = True
    """Whether it stands in navigation and indexes; one page of many alike does not."""
    lasting: bool = False
    """Whether its figures are those of the facts alone: then it is made once for all who ask."""

    @property
    def id(self) -> str:
        """The path joined by hyphens; `/docs` is `docs-home`, `/` is `home`."""
        joined = self.path.strip("/").replace("/", "-")
        return {"": "home", "docs": "docs-home"}.get(joined, joined)

    @property
    def twin(self) -> str:
        """Path of the Markdown twin."""
        return "/index.md" if self.path == "/" else f"{self.path}.md"
