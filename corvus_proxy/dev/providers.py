"""Simulated Anthropic, OpenAI and Z.AI on one port, by path. `corvus dev providers`.

    POST /v1/messages · /v1/messages/count_tokens         Anthropic
    POST /v1/chat/completions · /v1/embeddings            OpenAI
    POST /v1/responses · /v1/responses/input_tokens       OpenAI
    POST /api/paas/v4/chat/completions                    Z.AI (GLM)
    POST /api/anthropic/v1/messages                       Z.AI (GLM)
    GET  /v1/models · /v1/models/{id}                     by `anthropic-version` in either shape
    GET  /v1/organization/usage/… · costs                 OpenAI's reports on what was served
    GET  /v1/organizations/usage_report/… · cost_report   Anthropic's
    GET  /__log · GET, POST /__control                    what was served; faults on request

A directive in the last message, `[[simulate: status=500]]`, the header `x-simulate: status=500`, or
`POST /__control {"faults": [{"status": 429, "times": 2}], "pace_ms": 3}` asks for trouble; see
`faults.Asked` for the words, `prompt` for how tokens are counted and cached, `answers` for the
rest. A key that begins with `bad`, or none, is refused with 401.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TextIO

import msgspec
import uvloop

from corvus_proxy import clock
from corvus_proxy.dev import faults, frames, lies, prompt, refusals, replay
from corvus_proxy.dev.account import models, reports
from corvus_proxy.dev.answers import Model, Plan
from corvus_proxy.dev.faults import Asked
from corvus_proxy.dev.http import Exchange, Listener, listen
from corvus_proxy.dev.openai import asked as openai_asked
from corvus_proxy.dev.openai import embeddings, responses

PACE_MS = 3.0
"""Between two tokens: 64 tokens and 16 of silent reasoning in a quarter of a second."""
WHOLE_TOKENS_PACED = 8
"""An answer that is not streamed takes as long as so many tokens at most."""
STALL_S = 3600.0
PATHS = {
    "/v1/messages": ("anthropic", "messages"),
    "/v1/chat/completions": ("openai", "chat"),
    "/v1/responses": ("openai", "responses"),
    "/v1/embeddings": ("openai", "embeddings"),
    "/api/paas/v4/chat/completions": ("glm", "chat"),
    "/api/anthropic/v1/messages": ("glm", "messages"),
}
"""Which family answers on a path, and in which dialect."""
COUNTED = {
    "/v1/messages/count_tokens": ("anthropic", "messages"),
    "/v1/responses/input_tokens": ("openai", "responses"),
}
_LOG_SERVED_MAX = 100_000
"""Rows that `/__log` remembers; the file has all."""


class Served(msgspec.Struct):
    """One line of the log: what was really made, whatever the gateway says."""

    at_ms: int
    family: str
    credential: str
    """The last eight hexadecimal digits of the credential's SHA-256."""
    request_id: str
    dialect: str = ""
    model: str = ""
    stream: bool = False
    status: int = 200
    usage: dict[str, Any] | None = None
    """As sent, or as it would have been sent at the end."""
    usage_sent: bool = False
    """Whether `usage` really left."""
    usage_made: dict[str, Any] | None = None
    """The same counts for what was made before the end, a cut or the peer's going."""
    tokens_made: int = 0
    """Output tokens made, hidden reasoning included."""
    deltas_sent: int = 0
    completed: bool = False
    """The whole answer was handed to the socket while the peer was there."""
    tag: str = ""
    """The client's own word for its request, from a directive."""
    body_sha256: str = ""
    """Of the request's body as it came."""
    outcome: str = "refused"
    """completed · cut, failed, ended (on request) · aborted (by the peer) · refused · replayed."""


