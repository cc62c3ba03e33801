"""The API port: which path is answered by what. Inference goes to `lifecycle.serve`."""

import asyncio
from collections.abc import Awaitable, Callable

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
from corvus_proxy.gateway.front import listing
from corvus_proxy.gateway.front.client import Client, ClientGone
from corvus_proxy.gateway.lifecycle import Resources, serve
from corvus_proxy.gateway.refusing import raise_key_refusal
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.reply import Look
from corvus_proxy.wire.dialect import PATHS, Dialect

Page = Callable[[admission.Caller], Awaitable[bytes]]
"""An endpoint that answers the caller about its own key, as JSON."""
Ready = Callable[[], str | None]
"""Why this process is not ready, or None when it is."""

_log = structlog.get_logger()
_BARE = ("/chat/completions", "/messages", "/models", "/completions", "/responses", "/embeddings")


class Gateway:
    """The engine behind the server: called once for every request."""

    def __init__(
        self,
        using: Resources,
        till: Till,
        *,
        ready: Ready,
        pages: dict[str, Page],
    ) -> None:
        self._using = using
        self._till = till
        self._ready = ready
        self._pages = pages
        self.closed: str | None = "Redis has not been checked yet."
        """Why nothing is served, until the composition root has found this Redis fit."""

    async def __call__(self, client: Client) -> None:
        dialect = PATHS.get(client.path)
        request_id = self._using.ids.new()
        try:
            self._check_open(client.path)
            if dialect is not None and client.method == "POST":
                started_s = asyncio.get_running_loop().time()
                await serve(Exchange(client, dialect, request_id, started_s), self._using)
                return
            status, body = await self._answer(client, dialect)
            await self._send(client, status, body, request_id)
        except RequestError as error:
            await self._refuse(client, error, dialect, request_id)
        except ClientGone:
            metrics.client_gone_early()
        except Exception:  # the last catch: a defect of ours must still be an answer, and be seen
            _log.exception("defect", request_id=request_id, path=client.path)
            await self._refuse(
                client,
                RequestError("The gateway failed; nothing was charged."),
                dialect,
                request_id,
            )

    def _check_open(self, path: str) -> None:
        if self.closed is not None and path.startswith("/v1/"):
            raise LedgerUnavailable(f"The ledger is not open: {self.closed}", retry_after_s=2)

    async def _answer(self, client: Client, dialect: Dialect | None) -> tuple[int, bytes]:
        path = client.path
        if admission.header(client.headers, b"upgrade") is not None:
            raise UpgradeRefused("WebSocket is not served; use HTTP on the same path.")
        if path in ("/livez", "/readyz"):
            reason = self._ready() if path == "/readyz" else None
            return (200, b"ok\n") if reason is None else (503, reason.encode() + b"\n")
        if path in ("/api/hello", "/"):
            return 200, b'{"status":"ok"}'
        if dialect is not None:
            raise MethodNotAllowed(f"{path} is called with POST.")
        if path == "/v1/models" or path.startswith("/v1/models/") or path in self._pages:
            if client.method not in ("GET", "HEAD"):
                raise MethodNotAllowed(f"{path} is called with GET.")
            return 200, await self._with_key(client)
        raise NotFound(self._hint(path))

    async def _with_key(self, client: Client) -> bytes:
        caller = admission.caller(client.headers, self._using.pepper)
        page = self._pages.get(client.path)
        if page is not None:
            return await page(caller)
        try:
            reply = await self._till.look(caller.wallet, caller.digest)
        except TillUnavailable:
            raise LedgerUnavailable("The ledger does not answer.", retry_after_s=2) from None
        if not isinstance(reply, Look):
            raise_key_refusal(reply)
        if client.path == "/v1/models":
            return listing.models(self._using.book, self._using.pool.serves, client.headers)
        name = client.path.removeprefix("/v1/models/")
        return listing.model(self._using.book, self._using.pool.serves, client.headers, name)

    def _hint(self, path: str) -> str:
        api_url = self._using.settings.brand.api_url
        if path.startswith("/v1/v1/"):
            return (
                f"There is no {path}: an Anthropic-style base URL has no /v1 at its end"
                f" ({api_url}); an OpenAI-style one has it once ({api_url}/v1)."
            )
        if path.startswith(_BARE):
            return (
                f"There is no {path}: an OpenAI-style base URL ends in /v1 ({api_url}/v1), so"
                f" that the client calls {api_url}/v1{path}."
            )
        served = ", ".join(f"POST {known}" for known in PATHS)
        return f"There is no {path}. Served are {served}, GET /v1/models and GET /v1/key."

    async def _send(self, client: Client, status: int, body: bytes, request_id: str) -> None:
        kind = b"application/json" if body.startswith((b"{", b"[")) else b"text/plain"
        await client.head(
            status,
            [
                (b"content-type", kind),
                (b"content-length", b"%d" % len(body)),
                (b"x-request-id", request_id.encode()),
                (b"cache-control", b"no-store"),
            ],
        )
        await client.end(b"" if client.method == "HEAD" else body)

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
