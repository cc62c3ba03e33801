"""The console role: the operator's loopback port."""

from corvus_proxy.console.app import create
from corvus_proxy.roles import pages
from corvus_proxy.settings import Settings


async def main(settings: Settings) -> None:
    """Serves metrics and health until SIGTERM."""
    await pages.serve(settings, create, settings.console.host, settings.console.port)