class Providers:
    """All simulated families in one process. `served` grows by one row a request, at its end."""

    def __init__(
        self,
        *,
        seed: int = 1,
        pace_ms: float = PACE_MS,
        log: Path | None = None,
        replay_root: Path | None = None,
        cost_percent: int = 100,
    ) -> None:
        self.served: list[Served] = []
        self.pace_ms = pace_ms
        self.faults = faults.Queue()
        self.reports = reports.Reports(cost_percent)
        self._seed = seed
        self._model = Model(seed)
        self._log: TextIO | None = log.open("a") if log else None
        self._replay_root = replay_root
        self._serial = 0

    def close(self) -> None:
        """Closes the log."""
        if self._log is not None:
            self._log.close()

    async def answer(self, exchange: Exchange) -> None:
        """Answers one HTTP request."""
        path = exchange.path.partition("?")[0]
        if path.startswith("/__"):
            self._control(exchange, path)
        elif path in PATHS and exchange.method == "POST":
            await self._infer(exchange, *PATHS[path])
        elif path in COUNTED and exchange.method == "POST":
            await self._count(exchange, *COUNTED[path])
        elif path.startswith("/v1/models") and exchange.method == "GET":
            name = path.removeprefix("/v1/models").strip("/")
            exchange.json(*models.listed(exchange, name, _secret(exchange)))
        elif path in reports.PATHS and exchange.method == "GET":
            self.reports.answer(exchange, _secret(exchange), self.served)
        else:
            exchange.json(404, {"error": {"message": f"no {path} here", "type": "not_found"}})

    def _control(self, exchange: Exchange, path: str) -> None:
        if path == "/__log":
            exchange.json(200, msgspec.to_builtins(self.served))
            return
        try:
            wish = json.loads(exchange.body or b"{}")
            if "faults" in wish:
                self.faults.set(wish["faults"])
            self.pace_ms = float(wish.get("pace_ms", self.pace_ms))
            self.reports.ask(wish.get("reports", {}))
        except (ValueError, TypeError, AttributeError) as error:
            exchange.json(400, {"error": {"message": str(error)}})
            return
        exchange.json(200, {"faults": self.faults.waiting, "pace_ms": self.pace_ms})

    async def _infer(self, exchange: Exchange, family: str, dialect: str) -> None:
        self._serial += 1
        secret = _secret(exchange)
        credential = hashlib.sha256(secret.encode()).hexdigest()[-8:]
        served = Served(
            clock.wall_ms(), family, credential, f"req_{self._seed:04x}{self._serial:012x}", dialect
        )
        served.body_sha256 = hashlib.sha256(exchange.body).hexdigest()
        exchange.extra = frames.headers(family, served.request_id)
        try:
            await self._answer(exchange, served, secret)
        finally:
            if exchange.body != b"{}":  # that only asks whether its key may ask
                self._note(served)

    async def _answer(self, exchange: Exchange, served: Served, secret: str) -> None:
        family, asked = served.family, Asked()
        refused = refusals.of_key(family, secret)
        body: dict[str, Any] = {}
        chat = body
        try:
            body = _object(exchange.body)
            chat = body if family != "openai" else _as_chat(served.dialect, body)
            if refused is None:
                asked = faults.asked(
                    chat,
                    exchange.headers.get("x-simulate", ""),
                    self.faults.take(family, served.credential) if body else {},
                )
                served.tag = asked.tag
                refused = _judge(served, body, chat, asked)
        except ValueError as error:
            refused = refused or refusals.refusal(family, 400, "invalid_request", str(error))
        served.model, served.stream = str(body.get("model", "")), bool(body.get("stream"))
        if not await exchange.pause(asked.ttfb_ms / 1000):
            served.outcome = "aborted"
        elif asked.no_answer:
            served.outcome = "cut"
            exchange.cut()
        elif refused is not None:
            _refuse(exchange, served, refused, asked)
        elif asked.replay:
            await self._replay(exchange, served, asked)
        else:
            await self._make(exchange, served, body, chat, asked)

    async def _make(
        self,
        exchange: Exchange,
        served: Served,
        body: dict[str, Any],
        chat: dict[str, Any],
        asked: Asked,
    ) -> None:
        """The answer of a request that nothing speaks against."""
        if asked.error_body:
            served.outcome = "failed"
            exchange.json(200, refusals.refusal(served.family, 500, asked.code, "Simulated.")[1])
        elif served.dialect == "embeddings":
            inputs = openai_asked.embedded(body)
            made = embeddings.whole(body, inputs)
            served.usage = served.usage_made = embeddings.usage(inputs)
            self._send_whole(exchange, served, made, asked)
        else:
            plan = self._model.plan(
                served.family, chat, asked, served.credential, dialect=served.dialect
            )
            plan = plan._replace(stored=body.get("store") is not False)
            form = _form(plan)
            served.usage = lies.claimed(form.usage(plan, plan.output_tokens), asked)
            send = self._stream if plan.stream else self._whole
            await send(exchange, served, plan, asked)
            served.usage_made = form.usage(plan, served.tokens_made)
        served.completed = served.outcome == "completed"

    def _pace_s(self, asked: Asked) -> float:
        return (self.pace_ms if asked.delay_ms < 0 else asked.delay_ms) / 1000

    async def _whole(self, exchange: Exchange, served: Served, plan: Plan, asked: Asked) -> None:
        # A model that was not asked to stream has made its answer before anybody can go away.
        served.tokens_made = plan.output_tokens
        tokens = min(WHOLE_TOKENS_PACED, plan.output_tokens)
        if not await exchange.pause(self._pace_s(asked) * tokens):
            served.outcome = "aborted"
            return
        self._send_whole(exchange, served, _form(plan).whole(plan), asked)

    def _send_whole(
        self, exchange: Exchange, served: Served, body: dict[str, Any], asked: Asked
    ) -> None:
        if asked.no_usage:
            del body["usage"]
        elif asked.zero_usage:
            body["usage"] = lies.zeroed(body["usage"])
        else:
            body["usage"] = lies.claimed(body["usage"], asked)
        if asked.cut_after >= 0:
            served.outcome = "cut"
            exchange.raw_cut(200, "application/json", json.dumps(body).encode())
            return
        served.usage_sent = not asked.no_usage
        served.outcome = "completed"
        exchange.json(200, body)

    async def _stream(self, exchange: Exchange, served: Served, plan: Plan, asked: Asked) -> None:
        now_s = asyncio.get_running_loop().time
        exchange.head(200, frames.CONTENT_TYPE[plan.family])
        pace_s = self._pace_s(asked)
        due_s = now_s()
        for made in range(plan.choices * plan.hidden_reasoning):
            due_s += pace_s
            if not await exchange.pause(due_s - now_s()):
                served.outcome = "aborted"
                return
            served.tokens_made = made + 1
        for number, frame in enumerate(lies.told(_form(plan).stream(plan), asked)):
            if frame.tokens or frame.usage:
                stopped = await self._trouble(exchange, served, asked, plan, number)
                due_s += pace_s * frame.tokens
                if stopped or not await exchange.pause(due_s - now_s()):
                    served.outcome = stopped or "aborted"
                    return
            served.tokens_made += frame.tokens
            served.deltas_sent += bool(frame.tokens)
            data = lies.spoiled(frame, asked)
            if asked.padding and frame.tokens:
                data = b": " + b"." * asked.padding + b"\n\n" + data
            served.usage_sent |= frame.usage and not asked.no_usage
            if data:
                await exchange.write_paced(data)
            if frame.usage and asked.cut_late:
                served.outcome = "cut"
                exchange.cut()
                return
        served.outcome = "aborted" if exchange.gone else "completed"
        exchange.end()

    async def _trouble(
        self, exchange: Exchange, served: Served, asked: Asked, plan: Plan, number: int
    ) -> str:
        """Whether the stream ends here, ahead of the event of that number, on request: the outcome,
        or nothing."""
        if served.deltas_sent == asked.stall_after:
            await exchange.pause(STALL_S)
        if served.deltas_sent == asked.cut_after:
            exchange.cut()
            return "cut"
        if served.deltas_sent == asked.error_after:
            if served.dialect == "responses":
                code, message = refusals.failure(asked.code)
                exchange.write(responses.failed(plan, number, code, message))
            else:
                exchange.write(_error_event(served, asked))
            exchange.end()
            return "failed"
        if served.deltas_sent == asked.end_after:
            exchange.end()
            return "ended"
        return ""

    async def _count(self, exchange: Exchange, family: str, dialect: str) -> None:
        """How many tokens the prompt of a request has; no row of the log."""
        served = Served(clock.wall_ms(), family, "", f"req_{self._seed:04x}count", dialect)
        exchange.extra = frames.headers(family, served.request_id)
        refused = refusals.of_key(family, _secret(exchange))
        try:
            body = _object(exchange.body)
            chat = _as_chat(dialect, body)
            asked = faults.asked(chat, exchange.headers.get("x-simulate", ""), {})
        except ValueError as error:
            exchange.json(*(refused or refusals.refusal(family, 400, "", str(error))))
            return
        if refused is None and asked.replay:
            await self._replay(exchange, served, asked)
            return
        if family == "anthropic":
            limitless = {**body, "max_tokens": 1, "thinking": None}
            refused = refused or refusals.judge(family, limitless, asked)
            exchange.json(*(refused or (200, {"input_tokens": prompt.count(body)})))
            return
        refused = refused or refusals.judge_response(body, chat, asked)
        counted = {"object": "response.input_tokens", "input_tokens": prompt.count(chat)}
        exchange.json(*(refused or (200, counted)))

    async def _replay(self, exchange: Exchange, served: Served, asked: Asked) -> None:
        try:
            recording = replay.load(self._replay_root, asked.replay, served.dialect)
        except (OSError, ValueError) as error:
            served.status = 404
            exchange.json(404, {"error": {"message": str(error), "type": "not_found"}})
            return
        served.outcome = "replayed"
        if not recording.stream:
            served.status = asked.status or 200
            exchange.raw(served.status, "application/json", recording.body)
            return
        exchange.head(200, frames.CONTENT_TYPE[served.family])
        source = random.Random(f"{self._seed}/{asked.replay}")  # noqa: S311
        for piece in replay.pieces(recording.body, asked.chunk, source):
            await exchange.write_paced(piece)
            # The next piece goes in a later turn, so that it is not joined with this one.
            await exchange.pause(max(0.0, asked.delay_ms / 1000))
            await asyncio.sleep(0)
        exchange.end()

    def _note(self, served: Served) -> None:
        self.served.append(served)
        del self.served[:-_LOG_SERVED_MAX]
        if self._log is not None:
            self._log.write(msgspec.json.encode(served).decode() + "\n")
            self._log.flush()


