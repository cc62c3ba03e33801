"""The plain sections: one struct each, every option with its unit, default and reason."""

import msgspec


class RedisSettings(msgspec.Struct, frozen=True):
    """The till. It must keep every acknowledged write (`appendfsync always`)."""

    url: str = "redis://127.0.0.1:6379/0"
    """Where Redis or Valkey (7.0 or newer) listens; `unix://PATH` works too. A Redis Cluster by
    some of its servers: `redis+cluster://host:port,host:port`, `rediss+cluster://` over TLS."""
    password_file: str = ""
    """File with the password of the user in `url`, which then has none."""
    timeout_ms: int = 250
    """Silence of Redis that makes a call a refusal: better a quick 503 than a client that hangs.
    While it answers others a call waits up to eight times as long: busy is not away."""
    durability_confirmed: bool = False
    """Set where a managed Redis forbids CONFIG GET and its operator vouches for the settings."""


class DatabaseSettings(msgspec.Struct, frozen=True):
    """The books."""

    url: str = ""
    """`postgresql://…`. The gateway never needs it."""
    password_file: str = ""
    """File with the password of the user in `url`, which then has none."""


class GatewaySettings(msgspec.Struct, frozen=True):
    """The API port."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """Port to listen on."""
    processes: int = 1
    """Gateway processes. One per core, less what Redis and Postgres need on the same machine."""
    connections_max: int = 12_000
    """Client connections of one process at once; more wait to be accepted. A stream takes two
    descriptors: the process raises its own limit as far as the system lets it (`ulimit -Hn`)."""
    body_bytes_max: int = 33_554_432
    """Largest request body, decoded where it came compressed. The upstreams' own limit is 32 MB."""
    body_expansion_max: int = 100
    """Times its size that a compressed body beyond 256 KB may have when decoded; past it 413."""
    body_timeout_s: int = 60
    """A body that takes longer to arrive is answered with 408."""
    counts_per_minute: int = 600
    """Free counts of tokens that one wallet may ask of one gateway process in a minute; more are
    answered with 429. They cost nothing and use up limits of the upstream account."""
    drain_s: int = 600
    """How long running streams may go on after SIGTERM, and `leave_s`."""
    leave_s: float = 0.0
    """How long a process that is told to stop goes on before that, not ready, ending each
    connection with its answer: longer than the front keeps idle connections (2 s in
    `config/nginx.conf`), so that no request meets one that closes. 0: there is no front."""


class SiteSettings(msgspec.Struct, frozen=True):
    """The site port: log-in and dashboard."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8081
    """Port to listen on."""
    trusted_proxies: list[str] = []
    """Addresses or networks of proxies of yours before the site: from them alone
    `X-Forwarded-For` is believed, for the limit on wrong log-ins."""
    connections_max: int = 4_096
    """Connections at once; more wait to be accepted. An open dashboard keeps one."""
    leave_s: float = 0.0
    """As `gateway.leave_s`, for the front before the site."""


class ConsoleSettings(msgspec.Struct, frozen=True):
    """The operator's port: the desk and metrics. Keep it on loopback or a private address."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8082
    """Port to listen on."""


class WorkerSettings(msgspec.Struct, frozen=True):
    """The worker's own port, for health checks, and what it may call."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    status_port: int = 8083
    """Port to listen on."""
    private_webhooks: bool = False
    """Lets customers' alarms call addresses that are not public, and plain http. Never where
    customers are strangers: they would reach your network."""


class StatusSettings(msgspec.Struct, frozen=True):
    """The status page: what the worker measures, and where it keeps that; docs/status.md."""

    dir: str = ""
    """Folder of the status and its history, on a disk that the worker writes and the site reads.
    Empty: the worker keeps it in memory, and its own port alone shows it."""
    probe_s: float = 30.0
    """Pause between two rounds of checks. They cost no tokens and no customer's balance."""
    failures: int = 2
    """Checks in a row that change a state: one lost packet opens no incident."""
    timeout_s: float = 5.0
    """Patience with one answer."""
    site_url: str = ""
    """Where the site is asked; empty: at `brand.site_url`, as customers reach it."""
    api_url: str = ""
    """Where the API is asked; empty: at `brand.api_url`."""


