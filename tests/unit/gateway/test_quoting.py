"""The bound of a request's input, and the limits that a balance affords."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy.catalogue import book
from corvus_proxy.catalogue.book import Model
from corvus_proxy.gateway.quoting import (
    affordable_limit,
    image_tokens,
    input_bound,
    quote,
    text_bound,
)
from corvus_proxy.money.pricing import affordable_output, ceiling
from corvus_proxy.settings import HoldSettings, PricingSettings
from corvus_proxy.wire import request
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.media import Size
from corvus_proxy.wire.request import Asked
from tests.oracle import dense
from tests.unit.wire.test_media import png

HOLD = HoldSettings()
BOOK = book.load(PricingSettings())
LARGEST = HOLD.image_tokens


def model(slug: str) -> Model:
    found = BOOK.find(slug)
    assert found is not None
    return found


def asked(content: Any, dialect: Dialect = Dialect.CHAT, **more: Any) -> Asked:
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **more}
    if dialect is Dialect.MESSAGES:
        body.setdefault("max_tokens", 500)
    return request.read(dialect, json.dumps(body).encode())


def bound(content: Any, slug: str, dialect: Dialect = Dialect.CHAT, **more: Any) -> int:
    return input_bound(asked(content, dialect, **more), model(slug), HOLD)


@pytest.mark.parametrize("slug", ["gpt-5.5", "glm-5.3", "claude-opus-5-5"])
def test_no_dense_text_has_more_tokens_than_its_bound(slug: str) -> None:
    """At least what the pairs say, plus the family's percent; never more than a token a byte."""
    percent = 140 if slug.startswith("claude") else 110
    empty = bound("", slug)
    for name, text in dense.texts():
        found = bound(text, slug) - empty
        size, beyond = len(text.encode()), sum(byte >= 0x80 for byte in text.encode())
        pairs = (dense.text_tokens(text) - beyond) * percent // 100
        escapes = sum(character in '"\\\n\r\t' for character in text)
        assert min(size - beyond, pairs) + beyond - 4 <= found, name
        assert found <= size + 2 * escapes + 40, name


@given(st.text(max_size=300), st.sampled_from(["gpt-5.5", "claude-opus-5-5"]))
def test_any_text_has_at_least_the_bound_of_its_pairs(text: str, slug: str) -> None:
    """The conservative count, for any text, escaped as Python's JSON writes it."""
    assert bound(text, slug) - HOLD.base_tokens >= dense.text_tokens(text)


def test_words_cost_less_than_bytes() -> None:
    """English: well under a token for each byte, and over a token for each word."""
    words = " ".join(dense.WORDS * 20)
    found = bound(words, "gpt-5.5") - bound("", "gpt-5.5")
    assert len(dense.WORDS) * 20 < found < 0.65 * len(words)


@pytest.mark.parametrize(
    ("slug", "size", "tokens"),
    [
        ("claude-opus-5-5", Size(28, 28), 2),
        ("claude-opus-5-5", Size(1000, 1000), 1467),
        ("claude-opus-5-5", Size(4000, 3000), 4500),
        ("gpt-5.5", Size(10, 10), 1500),
        ("gpt-5.5", Size(1024, 1024), 2560),
        ("gpt-5.5", Size(4000, 3000), LARGEST),
        ("gpt-4o-mini", Size(10, 10), 49_152),
        ("glm-5.3", Size(10, 10), LARGEST),
    ],
)
def test_images_by_size(slug: str, size: Size, tokens: int) -> None:
    """By the family's patches, at most its largest; what a family does not say is the largest."""
    found = model(slug)
    assert image_tokens(size, found, found.image_tokens or LARGEST) == tokens


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_images_whose_size_is_not_told_are_the_largest() -> None:
    """By URL, damaged, and the 65th of those that could be told."""
    told = "data:image/png;base64," + base64.b64encode(png(1024, 1024)).decode()
    one = bound([image(told)], "gpt-5.5")
    remote = bound([image("https://x/a")], "gpt-5.5")
    damaged = bound([image(told.replace("iVBORw", "AAAAAA"))], "gpt-5.5")
    assert abs(remote - one - (LARGEST - 2560)) < 20  # the URLs are text, too
    assert damaged - one == LARGEST - 2560
    each = bound([image(told)] * 64, "gpt-5.5") - bound([image(told)] * 63, "gpt-5.5")
    last = bound([image(told)] * 65, "gpt-5.5") - bound([image(told)] * 64, "gpt-5.5")
    assert last - each == LARGEST - 2560


