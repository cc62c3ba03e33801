"""Whether a payment service answers: asked all the time, so it must change nothing."""

from pathlib import Path

import msgspec
import pytest

from corvus_proxy.dev.payments.control import Trouble
from corvus_proxy.shop.provider import Provider, ProviderUnavailable
from corvus_proxy.shop.services import providers
from tests.payments import selling
from tests.unit.shop.services.conftest import Counter

pytestmark = pytest.mark.anyio
NAMES = ("stripe", "btcpay")


def service(counter: Counter, name: str) -> Provider:
    return counter.stripe if name == "stripe" else counter.btcpay


@pytest.mark.parametrize("name", NAMES)
async def test_a_service_that_takes_our_key_answers(counter: Counter, name: str) -> None:
    """Also before there is a single payment; nothing stands in its record."""
    await service(counter, name).check()
    log = Path(counter.settings.stripe.secret_key_file).parent / "payments.jsonl"
    assert '"request"' not in log.read_text()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("trouble", [{"status": 500}, {"cut": True}, {"garbage": True}])
async def test_one_that_is_in_trouble_does_not(
    counter: Counter, name: str, trouble: dict[str, object]
) -> None:
    """And the trouble still waits for a payment's call."""
    await counter.payments.control.do("trouble", {"service": name, "times": 1, **trouble})
    with pytest.raises(ProviderUnavailable):
        await service(counter, name).check()
    assert counter.payments.control.take(name) == msgspec.convert(
        {"service": name, "times": 0, **trouble}, Trouble
    )
    await service(counter, name).check()


@pytest.mark.parametrize("name", NAMES)
async def test_one_that_does_not_take_our_key_is_of_no_use(
    counter: Counter, name: str, tmp_path: Path
) -> None:
    """Buyers could not pay."""
    (tmp_path / "other").mkdir()
    settings = selling(tmp_path / "other", counter.url, timeout_s=2.0)
    for key in ("stripe-key", "btcpay-key"):
        (tmp_path / "other" / key).write_text("sk_test_of_somebody_else")
    adapter = providers(settings)[name]
    with pytest.raises(ProviderUnavailable):
        await adapter.check()
    await adapter.close()
