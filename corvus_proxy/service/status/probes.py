"""One round of probes: what each part of the service says of itself just now.

Rule 1: a probe is a call that costs nothing: no customer's balance and no token of a vendor's. A
route is asked without a key, which our own gateway refuses before it looks at money; a vendor is
asked for its list of models, or with an empty request, which it refuses.
Rule 2: a family works where one credential of it does: that is all that a request needs.
Rule 3: what is told is a sentence of ours; what was met word for word is for the log.

Why this and no paid request: an answer of a model proves more, and costs the operator tokens at
each round for as long as the service lives. What it would prove beside this, that answers come to
their end, real requests prove better: their failures are a figure of their own, and spoil the state
of their route where they are many.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple, TypeVar

from corvus_proxy.books import status as books
from corvus_proxy.books.db import Books
from corvus_proxy.books.operating import stopped
from corvus_proxy.books.operating.stopped import StoppedRow
from corvus_proxy.catalogue.book import Book
from corvus_proxy.money.event import PARTITIONS
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.service.status.parts import CHECKOUT, LOGIN, WEBSITE, components
from corvus_proxy.service.status.types import (
    TRAFFIC_S,
    Component,
    Reading,
    State,
    Traffic,
    worst,
)
from corvus_proxy.settings import Settings, Upstream
from corvus_proxy.shop.provider import Provider, ProviderRefused, ProviderUnavailable
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.upstream.check import CheckResult, Question, check_credential
from corvus_proxy.upstream.faults import UpstreamBroke
from corvus_proxy.upstream.httpx_client import Caller
from corvus_proxy.wire import translate
from corvus_proxy.wire.dialect import Dialect

T = TypeVar("T")
FAILED = (
    Outcome.UPSTREAM_ERROR,
    Outcome.UPSTREAM_CUT,
    Outcome.LEDGER_UNAVAILABLE,
    Outcome.GATEWAY_TIMEOUT,
    Outcome.GATEWAY_CRASH,
    Outcome.GATEWAY_FAULT,
)
"""Outcomes that are the vendor's fault or ours."""
UNREADY = "The API answers that it is not ready."
NO_VENDOR = "No answer can be had from the vendor of these models."


class Said(NamedTuple):
    """What one probe found."""

    state: State = State.OK
    detail: str = ""
    why: str = ""


class Round(NamedTuple):
    """What the probes of one round found, before it is told by component."""

    pages: dict[str, Said]
    """By component."""
    services: Said
    books: Said
    sales: Said
    """What the operator has said of them."""
    till: Said
    ready: Said
    routes: dict[str, Said]
    """By path."""
    vendors: dict[tuple[str, str], Said]
    """By family and dialect."""
    traffic: dict[tuple[str, str], Traffic]


