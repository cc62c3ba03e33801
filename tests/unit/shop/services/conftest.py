"""Both simulated services, and the adapters in front of them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from corvus_proxy.dev.payments import server
from corvus_proxy.settings import Settings
from corvus_proxy.shop.services.btcpay import Btcpay
from corvus_proxy.shop.services.stripe import Stripe
from tests.payments import Receiver, receiving, selling


class Counter(NamedTuple):
    """Everything a test of an adapter needs."""

    payments: server.Payments
    url: str
    settings: Settings
    stripe: Stripe
    btcpay: Btcpay
    receiver: Receiver


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Counter]:
    async with (
        server.serve(block_s=0, log=tmp_path / "payments.jsonl") as (payments, url),
        receiving(payments) as receiver,
    ):
        settings = selling(tmp_path, url, timeout_s=2.0)
        stripe, btcpay = Stripe(settings), Btcpay(settings)
        yield Counter(payments, url, settings, stripe, btcpay, receiver)
        await stripe.close()
        await btcpay.close()
