"""What `corvus doctor --production` asks of an operator: each gap is made, and found."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import msgspec
import pytest

from corvus_proxy import clock
from corvus_proxy.books.db import Books
from corvus_proxy.dev.http import Exchange, listen
from corvus_proxy.ops import doctor, embedded, migrate
from corvus_proxy.ops.backup import folder
from corvus_proxy.ops.doctor import Finding, files, gaps, servers
from corvus_proxy.service import demo, retention
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import (
    BackupSettings,
    BrandSettings,
    BtcpaySettings,
    Credential,
    DatabaseSettings,
    LedgerSettings,
    LegalSettings,
    MailSettings,
    MetricsSettings,
    RedisSettings,
    SecretsSettings,
    Settings,
    SiteSettings,
    StripeSettings,
    TrustSettings,
    Upstream,
)
from corvus_proxy.settings.retention import KINDS
from corvus_proxy.till.client import Till
from corvus_proxy.till.journal import file_system
from tests.unit.ops.backup.test_folder import add

pytestmark = pytest.mark.anyio
SECRETS = {
    "pepper": "p" * 64, "stripe": "sk_live_x", "test": "sk_test_x", "hook": "whsec_x",
    "btcpay": "key", "mail": "word", "provider": "sk-provider",
}  # fmt: skip


@pytest.fixture
def good(tmp_path: Path) -> Settings:
    """Settings without a gap; secrets in files for their owner alone."""
    for name, text in SECRETS.items():
        path = tmp_path / name
        path.touch(mode=0o600)
        path.write_text(text)
    for name in ("journal", "archive", "status", "metrics"):
        (tmp_path / name).mkdir()
    secret = {name: str(tmp_path / name) for name in SECRETS}
    return Settings(
        production=True,
        brand=BrandSettings("Rook", "https://rook.example", "https://api.rook.example",
                            "help@rook.example", "We are nobody's.", "All of it."),
        trust=TrustSettings(entity="Rook Ltd", address="1 Tower", contact="mail@rook.example",
                            privacy_contact="privacy@rook.example"),
        legal=LegalSettings(terms="Ours.", privacy="Ours."),
        stripe=StripeSettings(secret_key_file=secret["stripe"], webhook_secret_file=secret["hook"]),
        btcpay=BtcpaySettings(url="https://pay.rook.example", store_id="S",
                              api_key_file=secret["btcpay"], webhook_secret_file=secret["hook"]),
        mail=MailSettings(host="smtp.rook.example", sender="Rook <keys@rook.example>", user="u",
                          password_file=secret["mail"]),
        secrets=SecretsSettings(pepper_file=secret["pepper"]),
        site=SiteSettings(trusted_proxies=["10.0.0.1"]),
        ledger=LedgerSettings(journal_dir=str(tmp_path / "journal"),
                              archive_dir=str(tmp_path / "archive")),
        metrics=MetricsSettings(dir=str(tmp_path / "metrics")),
        upstream=[Upstream("anthropic", "https://api.anthropic.com", credential=[
            Credential("a1", secret_file=secret["provider"], cost_factor="0.2")])],
    )  # fmt: skip


def at(url: str, **more: Any) -> dict[str, Any]:
    return {"upstream": [Upstream("openai", url, credential=[Credential("o1", "X", **more)])]}


CASES: list[tuple[str, str, dict[str, Any]]] = [
    # Option, level, what is put in the place of the good sections.
    ("production", "error", {"production": False}),
    ("demo.enabled", "error", {"demo": {"enabled": True}}),
    ("brand.site_url", "error", {"brand": {"site_url": "http://rook.example"}}),
    ("brand.site_url", "error", {"brand": {"site_url": "https://127.0.0.1:8081"}}),
    ("brand.api_url", "error", {"brand": {"api_url": "http://api.rook.example"}}),
    ("brand.support", "error", {"brand": {"support": ""}}),
    ("brand.independence", "error", {"brand": {"independence": ""}}),
    ("brand.refunds", "error", {"brand": {"refunds": ""}}),
    ("brand.name", "warning", {"brand": {"name": "Corvus"}}),
    ("trust.entity", "error", {"trust": {"entity": ""}}),
    ("trust.address", "error", {"trust": {"address": ""}}),
    ("trust.contact", "error", {"trust": {"contact": ""}}),
    ("trust.privacy_contact", "error", {"trust": {"privacy_contact": ""}}),
    ("legal.terms", "error", {"legal": {"terms": ""}}),
    ("legal.privacy", "error", {"legal": {"privacy": ""}}),
    ("legal.privacy_file", "error", {"legal": {"privacy": "", "privacy_file": "/nowhere/p.md"}}),
    ("console.host", "error", {"console": {"host": "0.0.0.0"}}),
    ("console.host", "error", {"console": {"host": "93.184.216.34"}}),
    ("console.host", "error", {"console": {"host": "console.rook.example"}}),
    ("console.host", "warning", {"console": {"host": "10.1.2.3"}}),
    ("gateway.host", "warning", {"gateway": {"host": "0.0.0.0"}}),
    ("site.host", "warning", {"site": {"host": "::"}}),
    ("site.trusted_proxies", "warning", {"site": {"trusted_proxies": []}}),
    ("stripe.secret_key_file", "error", {"stripe": {
        "secret_key_file": "", "webhook_secret_file": ""}, "btcpay": {"url": ""}}),
    ("stripe.secret_key", "error", {"stripe": {"secret_key_file": "test"}}),
    ("stripe.secret_key", "error", {"stripe": {"secret_key_file": "/nowhere/key"}}),
    ("stripe.webhook_secret_file", "error", {"stripe": {"webhook_secret_file": ""}}),
    ("stripe.api_base", "error", {"stripe": {"api_base": "http://api.stripe.com"}}),
    ("btcpay.url", "error", {"btcpay": {"url": "http://pay.rook.example"}}),
    ("btcpay.store_id", "error", {"btcpay": {"store_id": ""}}),
    ("btcpay.api_key_file", "error", {"btcpay": {"api_key_file": ""}}),
    ("btcpay.webhook_secret_file", "error", {"btcpay": {"webhook_secret_file": ""}}),
    ("mail.host", "error", {"mail": {"host": ""}}),
    ("mail.sender", "error", {"mail": {"sender": ""}}),
    ("mail.security", "error", {"mail": {"security": "none"}}),
    ("mail.password_file", "error", {"mail": {"password_file": ""}}),
    ("upstream", "error", at("http://127.0.0.1:9")),
    ("upstream.base_url", "error", at("http://api.openai.com")),
    ("pricing.sell_below_cost", "warning", {"pricing": {"sell_below_cost": True}}),
    ("redis.url", "error", {"redis": {"url": "redis://10.0.0.5:6379/0"}}),
    ("worker.private_webhooks", "error", {"worker": {"private_webhooks": True}}),
    ("ledger.archive_dir", "warning", {"ledger": {"archive_dir": ""}}),
    ("metrics.dir", "warning", {"metrics": {"dir": ""}}),
]  # fmt: skip


def changed(good: Settings, change: dict[str, Any], folder: Path) -> Settings:
    """Settings with other options in some sections; secrets of the fixture by their names."""
    made: dict[str, Any] = {}
    for section, options in change.items():
        if not isinstance(options, dict):
            made[section] = options
            continue
        own = {
            name: str(folder / value) if name.endswith("_file") and value in SECRETS else value
            for name, value in options.items()
        }
        made[section] = msgspec.structs.replace(getattr(good, section), **own)
    return msgspec.structs.replace(good, **made)


def bad(found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.level != "ok"]


def test_settings_without_a_gap_have_none(good: Settings) -> None:
    assert gaps.findings(good) == []
    assert files.secrets(good, None) == []


@pytest.mark.parametrize(("option", "level", "change"), CASES)
def test_each_gap_of_settings_is_found(
    good: Settings, tmp_path: Path, option: str, level: str, change: dict[str, Any]
) -> None:
    """One gap, one finding: by its option, and with the way out behind a semicolon."""
    [one] = set(gaps.findings(changed(good, change, tmp_path)))
    assert (one.level, one.text.partition(": ")[0]) == (level, option)
    unreadable = "/nowhere" in str(change)
    assert len(one.text.rpartition("; ")[2]) > 5 or unreadable


def test_every_row_is_tried() -> None:
    """A gap without a case here would be a sentence that nobody has seen."""
    tried = {(option, level) for option, level, _ in CASES}
    assert {(gap.option, gap.level) for gap in gaps.GAPS} <= tried
    sections = {gap.option.partition(".")[0] for gap in gaps.GAPS}
    assert sections <= set(Settings.__struct_fields__)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660])
def test_secrets_are_for_their_owner_alone(good: Settings, tmp_path: Path, mode: int) -> None:
    """Each file is named by its option; a group may read, as containers need it."""
    listed = dict(files.secret_files(good))
    assert len(listed) == 7
    for option, path in listed.items():
        if path.name == "hook":
            continue  # one file for two options
        path.chmod(mode)
        [one] = files.secrets(good, None)
        assert one.level == "error"
        assert one.text.startswith(f"{option}: {path} has mode {mode:04o}")
        assert f"chmod 600 {path}" in one.text
        path.chmod(0o640)
        assert files.secrets(good, None) == []


def test_a_password_in_a_configuration_that_all_can_read_is_found(
    good: Settings, tmp_path: Path
) -> None:
    config = tmp_path / "corvus.toml"
    config.write_text('[database]\nurl = "postgresql://corvus:word-1@10.0.0.2/corvus"\n')
    settings = msgspec.structs.replace(
        good, database=DatabaseSettings("postgresql://corvus:word-1@10.0.0.2/corvus")
    )
    config.chmod(0o644)
    [one] = files.secrets(settings, config)
    assert one.text.startswith("database.url: ")
    config.chmod(0o640)
    assert files.secrets(settings, config) == []
    config.chmod(0o644)
    config.write_text("# The URL comes by CORVUS_DATABASE_URL.\n")
    assert files.secrets(settings, config) == []


def test_full_disks_and_journals_in_memory_are_found(
    good: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = msgspec.structs.replace(
        good, ledger=LedgerSettings(journal_dir="/dev/shm/c-doctor")
    )
    if file_system(Path("/dev/shm")) == "tmpfs":
        found = bad(doctor._journal(in_memory, production=True))
        shutil.rmtree("/dev/shm/c-doctor")
        assert any("is on tmpfs" in one.text and one.level == "error" for one in found)
    nowhere = msgspec.structs.replace(good, ledger=LedgerSettings(journal_dir="/proc/none"))
    for settings, said in ((nowhere, "/proc/none"), (Settings(), "is not set; name a folder")):
        [one] = doctor._journal(settings, production=True)
        assert (one.level, said in one.text) == ("error", True)
        assert one.text.startswith("ledger.journal_dir")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=100, free=19))
    monkeypatch.setattr(files, "_device", lambda name: name or None)
    texts = {one.text.partition(":")[0] for one in files.disks(good)}
    assert texts == {"ledger.archive_dir", "metrics.dir"}
    full = [one for one in doctor._journal(good, production=True) if "fifth" in one.text]
    assert [one.level for one in full] == ["error"]


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


def test_a_status_that_nobody_keeps_is_an_error(good: Settings) -> None:
    [one] = doctor._status(good, production=True)
    assert (one.level, one.text.partition(" ")[0]) == ("error", "status.dir")


async def test_a_credential_that_is_refused_and_one_that_is_not_there(
    good: Settings, tmp_path: Path
) -> None:
    """By its provider's own word; without an upstream nothing could be sold."""

    async def refuse(exchange: Exchange) -> None:
        exchange.json(401, {"error": {"type": "invalid_request_error"}})

    listener = await listen(refuse, "127.0.0.1", 0)
    for url, said in ((listener.url, "refused with status 401"), ("http://127.0.0.1:1", "")):
        own = Credential("o1", secret_file=str(tmp_path / "provider"))
        settings = msgspec.structs.replace(
            good, upstream=[Upstream("openai", url, credential=[own])]
        )
        [one] = await doctor._credentials(settings)
        assert (one.level, one.text.partition(":")[0]) == ("error", "openai o1")
        assert said in one.text
        assert "give it a key that its provider accepts" in one.text
    await listener.close()
    [none] = await doctor._credentials(msgspec.structs.replace(good, upstream=[]))
    assert (none.check, none.level) == ("upstream", "error")


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, b"p" * 32)


