"""The console role: the operator's loopback port."""

from corvus_proxy.console.app import create
from corvus_proxy.roles.process import serve_until, set_up_logs, stop_event
from corvus_proxy.service import guard
from corvus_proxy.service.stores import open_stores
from corvus_proxy.settings import Settings, config_path


async def main(settings: Settings) -> None:
    """Serves metrics until SIGTERM."""
    set_up_logs()
    guard.refuse_demo(settings, str(config_path() or "settings"))
    stop = stop_event()
    stores = open_stores(settings)
    try:
        await serve_until(
            stop, create(stores, settings), settings.console.host, settings.console.port
        )
    finally:
        await stores.close()
