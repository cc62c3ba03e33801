"""Every option once: its type, unit, default and reason. The only reader of the environment.

One TOML file, then `CORVUS_<SECTION>_<OPTION>` variables above it. An unknown key is an error with
its path. `docs/configuration.md` and `config/corvus.example.toml` are written from this file by
`python -m corvus_proxy.settings`, and a test compares them.
"""

import os
import tomllib
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.pepper import Pepper
from corvus_proxy.settings.retention import RetentionSettings, too_short
from corvus_proxy.settings.secrets import Named, read_file, read_secret, with_password
from corvus_proxy.settings.sections import (
    BackupSettings,
    ConsoleSettings,
    DatabaseSettings,
    DemoSettings,
    GatewaySettings,
    HoldSettings,
    LedgerSettings,
    MetricsSettings,
    PoolSettings,
    PricingSettings,
    ReconcileSettings,
    RedisSettings,
    RelaySettings,
    SecretsSettings,
    SiteSettings,
    StatusSettings,
    TimeoutSettings,
    WorkerSettings,
)
from corvus_proxy.settings.selling import (
    BrandSettings,
    BtcpaySettings,
    MailSettings,
    ShopSettings,
    StripeSettings,
)
from corvus_proxy.settings.stating import CONTACTS, LegalSettings, TrustSettings

__all__ = [
    "FAMILIES",
    "PLAIN_SECTIONS",
    "BackupSettings",
    "BrandSettings",
    "BtcpaySettings",
    "ConsoleSettings",
    "Credential",
    "DatabaseSettings",
    "DemoSettings",
    "GatewaySettings",
    "HoldSettings",
    "LedgerSettings",
    "LegalSettings",
    "MailSettings",
    "MetricsSettings",
    "PoolSettings",
    "PricingSettings",
    "ReconcileSettings",
    "RedisSettings",
    "RelaySettings",
    "RetentionSettings",
    "SecretsSettings",
    "Settings",
    "ShopSettings",
    "SiteSettings",
    "StatusSettings",
    "StripeSettings",
    "TimeoutSettings",
    "TrustSettings",
    "Upstream",
    "WorkerSettings",
    "config_path",
    "load",
    "struct_of",
]


@cache
def _millionths(factor: str) -> int:
    return round(Decimal(factor) * 1_000_000)


class Credential(msgspec.Struct, frozen=True):
    """One upstream account of the operator. Its `repr` never shows the secret."""

    name: str
    """Name in logs, metrics and events."""
    secret_env: str = ""
    """Environment variable that holds the upstream's key, or"""
    secret_file: str = ""
    """file that holds it."""
    weight: int = 1
    """Share of the traffic among the credentials of a family."""
    cost_factor: float | str = 1.0
    """Share of the official price that the operator pays."""
    draining: bool = False
    """Takes no new session; those that it has stay until they rest, or for `pool.drain_s`."""
    budget_day_usd: float | str = ""
    """What it may cost the operator in a UTC day, at `cost_factor`; then it takes no request until
    the next. Empty: no limit."""
    budget_month_usd: float | str = ""
    """The same in a UTC month."""
    admin_secret_env: str = ""
    """Environment variable with an admin key of the account, for its usage and cost reports
    (Anthropic, OpenAI); without one the credential is not reconciled. Or"""
    admin_secret_file: str = ""
    """file that holds it."""
    report_scope: str = ""
    """Project (OpenAI, `proj_…`) or workspace (Anthropic, `wrkspc_…`) that is this credential's
    alone; empty: the whole account is."""

    def budgets_nanos(self) -> dict[str, int]:
        """Its budgets by period, `day` and `month`, where they are set. Raises
        ConfigurationError."""
        found = {"day": self.budget_day_usd, "month": self.budget_month_usd}
        return {
            period: _budget(f"credential {self.name}: budget_{period}_usd", usd)
            for period, usd in found.items()
            if usd != ""
        }

    def cost_ppm(self) -> int:
        """`cost_factor` in millionths, so that costs stay integers."""
        return _millionths(str(self.cost_factor))

    def admin_secret(self) -> str:
        """The key that reads the account's reports; empty where none is named. Raises
        ConfigurationError."""
        option = f"credential {self.name}: admin_secret"
        return read_secret(Named(option, self.admin_secret_env, self.admin_secret_file))

    def secret(self) -> str:
        """The upstream's key. Raises ConfigurationError."""
        option = f"credential {self.name}"
        text = read_secret(Named(option, self.secret_env, self.secret_file))
        if not text:
            raise ConfigurationError(f"{option}: name secret_env or secret_file")
        return text


