"""Every metric once, with its labels. No label names a key or a wallet.

The processes of one machine keep their figures in the folder of PROMETHEUS_MULTIPROC_DIR, which the
launcher sets before they start; the console collects them. What is counted for every request is
gathered and written together a moment later (`flush`): each write to the shared file asks the
system for the process's id, and a request has a dozen.
"""

import asyncio
import shutil
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, NamedTuple

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.3, 1, 3, 10, 30, 100, 300)

REQUESTS = Counter(
    "corvus_requests_total",
    "Requests that reached the till and ended.",
    ["family", "dialect", "outcome"],
)
REFUSALS = Counter(
    "corvus_refusals_total", "Requests that ended with an error.", ["dialect", "code"]
)
GONE_EARLY = Counter(
    "corvus_clients_gone_early_total", "Clients that closed before their request was complete."
)
TOKENS = Counter("corvus_tokens_total", "Tokens charged.", ["family", "usage_class"])
CHARGED = Counter("corvus_charged_nanos_total", "Charges in nano-dollars.", ["family"])
SHORTFALL = Counter(
    "corvus_shortfall_nanos_total",
    "What charges exceeded the balance by, in nano-dollars.",
    ["family"],
)
FLAGGED = Counter(
    "corvus_usage_flags_total",
    "Answers whose own counts were remarkable, by flag.",
    ["family", "flag"],
)
FIRST_BYTE = Histogram(
    "corvus_first_byte_seconds",
    "From the request to the answer's first byte.",
    ["family"],
    buckets=_SECONDS,
)
DURATION = Histogram(
    "corvus_request_seconds", "From the request to its settling.", ["family"], buckets=_SECONDS
)
CREDENTIALS = Gauge(
    "corvus_credentials",
    "Gateway processes in which a credential is in this state.",
    ["family", "credential", "state"],
    multiprocess_mode="livesum",
)
CREDENTIAL_COST = Gauge(
    "corvus_credential_cost_nanos",
    "What a credential with a budget has cost this UTC day or month, in nano-dollars.",
    ["family", "credential", "period"],
    multiprocess_mode="livemax",
)
CREDENTIAL_BUDGET = Gauge(
    "corvus_credential_budget_nanos",
    "What a credential may cost in a UTC day or month, in nano-dollars; 0: no budget.",
    ["family", "credential", "period"],
    multiprocess_mode="livemax",
)
ATTEMPTS = Counter(
    "corvus_upstream_attempts_total",
    "Tries of requests with a credential, by what came of them.",
    ["family", "credential", "result"],
)
PROBES = Counter(
    "corvus_credential_probes_total",
    "Free calls that asked whether a fallen credential is accepted again.",
    ["family", "credential", "result"],
)
SESSIONS_MOVED = Counter(
    "corvus_sessions_moved_total",
    "Sessions that went on with another credential within the time that they are pinned for.",
    ["family"],
)
RELOADS = Counter(
    "corvus_reloads_total", "Changed configurations by what became of them.", ["result"]
)
HOLDS = Gauge("corvus_holds_living", "Holds of running requests.", multiprocess_mode="livesum")
# Counts what is wrong, not what is right: every role's process starts all gauges at zero.
JOURNALS_BROKEN = Gauge(
    "corvus_journals_broken",
    "Gateway processes whose journal cannot be written.",
    multiprocess_mode="livesum",
)
LEDGER_LAG = Gauge(
    "corvus_ledger_lag_events",
    "Events that the books do not have yet.",
    multiprocess_mode="livemax",
)
LEDGER_EVENTS = Counter("corvus_ledger_events_total", "Events written to the books.", ["type"])
PARTITIONS_CLOSED = Gauge(
    "corvus_partitions_closed", "Partitions that do not serve.", multiprocess_mode="livemax"
)
QUARANTINED = Counter(
    "corvus_quarantined_events_total", "Events that could not be booked; their wallets are frozen."
)
MOVES_REFUSED = Counter(
    "corvus_moves_refused_total",
    "Credits and debits to which Redis said no; they are not tried again.",
    ["kind"],
)
MAILS = Counter("corvus_mails_total", "Mails by kind and what became of them.", ["kind", "state"])
PARTITIONS_REBUILT = Counter(
    "corvus_partitions_rebuilt_total", "Partitions that were rebuilt from the books and journals."
)
ORDERS = Gauge(
    "corvus_orders", "Orders by state.", ["status", "exception"], multiprocess_mode="livemax"
)
CREDITS = Counter(
    "corvus_payments_credited_total",
    "Payments that were credited, by who found them.",
    ["provider", "via"],
)
CREDIT_DELAY = Histogram(
    "corvus_credit_delay_seconds",
    "From the last answer that did not know of a payment to its credit.",
    ["provider"],
    buckets=_SECONDS,
)
WEBHOOKS = Counter(
    "corvus_webhooks_total",
    "Messages of payment services, by what became of them.",
    ["provider", "result"],
)
PROVIDER_FAILURES = Counter(
    "corvus_provider_failures_total",
    "Calls to payment services that were not answered.",
    ["provider", "call"],
)
HOLDS_EXPIRED = Counter("corvus_holds_expired_total", "Holds ended by the sweeper.")
FORGOTTEN = Counter(
    "corvus_forgotten_rows_total",
    "Rows whose detail was deleted because it was older than the settings keep it.",
    ["kind"],
)
BACKUP_AGE = Gauge(
    "corvus_backup_age_seconds",
    "Since the newest backup in `backup.dir`; infinite: there is none; 0: not configured.",
    multiprocess_mode="livemax",
)
STATUS = Gauge(
    "corvus_status",
    "How a part of the service stands: 0 not known, 1 ok, 2 degraded, 3 down.",
    ["component"],
    multiprocess_mode="livemax",
)
UPSTREAM_COST = Counter(
    "corvus_upstream_cost_nanos_total",
    "What booked requests have cost the operator, in nano-dollars.",
    ["credential"],
)
LOGIN_FAILURES = Counter(
    "corvus_login_failures_total", "Log-ins that were refused, by what was entered.", ["by"]
)
SSE_CLIENTS = Gauge(
    "corvus_sse_clients",
    "Dashboards that are told of changes by a stream.",
    multiprocess_mode="livesum",
)
MEASURED = Gauge(
    "corvus_measured_timestamp_seconds",
    "When a worker last measured what stands below, in Unix time.",
    multiprocess_mode="livemax",
)
LIABILITY = Gauge(
    "corvus_liability_nanos",
    "The sum of all balances in the books, in nano-dollars.",
    multiprocess_mode="livemax",
)
HELD = Gauge(
    "corvus_held_nanos",
    "What running requests hold of balances, in nano-dollars.",
    multiprocess_mode="livemax",
)
RECEIVABLE = Gauge(
    "corvus_receivable_nanos",
    "What customers owe of payments that were taken back, in nano-dollars.",
    multiprocess_mode="livemax",
)
LEDGER_PROBLEMS = Gauge(
    "corvus_ledger_problems",
    "Findings of the last comparison of Redis with the books.",
    multiprocess_mode="livemax",
)
LEDGER_VERIFIED = Gauge(
    "corvus_ledger_verified_timestamp_seconds",
    "When Redis and the books were last compared, in Unix time.",
    multiprocess_mode="livemax",
)
PAID_NOT_CREDITED = Gauge(
    "corvus_paid_not_credited",
    "Confirmed payments that have not been on a balance for a minute or longer.",
    multiprocess_mode="livemax",
)
MOVES_WAITING = Gauge(
    "corvus_moves_waiting",
    "Credits, debits and changes of keys that Redis does not have yet.",
    ["kind"],
    multiprocess_mode="livemax",
)
MAIL_WAITING = Gauge(
    "corvus_mail_waiting",
    "Mails that have not been accepted or given up yet.",
    ["state"],
    multiprocess_mode="livemax",
)
REFUNDS_OPEN = Gauge(
    "corvus_refunds_open",
    "Refunds that have a step to go.",
    ["state"],
    multiprocess_mode="livemax",
)
REFUND_AGE = Gauge(
    "corvus_refund_age_seconds",
    "The age of the oldest open refund; 0: there is none.",
    multiprocess_mode="livemax",
)
PRICE_CHECKED = Gauge(
    "corvus_price_checked_timestamp_seconds",
    "When the vendor's price that was compared longest ago was compared, in Unix time.",
    ["family"],
    multiprocess_mode="livemax",
)
CLOCK_SKEW = Gauge(
    "corvus_clock_skew_seconds",
    "How far a store's clock is from the worker's.",
    ["store"],
    multiprocess_mode="livemax",
)
DISK_USED = Gauge(
    "corvus_disk_used_ratio",
    "Share of a disk that is used, by the folder of ours on it.",
    ["folder"],
    multiprocess_mode="livemax",
)

