"""Asks a provider for a day, page by page."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlencode

from corvus_proxy.errors import Unreadable
from corvus_proxy.upstream.faults import UpstreamBroke
from corvus_proxy.upstream.httpx_client import Caller
from corvus_proxy.upstream.reports import anthropic, openai
from corvus_proxy.upstream.reports.reading import reading
from corvus_proxy.upstream.reports.types import Billed, Counted, NoReport, Report

DAY_S, HOUR_S = 86_400, 3_600
PAGES_MAX = 100
BYTES_MAX = 16 * 1024 * 1024
_FORMS: dict[str, tuple[str, ModuleType]] = {
    "anthropic": ("Anthropic", anthropic),
    "openai": ("OpenAI", openai),
}
_REFUSED = {
    401: "does not know the admin key",
    403: "does not let the admin key read this",
    404: "has no such report for this account",
    429: "wants to be asked later",
}


class Asking(NamedTuple):
    """Whom to ask, and as whom."""

    family: str
    base_url: str
    secret: str
    scope: str
    """Project or workspace; empty: the whole account."""
    through_proxy: bool = False

    def __repr__(self) -> str:
        return f"Asking({self.family}, {self.base_url})"


async def ask(whom: Asking, day: date, *, timeout_s: float) -> Report:
    """The report on a UTC day. Raises NoReport; its text holds no secret."""
    name, form = _FORMS[whom.family]
    start_s = int(datetime.combine(day, time(), UTC).timestamp())
    caller = Caller(timeout_s=timeout_s, bytes_max=BYTES_MAX, through_proxy=whom.through_proxy)
    pages = _Pages(caller, whom, name, form)
    counts: dict[tuple[int, str, str], int] = {}
    bills: dict[tuple[str, str], int] = {}
    try:
        for path in form.USAGE:
            for begins, results in (await pages.buckets(path, start_s, HOUR_S)).items():
                with reading(f"{name}'s {path}"):
                    for result in results:
                        for one in form.counted((begins - start_s) // HOUR_S, result):
                            counts[one[:3]] = counts.get(one[:3], 0) + one.number
        for path in form.COSTS:
            for results in (await pages.buckets(path, start_s, DAY_S)).values():
                with reading(f"{name}'s {path}"):
                    for result in results:
                        for bill in form.billed(result, whom.scope):
                            bills[bill[:2]] = bills.get(bill[:2], 0) + bill.nanos
    finally:
        await caller.close()
    return Report(
        tuple(Counted(*key, value) for key, value in sorted(counts.items()) if value),
        tuple(Billed(*key, value) for key, value in sorted(bills.items()) if value),
    )


class _Pages:
    """The questions of one report."""

    def __init__(self, caller: Caller, whom: Asking, name: str, form: Any) -> None:
        self._caller, self._whom, self._name, self._form = caller, whom, name, form

    async def buckets(self, path: str, start_s: int, width_s: int) -> dict[int, Any]:
        """The results of every bucket of the day, by its begin. Raises NoReport."""
        found: dict[int, Any] = {}
        tokens: set[str] = set()
        token = ""
        for _ in range(PAGES_MAX):
            page = await self._page(path, start_s, token)
            with reading(f"{self._name}'s {path}"):
                for bucket in page["data"]:
                    begins = self._form.start_s(bucket)
                    if not start_s <= begins < start_s + DAY_S or (begins - start_s) % width_s:
                        raise Unreadable("a bucket is not of the day that was asked for")
                    if found.setdefault(begins, bucket["results"]) != bucket["results"]:
                        raise Unreadable("a bucket came twice and differs")
                if not page.get("has_more"):
                    return found
                token = str(page["next_page"])
                if not page["next_page"] or token in tokens:
                    raise Unreadable("its pages go in a circle")
                tokens.add(token)
        raise NoReport(f"{self._name}'s {path} has more than {PAGES_MAX} pages")

    async def _page(self, path: str, start_s: int, token: str) -> Mapping[str, Any]:
        whom = self._whom
        asked = self._form.query(start_s, start_s + DAY_S, path, whom.scope)
        if token:
            asked = [*asked, ("page", token)]
        url = f"{whom.base_url.rstrip('/')}{path}?{urlencode(asked)}"
        try:
            answer = await self._caller.fetch("GET", url, self._form.headers(whom.secret))
        except UpstreamBroke as error:
            raise NoReport(f"{self._name} does not answer: {error}") from None
        if answer.status != 200:
            why = _REFUSED.get(answer.status, f"answers with status {answer.status}")
            raise NoReport(f"{self._name} {why} ({path})")
        try:
            page = json.loads(answer.body)
        except ValueError:
            page = None
        if not isinstance(page, dict):
            raise NoReport(f"{self._name}'s {path} is no JSON object")
        return page
