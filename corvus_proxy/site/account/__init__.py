"""The pages behind the log-in: a module per page, each with its `routes(front)`."""

from starlette.routing import Route

from corvus_proxy.site.account import alarms, keys, ledger, overview, requests, security
from corvus_proxy.site.front import Front


def routes(front: Front) -> list[Route]:
    """All of them."""
    return [
        *overview.routes(front),
        *requests.routes(front),
        *ledger.routes(front),
        *keys.routes(front),
        *alarms.routes(front),
        *security.routes(front),
    ]