RECONCILE_DRIFT = Gauge(
    "corvus_reconcile_drift_nanos",
    "What a provider bills for its last reported day beyond what the books have, in nano-dollars.",
    ["family", "credential"],
    multiprocess_mode="livemostrecent",
)
RECONCILE_MARGIN = Gauge(
    "corvus_reconcile_margin_nanos",
    "Charges of that day less what the provider bills for it, in nano-dollars.",
    ["family", "credential"],
    multiprocess_mode="livemostrecent",
)
RECONCILE_ALARMS = Gauge(
    "corvus_reconcile_alarms",
    "Closed days of the last week that differ by more than both limits.",
    multiprocess_mode="livemax",
)
RECONCILE_UNANSWERED = Gauge(
    "corvus_reconcile_unanswered",
    "Closed days of the last week that a provider has not reported on.",
    multiprocess_mode="livemax",
)

FLUSH_S = 0.2
"""Figures of requests are so much behind."""


class _Gathered:
    """A child of a counter; what it is increased by is written with the next `flush`."""

    __slots__ = ("_child", "_more")

    def __init__(self, child: Counter) -> None:
        self._child = child
        self._more = 0.0

    def inc(self, amount: float = 1.0) -> None:
        if not self._more:
            _wait_for_flush(self)
        self._more += amount

    def flush(self) -> None:
        more, self._more = self._more, 0.0
        self._child.inc(more)


