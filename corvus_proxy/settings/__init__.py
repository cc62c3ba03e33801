"""Every option once: its type, unit, default and reason. The only reader of the environment.

One TOML file, then `CORVUS_<SECTION>_<OPTION>` variables above it. An unknown key is an error with
its path. `docs/configuration.md` and `config/corvus.example.toml` are written from this file by
`python -m corvus_proxy.settings`, and a test compares them.
"""

import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import msgspec

from corvus_proxy.errors import ConfigurationError


class RedisSettings(msgspec.Struct, frozen=True):
    """The till. It must keep every acknowledged write (`appendfsync always`)."""

    url: str = "redis://127.0.0.1:6379/0"
    """Where Redis or Valkey (7.0 or newer) listens; `unix://PATH` works too."""
    timeout_ms: int = 250
    """A call that takes longer is a refusal: better a quick 503 than a client that hangs."""
    durability_confirmed: bool = False
    """Set where a managed Redis forbids CONFIG GET and its operator vouches for the settings."""


class DatabaseSettings(msgspec.Struct, frozen=True):
    """The books."""

    url: str = ""
    """`postgresql://…`. The gateway never needs it."""


class GatewaySettings(msgspec.Struct, frozen=True):
    """The API port."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """Port to listen on."""
    processes: int = 1
    """Gateway processes. One per core, less what Redis and Postgres need on the same machine."""
    body_bytes_max: int = 33_554_432
    """Largest request body. The upstreams' own limit is 32 MB."""
    body_timeout_s: int = 60
    """A body that takes longer to arrive is answered with 408."""
    drain_s: int = 600
    """How long running streams may go on after SIGTERM."""


class SiteSettings(msgspec.Struct, frozen=True):
    """The site port: log-in and dashboard."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8081
    """Port to listen on."""


class ConsoleSettings(msgspec.Struct, frozen=True):
    """The operator's port: metrics. Keep it on loopback or a private address."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8082
    """Port to listen on."""


class WorkerSettings(msgspec.Struct, frozen=True):
    """The worker's own port, for health checks."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    status_port: int = 8083
    """Port to listen on."""


class RelaySettings(msgspec.Struct, frozen=True):
    """The way of an answer to its client."""

    keepalive_s: int = 15
    """Silence after which a stream gets a ping. Load balancers often cut at 60, agents at 300."""
    settle_wait_ms: int = 300
    """How long the end of a stream waits for the charge; then it says `"settled": false`."""
    cancel_drain_s: float = 2.0
    """How long the upstream is read on for its usage after the client has gone."""
    client_stall_s: int = 300
    """A client that takes no byte for this long is let go."""


class TimeoutSettings(msgspec.Struct, frozen=True):
    """Patience with an upstream."""

    connect_s: float = 5.0
    """To open a connection."""
    first_byte_s: float = 120.0
    """From the request to the answer's head."""
    silence_s: float = 300.0
    """Between two pieces of an answer."""
    total_s: float = 3600.0
    """For a whole answer."""


class HoldSettings(msgspec.Struct, frozen=True):
    """How much money a request sets aside while it runs."""

    slice_tokens: int = 2048
    """Output that a stream holds at a time. Larger: fewer extensions; smaller: less money held."""
    floor_tokens: int = 1024
    """A request that could not get this much output is refused instead of cut short."""
    share_floor_tokens: int = 4096
    """Non-streaming: up to this output a request may hold more than half of the free balance."""
    wait_s: float = 2.0
    """How long a request waits for other holds of its wallet to end before it is refused."""
    waiters_max: int = 32
    """Requests that may wait so on one wallet, per process."""
    letters_per_100_tokens: int = 300
    """Output in slices: ASCII letters that 100 tokens have at least."""
    symbols_per_100_tokens: int = 140
    """Output in slices: other ASCII characters that 100 tokens have at least."""
    non_ascii_per_100_tokens: int = 100
    """Output in slices: bytes beyond ASCII that 100 tokens have at least."""
    text_percent: int = 110
    """Input bound of text, in percent of the tokens that may begin in it."""
    claude_text_percent: int = 140
    """The same for Claude: its tokenizer is not public, and newer models count some 30 % more."""
    base_tokens: int = 700
    """Input bound: what an upstream adds of its own, such as tool instructions."""
    image_tokens: int = 16_384
    """Input bound of an image whose size cannot be told, and of any image on models that do not
    say otherwise."""
    document_tokens: int = 0
    """Input bound of a document; 0: it may fill the context, for how much its pages say cannot be
    told."""
    silent_tokens_per_s: int = 150
    """Output assumed of a model that reasons in silence, for slices only, never for a charge."""


class LedgerSettings(msgspec.Struct, frozen=True):
    """Leases, the journal and the writer."""

    lease_s: float = 120.0
    """A hold whose owner gave no sign of life for this long is charged at its last checkpoint."""
    lag_limit: int = 200_000
    """Events a partition may hold that the books do not; then new requests are refused."""
    keep: int = 5_000
    """Committed events kept in Redis per partition, for a database restored from a backup."""
    archive_dir: str = ""
    """Folder of the worker's archive of booked events, on another disk than the database's: what a
    database restored from a backup is brought forward with. Empty: none."""
    archive_days: int = 7
    """Days of archive that are kept; more than the age of the oldest backup you would restore."""
    journal_dir: str = ""
    """Folder of a gateway's journals, on a disk that outlives the process. Required."""
    journal_sync_ms: int = 20
    """Interval of the journal's fdatasync."""


