"""Settings: unknown keys, overrides, secrets."""

from pathlib import Path

import pytest

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import Credential, LegalSettings, load
from corvus_proxy.settings.secrets import without_password


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
        ("gateway = 5", "gateway is not a table"),
        ("upstream = 5", "[[upstream]]"),
        ('[upstream]\nfamily = "glm"', "[[upstream]]"),
        ('[[upstream]]\nfamily="glm"\nbase_url="x"\ncredential = 5', "[[upstream.credential]]"),
        (
            '[[upstream]]\nfamily="glm"\nbase_url="x"\n[[upstream.credential]]\nname="a"\n'
            'cost_factor="cheap"',
            "credential a: cost_factor",
        ),
        (
            '[[upstream]]\nfamily="glm"\nbase_url="x"\n[[upstream.credential]]\nname="a"\n'
            "budget_month_usd = 0",
            "credential a: budget_month_usd",
        ),
        (
            '[[upstream]]\nfamily="glm"\nbase_url="x"\n[[upstream.credential]]\nname="a"\n'
            'budget_day_usd="5"\n[[upstream]]\nfamily="openai"\nbase_url="x"\n'
            '[[upstream.credential]]\nname="a"',
            "credential a: it has a budget, and another one has its name",
        ),
        (
            '[[upstream]]\nfamily="anthropic"\nbase_url="x"\n[[upstream.credential]]\nname="a"\n'
            'admin_secret_env="X"\n[[upstream]]\nfamily="openai"\nbase_url="x"\n'
            '[[upstream.credential]]\nname="a"',
            "credential a: it has an admin key, and another one has its name",
        ),
        ("[reconcile]\ndays = 31", "reconcile.days: 31 is more than 30"),
        ('[pricing]\nfactor = { openai = "-1" }', "pricing.factor.openai"),
        ('[pricing]\nfactor = { mistral = "1" }', "pricing.factor.mistral"),
        ("[hold]\nletters_per_100_tokens = 0", "hold.letters_per_100_tokens"),
        ("[ledger]\nlease_s = nan", "ledger.lease_s"),
        ("[gateway]\nport = 65536", "gateway.port"),
        ("[ledger]\nkeep = -1", "ledger.keep"),
        ("[ledger]\njournal_stall_ms = 0", "ledger.journal_stall_ms"),
        ("[retention]\nrequest_days = 34", "retention.request_days: 34 is less than 35"),
        ("[retention]\nmail_days = -1", "retention.mail_days"),
        ('[trust]\ncapacity = { mistral = "x" }', "trust.capacity.mistral"),
        ('[trust]\nsecurity_contact = "me@example.com"', "trust.security_contact"),
        ('[trust]\nsecurity_contact = "mailto:a b"', "trust.security_contact"),
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
    shares = load(None, {"CORVUS_PRICING_FACTOR": '{"openai": "0.60"}'}).pricing.factor
    assert shares == {"openai": "0.60"}
    with pytest.raises(ConfigurationError, match="CORVUS_PRICING_FACTOR"):
        load(None, {"CORVUS_PRICING_FACTOR": "{openai"})


def test_a_stores_password_comes_from_a_file(tmp_path: Path) -> None:
    """It is put into the URL, quoted, once; it is never shown."""
    path = tmp_path / "p"
    path.write_text("a/b@c\n")
    given = {
        "CORVUS_REDIS_URL": "redis://corvus@r:6379/0",
        "CORVUS_REDIS_PASSWORD_FILE": str(path),
        "CORVUS_DATABASE_URL": "postgres://corvus@p:5432/corvus?sslmode=disable",
        "CORVUS_DATABASE_PASSWORD_FILE": str(path),
    }
    found = load(None, given)
    assert found.redis.url == "redis://corvus:a%2Fb%40c@r:6379/0"
    assert found.database.url == "postgres://corvus:a%2Fb%40c@p:5432/corvus?sslmode=disable"
    assert without_password(found.redis.url) == "redis://corvus@r:6379/0"
    assert without_password("redis://r:6379/0") == "redis://r:6379/0"
    alone = load(None, {**given, "CORVUS_REDIS_URL": "redis://r:6379/0"})
    assert alone.redis.url == "redis://:a%2Fb%40c@r:6379/0"
    for url, why in (
        ("postgres://corvus:x@p/corvus", "leave one out"),
        ("postgres://p/corvus", "names no user"),
    ):
        with pytest.raises(ConfigurationError, match=rf"database\.password_file: .*{why}"):
            load(None, {**given, "CORVUS_DATABASE_URL": url})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Absent, or not text."""
    path = tmp_path / "c.toml"
    with pytest.raises(ConfigurationError, match=r"c\.toml"):
        load(path, {})
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"c\.toml"):
        load(path, {})


def test_the_pepper_is_long_and_comes_from_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short pepper would make every stored hash guessable."""
    path = tmp_path / "pepper"
    found = load(None, {"CORVUS_SECRETS_PEPPER_FILE": str(path)})
    monkeypatch.delenv("CORVUS_PEPPER", raising=False)
    for text in (None, "short", " " * 64):
        if text is not None:
            path.write_text(text)
        with pytest.raises(ConfigurationError, match=r"secrets\.pepper_file"):
            found.pepper()
    path.write_text("a" * 32 + "\n")
    assert found.pepper() == b"a" * 32
    monkeypatch.setenv("CORVUS_PEPPER", "b" * 32)
    assert found.pepper() == b"b" * 32


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


def test_a_legal_text_comes_from_one_place(tmp_path: Path) -> None:
    """As an option or as a file; both, a file that is missing or no text are named."""
    file = tmp_path / "terms.md"
    file.write_text("# Terms\n")
    assert LegalSettings(terms=" Ours. ").text("terms") == "Ours."
    assert LegalSettings(terms_file=str(file)).text("terms") == "# Terms"
    assert LegalSettings().text("terms") == ""
    broken = tmp_path / "broken"
    broken.write_bytes(b"\xff")
    for settings, name, said in (
        (LegalSettings(terms="a", terms_file=str(file)), "terms", "not both"),
        (LegalSettings(privacy_file=str(tmp_path / "none")), "privacy", "legal.privacy_file"),
        (LegalSettings(notice_file=str(broken)), "notice", "not UTF-8"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            settings.text(name)
