"""Does each credential open its upstream? Asked at start and by `corvus doctor`; costs nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import Credential, Upstream
from corvus_proxy.upstream.faults import UpstreamBroke
from corvus_proxy.upstream.httpx_client import fetch_status

CHECK_S = 5.0
VERSION = "2023-06-01"


class Question(NamedTuple):
    """A request that costs nothing."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes | None = None


Ask = Callable[[Question, bool], Awaitable[int]]
"""Asks, by the environment's proxy or not; the status. Raises UpstreamBroke."""


async def _ask(question: Question, through_proxy: bool) -> int:
    method, url, headers, content = question
    return await fetch_status(
        method, url, headers, content=content, timeout_s=CHECK_S, through_proxy=through_proxy
    )


class CheckResult(NamedTuple):
    """One credential's answer."""

    name: str
    family: str
    ok: bool
    detail: str


async def check_credentials(upstreams: list[Upstream]) -> list[CheckResult]:
    """Every credential, all at once; never raises."""
    return list(
        await asyncio.gather(
            *(
                check_credential(upstream, credential)
                for upstream in upstreams
                for credential in upstream.credential
            )
        )
    )


async def check_credential(
    upstream: Upstream, credential: Credential, *, messages: bool = False, ask: Ask = _ask
) -> CheckResult:
    """One credential's answer, by the way that its requests go; never raises. `messages`: where
    GLM speaks Messages, which is another place than where it speaks chat."""
    try:
        asked = question(upstream, credential.secret(), messages=messages)
        status = await ask(asked, upstream.client == "httpx")
    except (UpstreamBroke, ConfigurationError) as error:
        return CheckResult(credential.name, upstream.family, False, str(error))
    accepted = status < 400 or (upstream.family == "glm" and status == 400)
    detail = "accepted" if accepted else f"refused with status {status}"
    return CheckResult(credential.name, upstream.family, accepted, detail)


def question(upstream: Upstream, secret: str, *, messages: bool = False) -> Question:
    """What is asked with an upstream's key; costs nothing."""
    base = upstream.base_url.rstrip("/")
    if upstream.family == "anthropic":
        headers = {"x-api-key": secret, "anthropic-version": VERSION}
        return Question("GET", f"{base}/v1/models", headers)
    bearer = {"authorization": f"Bearer {secret}"}
    if upstream.family == "openai":
        return Question("GET", f"{base}/v1/models", bearer)
    # No dependable listing there: an empty request is a 400 to who may ask, else a 401.
    headers = {**bearer, "content-type": "application/json"}
    if not messages:
        return Question("POST", f"{base}/chat/completions", headers, b"{}")
    place = upstream.messages_base_url.rstrip("/")
    return Question(
        "POST", f"{place}/v1/messages", {**headers, "anthropic-version": VERSION}, b"{}"
    )
