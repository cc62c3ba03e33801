"""Wallets, keys and the outbox: what the operator and the customer change; never money itself."""

from datetime import datetime
from typing import Any, NamedTuple

from corvus_proxy import clock
from corvus_proxy.money.event import partition_of
from corvus_proxy.money.period import NO_RATES, Rates


class SecretRow(NamedTuple):
    digest: str
    masked: str
    valid_until_ms: int


class Limits(NamedTuple):
    """How far a key may go."""

    cap_nanos: int | None = None
    """What it may spend in a period; None: as much as there is."""
    period: str = "total"
    """One of `money.period.PERIODS`."""
    expires_ms: int = 0
    """Wall-clock millisecond from which it is refused; 0: never."""
    rates: Rates = NO_RATES

    def columns(self) -> tuple[Any, ...]:
        """As they stand in the table `key`, from `cap_nanos` to `models`."""
        *numbers, models = self.rates
        return (self.cap_nanos, self.period, self.expires_ms, *numbers, list(models))

    def told(self) -> dict[str, Any]:
        """For the audit."""
        return {**self._asdict(), "rates": self.rates._asdict()}


UNLIMITED = Limits()


class WalletKey(NamedTuple):
    """One key as the books have it."""

    key_id: str
    wallet: str
    label: str
    main: bool
    status: int
    frozen_by: str
    """`owner`, `recovery` or `operator`, where it is frozen."""
    limits: Limits
    spent_nanos: int
    period_nanos: int
    """Spent in the present period, of a key with a cap."""
    created_at: datetime
    revoked_at: datetime | None
    secrets: tuple[SecretRow, ...]


class Standing(NamedTuple):
    """What of a wallet is decided by people."""

    status: int
    frozen_by: str
    """`owner`, `operator`, `chargeback` or `owner+chargeback`; empty: nobody, or its events are in
    quarantine."""
    quarantined: bool


class OutboxRow(NamedTuple):
    """A change that Redis has still to hear of."""

    id: str
    kind: str
    wallet: str
    amount_nanos: int
    counter: str
    key_id: str
    reason: str


class RefusedRow(NamedTuple):
    """A credit or debit to which Redis has said no."""

    id: str
    kind: str
    amount_nanos: int
    why: str
    at: datetime


INSERT_WALLET = "insert into wallet (wallet, part) values ($1, $2)"
INSERT_KEY = """
insert into key (key_id, wallet, label, main, cap_nanos, cap_period, expires_ms,
    requests_per_minute, tokens_per_minute, concurrency, models)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
INSERT_SECRET = "insert into key_secret (digest, key_id, masked) values ($1, $2, $3)"  # noqa: S105
INSERT_OUTBOX = """
insert into outbox (id, kind, wallet, amount_nanos, counter, key_id, reason)
values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing
"""
PERIOD_NANOS = """
    case when k.cap_nanos is null then 0 else coalesce((
        select sum(r.charge_nanos) from request r where r.key_id = k.key_id
            and r.ended_at >= date_trunc(nullif(k.cap_period, 'total'), $2::timestamptz, 'UTC')
    ), 0) end::bigint as period_nanos
"""
"""What a key with a cap has spent in its period, `$2` being now: by the end of each request as its
row tells it."""
KEY_COLUMNS = f"""
       k.key_id, k.wallet, k.label, k.main, k.status, k.frozen_by, k.cap_nanos, k.cap_period,
       k.expires_ms, k.requests_per_minute, k.tokens_per_minute, k.concurrency, k.models,
       k.spent_nanos, {PERIOD_NANOS}, k.created_at, k.revoked_at,
       coalesce(array_agg(row(s.digest, s.masked, s.valid_until_ms)) filter (
           where s.digest is not null), '{{}}') as secrets
"""
SELECT_KEYS = f"""
select {KEY_COLUMNS} from key k left join key_secret s using (key_id)
where k.wallet = $1 group by k.key_id order by not k.main, k.created_at, k.key_id
"""  # noqa: S608 - a text of ours
STANDING = """
select status, frozen_by, exists (
    select from quarantine q where q.wallet = w.wallet and q.released_at is null) as quarantined
