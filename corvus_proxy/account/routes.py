"""The account's endpoints on the API port: one table, and the way from a path to its answer.

Rule 1: what is answered from Redis alone is imported with the gateway; what needs the books is
        imported, and the books are opened, when somebody first asks for it.
Rule 2: a frozen key may read, stop and end; what makes something new needs an active one.
"""

import asyncio
import importlib
import re
from typing import Any, NamedTuple

from corvus_proxy.account import asking, compatible, key, quote
from corvus_proxy.account.asking import Ask
from corvus_proxy.errors import KeyDisabled, LedgerUnavailable, RecordsUnavailable
from corvus_proxy.gateway.admission import Caller
from corvus_proxy.gateway.front.client import Client
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.gateway.refusing import raise_key_refusal
from corvus_proxy.settings import Settings
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.reply import Look

_WANTED = ("model", "outcome", "key_id", "from", "to", "tz")


class Endpoint(NamedTuple):
    """One row of the table; docs/api.md shows it."""

    method: str
    path: str
    """A name in braces stands for one part of it."""
    params: tuple[str, ...]
    needs: str
    """`Redis`, or `Redis, Postgres`."""
    what: str
    frozen: bool = True
    """Whether a frozen key may ask it."""
    strict: bool = True
    """Whether parameters that are not known are refused; clients of other services send theirs."""


_BOTH = "Redis, Postgres"
ENDPOINTS = (
    Endpoint("GET", "/v1/key", (), "Redis", "the key's standing: figures, cap, end"),
    Endpoint(
        "GET",
        "/v1/usage",
        (*_WANTED, "bucket", "group_by"),
        _BOTH,
        "sums of requests, tokens and charges by bucket, model and key",
    ),
    Endpoint(
        "GET",
        "/v1/requests",
        (*_WANTED, "cursor", "limit"),
        _BOTH,
        "requests, the latest first, and the sums of all that match",
    ),
    Endpoint(
        "GET",
        "/v1/requests/{request_id}",
        (),
        _BOTH,
        "one request explained: lines of the bill, outcome, why it was charged or not",
    ),
    Endpoint(
        "GET",
        "/v1/ledger",
        ("cursor", "limit", "format", "from", "to", "tz"),
        _BOTH,
        "every change of the balance, in order, with the balance after it; csv and beancount too",
    ),
    Endpoint("GET", "/v1/keys", (), _BOTH, "the wallet's keys, the main key first"),
    Endpoint(
        "POST",
        "/v1/keys",
        (),
        _BOTH,
        "a new sub-key: `label`, `cap` (USD), `period`, `expires_at`; its secret, once",
        frozen=False,
    ),
    Endpoint("GET", "/v1/keys/{key_id}", (), _BOTH, "one key, its limits and what it has spent"),
    Endpoint(
        "PATCH",
        "/v1/keys/{key_id}",
        (),
        _BOTH,
        "changes a sub-key: the members of its creation, and `frozen`",
    ),
    Endpoint("DELETE", "/v1/keys/{key_id}", (), _BOTH, "ends a sub-key for ever"),
    Endpoint(
        "POST",
        "/v1/key/rotate",
        (),
        _BOTH,
        "a new secret for this key; the old one works for `grace_s` (a day)",
        frozen=False,
    ),
    Endpoint(
        "POST", "/v1/key/freeze", (), _BOTH, "stops this key; the main key stops all of the wallet"
    ),
    Endpoint(
        "POST", "/v1/key/unfreeze", (), _BOTH, "opens the wallet again by its `recovery_code`"
    ),
    Endpoint(
        "GET", "/v1/alarms", (), _BOTH, "the wallet's alarms, and what signs their notices"
    ),
    Endpoint(
        "POST",
        "/v1/alarms",
        (),
        _BOTH,
        "one more: `kind`, `threshold` (USD) or `threshold_percent`, `email`, `webhook_url`",
        frozen=False,
    ),
    Endpoint(
        "PUT", "/v1/alarms", (), _BOTH, "`alarms` in place of all that there are", frozen=False
    ),
    Endpoint("GET", "/v1/alarms/{alarm_id}", (), _BOTH, "one alarm, and how its last notice went"),
    Endpoint(
        "PATCH",
        "/v1/alarms/{alarm_id}",
        (),
        _BOTH,
        "changes one: the members of its creation",
        frozen=False,
    ),
    Endpoint(
        "DELETE", "/v1/alarms/{alarm_id}", (), _BOTH, "takes one away; it, as it was", frozen=False
    ),
    Endpoint(
        "POST",
        "/v1/alarms/{alarm_id}/test",
        (),
        _BOTH,
        "sends a notice to its webhook that says that it is a test",
        frozen=False,
    ),
    Endpoint(
        "POST",
        "/v1/quote",
        ("dialect",),
        "Redis",
        "what a usage costs exactly, or what a request costs at most",
    ),
    Endpoint("GET", "/v1/credits", (), "Redis", "as OpenRouter answers it", strict=False),
    Endpoint("GET", "/api/v1/credits", (), "Redis", "as OpenRouter answers it", strict=False),
    Endpoint("GET", "/api/v1/key", (), "Redis", "as OpenRouter answers it", strict=False),
    Endpoint(
        "GET", "/v1/generation", ("id",), _BOTH, "one request as OpenRouter answers it",
        strict=False,
    ),
    Endpoint(
        "GET", "/api/v1/generation", ("id",), _BOTH, "one request as OpenRouter answers it",
        strict=False,
    ),
    Endpoint(
        "GET", "/v1/dashboard/billing/credit_grants", (), "Redis", "as OpenAI answered it",
        strict=False,
    ),
    Endpoint(
        "GET", "/v1/dashboard/billing/subscription", (), "Redis", "as OpenAI answered it",
        strict=False,
    ),
    Endpoint(
        "GET",
        "/v1/dashboard/billing/usage",
        ("start_date", "end_date"),
        _BOTH,
        "as OpenAI answered it: days, and the sum in cents",
        strict=False,
    ),
)  # fmt: skip
LIGHT = {
    "/v1/key": key.show,
    "/v1/quote": quote.quote,
    "/v1/credits": compatible.credit,
    "/api/v1/credits": compatible.credit,
    "/api/v1/key": compatible.key,
    "/v1/dashboard/billing/credit_grants": compatible.grants,
    "/v1/dashboard/billing/subscription": compatible.subscription,
}
"""What needs Redis alone; the others stand in `account.opened`."""