class Upstream(msgspec.Struct, frozen=True):
    """A family's provider and the credentials for it."""

    family: str
    """anthropic, openai or glm."""
    base_url: str
    """Origin and optional prefix of its API."""
    messages_base_url: str = ""
    """GLM: where it speaks Messages; without it GLM models are served on chat alone."""
    client: str = "httptools"
    """`httptools`, or `httpx` for egress through an HTTP proxy."""
    allow_private: bool = False
    """Allows a host name to lead to a private address; an address written out always may."""
    credential: list[Credential] = []
    """At least one."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration."""

    production: bool = False
    """Makes errors of what is otherwise a warning: journals on tmpfs, Redis without replicas …"""
    redis: RedisSettings = RedisSettings()
    database: DatabaseSettings = DatabaseSettings()
    gateway: GatewaySettings = GatewaySettings()
    site: SiteSettings = SiteSettings()
    console: ConsoleSettings = ConsoleSettings()
    worker: WorkerSettings = WorkerSettings()
    status: StatusSettings = StatusSettings()
    relay: RelaySettings = RelaySettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    pool: PoolSettings = PoolSettings()
    hold: HoldSettings = HoldSettings()
    ledger: LedgerSettings = LedgerSettings()
    secrets: SecretsSettings = SecretsSettings()
    backup: BackupSettings = BackupSettings()
    pricing: PricingSettings = PricingSettings()
    brand: BrandSettings = BrandSettings()
    shop: ShopSettings = ShopSettings()
    stripe: StripeSettings = StripeSettings()
    btcpay: BtcpaySettings = BtcpaySettings()
    mail: MailSettings = MailSettings()
    trust: TrustSettings = TrustSettings()
    legal: LegalSettings = LegalSettings()
    retention: RetentionSettings = RetentionSettings()
    demo: DemoSettings = DemoSettings()
    metrics: MetricsSettings = MetricsSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    upstream: list[Upstream] = []

    def pepper(self) -> Pepper:
        """The pepper, at least 32 bytes, and those beside it. Raises ConfigurationError."""
        text = os.environ.get("CORVUS_PEPPER", "").encode()
        if not text and self.secrets.pepper_file:
            text = read_file(Path(self.secrets.pepper_file), "secrets.pepper_file")
        others = [
            _long_enough(read_file(Path(name), _OTHERS), _OTHERS)
            for name in self.secrets.other_pepper_files
        ]
        return Pepper(_long_enough(text, "secrets.pepper_file"), others)


def _long_enough(pepper: bytes, option: str) -> bytes:
    if len(pepper.strip()) < 32:
        raise ConfigurationError(f"{option}: name a file with at least 32 random characters")
    return pepper.strip()


_OTHERS = "secrets.other_pepper_files"
RECONCILE_DAYS_MAX = 30
FAMILIES = ("anthropic", "openai", "glm")
PLAIN_SECTIONS = tuple(
    name for name in Settings.__struct_fields__ if name not in ("production", "upstream")
)
"""Sections that are one table each."""
_ABOVE_ZERO = frozenset({
    "timeout_ms", "journal_stall_ms", "processes",
    "connect_s", "first_byte_s", "silence_s", "total_s", "lease_s",
    "slice_tokens", "tries", "strikes", "probe_s", "failures",
    "cool_s", "letters_per_100_tokens", "symbols_per_100_tokens", "non_ascii_per_100_tokens",
})  # fmt: skip
"""Options that are divided by, or without which nothing would ever be served."""


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file (or the defaults), with the environment's overrides.

    Raises ConfigurationError that names the option's path, also for keys that do not exist.
    """
    environ = os.environ if environ is None else environ
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}") from None
        except ValueError as error:  # no TOML, or not even UTF-8
            raise ConfigurationError(f"{path}: {error}") from None
    _reject_unknown(tree, str(path or "settings"))
    for section in PLAIN_SECTIONS:
        for option in struct_of(section).__struct_fields__:
            name = f"CORVUS_{section}_{option}".upper()
            if name in environ:
                tree.setdefault(section, {})[option] = _from_variable(name, environ[name])
    if "CORVUS_PRODUCTION" in environ:
        tree["production"] = environ["CORVUS_PRODUCTION"]
    try:
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path or 'settings'}: {error}") from None
    _check(settings)
    return _with_passwords(settings)


def _with_passwords(settings: Settings) -> Settings:
    """Both stores' URLs as their clients need them."""
    redis, database = settings.redis, settings.database
    return replace(
        settings,
        redis=replace(redis, url=with_password(redis.url, redis.password_file, "redis")),
        database=replace(
            database, url=with_password(database.url, database.password_file, "database")
        ),
    )


def config_path() -> Path | None:
    """The file that CORVUS_CONFIG names."""
    named = os.environ.get("CORVUS_CONFIG")
    return Path(named) if named else None


def share_metrics(folder: str) -> None:
    """Has this process, and those that it starts, keep their figures in a folder, unless the
    environment names one; to be called before `prometheus_client` is imported."""
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)


def struct_of(section: str) -> type[msgspec.Struct]:
    """The options of a plain section."""
    return cast(type[msgspec.Struct], type(getattr(Settings(), section)))


