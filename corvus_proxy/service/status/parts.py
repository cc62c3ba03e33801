"""Which parts of the service are measured: the site's, and a route per dialect and family."""

from collections.abc import Iterable

from corvus_proxy.catalogue.book import Model
from corvus_proxy.catalogue.families import SERIES
from corvus_proxy.service.status.types import Component
from corvus_proxy.settings import Settings
from corvus_proxy.upstream import pool_members
from corvus_proxy.wire import dialect as dialects
from corvus_proxy.wire.dialect import Dialect

WEBSITE, CHECKOUT, LOGIN = "website", "checkout", "login"
ROUTE = (
    "The API is asked whether it is ready and whether it answers on this path, and the models'"
    " vendor whether it takes our calls. Nothing is generated, and nobody is charged."
)
PATHS = {dialect: path for path, dialect in dialects.PATHS.items()}
_SITE = (
    Component(WEBSITE, "Website", "A page of the documentation is opened."),
    Component(
        CHECKOUT,
        "Checkout",
        "The checkout is opened, each payment service is asked whether it takes our calls, and the"
        " database is asked for an answer.",
    ),
    Component(
        LOGIN,
        "Customer login",
        "The log-in is opened, and the ledger and the database are asked for an answer.",
    ),
)


def components(settings: Settings, models: Iterable[Model], *, shop: bool) -> tuple[Component, ...]:
    """All of them; a checkout only where there is a payment service, a route only where it is
    sold."""
    embedding = {model.family for model in models if model.embeddings}
    found = [one for one in _SITE if shop or one.id != CHECKOUT]
    served = {upstream.family for upstream in settings.upstream}
    messages = {upstream.family for upstream in settings.upstream if upstream.messages_base_url}
    for family, dialect in pool_members.PATHS:
        if family not in served:
            continue
        if dialect is Dialect.EMBEDDINGS and family not in embedding:
            continue
        if (family, dialect) == ("glm", Dialect.MESSAGES) and family not in messages:
            continue
        found.append(_route(family, dialect))
    return tuple(found)


def _route(family: str, dialect: Dialect) -> Component:
    path = PATHS[dialect]
    title = f"{SERIES[family]}: POST {path}"
    return Component(f"api-{family}-{dialect.value}", title, ROUTE, family, dialect.value, path)