class SecretsSettings(msgspec.Struct, frozen=True):
    """Secrets of the installation itself."""

    pepper_file: str = ""
    """File with the pepper that customers' secrets are hashed under; or CORVUS_PEPPER. Never
    change it: every key would be lost."""


class PricingSettings(msgspec.Struct, frozen=True):
    """The price book."""

    book: str = ""
    """Another price book than the one in the package; `config/models.example.toml` shows how."""
    factor: dict[str, str] = {}
    """Share of the official price per family (`anthropic = "0.35"`), in place of the book's."""
    sell_below_cost: bool = False
    """Allows prices below what the cheapest credential pays."""
    notice_days: int = 14
    """Days between the announcement of a rise and the rise; `corvus prices lint` holds the book to
    it."""


class BrandSettings(msgspec.Struct, frozen=True):
    """Facts about the operator that pages and answers show."""

    name: str = "Corvus"
    """Name of the service."""
    site_url: str = "http://127.0.0.1:8081"
    """Public address of the site, without a slash at its end."""
    api_url: str = "http://127.0.0.1:8080"
    """Public address of the API, without /v1."""
    support: str = ""
    """Where customers get help."""
    independence: str = ""
    """One sentence on the operator's relation to the model vendors."""


class DemoSettings(msgspec.Struct, frozen=True):
    """Simulated money and upstreams; never together with a real upstream."""

    enabled: bool = False
    """Written by `corvus up`."""


class MetricsSettings(msgspec.Struct, frozen=True):
    """Prometheus."""

    dir: str = ""
    """Folder in which all processes of this machine keep their metrics, for the console."""


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

    def cost_ppm(self) -> int:
        """`cost_factor` in millionths, so that costs stay integers."""
        return round(Decimal(str(self.cost_factor)) * 1_000_000)

    def secret(self) -> str:
        """The upstream's key. Raises ConfigurationError."""
        if self.secret_env and self.secret_file:
            raise ConfigurationError(f"credential {self.name}: give secret_env or secret_file")
        if self.secret_env:
            text = os.environ.get(self.secret_env, "")
        elif self.secret_file:
            text = _read(Path(self.secret_file), f"credential {self.name}").decode()
        else:
            text = ""
        if not text.strip():
            raise ConfigurationError(
                f"credential {self.name}: no key in {self.secret_env or self.secret_file or 'it'}"
            )
        return text.strip()


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
    relay: RelaySettings = RelaySettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    hold: HoldSettings = HoldSettings()
    ledger: LedgerSettings = LedgerSettings()
    secrets: SecretsSettings = SecretsSettings()
    pricing: PricingSettings = PricingSettings()
    brand: BrandSettings = BrandSettings()
    demo: DemoSettings = DemoSettings()
    metrics: MetricsSettings = MetricsSettings()
    upstream: list[Upstream] = []

    def pepper(self) -> bytes:
        """The pepper, at least 32 bytes. Raises ConfigurationError."""
        text = os.environ.get("CORVUS_PEPPER", "").encode()
        if not text and self.secrets.pepper_file:
            text = _read(Path(self.secrets.pepper_file), "secrets.pepper_file")
        if len(text.strip()) < 32:
            raise ConfigurationError(
                "secrets.pepper_file: name a file with at least 32 random characters"
            )
        return text.strip()


FAMILIES = ("anthropic", "openai", "glm")
PLAIN_SECTIONS = tuple(
    name for name in Settings.__struct_fields__ if name not in ("production", "upstream")
)
"""Sections that are one table each."""
_ABOVE_ZERO = frozenset({
    "timeout_ms", "processes", "connect_s", "first_byte_s", "silence_s", "total_s", "lease_s",
    "slice_tokens", "letters_per_100_tokens", "symbols_per_100_tokens", "non_ascii_per_100_tokens",
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
    return settings


def config_path() -> Path | None:
    """The file that CORVUS_CONFIG names."""
    named = os.environ.get("CORVUS_CONFIG")
    return Path(named) if named else None


def struct_of(section: str) -> type[msgspec.Struct]:
    """The options of a plain section."""
    return cast(type[msgspec.Struct], type(getattr(Settings(), section)))


def _from_variable(name: str, text: str) -> object:
    """A variable's value: text as it stands, a table as JSON (`{"openai": "0.60"}`)."""
    if not text.startswith("{"):
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
    for upstream in settings.upstream:
        if upstream.family not in FAMILIES:
            raise ConfigurationError(f"upstream.family: {upstream.family!r} is none of {FAMILIES}")
        if upstream.client not in ("httptools", "httpx"):
            raise ConfigurationError(f"upstream.client: {upstream.client!r} is no such client")
        if not upstream.credential:
            raise ConfigurationError(f"upstream {upstream.base_url}: it has no credential")
        for one in upstream.credential:
            _check_share(f"credential {one.name}: cost_factor", one.cost_factor)


def _check_share(option: str, value: float | str) -> None:
    try:
        share = Decimal(str(value))
    except ArithmeticError:
        share = Decimal(-1)
    if not (share.is_finite() and share >= 0):
        raise ConfigurationError(f"{option}: {value!r} is no share such as 0.35")


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{option}: {path}: {error.strerror}") from None