from wallet w where wallet = $1 for update
"""


def key_of(row: Any) -> WalletKey:
    """A key from a row of `KEY_COLUMNS`."""
    rates = Rates(
        row["requests_per_minute"],
        row["tokens_per_minute"],
        row["concurrency"],
        tuple(row["models"]),
    )
    return WalletKey(
        row["key_id"],
        row["wallet"],
        row["label"],
        row["main"],
        row["status"],
        row["frozen_by"],
        Limits(row["cap_nanos"], row["cap_period"], row["expires_ms"], rates),
        row["spent_nanos"],
        row["period_nanos"],
        row["created_at"],
        row["revoked_at"],
        tuple(SecretRow(*secret) for secret in row["secrets"]),
    )


async def insert_wallet(connection: Any, wallet: str) -> None:
    """A new wallet at zero."""
    await connection.execute(INSERT_WALLET, wallet, partition_of(wallet))


async def insert_key(
    connection: Any,
    wallet: str,
    key_id: str,
    *,
    label: str,
    digest: str,
    masked: str,
    main: bool = True,
    limits: Limits = UNLIMITED,
) -> None:
    """A new key with its first secret."""
    await connection.execute(INSERT_KEY, key_id, wallet, label, main, *limits.columns())
    await connection.execute(INSERT_SECRET, digest, key_id, masked)


async def insert_outbox(connection: Any, row: OutboxRow) -> None:
    """A change for Redis; the same id twice is one change."""
    await connection.execute(INSERT_OUTBOX, *row)


async def touch(connection: Any, wallet: str) -> int:
    """Raises the wallet's version, so that the till takes its row again; the new version."""
    return int(
        await connection.fetchval(
            "update wallet set version = version + 1 where wallet = $1 returning version", wallet
        )
    )


async def lock(connection: Any, wallet: str) -> Standing:
    """A wallet's standing; who changes it or its keys waits until the transaction ends. Raises
    LookupError."""
    row = await connection.fetchrow(STANDING, wallet)
    if row is None:
        raise LookupError(f"there is no wallet {wallet}")
    return Standing(*row)


async def set_status(connection: Any, wallet: str, status: int, *, frozen_by: str = "") -> None:
    """Freezes (0) or opens (1) a wallet; the caller calls `touch`."""
    await connection.execute(
        "update wallet set status = $2, frozen_by = $3 where wallet = $1", wallet, status, frozen_by
    )


async def set_key_status(connection: Any, key_id: str, status: int, *, frozen_by: str = "") -> None:
    """Freezes (0), opens (1) or revokes (2) a key; the caller calls `touch`."""
    await connection.execute(
        "update key set status = $2::smallint, frozen_by = $3, revoked_at ="
        " case when $2::smallint = 2 then coalesce(revoked_at, now()) end where key_id = $1",
        key_id,
        status,
        frozen_by,
    )


async def set_key(connection: Any, key_id: str, *, label: str, limits: Limits) -> None:
    """Name and limits of a key; the caller calls `touch`."""
    await connection.execute(
        "update key set label = $2, cap_nanos = $3, cap_period = $4, expires_ms = $5,"
        " requests_per_minute = $6, tokens_per_minute = $7, concurrency = $8, models = $9"
        " where key_id = $1",
        key_id,
        label,
        *limits.columns(),
    )


async def rotate_secret(
    connection: Any, key_id: str, *, digest: str, masked: str, old_valid_until_ms: int
) -> None:
    """Adds a secret; the ones before it end at `old_valid_until_ms`, or earlier where they did."""
    await connection.execute(
        "update key_secret set valid_until_ms = $2"
        " where key_id = $1 and (valid_until_ms = 0 or valid_until_ms > $2)",
        key_id,
        old_valid_until_ms,
    )
    await connection.execute(INSERT_SECRET, digest, key_id, masked)


async def set_recovery(connection: Any, wallet: str, digest: str) -> None:
    """The digest of the code by which a wallet is recovered."""
    await connection.execute(
        "update wallet set recovery_digest = $2 where wallet = $1", wallet, digest
    )


