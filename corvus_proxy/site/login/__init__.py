"""The doors: log-in by the key, by a read-only token, by a mail's link; log-out."""

from starlette.routing import Route

from corvus_proxy.site.front import Front
from corvus_proxy.site.login import key, mailed


def routes(front: Front) -> list[Route]:
    """All of them."""
    return [*key.routes(front), *mailed.routes(front)]