@pytest.fixture
def asked(
    good: Settings, stores: Stores, redis_server: embedded.Redis, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The good settings with stores of this machine; no provider is asked."""

    async def nobody(upstreams: object) -> list[object]:
        return []

    monkeypatch.setattr(doctor, "check_credentials", nobody)
    monkeypatch.setattr(files, "is_full", lambda folder: False)  # whatever else this disk has
    # Patient: a machine that is busy with other tests is no gap of an installation.
    redis = RedisSettings(redis_server.url, timeout_ms=10_000)
    database = DatabaseSettings(stores.books._url)
    return msgspec.structs.replace(good, redis=redis, database=database)


OTHERS = ("status", "backup")


async def errors(settings: Settings, *, production: bool = True) -> set[str]:
    """What is an error, but for the status that no worker keeps here, and backups."""
    found = await doctor.examine(settings, production=production)
    return {one.text for one in found if one.level == "error" and one.check not in OTHERS}


async def only_error(settings: Settings) -> str:
    found = await errors(settings)
    assert len(found) == 1, found
    return found.pop()


async def test_a_whole_installation_without_a_gap(asked: Settings, stores: Stores) -> None:
    """Also of the servers; that there is no replica is a warning, and so is that no worker
    deletes what is old, until one has."""
    found = await doctor.examine(asked, production=True)
    [late] = [one for one in found if one.check == "retention"]
    assert (late.level, "let a worker run" in late.text) == ("warning", True)
    assert all(kind.name in late.text for kind in KINDS)
    await retention.tick(stores.books, asked.retention)
    found = await doctor.examine(asked, production=True)
    told = {one.text for one in bad(found) if one.check not in (*OTHERS, "journal")}
    assert {one.partition(",")[0].partition(":")[0] for one in told} == {
        "Redis has no replica", "shown as not stated"}, told  # fmt: skip
    assert {"clock", "schema", "postgres", "redis", "retention"} <= {one.check for one in found}


REDIS = {
    "maxmemory": "0",
    "no-appendfsync-on-rewrite": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "allkeys-lru",
}


async def test_each_gap_of_the_servers_is_found(
    asked: Settings, stores: Stores, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Made at the servers themselves, and mended again."""
    redis = stores.till._redis
    for option, wrong in REDIS.items():
        before = (await redis.config_get(option))[option]
        await redis.config_set(option, wrong)
        text = await only_error(asked)
        await redis.config_set(option, before)
        assert option in text
    monkeypatch.setattr(clock, "OFFSET_S", 2)
    skewed = await errors(asked)
    assert {text.partition("'")[0] for text in skewed} == {"redis", "postgres"}
    monkeypatch.setattr(clock, "OFFSET_S", 0)
    admin = await asyncpg.connect(stores.books._url)
    name = await admin.fetchval("select current_database()")
    await admin.execute(f"alter database {name} set synchronous_commit = off")
    text = await only_error(asked)
    assert text.startswith("synchronous_commit = off: ")
    await admin.execute(f"alter database {name} reset synchronous_commit")
    last = sorted(path.name for path in migrate.folder().glob("*.sql"))[-1].partition("_")[0]
    await admin.execute("delete from schema_migrations where version = $1", last)
    text = await only_error(asked)
    assert text == f"migrations {last} are not applied; run `corvus db migrate`"
    await admin.execute("insert into schema_migrations values ($1)", last)
    await admin.close()
    await demo.mark(stores)
    text = await only_error(asked)
    assert "simulated money" in text


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[embedded.Redis]:
    server = embedded.Redis(
        tmp_path / "replica", tmp_path / "replica.log", port=embedded.free_port()
    )
    server.start()
    server.wait()
    yield server
    server.stop()


@pytest.fixture
async def followed(stores: Stores, replica: embedded.Redis) -> AsyncIterator[Stores]:
    """Stores whose Redis has a replica."""
    till = Till.open(replica.url, timeout_ms=2000)
    port = stores.till._redis.connection_pool.connection_kwargs["port"]
    await till._redis.execute_command("REPLICAOF", "127.0.0.1", port)
    for _ in range(200):
        if any((await servers.replicas(stores.till)).values()):
            break
        await asyncio.sleep(0.05)
    yield stores
    await till._redis.execute_command("REPLICAOF", "NO", "ONE")
    await till.close()


async def test_a_replica_that_nobody_waits_for_is_an_error(followed: Stores) -> None:
    [one] = await servers.replication(followed, production=True)
    assert (one.level, "min-replicas-to-write = 0" in one.text) == ("error", True)
    await followed.till.redis.config_set("min-replicas-to-write", 1)
    try:
        assert await servers.replication(followed, production=True) == []
    finally:
        await followed.till.redis.config_set("min-replicas-to-write", 0)


async def test_stores_that_do_not_answer_are_named(asked: Settings) -> None:
    away = msgspec.structs.replace(
        asked,
        redis=RedisSettings("redis://127.0.0.1:1/0"),
        database=DatabaseSettings("postgresql://x@127.0.0.1:1/x"),
    )
    checks = {one.partition(" ")[0] for one in await errors(away)}
    assert "database.url:" in checks
    assert any(one.startswith("redis://127.0.0.1:1") for one in checks)
    lost = msgspec.structs.replace(asked, secrets=SecretsSettings())
    assert any(text.startswith("secrets.pepper_file: ") for text in await errors(lost))
