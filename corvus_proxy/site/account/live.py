"""Figures of a wallet as they change: server-sent events.

Rule 1: Redis is asked once a second for each wallet that somebody watches, however many watch it.
Rule 2: before anything is sent, the session is judged anew: what a log-in sees ends with it.
Rule 3: an event holds the figures themselves, so whoever comes back has missed nothing; its id is
the wallet's own count of changes.
Rule 4: the fourth stream of a key ends the first, which goes on by asking every 15 s.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from corvus_proxy import metrics
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.service.account import Overview
from corvus_proxy.service.sessions import Session
from corvus_proxy.site import render
from corvus_proxy.site.front import Front
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.reply import WalletState

POLL_S = 1.0
BEAT_S = 15.0
STREAMS_MAX = 3
RETRY_MS = 3000
HEADERS = {**render.PRIVATE, "x-accel-buffering": "no"}


class Listener:
    """One open page."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.news = asyncio.Event()
        self.over = False
        """Others of the same key came later."""


class Watch:
    """A wallet that somebody watches."""

    def __init__(self) -> None:
        self.state: WalletState | None = None
        self.listeners: list[Listener] = []
        self.task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Has every listener look again."""
        for listener in self.listeners:
            listener.news.set()


class Live:
    """The stream of `/dashboard/events`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._watches: dict[str, Watch] = {}
        self._leaving = False
        front.leaving.append(self.leave)

    def leave(self) -> None:
        """Ends all streams; their pages come back by themselves."""
        self._leaving = True
        for watch in self._watches.values():
            watch.wake()

    async def events(self, request: Request, session: Session) -> Response:
        """`GET /dashboard/events`."""
        return StreamingResponse(
            self._stream(request, session), headers=HEADERS, media_type="text/event-stream"
        )

    async def _stream(self, request: Request, session: Session) -> AsyncIterator[bytes]:
        async with self._listening(session) as (watch, listener):
            yield f"retry: {RETRY_MS}\n\n".encode()
            sent: WalletState | None = None
            while not self._leaving:
                listener.news.clear()
                if listener.over:
                    yield _event("enough", {})
                    return
                if not await self._counts(request):
                    yield _event("ended", {})
                    return
                state = watch.state
                if state is not None and state != sent:
                    yield _figures(state, session)
                    sent = state
                else:
                    yield _event("beat", {})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_S):
                        await listener.news.wait()

    async def _counts(self, request: Request) -> bool:
        """Whether the log-in still opens this. One that cannot be judged does not."""
        try:
            return await self._front.sessions.read(request) is not None
        except (TillUnavailable, BooksUnavailable):
            return False

    @contextlib.asynccontextmanager
    async def _listening(self, session: Session) -> AsyncIterator[tuple[Watch, Listener]]:
        watch = self._watches.setdefault(session.wallet, Watch())
        listener = Listener(session.key_id)
        watch.listeners.append(listener)
        mine = [one for one in watch.listeners if one.key_id == session.key_id and not one.over]
        for old in mine[:-STREAMS_MAX]:
            old.over = True
            old.news.set()
        if watch.task is None:
            watch.task = asyncio.create_task(self._poll(session.wallet, watch))
        metrics.SSE_CLIENTS.inc()
        try:
            yield watch, listener
        finally:
            metrics.SSE_CLIENTS.dec()
            watch.listeners.remove(listener)
            if not watch.listeners:
                watch.task.cancel()
                self._watches.pop(session.wallet, None)

    async def _poll(self, wallet: str, watch: Watch) -> None:
        while watch.listeners:
            state = await self._ask(wallet)
            if state != watch.state:
                watch.state = state
                watch.wake()
            await asyncio.sleep(POLL_S)

    async def _ask(self, wallet: str) -> WalletState | None:
        """None while Redis is away: the page then says how old its figures are."""
        try:
            return await self._front.stores.till.wallet(wallet)
        except TillUnavailable:
            return None


def _figures(state: WalletState, session: Session) -> bytes:
    figures = Overview(
        state.balance_nanos,
        state.held_nanos,
        state.balance_nanos - state.held_nanos,
        state.spent_nanos,
    )
    view = render.twin(figures)
    if not session.main:  # what others of the wallet have spent is not a sub-key's to see
        view = {name: value for name, value in view.items() if not name.startswith("spent")}
    return _event("figures", {**view, "seq": state.wallet_seq}, state.wallet_seq)


def _event(kind: str, data: dict[str, object], number: int | None = None) -> bytes:
    head = f"id: {number}\n" if number is not None else ""
    return f"event: {kind}\n{head}data: {msgspec.json.encode(data).decode()}\n\n".encode()
