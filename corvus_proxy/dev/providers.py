"""Simulated Anthropic, OpenAI and Z.AI on one port, by path. `corvus dev providers`.

    POST /v1/messages · /v1/messages/count_tokens         Anthropic
    POST /v1/chat/completions                             OpenAI
    POST /api/paas/v4/chat/completions                    Z.AI (GLM)
    GET  /v1/models · /v1/models/{id}                     by `anthropic-version` in either shape
    GET  /__log · POST /__control                         what was served; faults on request

A directive in the last message, `[[simulate: status=500]]`, the header `x-simulate`, or
`POST /__control {"faults": [{"status": "429", "times": 2}]}` asks for trouble: status, code,
retry_after, cut_after (deltas), error_after, stall_after, no_usage, zero_usage, tokens, delay_ms,
ttfb_ms, replay (a file below --replay-root).
"""

import argparse
import asyncio
import hashlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import msgspec
import uvloop

from corvus_proxy.dev import frames, refusals
from corvus_proxy.dev.answers import Cache, Plan, count, directives, plan
from corvus_proxy.dev.http import Exchange, serve_connection

PATHS = {
    "/v1/messages": "anthropic",
    "/v1/chat/completions": "openai",
    "/api/paas/v4/chat/completions": "glm",
}
_MODELS = {
    "anthropic": r"claude-", "openai": r"(gpt-|o\d|text-embedding-)", "glm": r"glm-",
}


class Served(msgspec.Struct):
    """One line of the log: what was really made, whatever the gateway says."""

    at_ms: int
    family: str
    credential: str
    """The last eight hexadecimal digits of the credential's SHA-256."""
    request_id: str
    model: str
    stream: bool
    status: int
    usage: dict[str, Any] | None = None
    """As sent, or as it would have been sent."""
    tokens_made: int = 0
    completed: bool = False


class Providers:
    """All simulated families in one process."""

    def __init__(
        self, *, seed: int = 1, pace_ms: float = 3.0, log: Path | None = None,
        replay_root: Path | None = None,
    ) -> None:
        self.served: list[Served] = []
        self.pace_ms = pace_ms
        self._seed = seed
        self._cache = Cache()
        self._faults: list[dict[str, Any]] = []
        self._log: TextIO | None = log.open("a") if log else None
        self._replay_root = replay_root
        self._serial = 0

    async def answer(self, exchange: Exchange) -> None:
        """Answers one HTTP request."""
        path = exchange.path.partition("?")[0]
        if path.startswith("/__"):
            self._control(exchange, path)
        elif exchange.method == "GET" and path.startswith("/v1/models"):
            exchange.json(200, _models(path, exchange.headers))
        elif path == "/v1/messages/count_tokens":
            exchange.json(200, {"input_tokens": count(json.loads(exchange.body))})
        elif path in PATHS and exchange.method == "POST":
            await self._infer(exchange, PATHS[path])
        else:
            exchange.json(404, {"error": {"message": f"no {path} here", "type": "not_found"}})

    def _control(self, exchange: Exchange, path: str) -> None:
        if path == "/__log":
            exchange.json(200, msgspec.to_builtins(self.served))
            return
        asked = json.loads(exchange.body or b"{}")
        self._faults = asked.get("faults", self._faults)
        self.pace_ms = asked.get("pace_ms", self.pace_ms)
        exchange.json(200, {"faults": self._faults, "pace_ms": self.pace_ms})

    async def _infer(self, exchange: Exchange, family: str) -> None:
        self._serial += 1
        secret = exchange.headers.get("x-api-key") or exchange.headers.get(
            "authorization", "").removeprefix("Bearer ")
        credential = hashlib.sha256(secret.encode()).hexdigest()[-8:]
        request_id = f"req_{self._seed:04x}{self._serial:012x}"
        served = Served(int(time.time() * 1000), family, credential, request_id, "", False, 200)
        self.served.append(served)
        exchange.extra = [
            ("request-id" if family == "anthropic" else "x-request-id", request_id),
            ("anthropic-organization-id" if family == "anthropic" else "openai-organization",
             "org-simulated"), ("x-ratelimit-remaining-requests", "999")]
        try:
            body = json.loads(exchange.body)
            asked = directives(body, exchange.headers.get("x-simulate", ""))
            asked = {**asked, **self._next_fault(credential)}
            refused = refusals.judge(family, body, secret, asked, _MODELS[family])
        except (ValueError, AttributeError, TypeError) as error:
            refused = refusals.refusal(family, 400, "invalid_request_error", str(error))
        if refused is not None:
            served.status = refused[0]
            if "retry_after" in (asked if "asked" in locals() else {}):
                exchange.extra.append(("retry-after", asked["retry_after"]))
            exchange.json(*refused)
        elif "replay" in asked:
            await self._replay(exchange, asked, served)
        else:
            made = plan(family, body, asked, seed=self._seed, credential=credential,
                        cache=self._cache, serial=self._serial)
            served.model, served.stream = made.model, made.stream
            served.usage = frames.usage(made, made.output_tokens)
            await self._send(exchange, made, asked, served)
        self._write(served)

    def _next_fault(self, credential: str) -> dict[str, str]:
        for fault in self._faults:
            if fault.get("times", 1) > 0 and fault.get("credential", credential) == credential:
                fault["times"] = fault.get("times", 1) - 1
                return {name: str(value) for name, value in fault.items()
                        if name not in ("times", "credential")}
        return {}

    async def _send(
        self, exchange: Exchange, made: Plan, asked: dict[str, str], served: Served
    ) -> None:
        pace_s = float(asked.get("delay_ms", self.pace_ms)) / 1000
        await asyncio.sleep(float(asked.get("ttfb_ms", 0)) / 1000)
        if not made.stream:
            await asyncio.sleep(pace_s * min(8, made.output_tokens))
            if "cut_after" in asked:
                exchange.cut()
                return
            body = frames.whole(made)
            if "no_usage" in asked:
                del body["usage"]
            elif "zero_usage" in asked:
                body["usage"] = _zeroed(body["usage"])
            served.tokens_made, served.completed = made.output_tokens, True
            exchange.json(200, body)
            return
        exchange.head(200, "text/event-stream; charset=utf-8")
        served.tokens_made = made.hidden_reasoning
        if made.hidden_reasoning:
            await asyncio.sleep(pace_s * made.hidden_reasoning)
        for data, token in frames.stream(made):
            if exchange.gone:
                return
            frame = _spoiled(data, asked)
            if token:
                if served.tokens_made - made.hidden_reasoning == int(asked.get("cut_after", -1)):
                    exchange.cut()
                    return
                if served.tokens_made == int(asked.get("error_after", -1)):
                    exchange.write(refusals.in_stream(made.family))
                    break
                if served.tokens_made == int(asked.get("stall_after", -1)):
                    await asyncio.sleep(3600)
                await asyncio.sleep(pace_s)
                served.tokens_made += 1
            if frame:
                await exchange.write_paced(frame)
        served.completed = not exchange.gone
        exchange.end()

    async def _replay(
        self, exchange: Exchange, asked: dict[str, str], served: Served
    ) -> None:
        """Serves a recorded body as it is, whole, in single bytes, or in random pieces."""
        root = self._replay_root
        path = (root / asked["replay"]).resolve() if root else None
        if root is None or path is None or not path.is_relative_to(root.resolve()):
            exchange.json(404, {"error": {"message": "no such recording", "type": "not_found"}})
            return
        data = path.read_bytes()
        served.completed = True
        if path.suffix == ".json":
            exchange.raw(200, "application/json", data)
            return
        exchange.head(200, "text/event-stream; charset=utf-8")
        size = int(asked.get("chunk", len(data) or 1))
        for at in range(0, len(data), size):
            await exchange.write_paced(data[at:at + size])
            if size < len(data):
                await asyncio.sleep(0)
        exchange.end()

    def _write(self, served: Served) -> None:
        if self._log is not None:
            self._log.write(msgspec.json.encode(served).decode() + "\n")
            self._log.flush()


