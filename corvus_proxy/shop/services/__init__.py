"""The payment services that there are, behind `provider.Provider`."""

from corvus_proxy.settings import Settings
from corvus_proxy.shop.provider import Provider
from corvus_proxy.shop.services.btcpay import TEST_CHAINS, Btcpay
from corvus_proxy.shop.services.stripe import Stripe


def providers(settings: Settings) -> dict[str, Provider]:
    """Those that are configured, by name, in the order in which they are offered. Opens no
    connection. Raises ConfigurationError (unreadable secrets)."""
    found: dict[str, Provider] = {}
    if settings.stripe.secret_key().first():
        found["stripe"] = Stripe(settings)
    if settings.btcpay.url:
        found["btcpay"] = Btcpay(settings)
    return found


def simulated(settings: Settings, destination: str) -> bool:
    """Whether a payment is no money: in a demonstration, with a test key of Stripe, or on a test
    chain, which its `destination` tells. Raises ConfigurationError (secrets)."""
    return (
        settings.demo.enabled or settings.stripe.test_mode() or destination.startswith(TEST_CHAINS)
    )
