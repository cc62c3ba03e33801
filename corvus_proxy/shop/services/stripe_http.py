"""Stripe's package on our own connections. The only module that imports it, itself imported when it
is first needed: it is large, and only who takes cards needs it."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, cast

import stripe
import stripe.checkout._session  # it would be loaded in the first call

from corvus_proxy.upstream.faults import UpstreamBroke
from corvus_proxy.upstream.httpx_client import Caller

# It would write a file into the home folder and tell Stripe about the calls before.
stripe.enable_telemetry = False


class Transport(stripe.HTTPClient):
    """The package's way out: our timeouts, our limits, no redirects."""

    name = "corvus"

    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self._caller = caller

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """See `stripe.HTTPClient`. Raises stripe.APIConnectionError."""
        content = post_data.encode() if isinstance(post_data, str) else post_data
        try:
            answer = await self._caller.fetch(method.upper(), url, dict(headers), content=content)
        except UpstreamBroke as broke:
            # Untyped in the package.
            raise cast(Any, stripe.APIConnectionError)(str(broke), should_retry=True) from None
        return answer.body, answer.status, answer.headers

    def sleep_async(self, secs: float) -> Awaitable[None]:
        """See `stripe.HTTPClient`."""
        return asyncio.sleep(secs)


def client(secret_key: str, api_base: str, caller: Caller) -> stripe.StripeClient:
    """Stripe's client, with one further try for calls that got no answer."""
    return stripe.StripeClient(
        secret_key,
        base_addresses={"api": api_base},
        http_client=Transport(caller),
        max_network_retries=1,
    )
