"""What `corvus doctor --production` asks of an operator."""

from pathlib import Path

import pytest

from corvus_proxy import clock
from corvus_proxy.ops import doctor
from corvus_proxy.ops.backup import folder
from corvus_proxy.settings import (
    BackupSettings,
    BrandSettings,
    DemoSettings,
    LegalSettings,
    Settings,
    TrustSettings,
)
from tests.unit.ops.backup.test_folder import add

FACTS = {"support": "help@example.com", "independence": "We are nobody's.", "refunds": "All of it."}


@pytest.mark.parametrize("missing", list(FACTS))
def test_a_public_page_without_an_operators_fact_is_an_error(missing: str) -> None:
    """Named by its option; without `--production` nobody is asked."""
    brand = BrandSettings(**{name: text for name, text in FACTS.items() if name != missing})
    found = doctor._brand(Settings(brand=brand), production=True)
    assert [one.text for one in found] == [f"brand.{missing} is not set"]
    assert not doctor._brand(Settings(brand=brand), production=False)


def test_the_demonstration_is_not_for_production() -> None:
    """However complete the facts are."""
    settings = Settings(brand=BrandSettings(**FACTS), demo=DemoSettings(enabled=True))
    assert [one.text for one in doctor._brand(settings, production=True)] == ["[demo] is on"]


def test_what_is_not_stated_is_named_and_a_text_that_cannot_be_read_is_an_error() -> None:
    """Before visitors see either."""
    settings = Settings(
        trust=TrustSettings(entity="Rook Ltd", capacity={"openai": "bought"}),
        legal=LegalSettings(terms_file="/nowhere/terms.md"),
    )
    error, warning = doctor._stated(settings, production=True)
    assert (error.level, error.text.partition(":")[0]) == ("error", "legal.terms_file")
    assert warning.level == "warning"
    assert "trust.address" in warning.text
    assert "trust.entity" not in warning.text
    assert "trust.capacity" not in warning.text
    assert [one.level for one in doctor._stated(settings, production=False)] == ["error"]


def test_books_that_would_not_outlive_the_machine_are_an_error_in_production(
    tmp_path: Path,
) -> None:
    """No folder, no backup, an old one, a pepper that is in none, a drill that failed."""

    def found(**options: object) -> list[tuple[str, str]]:
        settings = Settings(backup=BackupSettings(**options))
        return [(one.level, one.text) for one in doctor._backup(settings, production=True)]

    where = {"dir": str(tmp_path), "key_file": "/etc/corvus/backup-key"}
    assert [level for level, _ in found()] == ["error"]
    assert not doctor._backup(Settings(), production=False)
    assert ("error", f"there is none in {tmp_path}: corvus backup run") in found(**where)
    add(tmp_path, "old", clock.wall_ms() - 27 * 3_600_000)
    assert ("error", f"the newest in {tmp_path} is 27 h old") in found(**where)
    add(tmp_path, "new", clock.wall_ms())
    folder.note_drill(tmp_path, {"ok": True, "problems": []})
    assert found(**where) == [("ok", "the newest is 0.0 h old")]
    assert "the pepper is in no backup" in found(dir=str(tmp_path))[1][1]
    folder.note_drill(tmp_path, {"ok": False, "problems": ["drift"]})
    assert ("error", "the last restore drill failed: drift") in found(**where)