class Prober:
    """Asks all parts; `providers` are the shop's payment services."""

    def __init__(
        self, settings: Settings, till: Till, providers: Mapping[str, Provider], book: Book
    ) -> None:
        self._settings = settings
        self._till_client = till
        self._providers = providers
        self._book = book
        self._timeout_s = settings.status.timeout_s
        self._direct = Caller(timeout_s=self._timeout_s, through_proxy=False)
        self._proxied = Caller(timeout_s=self._timeout_s)
        self.components: tuple[Component, ...] = ()
        self.take(settings)

    def take(self, settings: Settings) -> None:
        """Other upstreams from now on."""
        self._settings = settings
        self.components = components(settings, self._book.models, shop=bool(self._providers))

    async def close(self) -> None:
        """Ends its connections."""
        await self._direct.close()
        await self._proxied.close()

    async def readings(self, store: Books) -> dict[str, Reading]:
        """One reading of each component. Never raises what a part of the service may do. `store`
        is of this round alone: whoever has hung there hangs no later one."""
        pages = {WEBSITE: "/docs", CHECKOUT: "/checkout", LOGIN: "/login"}
        paths = sorted({one.path for one in self.components if one.path})
        (
            (shown, services, (answered, sales)),
            (till, ready, routes, vendors, traffic),
        ) = await asyncio.gather(
            asyncio.gather(
                asyncio.gather(*(self._page(path) for path in pages.values())),
                self._services(),
                self._books(store),
            ),
            asyncio.gather(
                self._till(),
                self._ready(),
                asyncio.gather(*(self._route(path) for path in paths)),
                self._vendors(),
                self._traffic(store),
            ),
        )
        said = Round(
            dict(zip(pages, shown, strict=True)),
            services,
            answered,
            sales,
            till,
            ready,
            dict(zip(paths, routes, strict=True)),
            vendors,
            traffic,
        )
        return {one.id: reading(one, said) for one in self.components}

    # -- the site -------------------------------------------------------------------------------

    async def _page(self, path: str) -> Said:
        base = (self._settings.status.site_url or self._settings.brand.site_url).rstrip("/")
        status = await self._status(Question("GET", base + path, {"accept": "text/html"}))
        if status == "200":
            return Said()
        detail = "The site does not answer."
        if status.isdigit():
            detail = "The site answers, but not with this page."
        return Said(State.DOWN, detail, f"GET {path}: {status}")

    async def _services(self) -> Said:
        """Whether buyers can pay: by all services, by some, by none."""

        async def why_not(service: Provider) -> str:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await service.check()
            except (ProviderUnavailable, ProviderRefused) as error:
                return str(error)
            except TimeoutError:
                return "no answer in time"
            return ""

        asked = await asyncio.gather(*(why_not(one) for one in self._providers.values()))
        bad = {
            one.title: why for one, why in zip(self._providers.values(), asked, strict=True) if why
        }
        if not bad:
            return Said()
        why = "; ".join(f"{title}: {text}" for title, text in bad.items())
        if len(bad) == len(asked):
            return Said(State.DOWN, "No payment service answers.", why)
        return Said(State.DEGRADED, f"Not available: {', '.join(bad)}.", why)

    async def _books(self, store: Books) -> tuple[Said, Said]:
        """Whether they answer, and whether the operator lets anything be sold."""

        async def ask() -> StoppedRow | None:
            async with store.connection() as connection:
                await books.answer(connection)
                return await stopped.find(connection, "sales")

        try:
            paused = await within(self._timeout_s, ask())
        except books.UNANSWERED as error:
            return Said(State.DOWN, "The database does not answer.", str(error)), Said()
        if paused is None:
            return Said(), Said()
        return Said(), Said(State.DEGRADED, f"Sales are paused: {paused.reason}", paused.actor)

    # -- the API --------------------------------------------------------------------------------

    async def _till(self) -> Said:
        """Whether the ledger serves: wholly, for a part of the keys, or not."""
        try:
            async with asyncio.timeout(self._timeout_s):
                closed = len(await self._till_client.closed())
        except (TillUnavailable, TimeoutError) as error:
            return Said(
                State.DOWN, "The ledger does not answer.", str(error) or "no answer in time"
            )
        why = f"{closed} of {PARTITIONS} partitions are closed"
        if closed == PARTITIONS:
            return Said(State.DOWN, "The ledger is closed.", why)
        if closed:
            return Said(State.DEGRADED, "The ledger is closed for a part of the keys.", why)
        return Said()

    async def _ready(self) -> Said:
        status = await self._status(Question("GET", f"{self._api}/readyz", {}))
        if status == "200":
            return Said()
        detail = UNREADY if status.isdigit() else "The API does not answer."
        return Said(State.DOWN, detail, f"GET /readyz: {status}")

    async def _route(self, path: str) -> Said:
        """A request without a key is refused as such by whoever serves the path."""
        headers = {"content-type": "application/json"}
        status = await self._status(Question("POST", self._api + path, headers, b"{}"))
        if status == "401":
            return Said()
        return Said(State.DOWN, "The API does not answer on this path.", f"POST {path}: {status}")

    @property
    def _api(self) -> str:
        return (self._settings.status.api_url or self._settings.brand.api_url).rstrip("/")

    async def _status(self, question: Question) -> str:
        """An HTTP status, or why there is none."""
        try:
            return str(await self._ask(question, False))
        except UpstreamBroke as error:
            return f"no answer ({error or type(error).__name__})"

    async def _ask(self, question: Question, through_proxy: bool) -> int:
        method, url, headers, content = question
        caller = self._proxied if through_proxy else self._direct
        return (await caller.fetch(method, url, headers, content=content)).status

    async def _vendors(self) -> dict[tuple[str, str], Said]:
        """By family and dialect, whether one credential is accepted where that is asked."""
        places: dict[tuple[str, bool], list[Upstream]] = {}
        for upstream in self._settings.upstream:
            places.setdefault((upstream.family, False), []).append(upstream)
            if upstream.messages_base_url:
                places.setdefault((upstream.family, True), []).append(upstream)
        asked = await asyncio.gather(*(self._accepted(at, ups) for at, ups in places.items()))
        by_place = dict(zip(places, asked, strict=True))
        return {
            (one.family, one.dialect): by_place[
                one.family, (one.family, one.dialect) == ("glm", Dialect.MESSAGES)
            ]
            for one in self.components
            if one.family
        }

    async def _accepted(self, at: tuple[str, bool], upstreams: list[Upstream]) -> Said:
        results: list[CheckResult] = await asyncio.gather(
            *(
                check_credential(upstream, credential, messages=at[1], ask=self._ask)
                for upstream in upstreams
                for credential in upstream.credential
            )
        )
        if any(one.ok for one in results):
            return Said()
        why = "; ".join(f"{one.name}: {one.detail}" for one in results)
        return Said(State.DOWN, NO_VENDOR, why)

    async def _traffic(self, store: Books) -> dict[tuple[str, str], Traffic]:
        """By family and dialect as asked upstream; nothing while the books are away."""

        async def ask() -> list[books.OutcomeRow]:
            async with store.connection() as connection:
                return await books.outcomes(connection, span_s=TRAFFIC_S)

        served = {(one.family, one.dialect) for one in self.components if one.family}
        try:
            rows = await within(self._timeout_s, ask())
        except books.UNANSWERED:
            return {}
        counts = dict.fromkeys(served, (0, 0))
        for row in rows:
            at = self._asked_as(row, served)
            if at is not None:
                requests, failed = counts[at]
                counts[at] = (
                    requests + row.requests,
                    failed + row.requests * (row.outcome in FAILED),
                )
        return {at: Traffic(TRAFFIC_S, *found) for at, found in counts.items()}

    def _asked_as(
        self, row: books.OutcomeRow, served: set[tuple[str, str]]
    ) -> tuple[str, str] | None:
        model = self._book.find(row.slug)
        if model is None or row.dialect not in list(Dialect):
            return None
        family = model.family
        dialect = translate.upstream_dialect(
            lambda one: (family, one.value) in served, Dialect(row.dialect)
        )
        return None if dialect is None else (family, dialect.value)


