"""On which of our paths a model is served here: by its vendor's own dialect, or translated.

It is what the gateway's pool says, told from the configuration: the site has no pool.
"""

from corvus_proxy.catalogue.book import Model
from corvus_proxy.gateway.admission import Serves, asked_in, paths_of
from corvus_proxy.settings import Settings
from corvus_proxy.upstream.pool import bases
from corvus_proxy.upstream.pool_members import PATHS as SPOKEN
from corvus_proxy.wire.dialect import PATHS, Dialect

_CONFIGURED_APART = {("glm", Dialect.MESSAGES)}
"""What a family speaks only where the operator names its address for it."""


def serves(settings: Settings) -> Serves:
    """Whether some upstream speaks a dialect for a family. Where this process was told of none,
    those of another are assumed to speak what their vendor does."""
    spoken = {(one.family, dialect) for one in settings.upstream for dialect, _ in bases(one)}
    if not settings.upstream:
        spoken = set(SPOKEN) - _CONFIGURED_APART
    return lambda family, dialect: (family, dialect) in spoken


def paths(model: Model, settings: Settings) -> list[str]:
    """Our paths on which a model is served, be it by translation."""
    return paths_of(model, serves(settings))


def native(model: Model, settings: Settings) -> list[str]:
    """Those of them whose dialect its vendor speaks: bytes pass as they are."""
    speaks = serves(settings)
    return [path for path, dialect in PATHS.items() if asked_in(model, speaks, dialect) is dialect]
