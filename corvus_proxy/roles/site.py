"""The site role."""

from corvus_proxy.roles.process import serve_until, set_up_logs, stop_event
from corvus_proxy.service import guard
from corvus_proxy.service.stores import open_stores
from corvus_proxy.settings import Settings, config_path
from corvus_proxy.site.app import create


async def main(settings: Settings) -> None:
    """Serves pages until SIGTERM. Redis and Postgres may be away; pages then say so."""
    set_up_logs()
    guard.refuse_demo(settings, str(config_path() or "settings"))
    stop = stop_event()
    stores = open_stores(settings)
    try:
        await serve_until(stop, create(stores, settings), settings.site.host, settings.site.port)
    finally:
        await stores.close()
