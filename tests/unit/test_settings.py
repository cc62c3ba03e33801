"""Settings: unknown keys, overrides, secrets."""

from pathlib import Path

import pytest

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import Credential, load


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("colour = 1", "colour"),
        ("[gateway]\nprot = 1", "gateway.prot"),
        ('[[upstream]]\nfamily="anthropic"\nbase_url="x"\nkind="y"', "upstream.kind"),
        (
            '[[upstream]]\nfamily="anthropic"\nbase_url="x"\n[[upstream.credential]]\nname="a"\nk=1',
            "upstream.credential.k",
        ),
        ('[gateway]\nport = "x"', "gateway.port"),
        ('[[upstream]]\nfamily="mistral"\nbase_url="x"', "upstream.family"),
        ("[gateway", "expected"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    """The operator reads the option's path."""
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        load(path, {})
    assert place.lower() in str(refused.value).lower()


def test_the_environment_wins(tmp_path: Path) -> None:
    """CORVUS_<SECTION>_<OPTION>, typed as the option is."""
    path = tmp_path / "c.toml"
    path.write_text("[gateway]\nport = 1\n")
    found = load(path, {"CORVUS_GATEWAY_PORT": "2", "CORVUS_REDIS_URL": "redis://x"})
    assert (found.gateway.port, found.redis.url) == (2, "redis://x")


def test_a_credentials_secret_comes_from_one_place(tmp_path: Path) -> None:
    """A file or a variable; never in the text of the object."""
    path = tmp_path / "s"
    path.write_text("very-secret\n")
    credential = Credential("a", secret_file=str(path))
    assert credential.secret() == "very-secret"
    assert "very-secret" not in repr(credential)
    for bad in (Credential("a"), Credential("a", "X", "y"), Credential("a", secret_file="/no")):
        with pytest.raises(ConfigurationError, match="credential a"):
            bad.secret()
