"""What simulated neighbours put into the configuration, and what they leave alone."""

import stat
from pathlib import Path
from typing import Any

import pytest

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.launcher import configuration, facts, neighbours
from corvus_proxy.ops.state import State, to_toml
from corvus_proxy.service import guard
from corvus_proxy.settings import load

BRAND = {"site_url": "http://127.0.0.1:8081", "api_url": "http://127.0.0.1:8080"}


def tree(tmp_path: Path, own: str = "", *, demo: bool = True) -> dict[str, Any]:
    """What `up` would write."""
    state = State(tmp_path / "state")
    state.prepare()
    file = tmp_path / "own.toml"
    file.write_text(own)
    place = neighbours.Place(state, "127.0.0.1", "127.0.0.1", 8081)
    found = [kind(place, {}) for kind in neighbours.ALL] if demo else []
    given = {"brand": BRAND, "demo": {"enabled": demo}}
    return configuration.merged(file, given, found, demo=demo)


def test_a_demonstration_can_sell(tmp_path: Path) -> None:
    """Facts are marked as a demonstration, secrets lie in files of ours alone, pages stand under
    the site's origin, and the written file is one that can be read."""
    found = tree(tmp_path)
    assert all("demonstration" in found["brand"][name] for name in neighbours.DEMO_BRAND)
    told = {**found["trust"], **found["legal"]}
    assert "demonstration" in told.pop("security_contact")
    stated = list(told.values())
    assert all("This is a demonstration" in str(one) for one in stated)
    assert len(stated) == len(facts.DEMO_TRUST) + len(facts.DEMO_LEGAL) - 1
    assert found["stripe"]["checkout_origin"] == BRAND["site_url"]
    secret = Path(found["stripe"]["secret_key_file"])
    assert secret.read_text().startswith("sk_test_")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    file = tmp_path / "up.toml"
    file.write_text(to_toml(found))
    settings = load(file, {})
    assert settings.stripe.test_mode()
    assert settings.btcpay.url == settings.demo.payments_url
    assert settings.mail.host == "127.0.0.1"
    assert tree(tmp_path)["stripe"]["secret_key_file"] == str(secret)
    guard.refuse_test_money(settings, "up.toml")


def test_an_operators_own_facts_and_services_stay(tmp_path: Path) -> None:
    own = """
[brand]
support = "help@example.com"
[stripe]
secret_key_env = "KEY"
[mail]
host = "mail.example.com"
[trust]
entity = "Rook & Co"
"""
    found = tree(tmp_path, own)
    assert found["trust"] == {"entity": "Rook & Co"}
    assert found["brand"]["support"] == "help@example.com"
    assert found["stripe"] == {"secret_key_env": "KEY"}
    assert "btcpay" not in found
    assert found["mail"] == {"host": "mail.example.com"}


def test_without_a_demonstration_nothing_is_simulated(tmp_path: Path) -> None:
    found = tree(tmp_path, demo=False)
    assert found == {"brand": BRAND, "demo": {"enabled": False}}


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"own\.toml"):
        tree(tmp_path, "[brand")


def test_test_money_never_meets_a_real_upstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test key of Stripe beside a real upstream is refused by name; a live one is not, nor is a
    test key beside a simulated upstream."""
    file = tmp_path / "own.toml"
    text = """
[stripe]
secret_key_env = "KEY"
[[upstream]]
family = "openai"
base_url = "{}"
allow_private = true
[[upstream.credential]]
name = "a"
secret_env = "KEY"
"""
    for url, key, refused in (
        ("https://api.openai.com", "sk_test_1", True),
        ("https://api.openai.com", "sk_live_1", False),
        ("http://127.0.0.1:9", "sk_test_1", False),
    ):
        monkeypatch.setenv("KEY", key)
        file.write_text(text.format(url))
        settings = load(file, {})
        if refused:
            with pytest.raises(ConfigurationError, match=r"test key.*api\.openai\.com"):
                guard.refuse_test_money(settings, str(file))
        else:
            guard.refuse_test_money(settings, str(file))