class RelaySettings(msgspec.Struct, frozen=True):
    """The way of an answer to its client."""

    keepalive_s: int = 15
    """Silence after which a stream gets a ping. Load balancers often cut at 60, agents at 300."""
    keepalive_before_headers_s: float = 0.0
    """How long a stream waits for its upstream's answer before it begins, with a ping; 0: until it
    comes. What fails after that is told inside the stream, under status 200."""
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


class PoolSettings(msgspec.Struct, frozen=True):
    """Credentials that fail, sessions that stay with theirs; docs/pools.md."""

    tries: int = 3
    """Credentials that one request is tried with at most, before its client has had a byte."""
    strikes: int = 3
    """Failures in a row that take a credential out, where one alone says little."""
    cool_s: float = 5.0
    """How long a fallen credential rests at first; twice as long each time that it falls again."""
    cool_max_s: float = 300.0
    """How long it rests at most, whatever the upstream asks for."""
    pin_s: float = 600.0
    """How long a session stays with its credential after its last request. Providers keep a prompt
    cache for five minutes to an hour."""
    drain_s: float = 3600.0
    """How long a draining credential keeps the sessions that are pinned to it."""
    holdback_ms: int = 1000
    """How long the announcement of a response is held back, so that one that fails at once can be
    tried elsewhere."""
    reload_s: float = 2.0
    """How often the configuration file is looked at for changed credentials; 0: never."""


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
    journal_stall_ms: int = 50
    """An append that takes longer tells of a disk that is stuck: new requests are refused until a
    sync has gone through. More for a disk that is shared and pauses now and then."""


class SecretsSettings(msgspec.Struct, frozen=True):
    """Secrets of the installation itself."""

    pepper_file: str = ""
    """File with the pepper that customers' secrets are hashed under; or CORVUS_PEPPER. Lose it,
    and every key is lost; docs/secrets.md says how it is changed."""
    other_pepper_files: list[str] = []
    """Files with other peppers, whose digests and seals hold, too: the next one while all processes
    learn of it, the old ones afterwards. `corvus secrets status` tells what rests on them."""


class BackupSettings(msgspec.Struct, frozen=True):
    """Backups of the books; docs/backup.md."""

    dir: str = ""
    """Folder that `corvus backup run` writes to and whose newest backup `doctor` and the worker's
    metric look at; on another disk, better on another machine. Empty: named on each call."""
    key_file: str = ""
    """File with at least 32 random characters that dump and secrets are encrypted with. Keep a copy
    where the backups are not. Empty: the dump is as readable as the database."""
    secrets_dir: str = ""
    """Folder for the secrets where there is no `key_file`, apart from the dumps. Empty: they are
    in no backup."""
    keep: int = 14
    """Backups that are kept; older ones go once a newer one is whole. 0: all."""
    max_age_h: float = 26.0
    """Hours after which the newest backup is too old for `corvus doctor`."""


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


class DemoSettings(msgspec.Struct, frozen=True):
    """Simulated money and upstreams; never together with a real upstream."""

    enabled: bool = False
    """Written by `corvus up`."""
    payments_url: str = ""
    """Simulated payment services, whose pages the site shows under /demo/pay. Written by
    `corvus up`."""


class MetricsSettings(msgspec.Struct, frozen=True):
    """Prometheus."""

    dir: str = ""
    """Folder in which all processes of this machine keep their metrics. `corvus up` has one of its
    own; elsewhere name one in memory, or counters go on where they stood before a restart."""
    listen: str = "127.0.0.1"
    """Where Prometheus finds a role. On loopback the console collects all roles of the machine; a
    private address, or a name that leads to one, has every role answer there itself."""
    port: int = 0
    """Port of a role's own `/metrics`; 0: its own port plus 1000."""


class ReconcileSettings(msgspec.Struct, frozen=True):
    """Our books against the providers' own reports; docs/reconciliation.md."""

    lag_h: int = 6
    """Hours after a UTC day's end at which its report is first asked for: providers go on counting
    for a while."""
    days: int = 3
    """Days back that are asked about again while they differ or were not answered. At most 30."""
    again_h: int = 4
    """Pause between two questions about such a day."""
    drift_percent: str = "0.5"
    """A day is an alarm when it differs by more than this share of the larger side …"""
    drift_usd: str = "5"
    """… and by more than this amount."""
    timeout_s: float = 30.0
    """Patience with one page of a report."""
