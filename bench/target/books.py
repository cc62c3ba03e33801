"""Whether a gateway's answers, its account and its ledger say the same, asked by the key itself.

Every check is a `Verdict`: true, false, or None where it cannot be judged, with what was compared.
"""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.target.client import Answer, Caller
from corvus_proxy.errors import ConfigurationError

PAGE = 1000
EXPLAINED_MAX = 50
"""Requests that are asked for one by one; all of them are compared in lists."""
SETTLED_S = 20.0


class Verdict(NamedTuple):
    """One check."""

    name: str
    good: bool | None
    told: str


class Account:
    """The account's endpoints as one key sees them."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, path: str) -> dict[str, Any]:
        """A document. Raises ConfigurationError with the answer's words where there is none."""
        return self._document("GET", path, await self._caller.ask("GET", path))

    async def quote(self, body: dict[str, Any]) -> dict[str, Any]:
        """What a request costs at most. Raises ConfigurationError."""
        return self._document(
            "POST", "/v1/quote", await self._caller.ask("POST", "/v1/quote", body)
        )

    def _document(self, method: str, path: str, answer: Answer) -> dict[str, Any]:
        document = answer.document()
        if answer.status != 200 or not document:
            error = document.get("error")
            told = error.get("message", "") if isinstance(error, dict) else ""
            raise ConfigurationError(
                f"{method} {path}: {answer.why or answer.status} {told}".strip()
            )
        return document

    async def rows(self, path: str) -> list[dict[str, Any]]:
        """All pages of a list."""
        page = await self.get(f"{path}&limit={PAGE}")
        found = list(page["data"])
        while page["has_more"]:
            page = await self.get(f"{path}&limit={PAGE}&cursor={page['next_cursor']}")
            found += page["data"]
        return found


async def compare(
    account: Account, answers: Sequence[Answer], *, begin: dict[str, Any], key: dict[str, Any]
) -> list[Verdict]:
    """The checks, once all that was asked has ended; `/v1/usage` and `/v1/key` from before."""
    mine = {answer.request_id: answer for answer in answers if answer.request_id}
    since = f"?from={begin['as_of']}"
    rows = await _settled(account, since, mine)
    listed = {row["request_id"]: row["charge_nanos"] for row in rows}
    told = {name: answer.cost_nanos for name, answer in mine.items()}
    known = {name: nanos for name, nanos in told.items() if nanos is not None}
    charged = {name for name, nanos in known.items() if nanos}
    ledger = await account.rows(f"/v1/ledger{since}")
    moved: dict[str, int] = {}
    for entry in ledger:
        if entry["request_id"]:
            nanos = moved.get(entry["request_id"], 0)
            moved[entry["request_id"]] = nanos - entry["amount_nanos"]
    return [
        _all(
            "answers told their cost",
            [answer.whole for answer in answers],
            [told.get(answer.request_id) is not None for answer in answers],
        ),
        _equal("cost told = request's charge", known, listed, charged),
        await _explained(account, mine, known),
        _equal("cost told = ledger entry", known, moved, charged),
        _chain(ledger),
        *await _dashboard(account, since, rows, others=bool(listed.keys() - mine), key=key),
    ]


async def _settled(account: Account, since: str, mine: dict[str, Answer]) -> list[dict[str, Any]]:
    """The key's requests since then, waiting until they have all that was answered whole."""
    wanted = {name for name, answer in mine.items() if answer.whole}
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + SETTLED_S
    while True:
        rows = await account.rows(f"/v1/requests{since}")
        if wanted <= {row["request_id"] for row in rows} or loop.time() > deadline_s:
            return rows
        await asyncio.sleep(0.5)


def _all(name: str, concerned: Sequence[bool], good: Sequence[bool]) -> Verdict:
    """Of those that are concerned, how many are good."""
    right = sum(one and other for one, other in zip(concerned, good, strict=True))
    return Verdict(name, right == sum(concerned), f"{right} of {sum(concerned)}")


def _equal(name: str, told: dict[str, int], booked: dict[str, int], wanted: set[str]) -> Verdict:
    """That every request that cost something is booked with just that, and no other differs."""
    wrong = [one for one in wanted | (told.keys() & booked.keys()) if told[one] != booked.get(one)]
    text = f"{len(wanted)} requests, {sum(told[one] for one in wanted)} nanos"
    if wrong:
        one = wrong[0]
        text = f"{len(wrong)} differ: {one} told {told[one]}, booked {booked.get(one)}"
    return Verdict(name, not wrong, text)


async def _explained(account: Account, mine: dict[str, Answer], known: dict[str, int]) -> Verdict:
    """`/v1/requests/{id}`: charge, lines and the answer's own output tokens."""
    wrong: list[str] = []
    names = [name for name, answer in mine.items() if answer.whole][:EXPLAINED_MAX]
    for name in names:
        row = await account.get(f"/v1/requests/{name}")
        output = sum(line["tokens"] for line in row.get("lines", []) if line["name"] == "output")
        said = mine[name].output_tokens()
        if row.get("charge_nanos") != known.get(name) or not row.get("agrees"):
            wrong.append(f"{name}: told {known.get(name)}, charged {row.get('charge_nanos')}")
        elif said is not None and said != output:
            wrong.append(f"{name}: the answer counts {said} tokens of output, the bill {output}")
    text = wrong[0] if wrong else f"{len(names)} requests, lines and tokens too"
    return Verdict("/v1/requests/{id} explains the charge", not wrong, text)


def _chain(ledger: Sequence[dict[str, Any]]) -> Verdict:
    """That every entry's balance is the one before it and its amount; a sub-key does not see all
    of its wallet's entries, nor the balance."""
    name = "ledger's balances add up"
    steps = [
        (before, entry)
        for before, entry in itertools.pairwise(ledger)
        if entry["seq"] == before["seq"] + 1 and entry.get("balance_nanos") is not None
    ]
    wrong = sum(
        before["balance_nanos"] + entry["amount_nanos"] != entry["balance_nanos"]
        for before, entry in steps
    )
    return Verdict(name, None if not steps else not wrong, f"{len(steps)} steps, {wrong} wrong")


async def _dashboard(
    account: Account,
    since: str,
    rows: Sequence[dict[str, Any]],
    *,
    others: bool,
    key: dict[str, Any],
) -> list[Verdict]:
    """The dashboard's figures against the requests one by one. Where others use the key too, one
    of theirs may end between two questions: then a difference is not judged."""
    total = (await account.get(f"/v1/usage{since}"))["total"]
    now = await account.get("/v1/key")
    charge = sum(row["charge_nanos"] for row in rows)
    grown = now["key_spent_nanos"] - key["key_spent_nanos"]
    beside = "; others use this key too" if others else ""
    alike = total["requests"] == len(rows) and total["charge_nanos"] == charge
    return [
        Verdict(
            "dashboard's figures = sum of requests",
            alike or (None if others else False),
            f"{total['requests']} requests, {total['charge_nanos']} nanos{beside}",
        ),
        Verdict(
            "key's spending grew by the charges",
            grown == charge or (None if others else False),
            f"{grown} nanos{beside}",
        ),
    ]