class Account:
    """Answers for the keys of one gateway process (`front.endpoints.Endpoints`)."""

    def __init__(self, settings: Settings, till: Till, pepper: bytes, sold: quote.Sold) -> None:
        self._settings = settings
        self._till = till
        self._pepper = pepper
        self._sold = sold
        self._rows = [(_pattern(row.path), row) for row in ENDPOINTS]
        self.paths = tuple(dict.fromkeys(r.path for r in ENDPOINTS if r.strict))
        self._opened: Any = None

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that a path is called with; none where there is no such endpoint."""
        return tuple(row.method for pattern, row in self._rows if pattern.fullmatch(path))

    async def answer(self, client: Client, caller: Caller) -> Reply:
        """Answers one request. Raises RequestError, ClientGone."""
        method = "GET" if client.method == "HEAD" else client.method
        row, found = next(
            (row, found)
            for pattern, row in self._rows
            if row.method == method and (found := pattern.fullmatch(client.path))
        )
        params = asking.parameters(client.query, row.params, strict=row.strict)
        look = await self._look(caller)
        if not row.frozen and look.status != "active":
            raise KeyDisabled(f"This key is {look.status}: it may read, and change nothing.")
        ask = Ask(client, caller, look, params, found.groupdict())
        light = LIGHT.get(row.path)
        if light is not None:
            return await light(self._sold, ask)
        opened = await self._open()
        found_reply: Reply = await opened.answer(row.method, row.path, ask)
        return found_reply

    async def close(self) -> None:
        """Closes what was opened."""
        if self._opened is not None:
            await self._opened.close()

    async def _look(self, caller: Caller) -> Look:
        try:
            look = await self._till.look(caller.wallet, caller.digest)
        except TillUnavailable:
            raise LedgerUnavailable("The ledger does not answer.", retry_after_s=2) from None
        if not isinstance(look, Look):
            raise_key_refusal(look)
        return look

    async def _open(self) -> Any:
        """The part that needs the books. Raises RecordsUnavailable where none are configured."""
        if not self._settings.database.url:
            raise RecordsUnavailable(
                "This gateway was given no database, so it has no statements.", retry_after_s=60
            )
        if self._opened is None:
            # In a thread of its own: running streams do not wait for an import.
            module = await asyncio.to_thread(importlib.import_module, "corvus_proxy.account.opened")
            if self._opened is None:
                self._opened = module.Opened(self._settings, self._till, self._pepper)
        return self._opened


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