def test_a_document_may_fill_the_context_unless_it_is_text() -> None:
    """PDFs by bytes or URL; text by its text; an operator may set a figure instead."""
    opus = model("claude-opus-5-5")
    pdf = base64.b64encode(b"%PDF-1.7 " + bytes(300)).decode()
    for source in (
        {"type": "base64", "media_type": "application/pdf", "data": pdf},
        {"type": "url", "url": "https://x/a.pdf"},
    ):
        block = [{"type": "document", "source": source}]
        found = asked(block, Dialect.MESSAGES)
        assert input_bound(found, opus, HOLD) == opus.context_tokens
        set_figure = HoldSettings(document_tokens=9_000)
        assert 9_000 < input_bound(found, opus, set_figure) < 11_000
    text = [{"type": "document", "source": {"type": "text", "media_type": "text/plain",
                                            "data": "words " * 50}}]  # fmt: skip
    assert bound(text, "claude-opus-5-5", Dialect.MESSAGES) < 2_000
    part = [{"type": "file", "file": {"file_data": f"data:application/pdf;base64,{pdf}"}}]
    assert bound(part, "gpt-5.5") == model("gpt-5.5").context_tokens


def test_tools_of_the_vendor_bring_instructions() -> None:
    """A thousand tokens for each that runs at the client, beside the text that asks for it."""
    tools = [{"type": "computer_20250124", "name": "computer"}, {"type": "bash_20250124"}]
    custom = [{"type": "custom", "name": "computer"}, {"name": "bash"}]
    with_tools = bound("x", "claude-opus-5-5", Dialect.MESSAGES, tools=tools)
    without = bound("x", "claude-opus-5-5", Dialect.MESSAGES, tools=custom)
    assert 2_000 <= with_tools - without < 2_060


@pytest.mark.parametrize("budget", [0, 1_024, 3_000])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("tokens", [1, 700, 1_023, 1_024, 1_025, 2_999, 3_001, 9_000])
def test_the_limit_that_a_refusal_tells_is_the_largest_that_is_served(
    budget: int, n: int, stream: bool, clamp: bool, tokens: int
) -> None:
    """For a balance of so many tokens: exactly this limit fits, one more does not."""
    opus = model("claude-opus-5-5")
    dialect = Dialect.MESSAGES if n == 1 else Dialect.CHAT
    more: dict[str, Any] = {"stream": stream}
    if n == 1 and budget:
        more["thinking"] = {"type": "enabled", "budget_tokens": budget}
    if n > 1:
        more["n"] = n

    def quoted(limit: int) -> Any:
        found = asked("word " * 90, dialect, max_tokens=limit, **more)
        return found, quote(found, opus, HOLD, clamp=clamp)

    first, asked_for = quoted(100_000)
    rest = asked_for.bound._replace(output_tokens=tokens * n)
    available = quote_nanos(rest, opus) + 6_999  # less than one more token
    if available >= asked_for.least_nanos:
        limit = affordable_limit(first, asked_for, opus.price, available)
        assert limit == max(tokens, budget + 1 if n == 1 and budget else 1)
        return
    affordable = affordable_output(available, asked_for.bound, opus.price) // n
    assert affordable == tokens
    assert quoted(affordable)[1].least_nanos <= available
    assert quoted(affordable + 1)[1].least_nanos > available


def quote_nanos(bound: Any, found: Model) -> int:
    return ceiling(bound, found.price)


def test_texts_to_embed_have_the_window_each_for_itself() -> None:
    """The hold of a list of texts is not bounded by one text's window, and has no output."""
    small = model("text-embedding-3-small")
    texts = ["word " * 5_000] * 20
    body = json.dumps({"model": small.slug, "input": texts}).encode()
    found = quote(request.read(Dialect.EMBEDDINGS, body), small, HOLD, clamp=True)
    assert 20 * 5_000 < found.bound.input_tokens <= 300_000
    assert small.context_tokens < found.bound.input_tokens
    assert found.bound.output_tokens == 0
    assert found.least_nanos == found.full_nanos > 0


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=60), st.booleans())
def test_tokens_to_embed_are_never_more_than_their_bound(tokens: list[int], nested: bool) -> None:
    """However they are written."""
    for separators in ((",", ":"), (", ", ": ")):
        given = [tokens, tokens] if nested else tokens
        body = json.dumps({"model": "m", "input": given}, separators=separators).encode()
        scan = request.read(Dialect.EMBEDDINGS, body).scan
        bare = HoldSettings(base_tokens=0)
        found = text_bound(scan, model("text-embedding-3-small"), bare)
        assert found >= len(tokens) * (2 if nested else 1)


def test_a_screenshot_by_its_address_counts_as_an_image() -> None:
    """Its URL is short; what it shows is not."""
    output = {"type": "computer_screenshot", "image_url": "https://example.org/x.png"}
    body = {"model": "m", "input": [{"type": "computer_call_output", "output": output}]}
    found = request.read(Dialect.RESPONSES, json.dumps(body).encode())
    assert input_bound(found, model("gpt-5.5"), HOLD) > LARGEST
