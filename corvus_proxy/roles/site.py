"""The site role: log-in and dashboard for customers."""

from starlette.applications import Starlette

from corvus_proxy.roles import pages
from corvus_proxy.service import guard
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Settings, config_path
from corvus_proxy.shop.services import providers
from corvus_proxy.site.app import create


async def main(settings: Settings) -> None:
    """Serves pages until SIGTERM. While Redis or Postgres is away, pages say so."""
    guard.refuse_test_money(settings, str(config_path() or "settings"))
    services = providers(settings)

    def site(stores: Stores, settings: Settings) -> Starlette:
        return create(stores, settings, services)

    try:
        at = settings.site
        await pages.serve(
            settings,
            site,
            at.host,
            at.port,
            leave_s=at.leave_s,
            connections_max=at.connections_max,
        )
    finally:
        for service in services.values():
            await service.close()
