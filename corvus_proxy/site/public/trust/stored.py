"""What the software stores, where, and for how long: what the privacy page shows.

Every table of the books stands in a row here; a test compares them with the migrations. How long is
what the worker deletes by: the rows of `settings.retention`.
"""

from typing import NamedTuple

from corvus_proxy.money.event import PARTITIONS
from corvus_proxy.service import recovery, sessions
from corvus_proxy.settings import RetentionSettings, Settings
from corvus_proxy.settings.retention import KINDS, Kind

KEPT = "until the operator deletes the database; the software does not"
_KINDS = {kind.name: kind for kind in KINDS}


class Stored(NamedTuple):
    """One kind of record."""

    what: str
    content: str
    why: str
    how_long: str
    tables: tuple[str, ...] = ()
    """Of the books; none where it lies elsewhere."""


def stored(settings: Settings) -> list[Stored]:
    """All of it, with the times that are set here."""
    return [*_of_people(settings), *_of_money(settings.retention), *_of_machines(settings)]


def days(kind: Kind, settings: RetentionSettings) -> str:
    """How long a kind is kept, as a phrase."""
    found = kind.days(settings)
    return f"{found} days after {kind.since}" if found else KEPT


def _of_people(settings: Settings) -> list[Stored]:
    shop = settings.shop
    times = {name: days(kind, settings.retention) for name, kind in _KINDS.items()}
    return [
        Stored(
            "Orders and payments",
            "order number, amount, way of payment, mail address if one was given, references of the"
            " payment service, address of a payment on chain, history; the order's own address, a"
            " new key and its recovery code under seal",
            "to match a payment with its order, and to prove it",
            f"what was paid: {KEPT}. The order's mail address and browser: {times['order']}. Ids of"
            f" the payment service's messages: {times['webhook']}. The sealed copies are destroyed"
            f" when the key is fetched, at the latest {shop.reveal_days} days after the payment",
            ("shop_order", "payment", "order_step", "refund", "webhook"),
        ),
        Stored(
            "Mail that was sent",
            "address, kind, whether the mail server took it; what the mail says under seal",
            "to send it again where it failed",
            f"{times['mail']}; what it says is destroyed once the mail is accepted or has failed"
            " for good",
            ("mail",),
        ),
        Stored(
            "Keys and who owns them",
            "key ids, names, caps and limits; secrets and recovery codes as digests under a key"
            " that is not in the database; the mail address of a wallet, if one was given",
            "to know a key when it comes, and its owner when it is lost",
            KEPT,
            ("key", "key_secret"),
        ),
        Stored(
            "Links and recoveries",
            "digests of the links, mail address, when they were made and used",
            "so that each link works once",
            f"links: {times['link']}; recoveries: {times['recovery']}. A log-in link works for"
            f" {sessions.LINK_S // 60} minutes, a recovery for {recovery.OPEN_DAYS} days",
            ("link", "recovery"),
        ),
        Stored(
            "Log-ins",
            "kind of browser and system (such as `Firefox on Linux computer`), when it began and"
            " was last seen; read-only tokens as digests. no address of a device",
            "so that the owner sees and ends them",
            f"{times['session']}, a token {times['token']}; a log-in lasts at most"
            f" {sessions.SESSION_S // 3600} hours",
            ("session", "read_token"),
        ),
        Stored(
            "Alarms",
            "threshold, webhook address and its secret under seal, notices that were sent",
            "to tell the owner",
            f"an alarm until it is removed; its notices: {times['notice']}",
            ("alarm", "notice"),
        ),
    ]


def _of_money(settings: RetentionSettings) -> list[Stored]:
    return [
        Stored(
            "Balances and their history",
            "every change of a balance with its amount, time, key, model and reason",
            "it is the account between customer and operator",
            f"{KEPT}; the database refuses to change or delete an entry, but for the lines of a"
            " bill, which go with the detail of requests. Of an entry that could not be booked,"
            f" what it said: {days(_KINDS['quarantine'], settings)}",
            ("wallet", "event", "posting", "cash", "outbox", "quarantine", "gap"),
        ),
        Stored(
            "Requests",
            "model, counts of tokens, prices, charge, times, outcome, the vendor's own request id;"
            " **no prompt and no answer**",
            "each charge can be recomputed",
            f"{days(_KINDS['request'], settings)}; after that sums by UTC day, key, model and"
            f" outcome: {KEPT}",
            ("request", "request_day"),
        ),
        Stored(
            "Deeds of the operator",
            "who changed what on which key or order, and why; the operators' names, digests of"
            " their tokens, what they switched off",
            "so that nothing is done unseen",
            KEPT,
            ("audit", "operator", "stopped"),
        ),
        Stored(
            "Sums and states of the installation",
            "totals of days, results of checks, what providers report of a day, the history of the"
            " status, cost by credential, places in the ledger; nothing of one person",
            "to run the service and to prove it",
            KEPT,
            (
                "installation", "cursor", "node", "rebuild_request", "credential_cost",
                "day_total", "day_cursor", "day_counted", "ledger_check", "status_day", "incident",
                "incident_note", "retention", "reconciled", "schema_support",
            ),
        ),
    ]  # fmt: skip


def _of_machines(settings: Settings) -> list[Stored]:
    ledger, pool = settings.ledger, settings.pool
    archive = f" and an archive of {ledger.archive_days} days" if ledger.archive_dir else ""
    return [
        Stored(
            "Prompts and answers",
            "pass through the memory of a gateway process; no file, table or log has them",
            "to relay them",
            "as long as the request runs",
        ),
        Stored(
            "Which conversation goes on where",
            "a digest of the client's own word for the conversation, or of the first kilobyte of"
            " its prompt, in memory alone",
            "so that the vendor's prompt cache is hit",
            f"{pool.pin_s:.0f} seconds after its last request",
        ),
        Stored(
            "Running requests and recent changes",
            "balances, holds and the last events in Redis; a gateway's journal of what it is about"
            f" to charge{archive}",
            "so that a crash loses no money",
            f"the last {ledger.keep:,} events of each of {PARTITIONS} partitions, and none but the"
            " very last for longer than the detail of requests; journals until their charges are"
            " booked",
        ),
        Stored(
            "Logs",
            "facts with request ids, order numbers and wallet ids; no key, no mail address, no body"
            " and no network address",
            "to find faults",
            "as long as the operator keeps them",
        ),
        Stored(
            "Network addresses",
            "in memory alone, to limit wrong log-ins, orders and forms",
            "to stop guessing",
            "minutes",
        ),
    ]


class Cookie(NamedTuple):
    """One cookie of the site."""

    name: str
    what: str
    how_long: str


def cookies(session: str, order: str, order_s: int) -> list[Cookie]:
    """All cookies that the site sets; no page needs one to be read."""
    return [
        Cookie(
            session,
            "a log-in to the dashboard, signed, without a secret in it",
            f"{sessions.SESSION_S // 3600} hours",
        ),
        Cookie(
            order,
            "tells the browser that ordered from others, so that it alone is shown the key",
            f"{order_s // 86_400} days",
        ),
    ]
