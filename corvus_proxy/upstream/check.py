"""Does each credential open its upstream? Asked at start and by `corvus doctor`; costs nothing."""

import asyncio
from typing import NamedTuple

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import Credential, Upstream
from corvus_proxy.upstream.faults import UpstreamBroke
from corvus_proxy.upstream.httpx_client import fetch_status

CHECK_S = 5.0


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


async def check_credential(upstream: Upstream, credential: Credential) -> CheckResult:
    """One credential's answer, by the way that its requests go; never raises."""
    through_proxy = upstream.client == "httpx"
    base = upstream.base_url.rstrip("/")
    try:
        secret = credential.secret()
        if upstream.family == "anthropic":
            status = await fetch_status(
                "GET",
                f"{base}/v1/models",
                {"x-api-key": secret, "anthropic-version": "2023-06-01"},
                content=None,
                timeout_s=CHECK_S,
                through_proxy=through_proxy,
            )
        elif upstream.family == "openai":
            status = await fetch_status(
                "GET",
                f"{base}/v1/models",
                {"authorization": f"Bearer {secret}"},
                content=None,
                timeout_s=CHECK_S,
                through_proxy=through_proxy,
            )
        else:
            # No dependable listing there: an empty request is a 400 to who may ask, else a 401.
            status = await fetch_status(
                "POST",
                f"{base}/chat/completions",
                {"authorization": f"Bearer {secret}", "content-type": "application/json"},
                content=b"{}",
                timeout_s=CHECK_S,
                through_proxy=through_proxy,
            )
    except (UpstreamBroke, ConfigurationError) as error:
        return CheckResult(credential.name, upstream.family, False, str(error))
    accepted = status < 400 or (upstream.family == "glm" and status == 400)
    detail = "accepted" if accepted else f"refused with status {status}"
    return CheckResult(credential.name, upstream.family, accepted, detail)
