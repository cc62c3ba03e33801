"""The API port: which path is answered by what. Inference goes to `lifecycle.serve`."""

import asyncio
from collections.abc import Callable

import structlog

from corvus_proxy import metrics
from corvus_proxy.errors import (
    LedgerUnavailable,
    MethodNotAllowed,
    NotFound,
    RequestError,
    UpgradeRefused,
)
from corvus_proxy.gateway import admission, answering
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.front import counting, hints, listing
from corvus_proxy.gateway.front.client import Client, ClientGone
from corvus_proxy.gateway.front.endpoints import Endpoints, Reply
from corvus_proxy.gateway.lifecycle import Resources, serve
from corvus_proxy.gateway.refusing import check_active, raise_key_refusal
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.reply import Look
from corvus_proxy.wire.dialect import COUNTING, PATHS, Dialect, told_by_path

Ready = Callable[[], str | None]
"""Why this process is not ready, or None when it is."""

HEALTH = ("/livez", "/readyz")
HELLO = ("/api/hello", "/")
MODELS = "/v1/models"
"""With `PATHS`, `COUNTING` and the account's endpoints all that this port answers; the first two by
any method and to anybody."""

_log = structlog.get_logger()


class Gateway:
    """The engine behind the server: called once for every request."""

    def __init__(
        self,
        using: Resources,
        till: Till,
        *,
        ready: Ready,
        account: Endpoints,
    ) -> None:
        self._using = using
        self._till = till
        self._ready = ready
        self._account = account
        self._counts = counting.CountPace(using.settings.gateway.counts_per_minute)
        self.closed: str | None = "Redis has not been checked yet."
        """Why nothing is served, until the composition root has found this Redis fit."""

    async def __call__(self, client: Client) -> None:
        dialect = told_by_path(client.path)
        request_id = self._using.ids.new()
        try:
            self._check_open(client.path)
            if dialect is not None and client.path in PATHS and client.method == "POST":
                started_s = asyncio.get_running_loop().time()
                await serve(Exchange(client, dialect, request_id, started_s), self._using)
                return
            reply = await self._answer(client, dialect)
            await self._send(client, reply, request_id)
        except ClientGone:
            metrics.client_gone_early()
        except Exception as error:  # a defect of ours must still be an answer, and be seen
            told = RequestError("The gateway failed; nothing was charged.")
            if isinstance(error, RequestError):
                told = error
            else:
                _log.exception("defect", request_id=request_id, path=client.path)
            if dialect is None and client.head_sent:
                raise  # no word of ours belongs into somebody's file: the server cuts it
            await self._refuse(client, told, dialect, request_id)

    def _check_open(self, path: str) -> None:
        if self.closed is not None and path.startswith(("/v1/", "/api/v1/")):
            raise LedgerUnavailable(f"The ledger is not open: {self.closed}", retry_after_s=2)

    async def _answer(self, client: Client, dialect: Dialect | None) -> Reply:
        path = client.path
        upgrade = admission.header(client.headers, b"upgrade") or b""
        if b"websocket" in upgrade.lower():  # what else is offered there, h2c, may be passed over
            raise UpgradeRefused("WebSocket is not served; use HTTP on the same path.")
        if path in HEALTH:
            reason = self._ready() if path == HEALTH[1] else None
            body, status = (b"ok", 200) if reason is None else (reason.encode(), 503)
            return Reply(body + b"\n", status, b"text/plain")
        if path in HELLO:
            return Reply(b'{"status":"ok"}')
        if dialect is not None and client.method != "POST":
            raise MethodNotAllowed(f"{path} is called with POST.")
        if path in COUNTING:
            caller = admission.caller(client.headers, self._using.pepper)
            return await counting.count(client, await self._look(caller), self._using, self._counts)
        models = path == MODELS or path.startswith(f"{MODELS}/")
        methods = ("GET",) if models else self._account.methods(path)
        if not methods:
            api_url = self._using.settings.brand.api_url
            raise NotFound(hints.hint(path, api_url, self._account.paths))
        if ("GET" if client.method == "HEAD" else client.method) not in methods:
            raise MethodNotAllowed(f"{path} is called with {' or '.join(methods)}.")
        caller = admission.caller(client.headers, self._using.pepper)
        if not models:
            return await self._account.answer(client, caller)
        return Reply(await self._models(client, caller))

    async def _look(self, caller: admission.Caller) -> Look:
        """The key as it stands. Raises what is wrong with it, or LedgerUnavailable."""
        try:
            reply = await self._till.look(caller.wallet, caller.digest)
        except TillUnavailable:
            raise LedgerUnavailable("The ledger does not answer.", retry_after_s=2) from None
        if not isinstance(reply, Look):
            raise_key_refusal(reply)
        return reply

    async def _models(self, client: Client, caller: admission.Caller) -> bytes:
        look = await self._look(caller)
        check_active(look)
        book, serves, allowed = self._using.book, self._using.pool.serves, look.rates.models
        if client.path == MODELS:
            return listing.models(book, serves, allowed, client.headers, client.query)
        name = client.path.removeprefix(f"{MODELS}/")
        return listing.model(book, serves, allowed, client.headers, name)

    async def _send(self, client: Client, reply: Reply, request_id: str) -> None:
        head = [
            (b"content-type", reply.kind),
            (b"x-request-id", request_id.encode()),
            (b"cache-control", b"no-store"),
            *reply.headers,
        ]
        body = reply.body
        if isinstance(body, bytes):
            await client.head(reply.status, [*head, (b"content-length", b"%d" % len(body))])
            await client.end(b"" if client.method == "HEAD" else body)
            return
        await client.head(reply.status, head)
        client.on_gone(lambda: None)
        if client.method != "HEAD":
            async for piece in body:
                if client.gone:
                    return
                await client.write(piece)
        await client.end()

    async def _refuse(
        self,
        client: Client,
        error: RequestError,
        dialect: Dialect | None,
        request_id: str,
    ) -> None:
        metrics.refused(dialect.value if dialect else "other", error.code)
        await answering.refuse(
            client,
            error,
            dialect=dialect or listing.dialect_of(client.headers),
            request_id=request_id,
            site_url=self._using.settings.brand.site_url,
        )
