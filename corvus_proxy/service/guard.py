"""Simulated money never meets a real upstream."""

from corvus_proxy.catalogue.margin import addresses, is_loopback
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import Settings


def real_upstreams(settings: Settings) -> list[str]:
    """Addresses of upstreams that are not on this machine."""
    return [url for found in settings.upstream for url in addresses(found) if not is_loopback(url)]


def refuse_demo(settings: Settings, source: str) -> None:
    """Raises ConfigurationError where the demonstration is configured beside a real upstream."""
    real = real_upstreams(settings)
    if settings.demo.enabled and real:
        raise ConfigurationError(
            f"{source}: [demo] enabled = true, and upstream {real[0]} is real; simulated money must"
            " not buy real answers. Remove one of the two."
        )


def refuse_test_money(settings: Settings, source: str) -> None:
    """Raises ConfigurationError where payments that are no money would buy real answers: a test key
    of Stripe beside a real upstream. For roles that hold the payment services' secrets."""
    real = real_upstreams(settings)
    if real and settings.stripe.test_mode():
        raise ConfigurationError(
            f"{source}: [stripe] has a test key, and upstream {real[0]} is real; simulated money"
            " must not buy real answers. Remove one of the two."
        )


def refuse_simulated(settings: Settings, *, marked: bool) -> None:
    """Raises ConfigurationError where the stores hold simulated money and an upstream is real."""
    if marked and real_upstreams(settings):
        raise ConfigurationError("this state folder holds simulated money; use another --state")