async def wallet_of_code(connection: Any, digest: str) -> str | None:
    """The wallet that a recovery code's digest opens."""
    found = await connection.fetchval(
        "select wallet from wallet"
        " where recovery_digest = any(string_to_array($1, ',')) and recovery_digest <> ''",
        digest,
    )
    return str(found) if found is not None else None


async def end_access(connection: Any, wallet: str, *, keep_email: bool = False) -> int:
    """Ends what else opens a wallet's pages: sessions, read-only tokens, links under way, and the
    mail address, which may be a thief's, unless it is kept; how many sessions."""
    done = await connection.execute(
        "update session set ended_at = now() where wallet = $1 and ended_at is null", wallet
    )
    for text in (
        "update read_token set revoked_at = now() where wallet = $1 and revoked_at is null",
        "update link set used_at = now() where wallet = $1 and used_at is null",
        "update wallet set email = '' where wallet = $1",
    )[: 2 if keep_email else 3]:
        await connection.execute(text, wallet)
    return int(done.split()[-1])


async def keys_of(connection: Any, wallet: str) -> tuple[int, int, list[WalletKey]]:
    """Version, status and keys of a wallet, the main key first. Raises LookupError."""
    head = await connection.fetchrow("select version, status from wallet where wallet = $1", wallet)
    if head is None:
        raise LookupError(f"there is no wallet {wallet}")
    rows = await connection.fetch(SELECT_KEYS, wallet, clock.utc_now())
    return (
        int(head["version"]),
        int(head["status"]),
        [key_of(row) for row in rows],
    )


async def wallet_of_key(connection: Any, key_id: str) -> str | None:
    """The wallet of a key id."""
    found = await connection.fetchval("select wallet from key where key_id = $1", key_id)
    return str(found) if found is not None else None


async def all_keys(connection: Any) -> list[Any]:
    """Every key with its wallet's figures, newest first."""
    return list(
        await connection.fetch("""
        select k.key_id, k.wallet, k.label, k.status, k.spent_nanos, w.balance_nanos,
               k.created_at from key k join wallet w using (wallet)
        order by k.created_at desc limit 1000""")
    )


async def wallets_of_partition(connection: Any, part: int) -> list[str]:
    """Ids of every wallet of a partition."""
    rows = await connection.fetch("select wallet from wallet where part = $1", part)
    return [row["wallet"] for row in rows]


async def versions(connection: Any, wallets: list[str]) -> dict[str, int]:
    """Versions of those wallets that the books have."""
    rows = await connection.fetch(
        "select wallet, version from wallet where wallet = any($1)", wallets
    )
    return {row["wallet"]: row["version"] for row in rows}


RESTORE_WALLET = """
insert into wallet (wallet, part, version, status) values ($1, $2, $3, $4)
on conflict (wallet) do update set version = $3, status = $4
"""
RESTORE_KEY = """
insert into key (key_id, wallet, status, main, label, cap_nanos, cap_period, expires_ms,
    requests_per_minute, tokens_per_minute, concurrency, models)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (key_id) do update set status = $3, main = $4, label = $5, cap_nanos = $6,
    cap_period = $7, expires_ms = $8, requests_per_minute = $9, tokens_per_minute = $10,
    concurrency = $11, models = $12
"""
RESTORE_SECRET = """
insert into key_secret (digest, key_id, masked, valid_until_ms, pepper)
values ($1, $2, $3, $4, '')
on conflict (digest) do update set valid_until_ms = $4
"""  # noqa: S105


class RestoredKey(NamedTuple):
    """A key as Redis has it."""

    key_id: str
    status: int
    main: bool
    label: str
    limits: Limits
    digests: list[tuple[str, int]]
    """Each with its end."""


