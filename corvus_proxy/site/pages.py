"""What the pages show, as data: each view becomes HTML and its `.json` twin.

Rule 1: figures are Redis's, rows are the books'; the books are read first, so that what Redis has
charged beyond their rows (`unlisted_nanos`) is never negative for lack of order.
Rule 2: without the books the figures still stand, and `listing` is None.
"""

import asyncio
import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from corvus_proxy import clock
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.books.views import ModelRow, RequestRow
from corvus_proxy.catalogue import book, margin
from corvus_proxy.service import account
from corvus_proxy.service.sessions import Session
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import FAMILIES, Settings

REQUESTS_SHOWN = 50
BOOKS_S = 5
"""How long a page waits for the books before it is shown without them."""


class ModelShare(NamedTuple):
    """What one model has cost, and how much that is of all charges."""

    row: ModelRow
    share_ppm: int
    bar_permille: int
    """Length of its bar: the dearest model's is full."""


class Listing(NamedTuple):
    """What the books know of a wallet."""

    key: account.KeyRecord | None
    requests: list[RequestRow]
    models: list[ModelShare]
    request_count: int
    charged_nanos: int


class Call(NamedTuple):
    """How to make a first call in one dialect."""

    title: str
    base_url: str
    command: str


class Dashboard(NamedTuple):
    """The dashboard of one wallet."""

    figures: account.Overview
    listing: Listing | None
    unlisted_nanos: int
    """Charged by Redis and not yet among the books' rows."""
    as_of: datetime


async def dashboard(stores: Stores, session: Session) -> Dashboard:
    """The view of `/dashboard`. Raises TillUnavailable."""
    try:
        async with asyncio.timeout(BOOKS_S):
            listing = await _listing(stores, session)
    except (BooksUnavailable, TimeoutError):
        listing = None
    figures = await account.overview(stores, session.wallet)
    unlisted = figures.spent_nanos - listing.charged_nanos if listing else 0
    return Dashboard(figures, listing, max(0, unlisted), clock.utc_now())


async def _listing(stores: Stores, session: Session) -> Listing:
    key = await account.key(stores, session)
    requests = await account.requests(stores, session.wallet, limit=REQUESTS_SHOWN)
    models = await account.models(stores, session.wallet)
    return Listing(
        key,
        requests,
        shares(models),
        sum(row.requests for row in models),
        sum(row.charge_nanos for row in models),
    )


def shares(rows: Sequence[ModelRow]) -> list[ModelShare]:
    """Each row with its share of the whole and the length of its bar, rounded up: what has cost
    anything is seen."""
    total = sum(row.charge_nanos for row in rows) or 1
    longest = max((row.charge_nanos for row in rows), default=0) or 1
    return [
        ModelShare(
            row, -(-row.charge_nanos * 1_000_000 // total), -(-row.charge_nanos * 1000 // longest)
        )
        for row in rows
    ]


def calls(settings: Settings) -> list[Call]:
    """A first call per dialect, each with the cheapest fitting model that is sold."""
    models = book.load(settings.pricing)
    unsold = {found.slug for found in margin.below_cost(models, settings)}
    served = {upstream.family for upstream in settings.upstream} or set(FAMILIES)
    sold = sorted(
        (
            model
            for model in models.models
            if model.family in served and model.slug not in unsold and not model.embeddings
        ),
        # One that reasons in silence may spend so short an answer on thoughts alone.
        key=lambda model: (
            model.family != "openai",
            model.silent_reasoning,
            model.price.base.output,
        ),
    )
    api = settings.brand.api_url
    found = []
    chat = next((model.slug for model in sold if model.family != "anthropic"), None)
    if chat is not None:
        command = _curl(f"{api}/v1/chat/completions", ["Authorization: Bearer $API_KEY"], chat)
        found.append(Call("OpenAI-style clients", f"{api}/v1", command))
    messages = next((model.slug for model in sold if model.family == "anthropic"), None)
    if messages is not None:
        headers = ["x-api-key: $API_KEY", "anthropic-version: 2023-06-01"]
        command = _curl(f"{api}/v1/messages", headers, messages)
        found.append(Call("Anthropic-style clients", api, command))
    return found


def _curl(url: str, headers: Sequence[str], slug: str) -> str:
    """One command to paste; `$API_KEY` is the shell's to fill in."""
    body = {
        "model": slug,
        "max_tokens": 200,
        "messages": [{"role": "user", "content": "Say hello in one sentence."}],
    }
    lines = [
        f"curl {shlex.quote(url)}",
        *(f'-H "{header}"' for header in (*headers, "Content-Type: application/json")),
        f"-d {shlex.quote(msgspec.json.encode(body).decode())}",
    ]
    return " \\\n  ".join(lines)