class _GatheredSeconds:
    """A child of a histogram over `_SECONDS`; its observations are written with the next `flush`,
    each bucket once."""

    __slots__ = ("_buckets", "_sum", "_values")

    def __init__(self, child: Histogram) -> None:
        # The library takes one observation at a time; it keeps these two for it.
        self._buckets: list[Any] = child._buckets
        self._sum: Any = child._sum
        self._values: list[float] = []

    def observe(self, value_s: float) -> None:
        if not self._values:
            _wait_for_flush(self)
        self._values.append(value_s)

    def flush(self) -> None:
        values, self._values = self._values, []
        self._sum.inc(sum(values))
        counts: dict[int, int] = {}
        for value_s in values:
            at = bisect_left(_SECONDS, value_s)
            counts[at] = counts.get(at, 0) + 1
        for at, count in counts.items():
            self._buckets[at].inc(count)


class _Waiting:
    """What is to be written, and the loop in which that is going to happen."""

    children: ClassVar[list[_Gathered | _GatheredSeconds]] = []
    loop: ClassVar[asyncio.AbstractEventLoop | None] = None


def _wait_for_flush(one: _Gathered | _GatheredSeconds) -> None:
    _Waiting.children.append(one)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return  # whoever counts without a loop calls `flush`
    if loop is not _Waiting.loop:
        _Waiting.loop = loop
        loop.call_later(FLUSH_S, flush)


def flush() -> None:
    """Writes what was counted since the last time; at the end of a process, the rest."""
    children, _Waiting.children, _Waiting.loop = _Waiting.children, [], None
    for one in children:
        one.flush()


def disk_used(name: str, folder: str) -> None:
    """Measures how full the disk of a folder is, as `df` reckons: what only root may fill is not
    free. A folder that is not there has none."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return
    DISK_USED.labels(name).set(usage.used / max(1, usage.used + usage.free))


def refused(dialect: str, code: str) -> None:
    REFUSALS.labels(dialect, code).inc()


def client_gone_early() -> None:
    GONE_EARLY.inc()


def flagged(family: str, flags: Iterable[str]) -> None:
    """Counts what was remarkable about one answer's counts."""
    for flag in flags:
        _flags(family, flag).inc()


@cache
def _attempts(family: str, credential: str, result: str) -> _Gathered:
    return _Gathered(ATTEMPTS.labels(family, credential, result))


def attempted(family: str, credential: str, result: str) -> None:
    """Counts one try; `result` is `answered` or whose fault it was."""
    _attempts(family, credential, result).inc()


class _Family(NamedTuple):
    """The children that every request of one family counts on."""

    charged: _Gathered
    duration: _GatheredSeconds
    first_byte: _GatheredSeconds


@cache
def _family(family: str) -> _Family:
    return _Family(
        _Gathered(CHARGED.labels(family)),
        _GatheredSeconds(DURATION.labels(family)),
        _GatheredSeconds(FIRST_BYTE.labels(family)),
    )


@cache
def _tokens(family: str, usage_class: str) -> _Gathered:
    return _Gathered(TOKENS.labels(family, usage_class))


@cache
def _requests(family: str, dialect: str, outcome: str) -> _Gathered:
    return _Gathered(REQUESTS.labels(family, dialect, outcome))


@cache
def _flags(family: str, flag: str) -> _Gathered:
    return _Gathered(FLAGGED.labels(family, flag))


def answered(
    family: str,
    dialect: str,
    outcome: str,
    *,
    charge_nanos: int,
    shortfall_nanos: int,
    tokens: Mapping[str, int],
    total_s: float,
    first_byte_s: float,
) -> None:
    """Counts one request that reached the till."""
    children = _family(family)
    _requests(family, dialect, outcome).inc()
    if charge_nanos:
        children.charged.inc(charge_nanos)
    if shortfall_nanos:
        SHORTFALL.labels(family).inc(shortfall_nanos)
    for usage_class, count in tokens.items():
        if count:
            _tokens(family, usage_class).inc(count)
    children.duration.observe(total_s)
    if first_byte_s:
        children.first_byte.observe(first_byte_s)
