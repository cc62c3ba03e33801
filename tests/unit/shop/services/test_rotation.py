"""Secrets of payment services are changed while the processes run."""

import os
from pathlib import Path

import pytest

from corvus_proxy.dev.payments import coins
from corvus_proxy.settings.secrets import Named, Rotating
from corvus_proxy.shop.provider import Forged, ProviderUnavailable
from tests.unit.shop.services.conftest import Counter
from tests.unit.shop.services.test_btcpay import WANTED as COIN
from tests.unit.shop.services.test_stripe import WANTED as CARD

pytestmark = pytest.mark.anyio
EVENT = b'{"id": "evt_1", "type": "x", "data": {"object": {"object": "charge", "id": "ch"}}}'
INVOICE = b'{"deliveryId": "d", "type": "InvoiceSettled", "invoiceId": "i"}'


def taken(counter: Counter, service: str, secret: str) -> bool:
    """Whether a message that is signed with this secret is believed."""
    import stripe

    try:
        if service == "stripe":
            sign = stripe.WebhookSignature.generate_signature_header
            counter.stripe.notice({"stripe-signature": sign(EVENT.decode(), secret)}, EVENT)
        else:
            counter.btcpay.notice(coins.sign(secret, INVOICE, 0), INVOICE)
    except Forged:
        return False
    return True


@pytest.mark.parametrize("service", ["stripe", "btcpay"])
async def test_old_and_new_webhook_secrets_are_taken_side_by_side(
    counter: Counter, service: str
) -> None:
    """Old alone, both, new alone: by the file alone, no message is lost and no other is taken."""
    path = Path(getattr(counter.settings, service).webhook_secret_file)
    old, new = path.read_text().strip(), "whsec_the_next_one"
    for text, expected in (
        (old, (True, False)), (f"{old}\n{new}\n", (True, True)), (new, (False, True)),
    ):  # fmt: skip
        path.write_text(text)
        assert (taken(counter, service, old), taken(counter, service, new)) == expected
        assert not taken(counter, service, "")
    path.unlink()
    assert taken(counter, service, new)  # what cannot be read changes nothing


async def test_a_new_api_key_is_used_at_once(counter: Counter) -> None:
    """The next call has it; a key of Stripe's other mode is not mixed in."""
    for adapter, wanted, name in (
        (counter.stripe, CARD, counter.settings.stripe.secret_key_file),
        (counter.btcpay, COIN, counter.settings.btcpay.api_key_file),
    ):
        path = Path(name)
        good = path.read_text()
        assert (await adapter.open(wanted)).reference
        path.write_text("sk_test_wrong_and_longer" if "stripe" in name else "wrong-and-longer")
        with pytest.raises(ProviderUnavailable):
            await adapter.open(wanted._replace(order_id="ord_2"))
        path.write_text(good)
        assert (await adapter.open(wanted._replace(order_id="ord_3"))).reference
    path = Path(counter.settings.stripe.secret_key_file)
    path.write_text("sk_live_of_money")
    assert (await counter.stripe.open(CARD._replace(order_id="ord_4"))).reference


def test_a_file_is_read_again_when_it_is_another(tmp_path: Path) -> None:
    """By its time, size and inode: `mv` over it, and a change in place."""
    path = tmp_path / "s"
    path.write_text("one")
    found = Rotating(Named("x.secret", "", str(path)))
    assert found.first() == "one"
    (tmp_path / "next").write_text("two")
    os.replace(tmp_path / "next", path)
    assert found.latest() == ("two",)
    path.write_text("")
    assert found.first() == "two"
    assert Rotating(Named("x.secret", "", "")).first() == ""