def _error_event(served: Served, asked: Asked) -> bytes:
    form = "anthropic" if served.dialect == "messages" else served.family
    return refusals.in_stream(form, served.request_id, asked.code)


def _secret(exchange: Exchange) -> str:
    return (
        exchange.headers.get("x-api-key")
        or exchange.headers.get("authorization", "").removeprefix("Bearer").strip()
    )


def _object(body: bytes) -> dict[str, Any]:
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("the body is not a JSON object")  # noqa: TRY004 -- a 400, not a bug
    return found


def _refuse(exchange: Exchange, served: Served, refused: refusals.Refusal, asked: Asked) -> None:
    served.status, body = refused
    if served.family == "anthropic":
        body["request_id"] = served.request_id
    wait = asked.retry_after or ("1" if served.status == 429 and served.family != "glm" else "")
    if wait and wait != "none":
        exchange.extra.append(("retry-after", wait))
    exchange.json(served.status, body)


def _as_chat(dialect: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a request says as a chat; of embeddings their text as a message, for its directive."""
    if dialect == "responses":
        return openai_asked.as_chat(body)
    if dialect == "embeddings":
        return {"messages": [{"role": "user", "content": openai_asked.text_of(body)}]}
    return body


def _judge(
    served: Served, body: dict[str, Any], chat: dict[str, Any], asked: Asked
) -> refusals.Refusal | None:
    if served.dialect == "responses":
        return refusals.judge_response(body, chat, asked)
    if served.dialect == "embeddings":
        return refusals.judge_embeddings(body, openai_asked.embedded(body), asked)
    return refusals.judge(served.family, body, asked)


def _form(plan: Plan) -> Any:
    """The module that has a plan's dialect: `usage`, `whole` and `stream`."""
    return responses if plan.dialect == "responses" else frames


async def run(providers: Providers, host: str = "127.0.0.1", port: int = 0) -> Listener:
    """Starts listening; port 0 takes a free one."""
    return await listen(providers.answer, host, port)


@contextlib.asynccontextmanager
async def serve(**options: Any) -> AsyncIterator[tuple[Providers, str]]:
    """Providers (`options` as for `Providers`) on a free loopback port, and their URL."""
    providers = Providers(**options)
    listener = await run(providers)
    try:
        yield providers, listener.url
    finally:
        await listener.close()
        providers.close()


def main(arguments: list[str] | None = None) -> None:
    """`corvus dev providers`."""
    parser = argparse.ArgumentParser(
        prog="corvus dev providers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--pace-ms", "--pace", type=float, default=PACE_MS, help="pause between two tokens"
    )
    parser.add_argument("--log", type=Path, help="file of what was served, a JSON line each")
    parser.add_argument("--port-file", type=Path, help="gets the port once it listens")
    parser.add_argument("--replay-root", type=Path, help="folder of recordings to serve again")
    parser.add_argument("--cost-percent", type=int, default=100, help="of the official prices")
    options = parser.parse_args(arguments)
    providers = Providers(
        seed=options.seed,
        pace_ms=options.pace_ms,
        log=options.log,
        replay_root=options.replay_root,
        cost_percent=options.cost_percent,
    )

    async def forever() -> None:
        listener = await run(providers, options.host, options.port)
        if options.port_file:
            partial = options.port_file.with_name(options.port_file.name + ".partial")
            partial.write_text(f"{listener.port}\n")
            os.replace(partial, options.port_file)
        sys.stdout.write(f"simulated providers on {listener.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(forever())


if __name__ == "__main__":
    main()
