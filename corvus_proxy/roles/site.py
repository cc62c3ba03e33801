"""The site role: log-in and dashboard for customers."""

from corvus_proxy.roles import pages
from corvus_proxy.settings import Settings
from corvus_proxy.site.app import create


async def main(settings: Settings) -> None:
    """Serves pages until SIGTERM. While Redis or Postgres is away, pages say so."""
    await pages.serve(settings, create, settings.site.host, settings.site.port)
