"""docs/going-live.md by itself: its configuration is one that loads, and leaves no gap."""

import re
import tomllib
from pathlib import Path

from corvus_proxy.catalogue import book
from corvus_proxy.ops.doctor import files, gaps
from corvus_proxy.settings import load
from tests.document import blocks, document, joined

NAME = "going-live.md"
PLACE = "/srv/corvus"


def test_its_configuration_loads_and_leaves_no_gap(tmp_path: Path) -> None:
    """Every option is one of ours; with the files that it tells to make, the doctor has nothing
    to say of the settings, not even a warning."""
    text = joined(NAME, "toml")
    for name in sorted(set(re.findall(rf'"{PLACE}/([\w./-]+)"', text))):
        made = tmp_path / name
        made.parent.mkdir(exist_ok=True, mode=0o700)
        made.touch(mode=0o600)
        made.write_text("sk_live_" + "x" * 48)
    config = tmp_path / "corvus.toml"
    config.write_text(text.replace(PLACE, str(tmp_path)))
    settings = load(config, {})
    assert gaps.findings(settings) == []
    assert files.secrets(settings, config) == []
    assert {path.name for _, path in files.secret_files(settings)} == {
        "pepper", "anthropic", "stripe", "stripe-webhook", "mail"}  # fmt: skip
    assert settings.legal.text("terms")


def test_its_table_is_the_doctors() -> None:
    """Each gap of the settings, in the doctor's own words."""
    told = re.findall(r"^\| `([\w.]+)` \| (error|warning) \| (.+) \|$", document(NAME), re.M)
    assert told == [(gap.option, gap.level, gap.do) for gap in gaps.GAPS]


def test_each_block_is_of_a_kind_that_is_run() -> None:
    """No command stands there that nobody runs, and the model that it asks is sold."""
    kinds = {one.kind for one in blocks(NAME)}
    assert kinds == {"toml", "sh", "sh doctor", "sh paid", "redis", "nginx", "ini", "text"}
    asked = re.search(r'"model": "([^"]+)"', joined(NAME, "sh paid"))
    assert asked
    sold = book.load(load(None, {}).pricing).models
    assert asked[1] in {name for one in sold for name in (one.slug, *one.aliases)}
    assert tomllib.loads(joined(NAME, "toml"))["production"] is True
