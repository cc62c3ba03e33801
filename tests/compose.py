"""`config/compose.yaml` as a program reads it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from tests.readme import ROOT

CONFIG = ROOT / "config"
OURS = "${CORVUS_IMAGE:-corvus:latest}"


class Service(NamedTuple):
    """One service of it."""

    name: str
    tree: Mapping[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether it runs our image."""
        return bool(self.tree["image"] == OURS)

    @property
    def command(self) -> list[str]:
        return [str(word) for word in self.tree["command"]]

    @property
    def environment(self) -> dict[str, str]:
        return {name: str(text) for name, text in self.tree.get("environment", {}).items()}

    @property
    def mounts(self) -> list[tuple[str, str]]:
        """What is mounted, and where; read-only or not."""
        pairs = [text.split(":") for text in self.tree.get("volumes", [])]
        return [(pair[0], pair[1]) for pair in pairs]


def document() -> dict[str, Any]:
    """The whole file."""
    found: dict[str, Any] = yaml.safe_load((CONFIG / "compose.yaml").read_text())
    return found


def services() -> dict[str, Service]:
    """Its services by name."""
    return {name: Service(name, tree) for name, tree in document()["services"].items()}
