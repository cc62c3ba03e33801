"""Log-in and the pages behind it: a module per page, each with its `routes(front)`."""

from starlette.routing import Route

from corvus_proxy.site.account import keys, ledger, login, mailed, overview, requests, security
from corvus_proxy.site.front import Front


def routes(front: Front) -> list[Route]:
    """All of them."""
    return [
        *login.routes(front),
        *mailed.routes(front),
        *overview.routes(front),
        *requests.routes(front),
        *ledger.routes(front),
        *keys.routes(front),
        *security.routes(front),
    ]
