"""What the functions of keys give and raise."""

import enum
from datetime import datetime
from typing import NamedTuple

from corvus_proxy.errors import CorvusError

STATUS = {1: "active", 0: "frozen", 2: "revoked"}
GRACE_S = 24 * 3600
"""A rotated secret works this long beside the new one, unless the caller says otherwise."""
ENDED_MS = 1
"""End of a secret that is dead by every clock."""


class ServiceRefused(CorvusError):
    """What was asked cannot be done; the text says why."""


class MovePending(ServiceRefused):
    """The credit or debit is in the books; Redis has it as soon as it serves."""


class NoSuchKey(ServiceRefused):
    """There is no such key, or it is another wallet's."""


class NotAllowed(ServiceRefused):
    """Who asks may not do this."""


class BadLimit(ServiceRefused):
    """A name or limit that no key can have; `field` is `label`, `cap`, `period`, `expires` or
    one of `money.period.Rates`."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


class Unchanged(enum.Enum):
    """Stands for what `change_sub` leaves as it is."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


class Created(NamedTuple):
    wallet: str
    key_id: str
    secret: str
    balance_nanos: int
    recovery_code: str = ""
    """Of a new wallet; shown once."""


class KeyRecord(NamedTuple):
    """One key as its wallet's owner sees it. Amounts in nanos."""

    key_id: str
    wallet: str
    label: str
    main: bool
    status: str
    """`active`, `frozen`, `expired` or `revoked`; of the key alone, not of its wallet."""
    frozen_by: str
    """`owner`, `recovery` or `operator`."""
    masked: str
    """Of the present secret."""
    cap_nanos: int | None
    period: str
    period_spent_nanos: int
    """Of a key with a cap, in its present period."""
    resets_at: datetime | None
    """When the next period begins; None for a cap in total and without one."""
    spent_nanos: int
    held_nanos: int
    expires_ms: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrency: int | None
    models: tuple[str, ...]
    """Empty: all."""
    created_at: datetime
    revoked_at: datetime | None


class Shown(NamedTuple):
    """A key and its wallet's figures, from Redis."""

    key_id: str
    wallet: str
    label: str
    status: str
    balance_nanos: int
    held_nanos: int
    available_nanos: int
    spent_nanos: int
