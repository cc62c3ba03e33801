"""From a page's Markdown source to its HTML and its twin.

Rule 1: what stands in a source is our own words and figures; raw HTML in it is shown as text, so a
figure from elsewhere (an operator's fact, a model's name) can break nothing.
Rule 2: `{{ fragment("name.html") }}` puts a picture or a form into the HTML, made from the same
view; the Markdown twin leaves it out, for what it shows stands in a table beside it.
"""

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

from corvus_proxy.money.amount import format_usd

_MARK = "fragment-{}-of-this-page"
_SPACES = re.compile(r"\n{3,}")
_NO_WORD = re.compile(r"[^a-z0-9]+")


class Heading(NamedTuple):
    """A second-level heading, for "on this page"."""

    anchor: str
    title: str


class Block(NamedTuple):
    """A fenced block of a source: what a reader may paste."""

    info: str
    """The words behind the fence: `sh run`, `json`, `python run`. Blocks with `run` are run by the
    tests."""
    text: str


class Text(NamedTuple):
    """A page's text in both forms."""

    markdown: str
    html: Markup
    headings: tuple[Heading, ...]
    blocks: tuple[Block, ...]


class Sources:
    """The Markdown sources of the public pages."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        """`names` are at hand in every source, beside its own view."""
        self._markdown = Environment(  # noqa: S701 - Markdown: the HTML is escaped when it is made
            loader=PackageLoader("corvus_proxy.site", "templates/public"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        filters: dict[str, Callable[..., str]] = {
            "usd": format_usd,
            "grouped": lambda number: f"{number:,}",
            "ticked": lambda name: f"`{name}`",
        }
        self._markdown.filters |= filters
        self._markdown.globals |= names
        self._html = self._markdown.overlay(autoescape=True)

    def text(self, source: str, view: Mapping[str, Any]) -> Text:
        """A source with its view filled in. Raises jinja2's errors where either lacks something."""
        fragments: list[Markup] = []

        def fragment(name: str) -> str:
            fragments.append(Markup(self._html.get_template(name).render(**view)))  # noqa: S704
            return _MARK.format(len(fragments) - 1)

        raw = self._markdown.get_template(source).render(**view, fragment=fragment)
        tokens = _PARSER.parse(raw)
        headings = _anchored(tokens)
        _unstyled(tokens)
        html = _PARSER.renderer.render(tokens, _PARSER.options, {})
        plain = raw
        for number, made in enumerate(fragments):
            mark = _MARK.format(number)
            html = html.replace(f"<p>{mark}</p>", made)
            plain = plain.replace(mark, "")
        blocks = tuple(Block(one.info, one.content) for one in tokens if one.type == "fence")
        plain = _SPACES.sub("\n\n", plain).strip() + "\n"
        return Text(plain, Markup(html), headings, blocks)  # noqa: S704 - escaped by the parser


def anchor(title: str) -> str:
    """The address of a heading: `What you buy` is `what-you-buy`."""
    return _NO_WORD.sub("-", title.lower()).strip("-")


def _unstyled(tokens: list[Token]) -> None:
    """Right-aligned columns by a class: our policy allows no style in the HTML."""
    for token in tokens:
        if token.type in ("th_open", "td_open"):
            style = token.attrs.pop("style", "")
            if style == "text-align:right":
                token.attrSet("class", "number")


def _anchored(tokens: list[Token]) -> tuple[Heading, ...]:
    """Gives every second-level heading its address."""
    found: list[Heading] = []
    for token, inner in itertools.pairwise(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            title = _plain(inner)
            token.attrSet("id", anchor(title))
            found.append(Heading(anchor(title), title))
    return tuple(found)


def _plain(inline: Token) -> str:
    return "".join(one.content for one in inline.children or ())


class _Renderer(RendererHTML):
    """HTML as our sheet and script want it."""

    def fence(self, tokens: Any, idx: int, options: Any, env: Any) -> str:
        """A block to copy; one that is too wide is scrolled by keyboard as well."""
        token = tokens[idx]
        language = token.info.split()[0] if token.info.strip() else "text"
        return (
            f'<div class="copy"><pre tabindex="0" aria-label="{escape(_LANGUAGES[language])}"'
            f" data-copy><code>{escape(token.content)}</code></pre></div>\n"
        )

    def table_open(self, tokens: Any, idx: int, options: Any, env: Any) -> str:
        """A table that scrolls by itself on a narrow screen; a group, for several regions of one
        name would be no landmarks."""
        return '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>\n'

    def table_close(self, tokens: Any, idx: int, options: Any, env: Any) -> str:
        """See `table_open`."""
        return "</table></div>\n"


_LANGUAGES = {
    "sh": "Command, POSIX shell",
    "powershell": "Command, PowerShell",
    "json": "JSON",
    "toml": "TOML",
    "python": "Python",
    "js": "JavaScript",
    "http": "HTTP",
    "text": "Text",
}
"""What may stand behind a fence, and what it is called."""
_PARSER = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