async def within(patience_s: float, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives within the patience. Raises TimeoutError then, without waiting until it has
    cleaned up: a server that is stopped in its tracks never lets its client finish that."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=patience_s)
    if not done:
        task.cancel()
        task.add_done_callback(lambda one: one.cancelled() or one.exception())
        raise TimeoutError("no answer in time")
    return task.result()


def reading(component: Component, found: Round) -> Reading:
    """A component's reading of what the probes of a round found. Pure."""
    if component.id == WEBSITE:
        return _of([found.pages[WEBSITE]])
    if component.id == CHECKOUT:
        return _of([found.pages[CHECKOUT], found.books, found.services, found.sales])
    if component.id == LOGIN:
        return _of([found.pages[LOGIN], _log_in_without(found.books), found.till])
    at = (component.family, component.dialect)
    # A gateway that is not ready says so itself; whom the ledger refuses it cannot know.
    partly = found.till if found.till.state is State.DEGRADED else Said()
    asked = [found.ready, found.routes[component.path], partly, found.vendors[at]]
    return _of(asked, found.traffic.get(at))


def _log_in_without(answer: Said) -> Said:
    if answer.state is State.OK:
        return answer
    detail = f"{answer.detail} Logging in with the key itself works without it."
    return answer._replace(detail=detail)


def _of(said: list[Said], traffic: Traffic | None = None) -> Reading:
    """The worst of what was said, and its sentence; of two alike the first."""
    probe = worst([one.state for one in said])
    first = next(one for one in said if one.state is probe)
    why = "; ".join(one.why for one in said if one.why)
    if probe is State.OK and traffic is not None and traffic.failing:
        detail = f"{traffic.failed} of the last {traffic.requests} requests failed."
        return Reading(State.DEGRADED, detail, detail, probe, traffic)
    return Reading(probe, first.detail, why, probe, traffic)
