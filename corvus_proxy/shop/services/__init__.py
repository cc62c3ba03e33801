"""The payment services that there are, behind `provider.Provider`."""

from corvus_proxy.settings import Settings
from corvus_proxy.shop.provider import Provider
from corvus_proxy.shop.services.btcpay import Btcpay
from corvus_proxy.shop.services.stripe import Stripe


def providers(settings: Settings) -> dict[str, Provider]:
    """Those that are configured, by name, in the order in which they are offered. Opens no
    connection. Raises ConfigurationError (unreadable secrets)."""
    found: dict[str, Provider] = {}
    if settings.stripe.secret_key():
        found["stripe"] = Stripe(settings)
    if settings.btcpay.url:
        found["btcpay"] = Btcpay(settings)
    return found
