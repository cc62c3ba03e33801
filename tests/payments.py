"""The simulated payment services for tests: settings that lead to them, and somebody who takes
their messages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from corvus_proxy.dev.http import Exchange, listen
from corvus_proxy.dev.payments import server
from corvus_proxy.settings import Settings
from corvus_proxy.settings.selling import BtcpaySettings, StripeSettings

STRIPE_HOOK_SECRET = "whsec_of_a_test"
BTCPAY_HOOK_SECRET = "btcpay-hook-of-a-test"


def selling(folder: Path, url: str, *, timeout_s: float = 5.0, **replaced: Any) -> Settings:
    """Settings whose payment services are the simulated ones at `url`; `replaced` are sections."""
    secrets = {
        "stripe-key": server.STRIPE_KEY,
        "stripe-hook": STRIPE_HOOK_SECRET,
        "btcpay-key": server.BTCPAY_KEY,
        "btcpay-hook": BTCPAY_HOOK_SECRET,
    }
    for name, text in secrets.items():
        (folder / name).write_text(text)
    return msgspec.structs.replace(
        Settings(),
        stripe=StripeSettings(
            api_base=url,
            secret_key_file=str(folder / "stripe-key"),
            webhook_secret_file=str(folder / "stripe-hook"),
            checkout_origin=url,
            timeout_s=timeout_s,
        ),
        btcpay=BtcpaySettings(
            url=url,
            store_id=server.STORE,
            api_key_file=str(folder / "btcpay-key"),
            webhook_secret_file=str(folder / "btcpay-hook"),
            timeout_s=timeout_s,
        ),
        **replaced,
    )


class Receiver:
    """Takes messages at /stripe and /btcpay; `status` is what it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        """(path, headers, body)."""
        self.status = 200

    async def answer(self, exchange: Exchange) -> None:
        """Answers one message."""
        self.got.append((exchange.path, exchange.headers, exchange.body))
        exchange.raw(self.status, "text/plain", b"")

    async def wait(self, count: int) -> None:
        """Waits until so many messages have come."""
        await until(lambda: len(self.got) >= count)


@contextlib.asynccontextmanager
async def receiving(payments: server.Payments) -> AsyncIterator[Receiver]:
    """Somebody to whom both services send their messages, without long pauses."""
    receiver = Receiver()
    listener = await listen(receiver.answer, "127.0.0.1", 0)
    for service, secret in (
        (payments.cards, STRIPE_HOOK_SECRET),
        (payments.coins, BTCPAY_HOOK_SECRET),
    ):
        service.hooks.url = f"{listener.url}/{service.name}"
        service.hooks.secret = secret
        service.hooks.pause_factor = 0.001
    try:
        yield receiver
    finally:
        await listener.close()


async def until(true: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Waits for something to become true."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 -- what is waited for has no event
            await asyncio.sleep(0.005)
