"""The configuration that `corvus up` writes: the operator's file with the stack's own on top."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.launcher.facts import DEMO_LEGAL, DEMO_TRUST
from corvus_proxy.ops.launcher.neighbours import DEMO_BRAND, Neighbour


def merged(
    own: Path | None,
    given: dict[str, dict[str, Any]],
    neighbours: Iterable[Neighbour],
    *,
    demo: bool,
) -> dict[str, Any]:
    """The whole tree. `own` is the operator's file; `given` are sections that are this stack's to
    say, but for `[brand]`, whose facts the operator knows best. Raises ConfigurationError."""
    tree: dict[str, Any] = {}
    if own is not None:
        try:
            tree = tomllib.loads(own.read_text())
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{own}: {error}") from None
    for section, values in given.items():
        mine = tree.setdefault(section, {})
        tree[section] = {**values, **mine} if section == "brand" else {**mine, **values}
    if demo:
        tree["brand"] = {**DEMO_BRAND, **tree["brand"]}
        # An operator who states something of his own states all of it: no example stands beside it.
        tree.setdefault("trust", DEMO_TRUST)
        tree.setdefault("legal", DEMO_LEGAL)
    for neighbour in neighbours:
        neighbour.configure(tree)
    return tree


def stamp(own: Path | None) -> tuple[int, ...]:
    """What tells that the operator's file is another one than before."""
    if own is None or not own.exists():
        return ()
    found = own.stat()
    return (found.st_mtime_ns, found.st_size, found.st_ino)