async def restore(
    connection: Any, wallet: str, version: int, status: int, keys: list[RestoredKey]
) -> None:
    """A wallet and its keys as Redis has them, for books that were restored from before they were
    made or changed."""
    await connection.execute(RESTORE_WALLET, wallet, partition_of(wallet), version, status)
    for key in keys:
        about = (key.status, key.main, key.label, *key.limits.columns())
        await connection.execute(RESTORE_KEY, key.key_id, wallet, *about)
        for digest, until_ms in key.digests:
            masked = f"sk-corvus_{wallet.removeprefix('w_')}…"
            await connection.execute(RESTORE_SECRET, digest, key.key_id, masked, until_ms)


async def waiting(connection: Any, *, limit: int = 200, offset: int = 0) -> list[OutboxRow]:
    """Changes that Redis has not confirmed, oldest first; of one moment, keys before money, and
    what is taken from it last."""
    rows = await connection.fetch(
        """
        select id, kind, wallet, amount_nanos, counter, key_id, reason from outbox
        where applied_at is null
        order by created_at, kind = 'reversal', kind desc, id limit $1 offset $2""",
        limit,
        offset,
    )
    return [OutboxRow(*row) for row in rows]


async def waiting_of_partition(connection: Any, part: int) -> list[OutboxRow]:
    """Changes of one partition's wallets that Redis has not confirmed, oldest first."""
    rows = await connection.fetch(
        """
        select o.id, o.kind, o.wallet, o.amount_nanos, o.counter, o.key_id, o.reason
        from outbox o join wallet w using (wallet)
        where o.applied_at is null and w.part = $1
        order by o.created_at, o.kind = 'reversal'""",
        part,
    )
    return [OutboxRow(*row) for row in rows]


async def claim(connection: Any, row_id: str) -> str:
    """Keeps everybody else from sending a row until the transaction ends; why it was refused, or
    nothing. By a lock of its own: the writer, who marks the row, must not wait for a sender."""
    await connection.fetchval("select pg_advisory_xact_lock($1, hashtext($2))", _SENDING, row_id)
    found = await connection.fetchval("select refused from outbox where id = $1", row_id)
    return str(found or "")


async def refuse(connection: Any, row_id: str, why: str) -> None:
    """Redis has said no to a row: it is not sent again."""
    await connection.execute(
        "update outbox set applied_at = now(), refused = $2 where id = $1 and applied_at is null",
        row_id,
        why,
    )


async def refused(connection: Any, wallet: str) -> list[RefusedRow]:
    """A wallet's credits and debits to which Redis has said no, oldest first."""
    rows = await connection.fetch(
        "select id, kind, amount_nanos, refused, applied_at from outbox"
        " where wallet = $1 and refused <> '' order by created_at, id",
        wallet,
    )
    return [RefusedRow(*row) for row in rows]


async def mark_applied(connection: Any, ids: list[str]) -> None:
    await connection.execute(
        "update outbox set applied_at = now() where id = any($1) and applied_at is null", ids
    )


async def insert_audit(
    connection: Any, *, actor: str, action: str, subject: str, details: str
) -> None:
    """Who did what to what; `details` is JSON."""
    await connection.execute(
        "insert into audit (actor, action, subject, details) values ($1, $2, $3, $4::jsonb)",
        actor,
        action,
        subject,
        details,
    )


async def lower_receivable(connection: Any, wallet: str, nanos: int) -> int:
    """Takes up to `nanos` off what a wallet owes after reversals (paid, or a dispute was won); what
    was taken off. The caller writes the cash row in the same transaction."""
    return int(
        await connection.fetchval(
            """
            update wallet w set receivable_nanos = w.receivable_nanos - owed.less
            from (select wallet, least(receivable_nanos, $2) as less from wallet
                  where wallet = $1 for update) owed
            where w.wallet = owed.wallet returning owed.less""",
            wallet,
            nanos,
        )
    )


async def simulated_money(connection: Any) -> bool:
    """Whether this installation has ever held simulated money."""
    return bool(await connection.fetchval("select simulated_money from installation"))


async def mark_simulated(connection: Any) -> None:
    await connection.execute("update installation set simulated_money = true")


_SENDING = 0x636F7277
"""First half of the advisory locks of those who send a row of the outbox."""
