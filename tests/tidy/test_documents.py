"""Documents say what the tables in the code say."""

import re
from pathlib import Path

from prometheus_client import REGISTRY

from corvus_proxy import metrics, settings

ROOT = Path(__file__).parents[2]


def test_configuration_reference_is_current() -> None:
    """`python -m corvus_proxy.settings > docs/configuration.md`."""
    assert (ROOT / "docs" / "configuration.md").read_text() == settings.reference()


def test_example_configuration_is_current_and_loads() -> None:
    """`python -m corvus_proxy.settings example > config/corvus.example.toml`."""
    path = ROOT / "config" / "corvus.example.toml"
    assert path.read_text() == settings.example()
    assert settings.load(path, {}) == settings.Settings()


def test_every_metric_is_ours_by_name_and_told() -> None:
    """Each metric begins with `corvus_` and says what it counts."""
    found = [one for one in vars(metrics).values() if hasattr(one, "_documentation")]
    assert len(found) >= 10
    for one in found:
        assert one._name.startswith("corvus_")
        assert one._documentation.endswith(".")
    assert REGISTRY is not None


def test_links_between_documents_exist() -> None:
    """Every relative link of the Markdown files leads somewhere."""
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "bench").glob("*.md"),
    ]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
