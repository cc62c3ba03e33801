"""The console role: the operator's loopback port."""

from collections.abc import Mapping

import structlog
from starlette.applications import Starlette

from corvus_proxy.console.app import create
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.roles import pages
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings
from corvus_proxy.shop.provider import Provider
from corvus_proxy.shop.services import providers

_log = structlog.get_logger()


async def main(settings: Settings) -> None:
    """Serves the desk, metrics and health until SIGTERM."""
    services = _services(settings)

    def console(stores: Stores, settings: Settings) -> Starlette:
        return create(stores, settings, services)

    try:
        await pages.serve(settings, console, settings.console.host, settings.console.port)
    finally:
        for service in services.values():
            await service.close()


def _services(settings: Settings) -> Mapping[str, Provider]:
    """The payment services; none where their secrets are not this role's to read: metrics and the
    rest of the desk do not need them."""
    try:
        return providers(settings)
    except ConfigurationError as error:
        _log.warning("console_without_payments", why=str(error))
        return {}