def _spoiled(data: bytes, asked: dict[str, str]) -> bytes:
    """A frame with its usage taken out or set to zero, where that was asked for."""
    if "no_usage" in asked and b'"usage":{' in data:
        if b'"choices":[]' in data:
            return b""
        return re.sub(rb',"usage":\{(?:[^{}]|\{[^{}]*\})*\}', b"", data)
    if "zero_usage" in asked and b'"usage":{' in data:
        return re.sub(rb'(_tokens":)\d+', rb"\g<1>0", data)
    return data


def _zeroed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _zeroed(inner) for name, inner in value.items()}
    return 0 if isinstance(value, int) else value


def _models(path: str, headers: dict[str, str]) -> dict[str, Any]:
    if "anthropic-version" in headers:
        row: dict[str, Any] = {"type": "model", "id": "claude-opus-5-5",
                               "display_name": "Claude Opus 5.5",
                               "created_at": "2026-10-01T00:00:00Z"}
        rest = {"has_more": False, "first_id": row["id"], "last_id": row["id"]}
    else:
        row = {"id": "gpt-5.5", "object": "model", "created": frames.CREATED, "owned_by": "openai"}
        rest = {"object": "list"}
    return {"data": [row], **rest} if path == "/v1/models" else row


async def run(providers: Providers, host: str, port: int) -> asyncio.Server:
    """Starts listening; port 0 takes a free one."""
    return await asyncio.start_server(
        lambda reader, writer: serve_connection(reader, writer, providers.answer), host, port,
        limit=1 << 26)


def main(arguments: list[str] | None = None) -> None:
    """`corvus dev providers`."""
    parser = argparse.ArgumentParser(prog="corvus dev providers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pace-ms", type=float, default=3.0, help="pause between two tokens")
    parser.add_argument("--log", type=Path, help="file of what was served, a JSON line each")
    parser.add_argument("--replay-root", type=Path)
    options = parser.parse_args(arguments)

    async def serve() -> None:
        providers = Providers(seed=options.seed, pace_ms=options.pace_ms, log=options.log,
                              replay_root=options.replay_root)
        server = await run(providers, options.host, options.port)
        port = server.sockets[0].getsockname()[1]
        sys.stdout.write(f"simulated providers on http://{options.host}:{port}\n")
        sys.stdout.flush()
        await server.serve_forever()

    uvloop.run(serve())


if __name__ == "__main__":
    main()