def _from_variable(name: str, text: str) -> object:
    """A variable's value: text as it stands, a table or list as JSON (`{"openai": "0.60"}`)."""
    if not text.startswith(("{", "[")):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def _reject_unknown(tree: dict[str, Any], where: str) -> None:
    """msgspec names the key but not its place; the operator needs both."""

    def reject(found: object, kind: type[msgspec.Struct], place: str) -> None:
        if not isinstance(found, dict):
            raise ConfigurationError(f"{where}: {place.rstrip('.')} is not a table of options")
        for key in found:
            if key not in kind.__struct_fields__:
                raise ConfigurationError(f"{where}: there is no option {place}{key}")

    def rows(found: object, place: str) -> list[Any]:
        if not isinstance(found, list):
            raise ConfigurationError(f"{where}: {place} is a list: write [[{place}]]")
        return found

    reject(tree, Settings, "")
    for section in PLAIN_SECTIONS:
        reject(tree.get(section, {}), struct_of(section), f"{section}.")
    for upstream in rows(tree.get("upstream", []), "upstream"):
        reject(upstream, Upstream, "upstream.")
        for credential in rows(upstream.get("credential", []), "upstream.credential"):
            reject(credential, Credential, "upstream.credential.")


def _check(settings: Settings) -> None:
    for section in PLAIN_SECTIONS:
        for option, value in msgspec.structs.asdict(getattr(settings, section)).items():
            least = 0.001 if option in _ABOVE_ZERO else 0
            most = 65_535 if option in ("port", "status_port") else 2**53
            if isinstance(value, int | float) and not least <= value <= most:
                raise ConfigurationError(f"{section}.{option}: {value} is out of range")
    for family, factor in settings.pricing.factor.items():
        if family not in FAMILIES:
            raise ConfigurationError(f"pricing.factor.{family}: {family!r} is none of {FAMILIES}")
        _check_share(f"pricing.factor.{family}", factor)
    for family in settings.trust.capacity:
        if family not in FAMILIES:
            raise ConfigurationError(f"trust.capacity.{family}: {family!r} is none of {FAMILIES}")
    contact = settings.trust.security_contact
    if contact and (not contact.startswith(CONTACTS) or any(map(str.isspace, contact))):
        raise ConfigurationError(
            f"trust.security_contact: {contact!r} begins with none of {', '.join(CONTACTS)}"
        )
    for upstream in settings.upstream:
        if upstream.family not in FAMILIES:
            raise ConfigurationError(f"upstream.family: {upstream.family!r} is none of {FAMILIES}")
        if upstream.client not in ("httptools", "httpx"):
            raise ConfigurationError(f"upstream.client: {upstream.client!r} is no such client")
        if not upstream.credential:
            raise ConfigurationError(f"upstream {upstream.base_url}: it has no credential")
        for one in upstream.credential:
            _check_share(f"credential {one.name}: cost_factor", one.cost_factor)
    for sentence in too_short(settings.retention):
        raise ConfigurationError(sentence)
    _check_reconcile(settings)
    _check_budgets([one for upstream in settings.upstream for one in upstream.credential])


def _check_reconcile(settings: Settings) -> None:
    if settings.reconcile.days > RECONCILE_DAYS_MAX:
        raise ConfigurationError(
            f"reconcile.days: {settings.reconcile.days} is more than {RECONCILE_DAYS_MAX}; the"
            " detail of requests, which it reads, may be deleted after 35"
        )
    for option in ("drift_percent", "drift_usd"):
        _check_share(f"reconcile.{option}", getattr(settings.reconcile, option))
    for upstream in settings.upstream:
        for one in upstream.credential:
            if (one.admin_secret_env or one.admin_secret_file) and upstream.family == "glm":
                raise ConfigurationError(
                    f"credential {one.name}: glm has no reports that an admin key could read"
                )


def _check_budgets(credentials: list[Credential]) -> None:
    """The books know a credential by its name alone: one with a budget, or that is reconciled,
    shares it with nobody."""
    named = Counter(one.name for one in credentials)
    for one in credentials:
        for has, what in (
            (one.budgets_nanos(), "a budget"),
            (one.admin_secret_env or one.admin_secret_file, "an admin key"),
        ):
            if has and named[one.name] > 1:
                raise ConfigurationError(
                    f"credential {one.name}: it has {what}, and another one has its name"
                )


def _budget(option: str, usd: float | str) -> int:
    try:
        nanos = Decimal(str(usd)) * 1_000_000_000
    except ArithmeticError:
        nanos = Decimal(-1)
    if not (nanos.is_finite() and nanos >= 1 and nanos == nanos.to_integral_value()):
        raise ConfigurationError(f"{option}: {usd!r} is no amount of USD such as 250 or 0.50")
    return int(nanos)


def _check_share(option: str, value: float | str) -> None:
    try:
        share = Decimal(str(value))
    except ArithmeticError:
        share = Decimal(-1)
    if not (share.is_finite() and share >= 0):
        raise ConfigurationError(f"{option}: {value!r} is no share such as 0.35")
